"""The Internet checksum (RFC 1071) with Python's integers.

One's complement addition of 16-bit words is addition modulo 65,535, and 2^16 is 1 there: so the
remainder of the octets as *one* number is their sum. A remainder of 0 stands for the sum 0xFFFF.
"""

from __future__ import annotations

SHORT = 256
"""Octets from which on adding quarters pays: the division is the slow part."""


def ones_sum(data: bytes) -> int:
    """Sum of the 16-bit words of ``data``, modulo 65,535; an odd last octet is a high half."""
    # Little-endian, so that an odd octet needs no padding; swapping a sum's octets is times 256.
    size = len(data)
    number = int.from_bytes
    if size < SHORT:
        return number(data, "little") * 256 % 65535
    one = (size >> 2) & -2
    two = one + one
    three = two + one
    return (
        (
            number(data[:one], "little")
            + number(data[one:two], "little")
            + number(data[two:three], "little")
            + number(data[three:], "little")
        )
        % 65535
        * 256
        % 65535
    )


def pseudo_sum(packet: bytes, protocol: int, length: int) -> int:
    """Sum of the pseudo-header, for ``length`` octets of transport header and payload."""
    addresses = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
    return (ones_sum(addresses) + protocol + length) % 65535


def ipv4_checksum(header: bytes) -> int:
    """For a header whose checksum field is zero."""
    return -ones_sum(header) % 65535
