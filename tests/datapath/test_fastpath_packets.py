"""The native worker against the Python reference, octet by octet on the wire and into the TUN."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovpn6.datapath.offload import ecn
from ovpn6.datapath.offload.coalesce import Merger
from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import (
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    VNET_SIZE,
    WHOLE,
    Vnet,
)
from ovpn6.protocol.data_channel import Replayed, ReplayWindow, SendKey
from tests.datapath.inner_packets import ACK, CWR, FIN, PSH, SYN, TCP, TIMESTAMPS, UDP, Inner
from tests.datapath.native_worker import Alone, alone
from tests.datapath.packets import key_pair

MANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def worker() -> Iterator[Alone]:
    with alone() as made:
        yield made


def merged(packets: list[bytes]) -> list[bytes]:
    """What the reference writes for packets that arrive together."""
    writes: list[bytes] = []
    merger = Merger(lambda parts, _: writes.append(b"".join(parts)), True)
    for packet in packets:
        merger.feed(packet)
    merger.flush()
    return writes


INNERS = st.builds(
    Inner,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, UDP]),
    payload=st.integers(1, 60_000).map(lambda size: bytes(i % 251 for i in range(size))),
    sequence=st.sampled_from([0, 0xFFFFF000]),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR]),
    options=st.sampled_from([b"", TIMESTAMPS]),
    identity=st.sampled_from([0, 0xFFFF]),
)


@given(inner=INNERS, size=st.sampled_from([536, 1000, 1348, 1349, 9000]))
@MANY
def test_a_super_packet_leaves_as_the_references_segments(
    worker: Alone, inner: Inner, size: int
) -> None:
    udp = inner.protocol == UDP
    if udp:
        inner = replace(inner, payload=inner.payload[: size * 60])
    kind = GSO_UDP_L4 if udp else GSO_TCPV6 if inner.version == 6 else GSO_TCPV4
    vnet = Vnet(NEEDS_CSUM, kind, 0, size, inner.csum_start, 6 if udp else 16)
    packet = inner.super_packet()
    expected = cut(vnet, packet)
    worker.inside.send(vnet.encode() + packet)
    assert worker.opened(len(expected)) == expected
    counters = worker.worker.counters(5)
    assert counters[5] >= len(expected)


def test_a_packet_with_an_unfinished_checksum_gets_it(worker: Alone) -> None:
    inner = Inner(payload=bytes(range(99)))
    vnet = Vnet(NEEDS_CSUM, 0, 0, 0, inner.csum_start, 16)
    worker.inside.send(vnet.encode() + inner.super_packet())
    assert worker.opened(1) == [inner.encode()]


@pytest.mark.parametrize(
    "vnet",
    [
        Vnet(NEEDS_CSUM, 0, 0, 0, 2000, 16),
        Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 0, 40, 16),
        Vnet(NEEDS_CSUM, 77, 0, 1000, 40, 16),
        Vnet(0, GSO_TCPV6, 0, 1000, 40, 16),
    ],
)
def test_a_vnet_header_that_makes_no_sense_costs_the_packet(worker: Alone, vnet: Vnet) -> None:
    worker.inside.send(vnet.encode() + Inner(payload=bytes(1500)).super_packet())
    worker.until(lambda: worker.worker.drops().get("tunnel offload header") == 1)
    worker.inside.send(WHOLE[:VNET_SIZE])
    worker.until(lambda: worker.worker.drops().get("tunnel not IP") == 1)
    whole = Inner(payload=b"after").encode()
    worker.inside.send(WHOLE + whole)
    assert worker.opened(1) == [whole]


FLOWS = st.lists(
    st.builds(
        Inner,
        version=st.sampled_from([4, 6]),
        protocol=st.sampled_from([TCP, UDP]),
        payload=st.just(bytes(range(250)) * 4),
        flow=st.integers(0, 2),
        sequence=st.integers(0, 3).map(lambda n: n * 1000),
        flags=st.sampled_from([ACK, ACK, ACK | PSH, SYN, ACK | FIN]),
        identity=st.integers(0, 3),
        corrupt=st.sampled_from([None, None, None, 45, 70]),
    ),
    min_size=1,
    max_size=40,
)


@given(inners=FLOWS)
@MANY
def test_a_train_is_written_as_the_reference_merges_it(worker: Alone, inners: list[Inner]) -> None:
    # Of one size, so that they go out in one train; the header of an IPv6 packet is longer.
    packets = [
        replace(one, payload=one.payload[: 1000 if one.version == 6 else 1020]).encode()
        for one in inners
    ]
    packets = [packet for packet in packets if len(packet) == len(packets[0])]
    before = dict(worker.worker.drops())
    sent = [packet for packet in packets if lawful(packet)]
    expected = merged(sent)
    worker.send([worker.sender.seal(packet) for packet in packets])
    if expected:
        assert worker.written(len(expected)) == expected
    dropped = len(packets) - len(sent)
    worker.until(lambda: total(worker) - sum(before.values()) == dropped)


def lawful(packet: bytes) -> bool:
    """Whether it passes the checks before merging (corruption may have hit the IP header)."""
    if packet[0] >> 4 == 6:
        return len(packet) >= 40 + int.from_bytes(packet[4:6], "big")
    return 20 <= int.from_bytes(packet[2:4], "big") <= len(packet)


def total(worker: Alone) -> int:
    return sum(worker.worker.drops().values())


def test_a_forged_or_repeated_datagram_inside_a_train_takes_nothing_with_it(worker: Alone) -> None:
    packets = [Inner(payload=bytes((n,)) * 1000, sequence=n * 1000).encode() for n in range(20)]
    train = [worker.sender.seal(packet) for packet in packets]
    forged = bytearray(train[7])
    forged[40] ^= 1
    stranger = b"\x48\0\0\x63" + train[9][4:]
    worker.send([*train[:7], bytes(forged), train[3], stranger, *train[8:]])
    writes = worker.written(2)
    assert writes == merged(packets[:7] + packets[8:])
    drops = worker.worker.drops()
    assert {k: v for k, v in drops.items() if v} == {
        "data authentication": 1,
        "data replay": 1,
        "data unknown peer": 1,
    }


@given(sizes=st.lists(st.sampled_from([8, 900, 1982, 1984, 1986, 3000]), max_size=24))
@MANY
def test_datagrams_that_the_kernel_does_not_merge_come_whole_and_in_order(
    worker: Alone, sizes: list[int]
) -> None:
    # Around 2,048 octets with all headers, which is what a batch has for each.
    packets = [
        Inner(protocol=59, payload=number.to_bytes(2, "big") * (size // 2)).encode()
        for number, size in enumerate(sizes)
    ]
    taken: list[bytes] = []
    for packet in packets:
        worker.outside.sendto(worker.sender.seal(packet), worker.link.getsockname())
        taken += worker.written(0)
    taken += worker.written(len(packets) - len(taken))
    assert taken == [WHOLE + packet for packet in packets]


@pytest.mark.parametrize("inner", [ecn.NOT_ECT, ecn.ECT0, ecn.ECT1, ecn.CE])
@pytest.mark.parametrize("outer", [ecn.NOT_ECT, ecn.ECT0, ecn.ECT1, ecn.CE])
def test_a_congestion_mark_goes_inside(worker: Alone, inner: int, outer: int) -> None:
    packet = Inner(protocol=UDP, payload=b"marked", traffic_class=inner).encode()
    expected = ecn.deliver(packet, outer)
    worker.send([worker.sender.seal(packet)], outer)
    if expected is None:
        worker.until(lambda: worker.worker.drops() == {"inner without ECN met congestion": 1})
    else:
        assert worker.written(1) == [WHOLE + expected]


def test_a_congestion_mark_is_on_every_train_of_a_super_packet(worker: Alone) -> None:
    inner = Inner(payload=bytes(65_000), traffic_class=ecn.ECT0)
    vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 500, inner.csum_start, 16)
    worker.outside.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    worker.inside.send(vnet.encode() + inner.super_packet())
    classes: list[int] = []

    def all_came() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                ancillary = worker.outside.recvmsg(1 << 16, 64)[1]
                classes.append(int.from_bytes(ancillary[0][2], sys.byteorder))
        return len(classes) == 130

    worker.until(all_came, worker.outside)
    assert set(classes) == {ecn.ECT0}


@given(data=st.lists(st.binary(max_size=120), min_size=1, max_size=20), authentic=st.booleans())
@MANY
def test_whatever_arrives_or_is_sealed_the_next_packet_passes(
    worker: Alone, data: list[bytes], authentic: bool
) -> None:
    for one in data:
        datagram = worker.sender.seal(one) if authentic else one
        worker.outside.sendto(datagram, worker.link.getsockname())
    after = Inner(protocol=59, payload=b"after").encode()
    worker.outside.sendto(worker.sender.seal(after), worker.link.getsockname())
    written: list[bytes] = []
    worker.until(lambda: WHOLE + after in (written.extend(worker.written(0)) or written))
    worker.worker.reports()


@given(data=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=20))
@MANY
def test_whatever_the_tunnel_says_the_next_packet_leaves(worker: Alone, data: list[bytes]) -> None:
    for one in data:
        worker.inside.send(one)
    after = Inner(protocol=59, payload=b"after").encode()
    worker.inside.send(WHOLE + after)
    sealed: list[bytes] = []

    def left() -> bool:
        sealed.extend(worker.opened(0))
        return after in sealed

    worker.until(left)


@given(
    ids=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    size=st.sampled_from([0, 1, 2, 8, 64]),
)
@settings(max_examples=40, deadline=None)
def test_the_replay_window_is_the_references(ids: list[int], size: int) -> None:
    window, accepted = ReplayWindow(size, 0), []
    for number in ids:
        try:
            window.accept(number)
            accepted.append(number)
        except Replayed:
            pass
    packets = {n: Inner(protocol=59, payload=bytes((n,)) * 9).encode() for n in set(ids)}
    with alone(window=(size, 0), vnet=False) as worker:
        for number in ids:
            sender = SendKey(key_pair(1), 5)
            sender.packet_id = number - 1  # type: ignore[assignment]
            if number:
                worker.outside.sendto(sender.seal(packets[number]), worker.link.getsockname())
        refused = sum(1 for number in ids if number) - len(accepted)
        assert worker.written(len(accepted)) == [packets[number] for number in accepted]
        worker.until(lambda: worker.worker.drops().get("data replay", 0) == refused)


def test_windows_of_thousands_slide(worker: Alone) -> None:
    with alone(window=(2048, 0), vnet=False) as wide:
        sender = SendKey(key_pair(1), 5)
        packet = Inner(protocol=59, payload=b"slides").encode()
        order = [1, 3000, 953, 952, 2999, 100_000, 97_953, 97_952, 99_000, 3001, 100_001]
        for number in order:
            sender.packet_id = number - 1  # type: ignore[assignment]
            wide.outside.sendto(sender.seal(packet), wide.link.getsockname())
        # 952 and 97,952 are just outside of the window, 3,001 long over.
        wide.until(lambda: wide.worker.drops().get("data replay", 0) == 3)
        assert len(wide.written(len(order) - 3)) == len(order) - 3
