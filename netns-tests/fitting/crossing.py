"""Single packets from one host to another, and what became of each.

Packets are made here, octet by octet, and enter past the sender's own idea of the path: so a packet
of any size up to the first link's is sent as it is. They bear a number, which errors quote. For
ICMP and UDP stand echo replies that nobody asked for and datagrams that nobody reads: no answers.
"""

from __future__ import annotations

import fcntl
import itertools
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from fitting.rules import IP_HEADER, UDP_HEADER, Packet, Passes, Pieces, TooBig
from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Namespace
from ovpn6.lab.narrow import HOST_A, HOST_B, Narrow
from ovpn6.lab.waiting import PATIENCE
from ovpn6.model.addresses import IPAddress

LIMIT = 2.0
"""Seconds until a packet of which nothing was seen counts as lost."""

UDP, ICMP4, ICMP6 = 17, 1, 58
KINDS = ("udp", "icmp")

_ETH_P_ALL = 3
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_SIOCGIFHWADDR = 0x8927
_PACKET_OUTGOING = 4
_MARK = b"o6-crossing"
_NUMBER = struct.Struct("!11sI")
_PORT = 4919
# What is said of our packets is for us: the host's own connections are to know nothing of it.
_UNHEARD = f"""
table inet unheard {{
    chain in {{
        type filter hook input priority 0
        icmpv6 type packet-too-big @th,112,8 {UDP} @th,384,16 {_PORT} drop
        icmpv6 type packet-too-big @th,112,8 {ICMP6} drop
        icmp type destination-unreachable @th,136,8 {UDP} @th,224,16 {_PORT} drop
        icmp type destination-unreachable @th,136,8 {ICMP4} drop
    }}
}}
"""
_DF, _OFFSET = 0x4000, 0x1FFF
_numbers = itertools.cycle(range(1, 1 << 16))
"""An identification of IPv4 has 16 bits."""


@dataclass(slots=True)
class Fate:
    """What was seen of one packet. ``pieces``: inner packets that arrived for it; ``octets``: how
    much of it arrived; ``too_big``: what the sender was told, and ``told_by`` whom."""

    packet: Packet
    kind: str
    pieces: int = 0
    octets: int = 0
    too_big: int | None = None
    told_by: IPAddress | None = None

    @property
    def complete(self) -> bool:
        """All of it arrived."""
        return self.octets == self.packet.size

    @property
    def decided(self) -> bool:
        return self.complete or self.too_big is not None

    @property
    def verdict(self) -> Passes | Pieces | TooBig | None:
        """In the oracle's words as far as an inner host can tell; None when it is lost."""
        if self.too_big is not None:
            return TooBig(self.too_big)
        if not self.complete:
            return None
        return Passes() if self.pieces == 1 else Pieces(self.pieces)


@dataclass(slots=True)
class Host:
    """A namespace with sockets in it: what enters, what is seen."""

    namespace: Namespace
    device: str
    gateway: bytes
    """Its gateway's Ethernet address."""
    addresses: dict[int, IPAddress]
    tap: socket.socket = field(init=False)
    sinks: list[socket.socket] = field(init=False)

    def __post_init__(self) -> None:
        self.tap, self.sinks = in_netns(self.namespace.full_name, lambda: _open(self.device))
        self.namespace.nft(_UNHEARD)

    def send(self, to: Host, packet: Packet, kind: str, number: int) -> None:
        """One packet to ``to``. ``OSError`` when it is longer than the device's MTU."""
        version = packet.version
        octets = _encode(packet, kind, number, self.addresses[version], to.addresses[version])
        self.tap.sendto(octets, (self.device, _ETHERTYPE[version], 0, 0, self.gateway))

    def seen(self) -> Iterator[bytes]:
        """IP packets that came to it since the last look."""
        while True:
            try:
                octets, address = self.tap.recvfrom(65_535)
            except BlockingIOError:
                return
            if address[2] != _PACKET_OUTGOING:
                yield octets

    def close(self) -> None:
        for opened in (self.tap, *self.sinks):
            opened.close()


