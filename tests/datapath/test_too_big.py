"""Packet Too Big and fragmentation needed: what is read, and what a socket's filter lets in."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.datapath.too_big import (
    LONGEST_FILTERED,
    TooBig,
    decode_too_big,
    filter_ipv4,
    filter_ipv6,
)
from ovpn6.model.addresses import Endpoint
from ovpn6.netlink.socket_filter import attach_filter

ROUTER6, US6, THEM6 = (IPv6Address(f"2001:db8::{end}") for end in ("ff", "1", "2"))
ROUTER4, US4, THEM4 = (IPv4Address(f"192.0.2.{end}") for end in (255, 1, 2))
OURS, THEIRS = 1194, 40_000
PAYLOAD = b"\x38 a hard reset"


def udp(payload: bytes = PAYLOAD, port: int = OURS) -> bytes:
    ports = port.to_bytes(2, "big") + THEIRS.to_bytes(2, "big")
    return ports + (8 + 1400).to_bytes(2, "big") + bytes(2) + payload


def ipv6(source: IPv6Address, target: IPv6Address, protocol: int, payload: bytes) -> bytes:
    length = len(payload).to_bytes(2, "big")
    return b"\x60\0\0\0" + length + bytes((protocol, 64)) + source.packed + target.packed + payload


def ipv4(
    source: IPv4Address,
    target: IPv4Address,
    protocol: int,
    payload: bytes,
    options: bytes = b"",
    offset: int = 0,
) -> bytes:
    words = 5 + len(options) // 4
    length = (4 * words + len(payload)).to_bytes(2, "big")
    head = bytes((0x40 | words, 0)) + length + bytes(2) + offset.to_bytes(2, "big")
    return head + bytes((64, protocol, 0, 0)) + source.packed + target.packed + options + payload


def too_big6(quoted: bytes, size: int = 1300, kind: int = 2) -> bytes:
    return ipv6(ROUTER6, US6, 58, bytes((kind, 0, 0, 0)) + size.to_bytes(4, "big") + quoted)


def too_big4(quoted: bytes, size: int = 1300, kind: bytes = b"\3\4", options: bytes = b"") -> bytes:
    message = kind + bytes(4) + size.to_bytes(2, "big") + quoted
    return ipv4(ROUTER4, US4, 1, message, options)


def fragment(protocol: int = 17, offset: int = 0) -> bytes:
    return bytes((protocol, 0)) + (offset << 3 | 1).to_bytes(2, "big") + bytes(4)


PLAIN6 = too_big6(ipv6(US6, THEM6, 17, udp()))
FRAGMENT6 = too_big6(ipv6(US6, THEM6, 44, fragment() + udp()))
PLAIN4 = too_big4(ipv4(US4, THEM4, 17, udp()))
OPTIONS4 = too_big4(ipv4(US4, THEM4, 17, udp(), options=b"\1\1\1\0"), options=b"\1\1\1\0\1\1\1\0")
TOLD6 = TooBig(Endpoint(US6, OURS), Endpoint(THEM6, THEIRS), 1300, PAYLOAD)
TOLD4 = TooBig(Endpoint(US4, OURS), Endpoint(THEM4, THEIRS), 1300, PAYLOAD)


@pytest.mark.parametrize(
    ("packet", "told"), [(PLAIN6, TOLD6), (FRAGMENT6, TOLD6), (PLAIN4, TOLD4), (OPTIONS4, TOLD4)]
)
def test_a_quoted_datagram_is_read(packet: bytes, told: TooBig) -> None:
    assert decode_too_big(packet) == told


def test_a_short_quotation_is_enough_with_its_ports() -> None:
    found = decode_too_big(too_big4(ipv4(US4, THEM4, 17, udp(b""))))
    assert found is not None
    assert found.quoted == b""


OTHERS6 = {
    "unreachable": too_big6(ipv6(US6, THEM6, 17, udp()), kind=1),
    "about TCP": too_big6(ipv6(US6, THEM6, 6, udp())),
    "about a later fragment": too_big6(ipv6(US6, THEM6, 44, fragment(offset=9) + udp())),
    "about a fragment of TCP": too_big6(ipv6(US6, THEM6, 44, fragment(6) + udp())),
    "about somebody else's": too_big6(ipv6(THEM6, US6, 17, udp())),
    "without a size": too_big6(ipv6(US6, THEM6, 17, udp()), size=0),
    "cut": PLAIN6[:90],
    "UDP": ipv6(ROUTER6, US6, 17, udp()),
    "quoting IPv4": too_big6(ipv4(US4, THEM4, 17, udp()) + bytes(40)),
}
OTHERS4 = {
    "unreachable": too_big4(ipv4(US4, THEM4, 17, udp()), kind=b"\3\3"),
    "about TCP": too_big4(ipv4(US4, THEM4, 6, udp())),
    "about a later fragment": too_big4(ipv4(US4, THEM4, 17, udp(), offset=9)),
    "about somebody else's": too_big4(ipv4(THEM4, US4, 17, udp())),
    "without a size": too_big4(ipv4(US4, THEM4, 17, udp()), size=0),
    "cut": PLAIN4[:50],
    "UDP": ipv4(ROUTER4, US4, 17, udp()),
}


@pytest.mark.parametrize("packet", [*OTHERS6.values(), *OTHERS4.values(), b"", b"\x70" * 90])
def test_everything_else_is_nothing(packet: bytes) -> None:
    assert decode_too_big(packet) is None


@given(st.binary(max_size=150), st.sampled_from([PLAIN6, PLAIN4, FRAGMENT6]), st.integers(0, 120))
def test_any_octets_are_read_or_not(noise: bytes, packet: bytes, cut: int) -> None:
    decode_too_big(noise)
    decode_too_big(packet[:cut] + noise)


# --- the filter -----------------------------------------------------------------------------------


def let_in(program: bytes, packets: list[bytes]) -> list[bytes]:
    """Which of the packets a socket with this filter receives."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        attach_filter(ours, program)
        found = []
        for packet in packets:
            try:
                theirs.send(packet)
                found.append(ours.recv(2048))
            except (BlockingIOError, PermissionError):
                # A local socket's sender is told that it was filtered out.
                continue
        return found


