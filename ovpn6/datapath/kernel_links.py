"""The outer sockets of the kernel's data path: opened, listened to, closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ovpn6.datapath.errors import Counts
from ovpn6.datapath.kernel_tcp import KernelTcpLink
from ovpn6.datapath.links import Deliver, connect, listen, local_endpoint, open_socket
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.tcp_link import TcpListener
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import UsageError
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import LinkSpec

KernelLink = UdpLink | KernelTcpLink

MAX_CONTROL_PACKET = 4096
"""Longest packet taken from a TCP connection before the kernel has it. What another protocol's
first two bytes would mean as a length is longer (TLS: 0x1603)."""


class KernelLinks:
    """Every open link by its id."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Deliver,
        accepted: Callable[[LinkId, LinkId, Endpoint], None],
        broken: Callable[[LinkId, str], None],
        counts: Counts,
        new_link_id: Callable[[], LinkId],
    ) -> None:
        """``accepted``: listener, new link, remote end."""
        self._loop = loop
        self._deliver = deliver
        self._report_accepted = accepted
        self._report_broken = broken
        self._counts = counts
        self._new_link_id = new_link_id
        self._links: dict[LinkId, KernelLink] = {}
        self._listeners: dict[LinkId, TcpListener] = {}

    def find(self, link: LinkId) -> KernelLink | None:
        """None when it is closed, or a listener."""
        return self._links.get(link)

    async def open(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        """The local endpoint. Raises ``HostError``, ``UsageError``."""
        if link in self._links or link in self._listeners:
            raise UsageError(f"link {link} is open")
        sock = open_socket(spec)
        if spec.transport is Transport.UDP:
            kind = MultihomeUdpLink if spec.options.multihome else UdpLink
            opened = kind(link, sock, self._deliver, self._counts, (Offload.GRO,))
            self._links[link] = opened
            self._loop.add_reader(sock, opened.readable)
        elif spec.remote is None:
            listen(sock)
            listener = TcpListener(link, sock, self._accepted, self._counts, self._loop)
            self._listeners[link] = listener
            self._loop.add_reader(sock, listener.readable)
        else:
            await connect(sock, spec)
            self._open_tcp(link, sock, spec.remote)
        return local_endpoint(sock)

    def close(self, link: LinkId) -> None:
        """The kernel removes the peers of a socket that is closed."""
        listener = self._listeners.pop(link, None)
        if listener is not None:
            self._loop.remove_reader(listener.sock)
            listener.close()
        opened = self._links.pop(link, None)
        if opened is not None:
            self._loop.remove_reader(opened.sock)
            opened.close()

    def close_all(self) -> None:
        """Each of them."""
        for link in [*self._links, *self._listeners]:
            self.close(link)

    def _open_tcp(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> None:
        opened = KernelTcpLink(
            link,
            sock,
            remote,
            self._deliver,
            self._counts,
            self._broken,
            MAX_CONTROL_PACKET,
            self._loop,
        )
        self._links[link] = opened
        self._loop.add_reader(sock, opened.readable)

    def _accepted(self, listener: LinkId, sock: socket.socket, remote: Endpoint) -> None:
        link = self._new_link_id()
        self._open_tcp(link, sock, remote)
        self._report_accepted(listener, link, remote)

    def _broken(self, link: KernelTcpLink, reason: str) -> None:
        self._links.pop(link.link, None)
        self._report_broken(link.link, reason)
