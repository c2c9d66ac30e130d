"""Inner and outer packets for the packet fuzzer, lawful and not. Pure."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

from tests.datapath.packets import ip_packet

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""OpenVPN's keepalive payload."""
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _NO_NEXT, _OPTIONS = 0, 43, 44, 51, 59, 60
_TCP, _UDP, _ICMP, _ICMP6, _IPV4, _IPV6, _SCTP = 6, 17, 1, 58, 4, 41, 132
_PROTOCOLS = (
    *(_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _NO_NEXT, _OPTIONS),
    *(_TCP, _UDP, _ICMP, _ICMP6, _IPV4, _IPV6, _SCTP, 255),
)
_SIZES = (0, 1, 7, 8, 19, 20, 39, 40, 64, 500, 1230, 1400, 1500, 4000, 9000, 40000, 65000)
_VIRTIO = struct.Struct("=BBHHHH")


def inner(dice: random.Random, source: str, destination: str) -> bytes:
    """A packet from one address in the tunnel to another, or what claims to be one."""
    payload = dice.randbytes(dice.choice(_SIZES)) if dice.random() < 0.9 else b""
    packet = bytearray(ip_packet(source, destination, payload))
    is_ipv6 = packet[0] >> 4 == 6
    head = 40 if is_ipv6 else 20
    packet[6 if is_ipv6 else 9] = dice.choice(_PROTOCOLS)
    if is_ipv6 and dice.random() < 0.3:
        packet[head:head] = _extensions(dice, packet)
    if not is_ipv6:
        packet[10:12] = _checksum(packet[:20])
    kind = dice.randrange(8)
    if kind == 0:
        return PING
    if kind == 1:
        return PING[: dice.randrange(17)] + dice.randbytes(dice.randrange(3))
    if kind == 2:
        return bytes(packet[: dice.randrange(len(packet) + 1)])
    if kind == 3:
        for _ in range(dice.randint(1, 6)):
            packet[dice.randrange(min(len(packet), head + 8))] = dice.randrange(256)
    if kind == 4:
        length = dice.choice((0, 1, len(packet), 0xFFFF, dice.randrange(0x10000)))
        packet[4 if is_ipv6 else 2 : 6 if is_ipv6 else 4] = struct.pack("!H", length)
    if kind == 5:
        return dice.randbytes(dice.choice(_SIZES))
    return bytes(packet[:65000])


def spoilt(dice: random.Random, sealed: bytes) -> bytes:
    """A data packet after somebody on the way had it."""
    octets = bytearray(sealed)
    kind = dice.randrange(7)
    if kind == 0:
        return sealed
    if kind == 1:
        return sealed[
            : dice.choice((0, 1, 3, 4, 7, 8, 23, 24, 25, dice.randrange(len(sealed) + 1)))
        ]
    if kind == 2:
        return (sealed + dice.randbytes(dice.choice((1, 16, 1000))))[:65000]
    if kind == 3:
        octets[0] = dice.randrange(256)
    elif kind == 4:
        octets[1:4] = dice.choice(
            (b"\0\0\0", b"\0\0\1", b"\0\0\2", b"\xff\xff\xff", dice.randbytes(3))
        )
    elif kind == 5:
        octets[4:8] = dice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", dice.randbytes(4)))
    else:
        for _ in range(dice.randint(1, 20)):
            octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
    return bytes(octets)


def virtio_header(dice: random.Random, packet: bytes) -> bytes:
    """What the sender wants of the device: one packet, or a large one to be cut (virtio_net.h)."""
    if dice.random() < 0.4:
        return bytes(_VIRTIO.size)
    head = 40 if packet[:1] and packet[0] >> 4 == 6 else 20
    needs_checksum = dice.choice((0, 1, 1, 1))
    kind = dice.choice((0, 1, 3, 4, 5, 0x81, dice.randrange(256)))
    return _VIRTIO.pack(
        needs_checksum,
        kind,
        dice.choice((head, head + 8, head + 20, 0, dice.randrange(0x10000))),
        dice.choice((1, 8, 536, 1200, 1400, 0xFFFF, 0)),
        dice.choice((head, head, 0, dice.randrange(100))),
        dice.choice((6, 16, 2, 0, dice.randrange(100))),
    )


def _extensions(dice: random.Random, packet: bytearray) -> bytes:
    """A chain of extension headers; the packet's own next header becomes the last one's."""
    chain = [
        dice.choice((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS)) for _ in range(dice.randint(1, 5))
    ]
    last, packet[6] = packet[6], chain[0]
    made = bytearray()
    for place, _ in enumerate(chain):
        following = chain[place + 1] if place + 1 < len(chain) else last
        units = dice.choice((0, 0, 1, 3, 255))
        body = dice.randbytes(6 + 8 * min(units, 3))
        made += bytes((following, units)) + body
    return bytes(made)


def _checksum(header: bytearray) -> bytes:
    header[10:12] = b"\0\0"
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def lawful(source: str, destination: str) -> bytes:
    """What must come through whatever was before it."""
    assert ip_address(source).version == ip_address(destination).version
    return ip_packet(source, destination, b"still here")
