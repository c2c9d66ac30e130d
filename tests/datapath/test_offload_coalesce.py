"""Merging inner packets: the same writes in Python and in C, and nothing lost, moved or healed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.datapath.offload.coalesce import MOST_FLOWS, MOST_SEGMENTS, Merger
from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import (
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    VNET_SIZE,
    WHOLE,
    Vnet,
    decode_vnet,
)
from tests.datapath.inner_packets import (
    ACK,
    CWR,
    DF,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    TIMESTAMPS,
    UDP,
    URG,
    Inner,
)
from tests.datapath.native_offload import native_merge

SIZE = 1000
Packets = Sequence[bytes | None]
Writes = list[tuple[int, bytes]]


def python_merge(packets: Packets, udp: bool = True) -> Writes:
    """What is written and how many packets are in it; None flushes."""
    writes: Writes = []
    merger = Merger(lambda parts, count: writes.append((count, b"".join(parts))), udp)
    for packet in packets:
        if packet is None:
            merger.flush()
        else:
            merger.feed(packet)
    merger.flush()
    return writes


def merged(packets: Packets, udp: bool = True) -> Writes:
    """The writes, after both twins were found to agree."""
    writes = python_merge(packets, udp)
    assert native_merge(packets, udp) == writes
    return writes


def counts(inners: Sequence[Inner], udp: bool = True) -> list[int]:
    """How many packets are in each write."""
    return [count for count, _ in merged([inner.encode() for inner in inners], udp)]


def recut(writes: Writes) -> list[bytes]:
    """What whoever cuts the writes again has."""
    packets = []
    for count, data in writes:
        if data[:VNET_SIZE] == WHOLE:
            assert count == 1
            packets.append(data[VNET_SIZE:])
            continue
        segments = cut(decode_vnet(data), data[VNET_SIZE:])
        assert len(segments) == count
        packets += segments
    return packets


def flow_of(packet: bytes) -> bytes:
    """Addresses, protocol and ports where they are, else whatever stands there."""
    if packet and packet[0] >> 4 == 6:
        return packet[6:7] + packet[8:44]
    return packet[9:10] + packet[12:24]


def by_flow(packets: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Each flow's packets in order, without the id of those that may not be fragmented, and with
    TCP's two spellings of a zero checksum as one."""
    flows = defaultdict(list)
    for packet in packets:
        key = flow_of(packet)
        if packet[:1] == b"\x45" and packet[6:7] == b"\x40":
            packet = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
        start = 36 if packet[:1] == b"\x45" else 56
        if packet[start : start + 2] == b"\xff\xff":
            packet = packet[:start] + b"\0\0" + packet[start + 2 :]
        flows[key].append(packet)
    return dict(flows)


