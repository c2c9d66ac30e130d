"""What the native worker tells, as reports of a data path; and socket addresses as it has them.

The numbers are those of ``queue.h``.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from ovpn6.datapath.errors import error_name
from ovpn6.datapath.interface import Report
from ovpn6.datapath.sockaddr import V4_MAPPED
from ovpn6.model.addresses import Endpoint, IPAddress, Path, unmapped
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import (
    ControlReceived,
    DeviceLost,
    FloatConflict,
    KeyConfirmed,
    KeyWornOut,
    LinkClosed,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
)
from ovpn6.model.names import KeyId, LinkId, PeerId
from ovpn6.model.records import dataclass

if TYPE_CHECKING:
    from ovpn6.datapath.fastpath._fastpath import Report as Raw

CONTROL = 1
LINK_CLOSED = 2
TUNNEL_LOST = 10
NOTICE = 11

_FAMILY = struct.Struct("=H")
_SOCKADDR4 = struct.Struct("=H2s4s8x")
_SOCKADDR6 = struct.Struct("=H2s4x16sI")
_ENDINGS: dict[int, Callable[[int], str]] = {
    1: lambda value: "closed by the remote end",
    2: lambda value: f"receive: {os.strerror(value)}",
    3: lambda value: f"send: {_errno_name(value)}",
    4: lambda value: f"frame of {value} bytes",
}


@dataclass(frozen=True, slots=True)
class Happened:
    """One record. ``other``: a second peer, a key id, an ending; ``value``: errno or length."""

    kind: int
    link: LinkId
    peer: PeerId
    other: int
    value: int
    address: bytes
    local: bytes
    data: bytes
    remote: Endpoint | None
    """The other end of a stream, which has no address in the record."""

    @property
    def about_peer(self) -> bool:
        """Whether it is of no interest when the peer is gone."""
        return self.kind in _OF_PEERS

    def path(self) -> Path:
        """The path that it came on."""
        remote = self.remote or from_sockaddr(self.address)
        return Path(self.link, remote, _local(self.local))

    def report(self) -> Report:
        """The same in the data path's words. Raises ``UsageError`` for a notice."""
        make = _REPORTS.get(self.kind)
        if make is None:
            raise UsageError(f"no report is of kind {self.kind}")
        return make(self)


def happened(raw: Raw, streams: Mapping[LinkId, Endpoint]) -> Happened:
    """A record of the worker's queue. ``streams``: the other ends of connections."""
    kind, number, peer, other, value, address, local, data = raw
    link = LinkId(number)
    remote = streams.get(link)
    return Happened(kind, link, PeerId(peer), other, value, address, local, data, remote)


def to_sockaddr(endpoint: Endpoint, family: int) -> bytes:
    """A ``struct sockaddr_in`` or ``sockaddr_in6``; IPv4 is mapped on an IPv6 socket.

    Raises ``UsageError`` for an IPv6 endpoint on an IPv4 socket.
    """
    packed = endpoint.address.packed
    port = endpoint.port.to_bytes(2, "big")
    if family == socket.AF_INET:
        if len(packed) != 4:
            raise UsageError(f"{endpoint} cannot be reached from an IPv4 socket")
        return _SOCKADDR4.pack(family, port, packed)
    if len(packed) == 4:
        packed = V4_MAPPED + packed
    return _SOCKADDR6.pack(family, port, packed, endpoint.scope_id)


def from_sockaddr(address: bytes) -> Endpoint:
    """The inverse; v4-mapped addresses as IPv4."""
    if _FAMILY.unpack_from(address)[0] == socket.AF_INET:
        _, port, packed = _SOCKADDR4.unpack_from(address)
        return Endpoint(IPv4Address(packed), int.from_bytes(port, "big"))
    _, port, packed, scope = _SOCKADDR6.unpack_from(address)
    return Endpoint(unmapped(IPv6Address(packed)), int.from_bytes(port, "big"), scope)


def to_local(local: IPAddress | None, family: int) -> bytes:
    """Our own address of a path for a socket of ``family``; empty for None."""
    if local is None:
        return b""
    if family == socket.AF_INET or len(local.packed) == 16:
        return local.packed
    return V4_MAPPED + local.packed


def _local(packed: bytes) -> IPAddress | None:
    return unmapped(ip_address(packed)) if packed else None


def _errno_name(number: int) -> str:
    return error_name(OSError(number, ""))


_REPORTS: dict[int, Callable[[Happened], Report]] = {
    CONTROL: lambda one: ControlReceived(one.path(), one.data),
    LINK_CLOSED: lambda one: LinkClosed(one.link, _ENDINGS[one.other](one.value)),
    3: lambda one: PeerFloated(one.peer, one.path()),
    4: lambda one: FloatConflict(one.peer, one.path(), PeerId(one.other)),
    5: lambda one: PeerExpired(one.peer),
    6: lambda one: PeerInactive(one.peer),
    7: lambda one: PeerExited(one.peer),
    8: lambda one: KeyWornOut(one.peer, KeyId(one.other)),
    9: lambda one: KeyConfirmed(one.peer, KeyId(one.other)),
    TUNNEL_LOST: lambda one: DeviceLost(f"{_errno_name(one.value)}: {os.strerror(one.value)}"),
}
_OF_PEERS = frozenset(range(3, 10))
