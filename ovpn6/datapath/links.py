"""What the worker knows of an outer socket, and how sockets are opened.

A *source* is where a datagram came from and where an answer goes: opaque to the worker, hashable,
made and read by the link alone. For a TCP connection it is always None.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.sockaddr import (
    IP_PKTINFO,
    IPV6_RECVPKTINFO,
    to_endpoint,
    to_sockaddr,
)
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.names import Family, LinkId, Transport
from ovpn6.model.specs import FlowLabel, LinkSpec, SocketOptions

LISTEN_BACKLOG = 128
IPV6_AUTOFLOWLABEL = 70

Source = Hashable
Deliver = Callable[["Link", Sequence[bytes], Source, int], None]
"""Takes the datagrams of one link, source and traffic class (0 over TCP), in order."""


class Link(Protocol):
    """One UDP socket or TCP connection, as senders see it."""

    link: LinkId
    can_float: bool
    """Peers may move to and from it (UDP)."""

    def send(
        self,
        datagrams: Sequence[bytes],
        source: Source,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        """Send in order. What the kernel does not take is dropped and counted.

        ``flow_label`` 0 leaves it to the kernel. Over TCP both are the connection's own.
        """

    def send_probe(self, datagram: bytes, source: Source) -> None:
        """As :meth:`~ovpn6.datapath.interface.Datapath.send_probe`."""

    def source(self, path: Path) -> Source:
        """The source that stands for a path on this link. Raises ``UsageError``."""

    def path(self, source: Source) -> Path:
        """The path that a source stands for."""

    def holder(self, source: Source) -> Hashable:
        """The part of a source that names the remote end alone, unique over all links."""

    def close(self) -> None:
        """Close the socket."""


def open_socket(spec: LinkSpec, *, shared: bool = False) -> socket.socket:
    """A bound, non-blocking socket as ``spec`` asks, not yet connected or listening.

    ``shared``: beside others of this process that say so too. Raises ``HostError``.
    """
    family = socket_family(spec)
    kind = socket.SOCK_DGRAM if spec.transport is Transport.UDP else socket.SOCK_STREAM
    what = f"open {spec.transport.value} socket"
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise host_error(what, error) from None
    try:
        if family == socket.AF_INET6:
            only = spec.options.ipv6_only
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
            if spec.options.flow_label is FlowLabel.OFF:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0)
        _set_options(sock, spec.options, family)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            if spec.remote is None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # We write whole packets; waiting for more bytes only adds delay.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        what = _bind(sock, spec, family) or what
    except OSError as error:
        sock.close()
        where = f"{spec.local_address or '*'} port {spec.local_port}"
        raise host_error(f"{what} ({where})", error) from None
    return sock


async def connect(sock: socket.socket, spec: LinkSpec) -> None:
    """Connect a TCP socket within ``connect_timeout``. Raises ``HostError``; closes it then."""
    assert spec.remote is not None
    what = f"connect to {spec.remote}"
    try:
        async with asyncio.timeout(spec.connect_timeout or None):
            await asyncio.get_running_loop().sock_connect(
                sock, to_sockaddr(spec.remote, sock.family)
            )
    except TimeoutError:
        sock.close()
        raise HostError(what, "timed out", errno.ETIMEDOUT) from None
    except OSError as error:
        sock.close()
        raise host_error(what, error) from None
    except asyncio.CancelledError:
        sock.close()
        raise


def listen(sock: socket.socket) -> None:
    """Make a bound TCP socket listen. Raises ``HostError``; closes it then."""
    try:
        sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        sock.close()
        raise host_error("listen", error) from None


def no_probes() -> HostError:
    """What a stream says to a probe: its segments are the kernel's own affair."""
    return HostError("send a probe", "not over TCP", errno.EOPNOTSUPP)


def local_endpoint(sock: socket.socket) -> Endpoint:
    """Where a socket is bound."""
    return to_endpoint(sock.getsockname())


def socket_family(spec: LinkSpec) -> int:
    """The family of the addresses given; without any, IPv6 for both unless only IPv4 is asked."""
    for address in (spec.local_address, spec.remote.address if spec.remote else None):
        if address is not None:
            return socket.AF_INET if address.version == 4 else socket.AF_INET6
    if spec.family is Family.IPV4:
        return socket.AF_INET
    if spec.family is Family.ANY and not _has_ipv6():
        return socket.AF_INET
    return socket.AF_INET6


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM):
        return True
    return False


def _set_options(sock: socket.socket, options: SocketOptions, family: int) -> None:
    if options.sndbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.sndbuf)
    if options.rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.rcvbuf)
    if options.mark is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, options.mark)
    if options.bind_device:
        device = os.fsencode(options.bind_device) + b"\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    if options.multihome and sock.type == socket.SOCK_DGRAM:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def _bind(sock: socket.socket, spec: LinkSpec, family: int) -> str:
    if spec.local_address is None and spec.local_port == 0 and spec.remote is not None:
        if spec.transport is Transport.TCP:
            return ""
        # An explicit bind to any, so that the port stays the same for the link's life.
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        return "bind"
    if spec.local_address is None:
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", spec.local_port))
    else:
        sock.bind(to_sockaddr(Endpoint(spec.local_address, spec.local_port), family))
    return "bind"
