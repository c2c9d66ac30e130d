"""From authentic inner packets to few writes into a TUN with vnet headers.

Merged are only packets whose checksums were verified here and that who cuts the super-packet again
makes anew (but for the IPv4 id where DF is set: it means nothing there, RFC 6864). So corruption is
never laundered. Everything else is written as it came. The order within a flow is kept, that
between TCP and UDP flows is not; all other packets keep their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ovpn6.datapath.offload.checksum import ipv4_checksum, ones_sum, pseudo_sum
from ovpn6.datapath.offload.vnet import (
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    WHOLE,
    Vnet,
)

MOST_FLOWS = 16
MOST_SEGMENTS = 64
MOST_OCTETS = 65_535

IPV4_HEADER, IPV6_HEADER = 20, 40
TCP, UDP = 6, 17
TCP_HEADER, UDP_HEADER = 20, 8
TCP_CSUM, UDP_CSUM = 16, 6
ACK, ACK_PSH = 0x10, 0x18
PSH = 0x08

Write = Callable[[Sequence[bytes], int], None]
"""Takes a vnet header and the parts of one packet, and how many fed packets are in it."""


class Merger:
    """The flows of one tunnel; packets of any number of peers may be fed."""

    def __init__(self, write: Write, udp: bool) -> None:
        """``udp``: the TUN takes segmentation of UDP (TUN_F_USO4 and TUN_F_USO6)."""
        self._write = write
        self._udp = udp
        self._flows: dict[bytes, _Flow] = {}

    def feed(self, packet: bytes) -> None:
        """One whole inner packet whose source address was checked."""
        transport = _transport(packet)
        protocol = packet[9 if transport == IPV4_HEADER else 6] if transport else 0
        if protocol == TCP:
            headers = _tcp_headers(packet, transport)
        elif protocol == UDP:
            headers = _udp_headers(packet, transport)
        else:
            headers = 0
        if not headers:
            # It may belong to any flow: a later fragment does not say.
            self.flush()
            self._write((WHOLE, packet), 1)
            return
        if transport == IPV4_HEADER:
            key = packet[9:10] + packet[12:24]
        else:
            key = packet[6:7] + packet[8:44]
        flow = self._flows.get(key)
        if protocol == TCP:
            mergeable = _tcp_mergeable(packet, transport, headers)
            last = packet[transport + 13] & PSH != 0
        else:
            mergeable = self._udp and _udp_mergeable(packet, transport)
            last = False
        verified = False
        if flow is not None:
            if mergeable and flow.continues(packet, headers):
                if not _checksums_fit(packet, transport):
                    self._release(key)
                    self._write((WHOLE, packet), 1)
                    return
                if flow.verify():
                    if flow.append(packet, last):
                        self._release(key)
                    return
                verified = True
            self._release(key)
        if mergeable and not last:
            self._hold(key, _Flow(packet, transport, headers, verified))
        else:
            self._write((WHOLE, packet), 1)

    def flush(self) -> None:
        """Write what waits, the oldest flow first."""
        while self._flows:
            self._release(next(iter(self._flows)))

    def _hold(self, key: bytes, flow: _Flow) -> None:
        if len(self._flows) == MOST_FLOWS:
            self._release(next(iter(self._flows)))
        self._flows[key] = flow

    def _release(self, key: bytes) -> None:
        flow = self._flows.pop(key)
        self._write(flow.parts(), flow.count)


class _Flow:
    """A packet that waits for more of its kind."""

    __slots__ = (
        "_first",
        "_head",
        "_headers",
        "_length",
        "_next_id",
        "_next_sequence",
        "_payloads",
        "_pushed",
        "_size",
        "_transport",
        "_verified",
        "count",
    )

    def __init__(self, packet: bytes, transport: int, headers: int, verified: bool) -> None:
        self._first = packet
        self._transport = transport
        self._headers = headers
        self._length = len(packet)
        self._size = len(packet) - headers
        self._head = _constant_head(packet, transport, headers)
        self._next_id = (packet[4] << 8 | packet[5]) + 1
        sequence = int.from_bytes(packet[transport + 4 : transport + 8], "big")
        self._next_sequence = sequence + self._size
        self._payloads: list[bytes] = []
        self._pushed = False
        self._verified = verified
        self.count = 1

    def continues(self, packet: bytes, headers: int) -> bool:
        """Whether a mergeable packet of this flow may be appended, its checksums apart."""
        transport = self._transport
        size = len(packet) - headers
        if (
            size > self._size
            or headers != self._headers
            or self._length + size > MOST_OCTETS
            or _constant_head(packet, transport, headers) != self._head
        ):
            return False
        if transport == IPV4_HEADER and packet[6] == 0:
            identity = packet[4] << 8 | packet[5]
            if identity != self._next_id & 0xFFFF:
                return False
        if headers == transport + UDP_HEADER:
            return True
        sequence = int.from_bytes(packet[transport + 4 : transport + 8], "big")
        return sequence == self._next_sequence & 0xFFFFFFFF

    def verify(self) -> bool:
        """Whether the first packet's checksums fit: asked only when something is to follow."""
        if not self._verified:
            self._verified = _checksums_fit(self._first, self._transport)
        return self._verified

    def append(self, packet: bytes, last: bool) -> bool:
        """Take a packet that continues this one. True when nothing may follow."""
        payload = packet[self._headers :]
        self._payloads.append(payload)
        self._length += len(payload)
        self._next_sequence += len(payload)
        self._next_id += 1
        self.count += 1
        self._pushed = last
        return last or len(payload) < self._size or self.count == MOST_SEGMENTS

    def parts(self) -> Sequence[bytes]:
        """A vnet header and the packet."""
        first = self._first
        if self.count == 1:
            return WHOLE, first
        transport = self._transport
        covered = self._length - transport
        udp = self._headers == transport + UDP_HEADER
        protocol = UDP if udp else TCP
        if transport == IPV6_HEADER:
            kind = GSO_TCPV6
            head = first[:4] + covered.to_bytes(2, "big") + first[6:IPV6_HEADER]
        else:
            kind = GSO_TCPV4
            before = first[:2] + self._length.to_bytes(2, "big") + first[4:10]
            checksum = ipv4_checksum(before + b"\0\0" + first[12:IPV4_HEADER])
            head = before + checksum.to_bytes(2, "big") + first[12:IPV4_HEADER]
        checksum = pseudo_sum(first, protocol, covered) or 0xFFFF
        field = checksum.to_bytes(2, "big")
        if udp:
            kind, offset = GSO_UDP_L4, UDP_CSUM
            head += first[transport : transport + 4] + covered.to_bytes(2, "big") + field
        else:
            offset = TCP_CSUM
            flags = first[transport + 13] | (PSH if self._pushed else 0)
            head += first[transport : transport + 13] + bytes((flags,))
            head += first[transport + 14 : transport + 16] + field
        head += first[transport + offset + 2 :]
        vnet = Vnet(NEEDS_CSUM, kind, self._headers, self._size, transport, offset)
        return vnet.encode(), head, *self._payloads


