"""Reading a SYN as it leaves."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from ovpn6.doctor.host import mss_of

PEER6, PEER4 = ip_address("fd42::1"), ip_address("10.86.0.1")
OPTIONS = [("NOP", None), ("Timestamp", (1, 0)), ("MSS", 1360)]


def test_the_segment_size_of_a_syn_to_the_peer_is_read_in_both_families() -> None:
    syn = TCP(dport=9, flags="S", options=OPTIONS)
    assert mss_of(bytes(IPv6(dst="fd42::1") / syn), PEER6) == 1360
    assert mss_of(bytes(IP(dst="10.86.0.1") / syn), PEER4) == 1360


def test_what_is_no_syn_to_the_peer_says_nothing() -> None:
    for packet in (
        IPv6(dst="fd42::2") / TCP(flags="S", options=OPTIONS),
        IPv6(dst="fd42::1") / TCP(flags="SA", options=OPTIONS),
        IPv6(dst="fd42::1") / TCP(flags="S"),
        IP(dst="10.86.0.1") / TCP(flags="S", options=OPTIONS),
    ):
        assert mss_of(bytes(packet), PEER6) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_harm(octets: bytes) -> None:
    assert mss_of(octets, PEER6) is None or octets[0] >> 4 == 6
    assert mss_of(octets, PEER4) is None or octets[0] >> 4 == 4
