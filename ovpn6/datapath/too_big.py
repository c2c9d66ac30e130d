"""What routers say of datagrams that were too long: reading it, and a filter for only that. PURE.

ICMPv6 Packet Too Big (RFC 4443 section 3.2) and ICMP fragmentation needed (RFC 792, RFC 1191) that
quote a UDP datagram, or the first fragment of one. Anybody can send this.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ovpn6.model.addresses import Endpoint

LONGEST_FILTERED = 16
"""Ports that a filter looks for; with more it lets all in that quotes UDP."""

_UDP, _FRAGMENT, _ICMP, _ICMPV6 = 17, 44, 1, 58
_UDP_HEADER, _IPV6_HEADER, _FRAGMENT_HEADER, _ICMP_HEADER = 8, 40, 8, 8
_PACKET_TOO_BIG = 2
_FRAGMENTATION_NEEDED = b"\3\4"
_OFFSET_MASK = 0x1FFF
_PORTS = struct.Struct(">HH")


class TooBig(NamedTuple):
    """``size`` octets of an outer packet would have passed from ``source`` to ``destination``;
    ``quoted`` is the beginning of the UDP payload that did not."""

    source: Endpoint
    destination: Endpoint
    size: int
    quoted: bytes


def decode_too_big(packet: bytes) -> TooBig | None:
    """Of a whole IP packet, without what is in front of it; None for anything else."""
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 6:
        return _decode_ipv6(packet)
    return _decode_ipv4(packet) if version == 4 else None


def _decode_ipv6(packet: bytes) -> TooBig | None:
    quote = packet[_IPV6_HEADER + _ICMP_HEADER :]
    if len(quote) < _IPV6_HEADER + _UDP_HEADER or quote[0] >> 4 != 6:
        return None
    if packet[6] != _ICMPV6 or packet[_IPV6_HEADER] != _PACKET_TOO_BIG:
        return None
    protocol, at = quote[6], _IPV6_HEADER
    if protocol == _FRAGMENT and int.from_bytes(quote[at + 2 : at + 4], "big") >> 3 == 0:
        protocol, at = quote[at], at + _FRAGMENT_HEADER
    if protocol != _UDP or packet[24:40] != quote[8:24]:
        return None
    size = int.from_bytes(packet[_IPV6_HEADER + 4 : _IPV6_HEADER + 8], "big")
    return _told(IPv6Address(quote[8:24]), IPv6Address(quote[24:40]), size, quote[at:])


def _decode_ipv4(packet: bytes) -> TooBig | None:
    header = (packet[0] & 0xF) * 4
    quote = packet[header + _ICMP_HEADER :]
    if header < 20 or len(quote) < 20 or quote[0] >> 4 != 4:
        return None
    if packet[9] != _ICMP or packet[header : header + 2] != _FRAGMENTATION_NEEDED:
        return None
    offset = int.from_bytes(quote[6:8], "big") & _OFFSET_MASK
    if quote[9] != _UDP or offset or packet[16:20] != quote[12:16]:
        return None
    size = int.from_bytes(packet[header + 6 : header + 8], "big")
    at = max((quote[0] & 0xF) * 4, 20)
    return _told(IPv4Address(quote[12:16]), IPv4Address(quote[16:20]), size, quote[at:])


def _told(
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    size: int,
    datagram: bytes,
) -> TooBig | None:
    """None without a size, as routers before RFC 1191 say it."""
    if len(datagram) < _UDP_HEADER or not size:
        return None
    ours, theirs = _PORTS.unpack_from(datagram)
    if not ours or not theirs:
        return None
    return TooBig(
        Endpoint(source, ours), Endpoint(destination, theirs), size, datagram[_UDP_HEADER:]
    )


# --- the filter -----------------------------------------------------------------------------------

_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_AT = 0x30, 0x28, 0x48
_LOAD_BYTE_AT, _LOAD_HEADER_LENGTH = 0x50, 0xB1
_EQUAL, _ANY_BIT, _JUMP, _RETURN = 0x15, 0x45, 0x05, 0x06
_AND, _SHIFT_LEFT, _ADD_INDEX, _TO_INDEX = 0x54, 0x64, 0x0C, 0x07
_INSTRUCTION = struct.Struct("=HBBI")
_WHOLE = 0xFFFF

_Step = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand (``linux/filter.h``); :data:`_OUT` as a jump leads to
the end that refuses."""
_OUT = -1


def filter_ipv6(ports: Collection[int]) -> bytes:
    """Classic BPF for what begins with an IPv6 header: Packet Too Big that quotes UDP from one of
    the ports."""
    inner = _IPV6_HEADER + _ICMP_HEADER
    direct, fragment = inner + _IPV6_HEADER, inner + _IPV6_HEADER + _FRAGMENT_HEADER
    steps: list[_Step] = [
        (_LOAD_BYTE, 0, 0, 6),
        (_EQUAL, 0, _OUT, _ICMPV6),
        (_LOAD_BYTE, 0, 0, _IPV6_HEADER),
        (_EQUAL, 0, _OUT, _PACKET_TOO_BIG),
        (_LOAD_BYTE, 0, 0, inner + 6),
        (_EQUAL, 3, 0, _UDP),
        (_EQUAL, 0, _OUT, _FRAGMENT),
        (_LOAD_HALF, 0, 0, fragment),
        (_JUMP, 0, 0, 1),
        (_LOAD_HALF, 0, 0, direct),
    ]
    return _program([*steps, *_one_of(ports)])


def filter_ipv4(ports: Collection[int]) -> bytes:
    """The same for IPv4: fragmentation needed."""
    steps: list[_Step] = [
        (_LOAD_BYTE, 0, 0, 9),
        (_EQUAL, 0, _OUT, _ICMP),
        (_LOAD_HALF, 0, 0, 6),
        (_ANY_BIT, _OUT, 0, _OFFSET_MASK),
        (_LOAD_HEADER_LENGTH, 0, 0, 0),
        (_LOAD_HALF_AT, 0, 0, 0),
        (_EQUAL, 0, _OUT, int.from_bytes(_FRAGMENTATION_NEEDED, "big")),
        (_LOAD_BYTE_AT, 0, 0, _ICMP_HEADER + 9),
        (_EQUAL, 0, _OUT, _UDP),
        (_LOAD_BYTE_AT, 0, 0, _ICMP_HEADER),
        (_AND, 0, 0, 0xF),
        (_SHIFT_LEFT, 0, 0, 2),
        (_ADD_INDEX, 0, 0, 0),
        (_TO_INDEX, 0, 0, 0),
        (_LOAD_HALF_AT, 0, 0, _ICMP_HEADER),
    ]
    return _program([*steps, *_one_of(ports)])


def _one_of(ports: Collection[int]) -> list[_Step]:
    if len(ports) > LONGEST_FILTERED:
        return []
    wanted = sorted(ports)
    steps = [(_EQUAL, len(wanted) - number, 0, port) for number, port in enumerate(wanted)]
    return [*steps, (_RETURN, 0, 0, 0)]


def _program(steps: list[_Step]) -> bytes:
    out = len(steps) + 1
    whole = [*steps, (_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)]
    return b"".join(
        _INSTRUCTION.pack(
            code,
            out - number - 1 if true == _OUT else true,
            out - number - 1 if false == _OUT else false,
            operand,
        )
        for number, (code, true, false, operand) in enumerate(whole)
    )