def _transport(packet: bytes) -> int:
    """Where the transport header begins; 0 for what is nothing to look into: fragments, options,
    lengths that do not fit."""
    length = len(packet)
    if length < IPV4_HEADER or length > MOST_OCTETS:
        return 0
    first = packet[0]
    if first >> 4 == 6:
        if length >= IPV6_HEADER and (packet[4] << 8 | packet[5]) + IPV6_HEADER == length:
            return IPV6_HEADER
    elif (
        first == 0x45
        and (packet[2] << 8 | packet[3]) == length
        and not packet[7]
        and packet[6] in (0, 0x40)
    ):
        return IPV4_HEADER
    return 0


def _tcp_headers(packet: bytes, transport: int) -> int:
    """Octets of all headers, 0 when they do not fit."""
    left = len(packet) - transport
    if left < TCP_HEADER:
        return 0
    header = 4 * (packet[transport + 12] >> 4)
    return transport + header if TCP_HEADER <= header <= left else 0


def _udp_headers(packet: bytes, transport: int) -> int:
    left = len(packet) - transport
    if left < UDP_HEADER or packet[transport + 4] << 8 | packet[transport + 5] != left:
        return 0
    return transport + UDP_HEADER


def _tcp_mergeable(packet: bytes, transport: int, headers: int) -> bool:
    """Nothing about the packet alone forbids merging: data, only ACK and PSH, no urgent pointer."""
    return (
        len(packet) > headers
        and not packet[transport + 12] & 15
        and packet[transport + 13] in (ACK, ACK_PSH)
        and packet[transport + 18 : transport + 20] == b"\0\0"
    )


def _udp_mergeable(packet: bytes, transport: int) -> bool:
    """Data and a checksum: what has none (zero) must not get one."""
    return len(packet) > transport + UDP_HEADER and packet[transport + 6 : transport + 8] != b"\0\0"


def _constant_head(packet: bytes, transport: int, headers: int) -> bytes:
    """What must be the same in each packet of a super-packet, addresses and ports apart."""
    ipv6 = transport == IPV6_HEADER
    network = packet[:4] + packet[7:8] if ipv6 else packet[1:2] + packet[6:9]
    if headers == transport + UDP_HEADER:
        return network
    return (
        network
        + packet[transport + 8 : transport + 12]
        + packet[transport + 14 : transport + 16]
        + packet[transport + TCP_HEADER : headers]
    )


def _checksums_fit(packet: bytes, transport: int) -> bool:
    # The addresses stand right before the transport header, so one sum covers them too.
    if transport == IPV4_HEADER:
        if ones_sum(packet[:IPV4_HEADER]):
            return False
        return (ones_sum(packet[12:]) + packet[9] + len(packet) - IPV4_HEADER) % 65535 == 0
    return (ones_sum(packet[8:]) + packet[6] + len(packet) - IPV6_HEADER) % 65535 == 0
