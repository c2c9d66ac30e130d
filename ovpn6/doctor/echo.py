"""ICMP echo of exact sizes, and all that comes back: answers, and what routers say.

Requests are not to be fragmented and leave past what the host believes of the path, or go in
fragments of ours, so that only the answer is under test. RFC 4443, RFC 792, RFC 8200 section 4.5.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import field
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from ovpn6.doctor.facts import Told
from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import HostError
from ovpn6.model.records import dataclass

PIECE = 1024
"""Octets of a fragment's content: a multiple of eight, and small enough for every path."""
HEADERS = {6: 48, 4: 28}
"""IP and ICMP."""

_REQUEST = {6: 128, 4: 8}
_ANSWER = {6: 129, 4: 0}
_HOP_LIMIT_EXCEEDED = {6: 3, 4: 11}
_IP_HEADER = {6: 40, 4: 20}
_PMTUDISC_PROBE = 3
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_RECVERR = 23, 24, 25
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_MTU = 10, 11, 14
_ORIGIN_LOCAL = 1
_ERROR = struct.Struct("=IBBBxII")
"""``struct sock_extended_err``; the offender's address follows."""


@dataclass(slots=True)
class Outcome:
    """Of one volley, by the number that each request had."""

    answered: set[int] = field(default_factory=set)
    told: dict[int, Told] = field(default_factory=dict)
    expired: dict[int, IPAddress] = field(default_factory=dict)
    """Where the hop limit ended it."""


