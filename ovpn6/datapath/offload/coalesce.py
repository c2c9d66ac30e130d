"""From authentic inner packets to few writes into a TUN with vnet headers.

Merged are only packets whose checksums were verified here and that who cuts the super-packet again
makes anew (but for the IPv4 id where DF is set: it means nothing there, RFC 6864). So corruption is
never laundered. Everything else is written as it came. The order within a flow is kept, that
between TCP and UDP flows is not; all other packets keep their place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import Enum

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

_IPV6_TCP = struct.Struct(">4sH38sI8s2x2s")
_IPV4_TCP = struct.Struct(">2sHH4s2x12sI8s2x2s")
"""Version and classes, length, (id, flags, hops,) protocol and addresses with ports, sequence
number, acknowledgement to window, urgent pointer."""

Write = Callable[[Sequence[bytes], int], None]
"""Takes a vnet header and the parts of one packet, and how many fed packets are in it."""


class Merger:
    """The flows of one tunnel; packets of any number of peers may be fed."""

    def __init__(self, write: Write, udp: bool) -> None:
        """``udp``: the TUN takes segmentation of UDP (TUN_F_USO4 and TUN_F_USO6)."""
        self._write = write
        self._udp = udp
        self._flows: dict[bytes, _Flow] = {}
        self._recent: _Flow | None = None
        """The flow that took or began last: mostly the next packet is its, too."""

    def feed(self, packet: bytes) -> None:
        """One whole inner packet whose source address was checked."""
        recent = self._recent
        if recent is None:
            self._sort(packet)
            return
        taken = recent.take(packet)
        if taken is _MORE:
            return
        if taken is _NO:
            self._sort(packet)
        else:
            self._finish(recent, packet, taken)

    def flush(self) -> None:
        """Write what waits, the oldest flow first."""
        for flow in self._flows.values():
            self._write(flow.parts(), flow.count)
        self._flows.clear()
        self._recent = None

    def _joined(self, flow: _Flow, packet: bytes) -> bool:
        """Whether the packet was the flow's next, and is dealt with."""
        taken = flow.take(packet)
        if taken is _NO:
            return False
        if taken is _MORE:
            self._recent = flow
        else:
            self._finish(flow, packet, taken)
        return True

    def _finish(self, flow: _Flow, packet: bytes, taken: _Taken) -> None:
        """A flow is over, and the packet not always in it."""
        self._release(flow)
        if taken is _DAMAGED:
            self._write((WHOLE, packet), 1)
        elif taken is _AFTER_DAMAGED:
            self._begin(flow.key, packet, flow.transport, flow.headers, True)

    def _sort(self, packet: bytes) -> None:
        """A packet that is not the recent flow's next."""
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
        if flow is not None:
            if flow is not self._recent and self._joined(flow, packet):
                return
            self._release(flow)
        self._begin(key, packet, transport, headers, False)

    def _begin(
        self, key: bytes, packet: bytes, transport: int, headers: int, verified: bool
    ) -> None:
        """The first packet of a flow: hold it when others may follow."""
        if packet[9 if transport == IPV4_HEADER else 6] == UDP:
            holds = self._udp and _udp_mergeable(packet, transport)
        else:
            holds = _tcp_mergeable(packet, transport, headers)
        if not holds:
            self._write((WHOLE, packet), 1)
            return
        if len(self._flows) == MOST_FLOWS:
            self._release(next(iter(self._flows.values())))
        self._recent = self._flows[key] = _Flow(key, packet, transport, headers, verified)

    def _release(self, flow: _Flow) -> None:
        del self._flows[flow.key]
        if flow is self._recent:
            self._recent = None
        self._write(flow.parts(), flow.count)


class _Taken(Enum):
    """What became of a packet that a flow was offered."""

    NO = "not its next"
    MORE = "appended"
    LAST = "appended, and nothing may follow"
    DAMAGED = "not appended: its checksums do not fit"
    AFTER_DAMAGED = "not appended: those of the flow's first packet do not fit, its own do"


# An Enum's members take long to look up.
_NO, _MORE, _LAST, _DAMAGED, _AFTER_DAMAGED = _Taken


