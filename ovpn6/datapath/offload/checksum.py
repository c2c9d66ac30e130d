"""The Internet checksum (RFC 1071) with Python's integers.

One's complement addition of 16-bit words is addition modulo 65,535, and 2^16 is 1 there: so the
remainder of the octets as *one* number is their sum. A remainder of 0 stands for the sum 0xFFFF.
"""

from __future__ import annotations

SHORT = 256
"""Octets from which on adding quarters pays: the division is the slow part."""
FOLD = 1408
"""Bits, whole words: about half a quarter of the largest packets of a path of 1,500 octets."""
_LOW = (1 << FOLD) - 1


def ones_sum(data: bytes, start: int = 0) -> int:
    """Sum of the 16-bit words of ``data`` from ``start`` (even) on, modulo 65,535; an odd last
    octet is a high half."""
    # Little-endian, so that an odd octet needs no padding; swapping a sum's octets is times 256.
    number = int.from_bytes
    quarter = (len(data) - start >> 2) & -2
    if quarter < SHORT // 4:
        return number(data[start:], "little") * 256 % 65535
    second = start + quarter
    third = second + quarter
    fourth = third + quarter
    total = (
        number(data[start:second], "little")
        + number(data[second:third], "little")
        + number(data[third:fourth], "little")
        + number(data[fourth:], "little")
    )
    return ((total >> FOLD) + (total & _LOW)) * 256 % 65535


def pseudo_sum(packet: bytes, protocol: int, length: int) -> int:
    """Sum of the pseudo-header, for ``length`` octets of transport header and payload."""
    addresses = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
    return (ones_sum(addresses) + protocol + length) % 65535


def ipv4_checksum(header: bytes) -> int:
    """For a header whose checksum field is zero."""
    return -ones_sum(header) % 65535