class Echo:
    """Sockets for echo requests to one address; a context manager. Needs CAP_NET_RAW."""

    def __init__(self, target: IPAddress, *, heed_path: bool = False) -> None:
        """With ``heed_path`` requests larger than what the host believes of the path are refused
        by the host itself, as any program's are. Raises ``HostError``."""
        self.target = target
        self._version = target.version
        self._identity = os.getpid() & 0xFFFF
        six = self._version == 6
        family = socket.AF_INET6 if six else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
        try:
            self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
            self._pieces = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        except OSError as error:
            raise HostError("raw socket", error.strerror or "", error.errno or 0) from None
        level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        discover = 2 if heed_path else _PMTUDISC_PROBE
        self._socket.setsockopt(level, _IPV6_MTU_DISCOVER if six else _IP_MTU_DISCOVER, discover)
        self._socket.setsockopt(level, _IPV6_RECVERR if six else _IP_RECVERR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        try:
            self._socket.connect((str(target), 0))
        except OSError as error:
            self._close()
            raise HostError(f"route to {target}", error.strerror or "", error.errno or 0) from None
        self.source = ip_address(self._socket.getsockname()[0].split("%")[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def volley(self, sizes: Iterable[int], wait: float, *, pieces: bool = False) -> Outcome:
        """Requests of these sizes at once, each numbered by its size. ``pieces``: in fragments."""
        found = Outcome()
        waiting = set()
        for size in sizes:
            if pieces:
                self._send_pieces(size)
            else:
                self._send(size, size, found)
            waiting.add(size)
        self._collect(found, waiting, wait)
        return found

    def trail(self, size: int, hops: int, wait: float) -> Outcome:
        """Requests of one size, with hop limits from 1 to ``hops``, each numbered by that."""
        found = Outcome()
        for hop in range(1, hops + 1):
            self._limit_hops(hop)
            self._send(hop, size, found)
        self._limit_hops(-1)
        self._collect(found, set(range(1, hops + 1)), wait)
        return found

    # --- out -------------------------------------------------------------------------------------

    def _send(self, number: int, size: int, found: Outcome) -> None:
        request = self._request(number, size)
        for _ in range(2):
            try:
                self._socket.send(request)
                return
            except OSError as error:
                code = error.errno
            # It may be what an earlier request met: that is told once, and the queue has more.
            self._drain(found)
        if code == errno.EMSGSIZE:
            found.told[number] = Told(None, self._route_mtu())

    def _route_mtu(self) -> int:
        """What this host believes of the path to the target."""
        if self._version == 6:
            return self._socket.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return self._socket.getsockopt(socket.IPPROTO_IP, _IP_MTU)

    def _request(self, number: int, size: int) -> bytes:
        content = bytes(max(size - HEADERS[self._version], 0))
        head = struct.pack("!BBHHH", _REQUEST[self._version], 0, 0, self._identity, number)
        # The kernel fills in ICMPv6's checksum, on this kind of socket.
        total = 0 if self._version == 6 else _checksum(head + content)
        return head[:2] + struct.pack("!H", total) + head[4:] + content

    def _send_pieces(self, size: int) -> None:
        message = self._request(size, size)
        addresses = self.source.packed + self.target.packed
        if self._version == 6:
            pseudo = addresses + struct.pack("!I3xB", len(message), socket.IPPROTO_ICMPV6)
            total = struct.pack("!H", _checksum(pseudo + message))
            message = message[:2] + total + message[4:]
        for start in range(0, len(message), PIECE):
            part = message[start : start + PIECE]
            more = start + PIECE < len(message)
            self._pieces.sendto(self._piece(part, start, size, addresses, more=more), self._where())

    def _piece(self, part: bytes, start: int, size: int, addresses: bytes, *, more: bool) -> bytes:
        if self._version == 6:
            extra = struct.pack("!BBHI", socket.IPPROTO_ICMPV6, 0, start | more, size)
            head = struct.pack("!IHBB", 6 << 28, 8 + len(part), socket.IPPROTO_FRAGMENT, 64)
            return head + addresses + extra + part
        fields = (0x45, 0, 20 + len(part), size & 0xFFFF, more << 13 | start >> 3, 64, 1, 0)
        return struct.pack("!BBHHHBBH", *fields) + addresses + part

    def _where(self) -> tuple[str, int] | tuple[str, int, int, int]:
        return (str(self.target), 0, 0, 0) if self._version == 6 else (str(self.target), 0)

    def _limit_hops(self, hops: int) -> None:
        """-1 is the host's default again."""
        if self._version == 6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64 if hops < 0 else hops)

    # --- back ------------------------------------------------------------------------------------

    def _collect(self, found: Outcome, waiting: set[int], wait: float) -> None:
        deadline = time.monotonic() + wait
        while waiting - found.answered - found.told.keys() - found.expired.keys():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            select.select([self._socket], [], [self._socket], left)
            self._drain(found)
            self._answers(found)

    def _answers(self, found: Outcome) -> None:
        while True:
            try:
                octets = self._socket.recv(65_535)
            except BlockingIOError:
                return
            except OSError:
                # An error that the queue explains.
                continue
            if self._version == 4:
                octets = octets[(octets[0] & 15) * 4 :]
            if len(octets) < 8 or octets[0] != _ANSWER[self._version]:
                continue
            identity, number = struct.unpack_from("!HH", octets, 4)
            if identity == self._identity:
                found.answered.add(number)

    def _drain(self, found: Outcome) -> None:
        while True:
            try:
                octets, ancillary, _, _ = self._socket.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                return
            except OSError:
                continue
            # What was sent comes back from its ICMP header on.
            number = int.from_bytes(octets[6:8], "big") if len(octets) >= 8 else 0
            for _, _, data in ancillary:
                self._explain(data, number, found)

    def _explain(self, data: bytes, number: int, found: Outcome) -> None:
        if len(data) < _ERROR.size:
            return
        code, origin, kind, _, info, _ = _ERROR.unpack_from(data)
        by = self._offender(data[_ERROR.size :])
        if origin == _ORIGIN_LOCAL:
            # Known since the request was sent; the number is not in it.
            return
        if code == errno.EMSGSIZE:
            found.told[number] = Told(by, info)
        elif kind == _HOP_LIMIT_EXCEEDED[self._version] and by is not None:
            found.expired[number] = by

    def _offender(self, address: bytes) -> IPAddress | None:
        start, length = (8, 16) if self._version == 6 else (4, 4)
        found = address[start : start + length]
        return ip_address(found) if len(found) == length else None

    def _close(self) -> None:
        self._socket.close()
        self._pieces.close()


def _checksum(octets: bytes) -> int:
    """RFC 1071."""
    octets += bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