class Crossing:
    """Two hosts, and packets between them. :meth:`close` when done."""

    def __init__(self, a: Host, b: Host) -> None:
        self.a, self.b = a, b

    def close(self) -> None:
        """Close the sockets."""
        self.a.close()
        self.b.close()

    def send(
        self,
        packets: Sequence[Packet],
        kinds: Sequence[str] = KINDS,
        *,
        back: bool = False,
        limit: float = LIMIT,
    ) -> list[Fate]:
        """Every packet once in each kind, from a to b, or ``back``; waits until all are decided."""
        source, target = (self.b, self.a) if back else (self.a, self.b)
        fates: dict[int, Fate] = {}
        for packet, kind in itertools.product(packets, kinds):
            number = next(_numbers)
            fates[number] = Fate(packet, kind)
            source.send(target, packet, kind, number)
        deadline = time.monotonic() + limit * PATIENCE
        while not all(fate.decided for fate in fates.values()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            select.select([source.tap, target.tap], [], [], left)
            _look(source, target, fates)
        return list(fates.values())

    def passes(self, packet: Packet, *, back: bool = False, limit: float = LIMIT) -> bool:
        """Whether one packet arrives whole."""
        (fate,) = self.send([packet], ("udp",), back=back, limit=limit)
        return fate.verdict == Passes()


def cross(net: Narrow) -> Crossing:
    """Between the hosts behind a narrow link's ends."""
    a, b = (
        Host(
            host,
            f"to-{end.name}",
            _ethernet_address(end, f"to-{host.name}"),
            {each.version: each.ip for each in addresses},
        )
        for host, end, addresses in ((net.host_a, net.a, HOST_A), (net.host_b, net.b, HOST_B))
    )
    return Crossing(a, b)


def _look(source: Host, target: Host, fates: dict[int, Fate]) -> None:
    for octets in target.seen():
        number, length = _arrived(octets, source)
        if number in fates:
            fates[number].pieces += 1
            fates[number].octets += length
    for octets in source.seen():
        told = _told(octets)
        if told is not None and told[0] in fates:
            fate = fates[told[0]]
            _, fate.too_big, fate.told_by = told


def _arrived(octets: bytes, source: Host) -> tuple[int | None, int]:
    """``(number, octets of the original packet)`` of one of ours, whole or a fragment."""
    version = octets[0] >> 4
    if version == 6:
        if octets[8:24] != source.addresses[6].packed or octets[6] not in (UDP, ICMP6):
            return None, 0
        number = _number(octets, 40 + UDP_HEADER, IP_HEADER[6] + UDP_HEADER + _NUMBER.size)
        return number, len(octets)
    if octets[12:16] != source.addresses[4].packed:
        return None, 0
    fragment = int.from_bytes(octets[6:8], "big")
    # A fragment of IPv4 has the number as its identification.
    number = int.from_bytes(octets[4:6], "big")
    header = IP_HEADER[4]
    length = int.from_bytes(octets[2:4], "big")
    if fragment & _OFFSET:
        return number, length - header
    if _number(octets, header + UDP_HEADER, header + UDP_HEADER + _NUMBER.size) != number:
        return None, 0
    return number, length


def _number(octets: bytes, start: int, end: int) -> int | None:
    if len(octets) < end:
        return None
    mark, number = _NUMBER.unpack(octets[start:end])
    return int(number) if mark == _MARK else None


def _told(octets: bytes) -> tuple[int, int, IPAddress] | None:
    """``(number, MTU, by whom)`` where somebody says that one of ours was too big."""
    if octets[0] >> 4 == 6:
        if octets[6] != ICMP6 or octets[40] != 2:
            return None
        mtu, sender = int.from_bytes(octets[44:48], "big"), octets[8:24]
    else:
        if octets[9] != ICMP4 or octets[20:22] != b"\x03\x04":
            return None
        mtu, sender = int.from_bytes(octets[26:28], "big"), octets[12:16]
    at = octets.find(_MARK)
    number = _number(octets, at, at + _NUMBER.size) if at >= 0 else None
    return None if number is None else (number, mtu, ip_address(sender))


def _encode(packet: Packet, kind: str, number: int, source: IPAddress, target: IPAddress) -> bytes:
    version, size = packet.version, packet.size
    behind = size - IP_HEADER[version]
    content = _NUMBER.pack(_MARK, number).ljust(behind - UDP_HEADER, b"\0")
    protocol = UDP if kind == "udp" else (ICMP6 if version == 6 else ICMP4)
    if kind == "udp":
        head = struct.pack("!4H", _PORT, _PORT, behind, 0)
    else:
        head = struct.pack("!BBHI", 129 if version == 6 else 0, 0, 0, number)
    pseudo = b"" if protocol == ICMP4 else _pseudo(source, target, behind, protocol)
    at = 6 if kind == "udp" else 2
    total = checksum(pseudo + head + content)
    if kind == "udp" and not total:
        total = 0xFFFF
    body = head[:at] + struct.pack("!H", total) + head[at + 2 :] + content
    if version == 6:
        return (
            struct.pack("!IHBB", 6 << 28, behind, protocol, 64)
            + source.packed
            + target.packed
            + body
        )
    flags = _DF if packet.df else 0
    addresses = source.packed + target.packed
    start = struct.pack("!BBHHHBB", 0x45, 0, size, number, flags, 64, protocol)
    total = checksum(start + addresses)
    return start + struct.pack("!H", total) + addresses + body


def _pseudo(source: IPAddress, target: IPAddress, length: int, protocol: int) -> bytes:
    ending = "!I3xB" if source.version == 6 else "!xBH"
    fields = (length, protocol) if source.version == 6 else (protocol, length)
    return source.packed + target.packed + struct.pack(ending, *fields)


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ethernet_address(namespace: Namespace, device: str) -> bytes:
    def ask() -> bytes:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16s24x", device.encode())
            return fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)[18:24]

    return in_netns(namespace.full_name, ask)


def _open(device: str) -> tuple[socket.socket, list[socket.socket]]:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    tap.bind((device, _ETH_P_ALL))
    families = (socket.AF_INET6, socket.AF_INET)
    sinks = [socket.socket(family, socket.SOCK_DGRAM) for family in families]
    sinks[0].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    for sink in sinks:
        # Full at once, and what does not fit is dropped without a word.
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sink.bind(("", _PORT))
    return tap, sinks