def train(number: int, size: int = SIZE, **fields: object) -> list[Inner]:
    """Consecutive segments of one flow."""
    first = Inner(payload=bytes(range(250)) * (size // 250 + 1), **fields)  # type: ignore[arg-type]
    first = replace(first, payload=first.payload[:size])
    return [
        replace(first, sequence=first.sequence + at * size, identity=first.identity + at)
        for at in range(number)
    ]


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_a_train_becomes_one_write(version: int, protocol: int) -> None:
    packets = [inner.encode() for inner in train(10, version=version, protocol=protocol)]
    [(count, data)] = merged(packets)
    assert count == 10
    tcp = GSO_TCPV6 if version == 6 else GSO_TCPV4
    start = 40 if version == 6 else 20
    headers = start + (20 if protocol == TCP else 8)
    kind, offset = (tcp, 16) if protocol == TCP else (GSO_UDP_L4, 6)
    assert decode_vnet(data) == Vnet(NEEDS_CSUM, kind, headers, SIZE, start, offset)
    assert recut([(count, data)]) == packets


def test_a_single_packet_is_written_as_it_came() -> None:
    for inner in (Inner(payload=b"x"), Inner(4, UDP, b"x"), Inner(flags=SYN), Inner(corrupt=50)):
        assert merged([inner.encode()]) == [(1, WHOLE + inner.encode())]


def test_a_shorter_segment_ends_a_train() -> None:
    *most, last = train(5)
    last = replace(last, payload=last.payload[:1])
    assert counts([*most, last]) == [5]
    after = replace(last, sequence=last.sequence + 1)
    assert counts([*most, last, after]) == [5, 1]


def test_a_longer_segment_begins_a_new_train() -> None:
    first, second = train(2)
    second = replace(second, payload=second.payload + b"y")
    assert counts([first, second]) == [1, 1]


def test_push_ends_a_train_and_is_kept() -> None:
    inners = train(5)
    inners[2] = replace(inners[2], flags=ACK | PSH)
    packets = [inner.encode() for inner in inners]
    writes = merged(packets)
    assert [count for count, _ in writes] == [3, 2]
    assert recut(writes) == packets


def test_a_pushed_packet_does_not_wait() -> None:
    writes: Writes = []
    merger = Merger(lambda parts, count: writes.append((count, b"".join(parts))), True)
    merger.feed(Inner(payload=b"x", flags=ACK | PSH).encode())
    assert len(writes) == 1


CHANGES: dict[str, dict[str, object]] = {
    "syn": {"flags": ACK | SYN},
    "fin": {"flags": ACK | FIN},
    "rst": {"flags": ACK | RST},
    "urg": {"flags": ACK | URG},
    "urgent pointer": {"urgent": 5},
    "cwr": {"flags": ACK | CWR},
    "ece": {"flags": ACK | ECE},
    "no ack": {"flags": 0},
    "reserved bit": {"reserved": 1},
    "acknowledgement": {"ack": 2},
    "window": {"window": 1001},
    "options": {"options": TIMESTAMPS},
    "traffic class": {"traffic_class": 0x20},
    "congestion mark": {"traffic_class": 3},
    "hop limit": {"hops": 63},
    "gap": {"sequence": 2 * SIZE},
    "duplicate": {"sequence": 0},
    "no payload": {"payload": b""},
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("version", [4, 6])
def test_what_differs_is_not_merged(version: int, change: str) -> None:
    first, second = train(2, version=version)
    assert counts([first, second]) == [2]
    second = replace(second, **CHANGES[change])  # type: ignore[arg-type]
    assert counts([first, second]) == [1, 1]
    packets = [first.encode(), second.encode()]
    assert recut(merged(packets)) == packets


def test_another_flow_label_is_not_merged() -> None:
    first, second = train(2, label=7)
    assert counts([first, second]) == [2]
    assert counts([first, replace(second, label=8)]) == [1, 1]


def test_the_same_options_are_merged() -> None:
    packets = [inner.encode() for inner in train(4, options=TIMESTAMPS)]
    [(count, data)] = merged(packets)
    assert count == 4
    assert recut([(count, data)]) == packets


def test_the_ipv4_id_counts_up_unless_the_packet_may_not_be_fragmented() -> None:
    first, second = train(2, version=4, fragment=0, identity=0xFFFF)
    assert counts([first, second]) == [2]
    second = replace(second, identity=0xFFFF)
    assert counts([first, second]) == [1, 1]
    assert counts([replace(first, fragment=DF), replace(second, fragment=DF)]) == [2]


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 4, "between": bytes((0x94, 4, 0, 0))},
        {"version": 4, "fragment": 0x2000},
        {"version": 4, "fragment": 3},
        {"version": 4, "fragment": 0x8000},
        {"between": bytes((6, 0, 1, 4, 0, 0, 0, 0)), "next_header": 0},
        {"between": bytes((6, 0, 0, 1, 0, 0, 0, 9)), "next_header": 44},
        {"between": bytes((6, 0, 1, 4, 0, 0, 0, 0)), "next_header": 60},
        {"next_header": 58},
        {"next_header": 50},
    ],
    ids=str,
)
def test_fragments_options_and_extension_headers_pass_after_what_waits(
    fields: dict[str, object],
) -> None:
    waiting = [inner.encode() for inner in train(3, version=6, flow=5)]
    strange = [inner.encode() for inner in train(2, **fields)]
    writes = merged([*waiting, *strange])
    assert [count for count, _ in writes] == [3, 1, 1]
    assert recut(writes) == [*waiting, *strange]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(("version", "protocol"), [(4, TCP), (6, TCP), (4, UDP), (6, UDP)])
def test_a_damaged_packet_is_written_as_it_came(version: int, protocol: int, which: int) -> None:
    for octet in range(80):
        inners = train(3, 60, version=version, protocol=protocol)
        inners[which] = replace(inners[which], corrupt=octet)
        packets = [inner.encode() for inner in inners]
        writes = merged(packets)
        if version == 6 and octet in (1, 2, 3, 7):
            # No checksum covers them, so this is another packet, and a right one.
            assert by_flow(recut(writes)) == by_flow(packets)
        else:
            assert (1, WHOLE + packets[which]) in writes, octet


def test_a_udp_packet_without_checksum_gets_none() -> None:
    inners = train(3, version=4, protocol=UDP, checksum=0)
    packets = [inner.encode() for inner in inners]
    assert merged(packets) == [(1, WHOLE + packet) for packet in packets]


def test_a_wrong_udp_length_is_nothing_to_look_into() -> None:
    packet = Inner(6, UDP, bytes(100)).encode()
    wrong = packet[:44] + b"\0\x10" + packet[46:]
    assert merged([wrong, wrong]) == [(1, WHOLE + wrong)] * 2


