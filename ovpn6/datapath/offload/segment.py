"""From one read of a TUN with vnet headers to ordinary packets with whole checksums."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ovpn6.datapath.offload.checksum import ipv4_checksum, ones_sum
from ovpn6.datapath.offload.vnet import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    Vnet,
)
from ovpn6.model.errors import HostError

IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20
UDP_HEADER = 8
TCP_CSUM = 16
UDP_CSUM = 6
MAX_HEADERS = 256
MOST_OCTETS = 65_535
FIN, PSH, CWR = 0x01, 0x08, 0x80

_VARYING = struct.Struct(">I8sH")
"""Sequence number, acknowledgement to window, checksum of TCP."""


class Uncuttable(HostError):
    """What the kernel says about a packet does not fit what it holds."""

    def __init__(self, reason: str) -> None:
        super().__init__("cut a packet from the tunnel", reason)


def cut(vnet: Vnet, packet: bytes) -> list[bytes]:
    """The packets that ``packet`` stands for, all of one size but the last. Raises ``Uncuttable``.

    PSH and FIN stay on the last, CWR on the first; the IPv4 id counts up.
    """
    network = _ip_header(packet)
    if vnet.gso_type & ~GSO_ECN == GSO_NONE:
        return [_completed(vnet, packet) if vnet.flags & NEEDS_CSUM else packet]
    udp = _check_super_packet(vnet, packet, network)
    plan = _plan(vnet, packet, udp)
    return _cut_udp(packet, plan) if udp else _cut_tcp(packet, plan)


class _Plan(NamedTuple):
    """``pseudo``: the pseudo-header's sum without the length, modulo 65,535."""

    transport: int
    headers: int
    size: int
    pseudo: int


def _ip_header(packet: bytes) -> int:
    version = packet[0] >> 4 if packet else 0
    if version == 6 and len(packet) >= IPV6_HEADER:
        return IPV6_HEADER
    if version == 4 and len(packet) >= IPV4_HEADER and packet[0] & 15 >= 5:
        return 4 * (packet[0] & 15)
    raise Uncuttable("not an IP packet")


def _completed(vnet: Vnet, packet: bytes) -> bytes:
    start = vnet.csum_start
    field = start + vnet.csum_offset
    if field + 2 > len(packet):
        raise Uncuttable("checksum out of range")
    # Never zero: that would say "no checksum" in UDP, and means the same elsewhere.
    checksum = 65535 - ones_sum(packet[start:])
    return packet[:field] + checksum.to_bytes(2, "big") + packet[field + 2 :]


def _check_super_packet(vnet: Vnet, packet: bytes, network: int) -> bool:
    """Whether it is UDP."""
    kind = vnet.gso_type & ~GSO_ECN
    version = packet[0] >> 4
    if kind not in (GSO_UDP_L4, GSO_TCPV6 if version == 6 else GSO_TCPV4):
        raise Uncuttable(f"segmentation of type {kind}")
    if not vnet.gso_size or len(packet) > MOST_OCTETS:
        raise Uncuttable("segmentation of no size")
    start = vnet.csum_start
    if (
        not vnet.flags & NEEDS_CSUM
        or not network <= start < len(packet)
        or (version == 4 and start != network)
    ):
        raise Uncuttable("checksum out of range")
    return kind == GSO_UDP_L4


def _plan(vnet: Vnet, packet: bytes, udp: bool) -> _Plan:
    start = vnet.csum_start
    left = len(packet) - start
    header = 0
    if udp:
        if vnet.csum_offset == UDP_CSUM and left > UDP_HEADER:
            header = UDP_HEADER
    elif vnet.csum_offset == TCP_CSUM and left > TCP_HEADER:
        header = 4 * (packet[start + 12] >> 4)
        if header < TCP_HEADER or header >= left:
            header = 0
    if not header or start + header > MAX_HEADERS:
        raise Uncuttable("headers out of range")
    # The field holds the pseudo-header's sum with the length of the whole; its addresses need not
    # be those of the IP header (routing headers).
    field = start + vnet.csum_offset
    pseudo = (packet[field] << 8 | packet[field + 1]) + 65535 - left
    return _Plan(start, start + header, vnet.gso_size, pseudo)


def _cut_tcp(packet: bytes, plan: _Plan) -> list[bytes]:
    transport, headers, size, pseudo = plan
    sequence = int.from_bytes(packet[transport + 4 : transport + 8], "big")
    offset, flags = packet[transport + 12], packet[transport + 13]
    ports = packet[transport : transport + 4]
    ack = packet[transport + 8 : transport + 12]
    window = packet[transport + 14 : transport + 16]
    rest = packet[transport + 18 : headers]
    covered = headers - transport
    # What is the same in all segments.
    same = pseudo + covered + ones_sum(ports + ack + window + rest)
    counts = packet[0] >> 4 == 4  # IPv4 headers differ by their id
    last = (len(packet) - headers - 1) // size
    head = mark = b""
    segments = []
    for number, at in enumerate(range(headers, len(packet), size)):
        payload = packet[at : at + size]
        if number <= 1 or number == last:
            kept = flags & ~CWR if number else flags
            word = offset << 8 | (kept if number == last else kept & ~(FIN | PSH))
            mark = ack + word.to_bytes(2, "big") + window
            head = b""
        if counts or not head:
            head = _ip(packet, transport, covered + len(payload), number) + ports
        here = sequence & 0xFFFFFFFF
        checksum = -(same + word + here + len(payload) + ones_sum(payload)) % 65535
        segments.append(head + _VARYING.pack(here, mark, checksum) + rest + payload)
        sequence += size
    return segments


def _cut_udp(packet: bytes, plan: _Plan) -> list[bytes]:
    transport, headers, size, pseudo = plan
    ports = packet[transport : transport + 4]
    same = pseudo + ones_sum(ports)
    segments = []
    for number, at in enumerate(range(headers, len(packet), size)):
        payload = packet[at : at + size]
        covered = UDP_HEADER + len(payload)
        checksum = 65535 - (same + 2 * covered + ones_sum(payload)) % 65535
        segments.append(
            _ip(packet, transport, covered, number)
            + ports
            + covered.to_bytes(2, "big")
            + checksum.to_bytes(2, "big")
            + payload
        )
    return segments


def _ip(packet: bytes, transport: int, covered: int, number: int) -> bytes:
    """The IP header, with whatever stands before the transport header, of one segment."""
    if packet[0] >> 4 == 6:
        length = transport - IPV6_HEADER + covered
        return packet[:4] + length.to_bytes(2, "big") + packet[6:transport]
    length = transport + covered
    identity = (packet[4] << 8 | packet[5]) + number & 0xFFFF
    start = packet[:2] + length.to_bytes(2, "big") + identity.to_bytes(2, "big") + packet[6:10]
    end = packet[12:transport]
    return start + ipv4_checksum(start + b"\0\0" + end).to_bytes(2, "big") + end
