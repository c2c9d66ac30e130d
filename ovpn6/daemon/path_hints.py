"""Listens for what routers say of our datagrams: hints for the discovery of path MTUs.

The copies come from packet sockets; the kernel itself is kept from believing any of it
(:mod:`ovpn6.netconf.port_guard`), since everybody can send such a thing. What does not name one of
our sockets is dropped in the kernel; of the rest a few a second are read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ovpn6.datapath.too_big import TooBig, decode_too_big, filter_ipv4, filter_ipv6
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import PacketTooBig
from ovpn6.model.names import LinkId
from ovpn6.model.records import dataclass
from ovpn6.netlink.socket_filter import attach_filter

PER_SECOND = 50
"""Hints read; the rest waits, or is lost."""
QUOTED = 64
"""Octets of the payload that are passed on."""

_PROTOCOLS = ((0x86DD, filter_ipv6), (0x0800, filter_ipv4))
"""``ETH_P_IPV6``, ``ETH_P_IP``."""
_LONGEST = 2048
_WAITING = 32_768
"""Octets of receive buffer."""


@dataclass(frozen=True, slots=True)
class _Ours:
    """A UDP socket of ours. ``multihome``: paths over it name our address."""

    local: Endpoint
    multihome: bool


class PathHints:
    """From its construction to :meth:`close`. Needs CAP_NET_RAW once, then nothing."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[PacketTooBig], None],
        guard: Callable[[frozenset[int]], None],
    ) -> None:
        """``guard`` is told of our ports whenever they change. Raises ``HostError``."""
        self._loop = loop
        self._report = report
        self._guard = guard
        self._links: dict[LinkId, _Ours] = {}
        self._left = PER_SECOND
        self._timer: asyncio.TimerHandle | None = None
        self._sockets: list[socket.socket] = []
        try:
            for protocol, _ in _PROTOCOLS:
                self._sockets.append(_open(protocol))
        except OSError as error:
            self.close()
            operation = "listen for what routers say of our packets"
            raise HostError(operation, error.strerror or "", error.errno or 0) from None
        for sock in self._sockets:
            loop.add_reader(sock, self._readable, sock)

    def opened(self, link: LinkId, local: Endpoint, *, multihome: bool) -> None:
        """A UDP socket of ours is bound here."""
        self._links[link] = _Ours(local, multihome)
        self._ports_changed()

    def closed(self, link: LinkId) -> None:
        """It is not any more; nothing happens for another kind of socket."""
        if self._links.pop(link, None) is not None:
            self._ports_changed()

    def close(self) -> None:
        """May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _ports_changed(self) -> None:
        ports = frozenset(ours.local.port for ours in self._links.values())
        for sock, (_, make) in zip(self._sockets, _PROTOCOLS, strict=False):
            attach_filter(sock, make(ports))
        self._guard(ports)

    def _readable(self, sock: socket.socket) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(1.0, self._second)
        while self._left > 0:
            try:
                packet, address = sock.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # an interface went down
                return
            self._left -= 1
            found = decode_too_big(packet)
            if found is not None:
                self._tell(found, address[0])
        for one in self._sockets:
            self._loop.remove_reader(one)

    def _second(self) -> None:
        self._timer = None
        if self._left <= 0:
            for sock in self._sockets:
                self._loop.add_reader(sock, self._readable, sock)
        self._left = PER_SECOND

    def _tell(self, found: TooBig, interface: str) -> None:
        remote = found.destination
        if remote.address.is_link_local:
            remote = Endpoint(remote.address, remote.port, _index(interface))
        for link, ours in self._links.items():
            if ours.local.port != found.source.port:
                continue
            if ours.local.address.is_unspecified or ours.local.address == found.source.address:
                local = found.source.address if ours.multihome else None
                path = Path(link, remote, local)
                self._report(PacketTooBig(path, found.size, found.quoted[:QUOTED]))


def _open(protocol: int) -> socket.socket:
    """With a filter that lets nothing in, and nothing waiting."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(protocol))
    try:
        attach_filter(sock, filter_ipv6(()))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING)
        while True:
            sock.recv(1)
    except BlockingIOError:
        return sock
    except OSError:
        sock.close()
        raise


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0
