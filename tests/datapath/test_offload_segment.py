"""Cutting super-packets: in Python, in C, and by hand, the same octets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.datapath.offload.checksum import ones_sum
from ovpn6.datapath.offload.segment import Uncuttable, cut
from ovpn6.datapath.offload.vnet import (
    GSO_ECN,
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
    FIN,
    PSH,
    TCP,
    TIMESTAMPS,
    UDP,
    Inner,
    words_sum,
)
from tests.datapath.native_offload import native_cut, native_sum

HOP_BY_HOP = bytes((0, 0, 1, 4, 0, 0, 0, 0))
ROUTING = bytes((0, 2, 3, 0)) + bytes(20)
ROUTER_ALERT = bytes((0x94, 4, 0, 0))


def super_packet(inner: Inner, size: int) -> tuple[Vnet, bytes]:
    """An inner packet as the kernel hands it over, to be cut into ``size`` octets of payload."""
    kind = GSO_UDP_L4 if inner.protocol == UDP else GSO_TCPV6 if inner.version == 6 else GSO_TCPV4
    if inner.flags & CWR and inner.protocol == TCP:
        kind |= GSO_ECN
    offset = 6 if inner.protocol == UDP else 16
    return Vnet(NEEDS_CSUM, kind, 0, size, inner.csum_start, offset), inner.super_packet()


def by_hand(inner: Inner, size: int) -> list[bytes]:
    """The segments, each built from its fields."""
    payload, segments = inner.payload, []
    for number, at in enumerate(range(0, len(payload), size)):
        part, last = payload[at : at + size], at + size >= len(payload)
        flags = inner.flags
        if number:
            flags &= ~CWR
        if not last:
            flags &= ~(FIN | PSH)
        one = replace(
            inner,
            payload=part,
            sequence=inner.sequence + at,
            flags=flags,
            identity=inner.identity + number,
        )
        segments.append(one.encode())
    return segments


INNERS = st.builds(
    Inner,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, UDP]),
    payload=st.integers(1, 9000).flatmap(lambda n: st.binary(min_size=40, max_size=40).map(
        lambda seed: (seed * (n // 40 + 1))[:n])),
    sequence=st.sampled_from([0, 1, 0xFFFFFFFF, 0xFFFFF000]),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR, ACK | PSH | CWR]),
    options=st.sampled_from([b"", TIMESTAMPS, bytes(40)]),
    reserved=st.sampled_from([0, 1]),
    traffic_class=st.integers(0, 255),
    label=st.integers(0, 0xFFFFF),
    identity=st.sampled_from([0, 0xFFFF, 7]),
    fragment=st.sampled_from([0, DF]),
)  # fmt: skip


@given(inner=INNERS, size=st.sampled_from([1, 2, 13, 536, 1348, 1349, 8999, 65535]))
@settings(max_examples=150, deadline=None)
def test_segments_are_those_built_by_hand_in_python_and_in_c(inner: Inner, size: int) -> None:
    if size < 13:
        inner = replace(inner, payload=inner.payload[:200])
    vnet, packet = super_packet(inner, size)
    segments = cut(vnet, packet)
    assert segments == by_hand(inner, size)
    assert native_cut(vnet.encode(), packet) == segments


@pytest.mark.parametrize("version", [4, 6])
def test_every_size_and_every_odd_tail(version: int) -> None:
    inner = Inner(version, TCP, bytes(range(251)) * 2, flags=ACK | PSH)
    for size in range(1, 200):
        vnet, packet = super_packet(inner, size)
        segments = cut(vnet, packet)
        assert segments == by_hand(inner, size), size
        assert native_cut(vnet.encode(), packet) == segments


@pytest.mark.parametrize(
    "inner",
    [
        Inner(between=HOP_BY_HOP.replace(b"\0", b"\x06", 1), next_header=0),
        Inner(4, between=ROUTER_ALERT),
        Inner(4, UDP, between=ROUTER_ALERT),
    ],
)
def test_extension_headers_and_options_stay_in_each_segment(inner: Inner) -> None:
    inner = replace(inner, payload=bytes(3001))
    vnet, packet = super_packet(inner, 1000)
    segments = cut(vnet, packet)
    assert segments == by_hand(inner, 1000)
    assert native_cut(vnet.encode(), packet) == segments


def test_a_routing_header_keeps_the_sum_of_the_final_destination() -> None:
    # The kernel's sum is over the last address of the routing header, not that of the IP header.
    inner = Inner(payload=bytes(2500), between=ROUTING, next_header=43)
    vnet, packet = super_packet(inner, 1000)
    elsewhere = packet[:39] + b"\x99" + packet[40:]
    assert [s[40:] for s in cut(vnet, elsewhere)] == [s[40:] for s in by_hand(inner, 1000)]
    assert native_cut(vnet.encode(), elsewhere) == cut(vnet, elsewhere)


def test_the_largest_packet_is_cut_whole() -> None:
    inner = Inner(payload=bytes(65_535 - 60), sequence=0xFFFF8000)
    vnet, packet = super_packet(inner, 1348)
    segments = cut(vnet, packet)
    assert len(segments) == 49
    assert native_cut(vnet.encode(), packet) == segments


@given(
    packet=st.builds(lambda inner: inner.super_packet(), INNERS),
    start=st.integers(0, 70),
    offset=st.sampled_from([6, 16, 0, 3, 9000]),
)
@settings(max_examples=100, deadline=None)
def test_a_packet_that_is_whole_gets_only_its_checksum(
    packet: bytes, start: int, offset: int
) -> None:
    vnet = Vnet(NEEDS_CSUM, csum_start=start, csum_offset=offset)
    field = start + offset
    if field + 2 > len(packet):
        with pytest.raises(Uncuttable):
            cut(vnet, packet)
        assert native_cut(vnet.encode(), packet) == -2
        return
    [made] = cut(vnet, packet)
    assert native_cut(vnet.encode(), packet) == [made]
    checksum = (0xFFFF - words_sum(packet[start:])) or 0xFFFF
    assert made[:field] + made[field + 2 :] == packet[:field] + packet[field + 2 :]
    assert int.from_bytes(made[field : field + 2], "big") == checksum
    assert cut(decode_vnet(WHOLE), packet) == [packet] == native_cut(WHOLE, packet)


def test_a_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    # What fills the sum of a packet up to 0xFFFF makes its checksum zero.
    inner = Inner(6, UDP, Inner(6, UDP, b"\0\0").encode()[46:48])
    assert inner.encode()[46:48] == b"\xff\xff"
    packet = inner.super_packet()
    vnet = Vnet(NEEDS_CSUM, csum_start=40, csum_offset=6)
    assert cut(vnet, packet) == [inner.encode()] == native_cut(vnet.encode(), packet)
    doubled = replace(inner, payload=inner.payload * 2)
    vnet, packet = super_packet(doubled, 2)
    assert cut(vnet, packet) == [inner.encode()] * 2 == native_cut(vnet.encode(), packet)


REFUSED = {
    -1: "not an IP packet",
    -2: "checksum out of range",
    -3: "segmentation of type",
    -4: "segmentation of no size",
    -5: "headers out of range",
}


@given(
    vnet=st.one_of(
        st.binary(min_size=VNET_SIZE, max_size=VNET_SIZE).map(decode_vnet),
        st.builds(
            Vnet,
            flags=st.sampled_from([0, 1, 3]),
            hdr_len=st.just(0),
            gso_type=st.sampled_from([0, 1, 3, 4, 5, 0x81]),
            gso_size=st.sampled_from([0, 1, 100]),
            csum_start=st.sampled_from([0, 19, 20, 24, 40, 100, 0xFFFF]),
            csum_offset=st.sampled_from([6, 16, 17, 0xFFFF]),
        ),
    ),
    packet=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda data: b"\x60" + data),
        st.binary(max_size=200).map(lambda data: b"\x46" + data),
    ),
)
@settings(max_examples=400, deadline=None)
def test_any_octets_are_cut_alike_or_refused_for_one_reason(vnet: Vnet, packet: bytes) -> None:
    answer = native_cut(vnet.encode(), packet)
    if isinstance(answer, int):
        with pytest.raises(Uncuttable, match=REFUSED[answer]):
            cut(vnet, packet)
    else:
        assert cut(vnet, packet) == answer


@given(data=st.binary(max_size=3000))
@settings(deadline=None)
def test_a_sum_is_that_of_rfc_1071(data: bytes) -> None:
    assert ones_sum(data) == words_sum(data) % 65535
    assert native_sum(data) == words_sum(data)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1399, 65_535])
def test_a_sum_of_ones_loses_no_carry(size: int) -> None:
    data = b"\xff" * size
    assert ones_sum(data) == words_sum(data) % 65535
    assert native_sum(data) == words_sum(data)