class _Flow:
    """A packet that waits for more of its kind."""

    __slots__ = (
        "_addresses",
        "_first",
        "_length",
        "_mark",
        "_next_id",
        "_next_sequence",
        "_options",
        "_payloads",
        "_pushed",
        "_pushing_mark",
        "_size",
        "_start",
        "_udp",
        "_verified",
        "count",
        "headers",
        "key",
        "transport",
    )

    def __init__(
        self, key: bytes, packet: bytes, transport: int, headers: int, verified: bool
    ) -> None:
        """``packet`` is mergeable and has no PSH."""
        self.key = key
        self.transport = transport
        self.headers = headers
        self._first = packet
        self._length = len(packet)
        self._size = len(packet) - headers
        self._payloads: list[bytes] = []
        self._pushed = False
        self._verified = verified
        self.count = 1
        ipv6 = transport == IPV6_HEADER
        self._start = packet[:4] if ipv6 else packet[:2]
        self._addresses = packet[6:44] if ipv6 else packet[6:10] + packet[12:24]
        self._next_id = (packet[4] << 8 | packet[5]) + 1
        self._udp = headers == transport + UDP_HEADER
        self._next_sequence = 0
        self._mark = self._pushing_mark = b""
        self._options = b""
        if not self._udp:
            sequence = int.from_bytes(packet[transport + 4 : transport + 8], "big")
            self._next_sequence = sequence + self._size & 0xFFFFFFFF
            self._mark = mark = packet[transport + 8 : transport + 16]
            self._pushing_mark = mark[:5] + bytes((ACK_PSH,)) + mark[6:]
            self._options = packet[transport + TCP_HEADER : headers]

    def take(self, packet: bytes) -> _Taken:
        """Append a packet that is the next of this flow.

        The flow's packets are mergeable, so one with the same headers is. The first packet's
        checksums are looked at only when something is to follow it.
        """
        headers = self.headers
        transport = self.transport
        length = len(packet)
        size = length - headers
        whole = self._length + size
        if not 0 < size <= self._size or whole > MOST_OCTETS:
            return _NO
        pushed = False
        if self._udp:
            if not self._continued_by_udp(packet):
                return _NO
        else:
            if transport == IPV6_HEADER:
                start, named, addresses, sequence, mark, urgent = _IPV6_TCP.unpack_from(packet)
                named += IPV6_HEADER
            else:
                start, named, identity, hops, ports, sequence, mark, urgent = _IPV4_TCP.unpack_from(
                    packet
                )
                addresses = hops + ports
                # DF: the id means nothing.
                if identity != self._next_id & 0xFFFF and packet[6] != 0x40:
                    return _NO
            if (
                addresses != self._addresses
                or sequence != self._next_sequence
                or start != self._start
                or named != length
                or urgent != b"\0\0"
                or packet[transport + TCP_HEADER : headers] != self._options
            ):
                return _NO
            if mark != self._mark:
                pushed = mark == self._pushing_mark
                if not pushed:
                    return _NO
            self._next_sequence = sequence + size & 0xFFFFFFFF
        # Most packets are IPv6 and pass: without a further call.
        if transport == IPV6_HEADER:
            if (ones_sum(packet, 8) + packet[6] + length - IPV6_HEADER) % 65535:
                return _DAMAGED
        elif not _checksums_fit(packet, transport):
            return _DAMAGED
        if not self._verified:
            if not _checksums_fit(self._first, transport):
                return _AFTER_DAMAGED
            self._verified = True
        self._payloads.append(packet[headers:])
        self._length = whole
        self._next_id += 1
        self.count += 1
        if pushed:
            self._pushed = True
        elif size == self._size and self.count < MOST_SEGMENTS:
            return _MORE
        return _LAST

    def _continued_by_udp(self, packet: bytes) -> bool:
        transport = self.transport
        if transport == IPV6_HEADER:
            if (
                packet[6:44] != self._addresses
                or packet[:4] != self._start
                or packet[4] << 8 | packet[5] != len(packet) - IPV6_HEADER
            ):
                return False
        elif (
            packet[6:10] + packet[12:24] != self._addresses
            or packet[:2] != self._start
            or packet[2] << 8 | packet[3] != len(packet)
            or (packet[6] != 0x40 and packet[4] << 8 | packet[5] != self._next_id & 0xFFFF)
        ):
            return False
        return (
            packet[transport + 4] << 8 | packet[transport + 5] == len(packet) - transport
            and packet[transport + 6 : self.headers] != b"\0\0"
        )

    def parts(self) -> Sequence[bytes]:
        """A vnet header and the packet."""
        first = self._first
        if self.count == 1:
            return WHOLE, first
        transport = self.transport
        covered = self._length - transport
        udp = self._udp
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
        vnet = Vnet(NEEDS_CSUM, kind, self.headers, self._size, transport, offset)
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
    """Whether others may follow: data, only ACK, no urgent pointer. After PSH nothing follows."""
    return (
        len(packet) > headers
        and not packet[transport + 12] & 15
        and packet[transport + 13] == ACK
        and packet[transport + 18 : transport + 20] == b"\0\0"
    )


def _udp_mergeable(packet: bytes, transport: int) -> bool:
    """Whether others may follow: data and a checksum. What has none (zero) must not get one."""
    return len(packet) > transport + UDP_HEADER and packet[transport + 6 : transport + 8] != b"\0\0"


def _checksums_fit(packet: bytes, transport: int) -> bool:
    # The addresses stand right before the transport header, so one sum covers them too.
    if transport == IPV4_HEADER:
        if ones_sum(packet[:IPV4_HEADER]):
            return False
        return (ones_sum(packet, 12) + packet[9] + len(packet) - IPV4_HEADER) % 65535 == 0
    return (ones_sum(packet, 8) + packet[6] + len(packet) - IPV6_HEADER) % 65535 == 0
