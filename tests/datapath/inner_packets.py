"""TCP and UDP packets with every field settable, and an Internet checksum of another make.

The checksum adds 16-bit words as RFC 1071 says it; nothing of the code under test is used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")
DF = 0x4000


def words_sum(data: bytes) -> int:
    """One's complement sum, 0 to 0xFFFF."""
    data += b"\0" * (len(data) % 2)
    total = sum(word for (word,) in struct.iter_unpack(">H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return total


@dataclass(frozen=True, slots=True)
class Inner:
    """One packet. ``between``: IPv4 options or IPv6 extension headers; ``protocol`` is that of
    the transport header, ``next_header`` what the IP header says (None: the same).

    ``checksum`` None is the right one; ``corrupt`` flips a bit of that octet afterwards. ``host``
    is the last octet of the source address.
    """

    version: int = 6
    protocol: int = TCP
    payload: bytes = b""
    flow: int = 0
    sequence: int = 0
    ack: int = 1
    flags: int = ACK
    window: int = 1000
    urgent: int = 0
    options: bytes = b""
    reserved: int = 0
    traffic_class: int = 0
    label: int = 0
    hops: int = 64
    identity: int = 0
    fragment: int = DF
    between: bytes = b""
    next_header: int | None = None
    checksum: int | None = None
    corrupt: int | None = None
    host: int = 1

    def encode(self) -> bytes:
        """The packet."""
        return self._with_checksum(None)

    def super_packet(self) -> bytes:
        """As the kernel hands it over: the checksum field holds the pseudo-header's sum."""
        return self._with_checksum(words_sum(self._pseudo()))

    @property
    def csum_start(self) -> int:
        """Where the transport header begins."""
        return (40 if self.version == 6 else 20) + len(self.between)

    @property
    def transport(self) -> bytes:
        """Transport header with a zero checksum, and the payload."""
        source, destination = 1024 + self.flow, 80
        if self.protocol == UDP:
            return (
                struct.pack(">HHHH", source, destination, 8 + len(self.payload), 0) + self.payload
            )
        offset = (20 + len(self.options)) // 4 << 4 | self.reserved
        return (
            struct.pack(
                ">HHIIBBHHH",
                source,
                destination,
                self.sequence & 0xFFFFFFFF,
                self.ack,
                offset,
                self.flags,
                self.window,
                0,
                self.urgent,
            )
            + self.options
            + self.payload
        )

    def _with_checksum(self, checksum: int | None) -> bytes:
        transport = self.transport
        if checksum is None:
            checksum = self.checksum
        if checksum is None:
            checksum = 0xFFFF - words_sum(self._pseudo() + transport)
            if self.protocol == UDP:
                checksum = checksum or 0xFFFF
        at = 6 if self.protocol == UDP else 16
        transport = transport[:at] + checksum.to_bytes(2, "big") + transport[at + 2 :]
        packet = self._network(len(transport)) + transport
        if self.corrupt is not None:
            at = self.corrupt % len(packet)
            packet = packet[:at] + bytes((packet[at] ^ 0x10,)) + packet[at + 1 :]
        return packet

    def _addresses(self) -> bytes:
        names = ("2001:db8::1", "2001:db8::2") if self.version == 6 else ("192.0.2.1", "192.0.2.2")
        source, destination = (ip_address(name).packed for name in names)
        return source[:-1] + bytes((self.host,)) + destination

    def _pseudo(self) -> bytes:
        length = len(self.transport)
        return self._addresses() + struct.pack(">IHH", length, 0, self.protocol)

    def _network(self, length: int) -> bytes:
        named = self.protocol if self.next_header is None else self.next_header
        length += len(self.between)
        if self.version == 6:
            first = 6 << 28 | self.traffic_class << 20 | self.label
            head = struct.pack(">IHBB", first, length, named, self.hops)
            return head + self._addresses() + self.between
        head = struct.pack(
            ">BBHHHBBH",
            0x45 + len(self.between) // 4,
            self.traffic_class,
            20 + length,
            self.identity & 0xFFFF,
            self.fragment,
            self.hops,
            named,
            0,
        )
        head += self._addresses() + self.between
        checksum = 0xFFFF - words_sum(head)
        return head[:10] + checksum.to_bytes(2, "big") + head[12:]
