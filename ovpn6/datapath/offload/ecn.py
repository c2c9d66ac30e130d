"""Congestion marks across the tunnel (RFC 6040) and the traffic class of inner packets.

A traffic class (IPv6) or TOS octet (IPv4) is six bits of DSCP and two of ECN.
"""

from __future__ import annotations

ECN_MASK = 3
NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3

DROP = None
EGRESS: tuple[tuple[int | None, ...], ...] = (
    (NOT_ECT, NOT_ECT, NOT_ECT, DROP),
    (ECT1, ECT1, ECT1, CE),
    (ECT0, ECT1, ECT0, CE),
    (CE, CE, CE, CE),
)
"""RFC 6040 figure 4 by inner and outer field: what the packet has after the tunnel, None when it
must be dropped (congestion was met by one that does not know of marks)."""


def traffic_class(packet: bytes) -> int:
    """Of an IPv4 or IPv6 packet of at least two octets."""
    if packet[0] >> 4 == 6:
        return (packet[0] << 4 | packet[1] >> 4) & 0xFF
    return packet[1]


def set_traffic_class(packet: bytes, value: int) -> bytes:
    """The same packet with another one. The checksum of an IPv4 header is updated (RFC 1624): a
    wrong one stays wrong."""
    if packet[0] >> 4 == 6:
        return bytes((0x60 | value >> 4, (value << 4 & 0xF0) | packet[1] & 0x0F)) + packet[2:]
    total = (packet[10] << 8 | packet[11]) ^ 0xFFFF
    total += ((packet[0] << 8 | packet[1]) ^ 0xFFFF) + (packet[0] << 8 | value)
    total = (total >> 16) + (total & 0xFFFF)
    total = (total >> 16) + (total & 0xFFFF)
    checksum = (total ^ 0xFFFF).to_bytes(2, "big")
    return packet[:1] + bytes((value,)) + packet[2:10] + checksum + packet[12:]


def copied_bits(copy_ecn: bool, copy_dscp: bool) -> int:
    """Which bits of a traffic class an outer packet has of its inner one (RFC 6040 4.1).

    ``copy_ecn``: normal mode, for a peer that is known to propagate marks; else compatibility
    mode, which sends Not-ECT. ``copy_dscp``: ``passtos``.
    """
    return (ECN_MASK if copy_ecn else 0) | (0xFC if copy_dscp else 0)


def deliver(packet: bytes, outer: int) -> bytes | None:
    """The inner packet with the mark it must carry after an outer packet of class ``outer``; None
    when it must be dropped."""
    inner = traffic_class(packet)
    ecn = EGRESS[inner & ECN_MASK][outer & ECN_MASK]
    if ecn is None:
        return None
    if ecn == inner & ECN_MASK:
        return packet
    return set_traffic_class(packet, inner & ~ECN_MASK | ecn)