def test_udp_is_not_merged_for_a_tunnel_that_cannot_cut_it() -> None:
    assert counts(train(3, protocol=UDP), udp=False) == [1, 1, 1]
    assert counts(train(3, protocol=TCP), udp=False) == [3]


def test_mixed_flows_are_merged_each_and_written_oldest_first() -> None:
    one, two = train(3, flow=1), train(3, flow=2)
    mixed = [inner for pair in zip(one, two, strict=True) for inner in pair]
    packets = [inner.encode() for inner in mixed]
    writes = merged(packets)
    assert [count for count, _ in writes] == [3, 3]
    assert recut(writes) == [inner.encode() for inner in (*one, *two)]


def test_one_flow_too_many_releases_the_oldest() -> None:
    inners = [replace(train(1)[0], flow=flow) for flow in range(MOST_FLOWS + 1)]
    later = [replace(inner, sequence=SIZE) for inner in inners]
    assert counts(inners + later[1:]) == [1] + [2] * MOST_FLOWS


def test_a_train_is_bounded_in_segments_and_octets() -> None:
    assert counts(train(MOST_SEGMENTS + 1, 10)) == [MOST_SEGMENTS, 1]
    inners = train(50, 1400)
    writes = merged([inner.encode() for inner in inners])
    assert [count for count, _ in writes] == [46, 4]
    assert all(len(data) <= VNET_SIZE + 65_535 for _, data in writes)


def test_a_flush_ends_every_train() -> None:
    one, two, three, four = (inner.encode() for inner in train(4))
    assert [count for count, _ in merged([one, two, None, three, four])] == [2, 2]


def test_sequence_numbers_wrap() -> None:
    assert counts(train(4, sequence=0xFFFFFFFF - SIZE)) == [4]


STEPS = st.fixed_dictionaries(
    {},
    optional={
        "flow": st.integers(0, 2),
        "size": st.sampled_from([0, 1, 99, 100, 100, 100, 101]),
        "flags": st.sampled_from([ACK, ACK, ACK | PSH, SYN, ACK | FIN, RST, ACK | URG, ACK | CWR]),
        "jump": st.sampled_from([0, 0, 0, 100, -100, -1]),
        "protocol": st.sampled_from([TCP, UDP]),
        "corrupt": st.integers(0, 200),
        "traffic_class": st.sampled_from([0, 1, 3]),
        "options": st.sampled_from([b"", TIMESTAMPS]),
        "fragment": st.sampled_from([0, 0, DF, 0x2000]),
        "checksum": st.sampled_from([0, 0xFFFF, 1]),
        "flush": st.just(True),
    },
)


def walk(version: int, steps: Sequence[dict[str, object]]) -> list[bytes | None]:
    """Packets of a few flows that go on where they were, but for what a step changes."""
    at: dict[object, int] = defaultdict(int)
    packets: list[bytes | None] = []
    for number, step in enumerate(steps):
        fields = dict(step)
        if fields.pop("flush", False):
            packets.append(None)
            continue
        size, jump = int(fields.pop("size", 100)), int(fields.pop("jump", 0))  # type: ignore[call-overload]
        flow = fields.get("flow", 0)
        payload = bytes((number + octet) % 256 for octet in range(size))
        inner = Inner(version, payload=payload, sequence=at[flow] + jump, identity=number, **fields)  # type: ignore[arg-type]
        at[flow] += size
        packets.append(inner.encode())
    return packets


@given(version=st.sampled_from([4, 6]), steps=st.lists(STEPS, max_size=40), udp=st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_comes_both_write_the_same_and_it_can_be_cut_into_what_came(
    version: int, steps: list[dict[str, object]], udp: bool
) -> None:
    fed = walk(version, steps)
    writes = merged(fed, udp)
    packets = [packet for packet in fed if packet is not None]
    assert by_flow(recut(writes)) == by_flow(packets)


@given(
    packets=st.lists(
        st.one_of(
            st.binary(max_size=120),
            st.binary(max_size=120).map(lambda data: b"\x45" + data),
            st.binary(max_size=120).map(
                lambda data: b"\x60\0\0\0" + len(data).to_bytes(2, "big") + b"\x06\x40" + bytes(32)
                + data
            ),
            st.binary(max_size=120).map(
                lambda data: b"\x60\0\0\0" + len(data).to_bytes(2, "big") + b"\x11\x40" + bytes(32)
                + data
            ),
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_octets_are_written_alike(packets: list[bytes]) -> None:
    assert sum(count for count, _ in merged(packets)) == len(packets)