def other_port(number: int) -> bytes:
    return too_big6(ipv6(US6, THEM6, 17, udp(port=number)))


def test_the_ipv6_filter_lets_in_what_quotes_our_ports() -> None:
    program = filter_ipv6({OURS, 7, 50_000})
    assert let_in(program, [PLAIN6, FRAGMENT6]) == [PLAIN6, FRAGMENT6]
    assert let_in(program, [other_port(7), other_port(8), other_port(50_000)]) == [
        other_port(7),
        other_port(50_000),
    ]
    refused = [OTHERS6[name] for name in ("unreachable", "about TCP", "UDP")]
    assert let_in(program, refused) == []


def test_the_ipv4_filter_lets_in_what_quotes_our_ports() -> None:
    program = filter_ipv4({OURS, 7})
    assert let_in(program, [PLAIN4, OPTIONS4]) == [PLAIN4, OPTIONS4]
    refused = [OTHERS4[name] for name in ("unreachable", "about TCP", "UDP")]
    assert let_in(program, refused) == []
    assert let_in(filter_ipv4({7}), [PLAIN4, OPTIONS4]) == []


def test_without_ports_nothing_comes_in_and_with_many_all_of_them() -> None:
    assert let_in(filter_ipv6(()), [PLAIN6]) == let_in(filter_ipv4(()), [PLAIN4]) == []
    many = range(2000, 2001 + LONGEST_FILTERED)
    assert let_in(filter_ipv6(many), [PLAIN6, OTHERS6["about TCP"]]) == [PLAIN6]
