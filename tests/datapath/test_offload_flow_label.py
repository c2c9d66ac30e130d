"""The outer flow label: one for each inner flow, the same in Python and in C."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.datapath.offload.flow_label import MOST_KNOWN, FlowLabels, siphash
from tests.datapath.inner_packets import DF, TCP, UDP, Inner
from tests.datapath.native_offload import native_flow_label, native_siphash

SECRET = bytes(range(16))
HASHES = {
    0: 0x726FDB47DD0E0E31,
    1: 0x74F839C593DC67FD,
    8: 0x93F5F5799A932462,
    15: 0xA129CA6149BE45E5,
    63: 0x958A324CEB064572,
}
"""By length: hashes of 00 01 02 ... under the secret 00 ... 0f, published with SipHash-2-4."""


def label(inner: Inner, secret: bytes = SECRET) -> int:
    """Of both twins."""
    packet = inner.encode()
    made = FlowLabels(secret).label(packet)
    assert native_flow_label(secret, packet) == made
    assert 0 < made < 1 << 20
    return made


@pytest.mark.parametrize("length", HASHES)
def test_the_hash_is_siphash_2_4(length: int) -> None:
    data = bytes(range(length))
    assert siphash(SECRET, data) == HASHES[length] == native_siphash(SECRET, data)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_flows_differ_and_the_packets_of_one_do_not(version: int, protocol: int) -> None:
    labels = set()
    for flow in range(8):
        packets = [
            Inner(version, protocol, bytes(size), flow, sequence=size, traffic_class=size % 256)
            for size in (0, 1, 1000)
        ]
        [one] = {label(packet) for packet in packets}
        labels.add(one)
    assert len(labels) == 8


def test_an_inner_label_is_the_flow_whatever_the_ports_say() -> None:
    # Of fragments and behind extension headers the ports are not to be seen.
    inner = Inner(payload=bytes(9), label=0x12345)
    between = bytes((TCP, 0, 0, 1, 0, 0, 0, 9))
    fragment = Inner(payload=bytes(9), flow=3, label=0x12345, between=between, next_header=44)
    assert label(inner) == label(fragment)
    assert label(inner) != label(Inner(payload=bytes(9), label=0x12346))


@pytest.mark.parametrize("fragment", [0x2000, 0x2000 | DF, 5])
def test_all_fragments_of_a_datagram_are_of_one_flow(fragment: int) -> None:
    first, other = (
        Inner(4, UDP, bytes(64), flow=flow, fragment=fragment, identity=7) for flow in (0, 1)
    )
    assert label(first) == label(other)
    assert label(first) != label(Inner(4, UDP, bytes(64), fragment=0))


def test_ports_behind_ipv4_options_count() -> None:
    one, two = (Inner(4, flow=flow, between=bytes((0x94, 4, 0, 0))) for flow in (0, 1))
    assert label(one) != label(two)


def test_another_secret_gives_other_labels() -> None:
    assert label(Inner(), bytes(16)) != label(Inner())


def test_labels_fill_their_20_bits() -> None:
    seen = {label(Inner(flow=flow)) for flow in range(500)}
    assert len(seen) > 490
    for bit in range(20):
        assert 150 < sum(one >> bit & 1 for one in seen) < 350


def test_remembered_flows_are_bounded() -> None:
    labels = FlowLabels(SECRET)
    before = [labels.label(Inner(label=n).encode()) for n in range(1, MOST_KNOWN + 10)]
    assert [labels.label(Inner(label=n).encode()) for n in range(1, MOST_KNOWN + 10)] == before


@given(
    packet=st.one_of(
        st.binary(min_size=36, max_size=80).map(lambda data: b"\x60\0\0\0" + data),
        st.binary(min_size=39, max_size=80).map(lambda data: b"\x6f" + data),
        st.tuples(st.integers(0x40, 0x4F), st.binary(min_size=19, max_size=80)).map(
            lambda pair: bytes((pair[0],)) + pair[1]
        ),
    ),
    secret=st.binary(min_size=16, max_size=16),
)
@settings(max_examples=300, deadline=None)
def test_any_octets_get_the_same_label_in_both(packet: bytes, secret: bytes) -> None:
    assert FlowLabels(secret).label(packet) == native_flow_label(secret, packet)
