"""The outer sockets of a data path: opened, listened to, found by their ids, closed.

What becomes of a socket that is open, and who reads it, each data path says for itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, TypeVar

from ovpn6.datapath.errors import Counts
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.links import connect, listen, local_endpoint, open_socket
from ovpn6.datapath.tcp_link import TcpListener
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import LinkAccepted
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import LinkSpec

Opened = TypeVar("Opened")
"""What a data path makes of a UDP socket or a TCP connection."""


class OpenLinks(Generic[Opened]):
    """Every open link and every TCP listener by its id."""

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        new_link_id: Callable[[], LinkId],
    ) -> None:
        """``new_link_id`` gives the ids of accepted connections."""
        self._report = report
        self._loop = loop
        self._counts = counts
        self._new_link_id = new_link_id
        self._links: dict[LinkId, Opened] = {}
        self._listeners: dict[LinkId, TcpListener] = {}

    def find(self, link: LinkId) -> Opened | None:
        """None when it is closed, or a listener."""
        return self._links.get(link)

    async def open(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        """The local endpoint. Raises ``HostError``, ``UsageError``."""
        if link in self._links or link in self._listeners:
            raise UsageError(f"link {link} is open")
        sock = open_socket(spec)
        if spec.transport is Transport.UDP:
            self._links[link] = self._take_udp(link, sock, spec)
        elif spec.remote is None:
            listen(sock)
            listener = TcpListener(link, sock, self._accepted, self._counts, self._loop)
            self._listeners[link] = listener
            self._loop.add_reader(sock, listener.readable)
        else:
            await connect(sock, spec)
            self._links[link] = self._take_stream(link, sock, spec.remote)
        return local_endpoint(sock)

    def close(self, link: LinkId) -> None:
        """Nothing happens when it is closed; what a listener has accepted stays."""
        listener = self._listeners.pop(link, None)
        if listener is not None:
            self._loop.remove_reader(listener.sock)
            listener.close()
        opened = self._links.pop(link, None)
        if opened is not None:
            self._release(link, opened)

    def close_all(self) -> None:
        """Each of them."""
        for link in [*self._links, *self._listeners]:
            self.close(link)

    def _accepted(self, listener: LinkId, sock: socket.socket, remote: Endpoint) -> None:
        link = self._new_link_id()
        self._links[link] = self._take_stream(link, sock, remote)
        self._report(LinkAccepted(listener, link, remote))

    def _take_udp(self, link: LinkId, sock: socket.socket, spec: LinkSpec) -> Opened:
        """A bound socket. Raises ``HostError``; closes it then."""
        raise NotImplementedError

    def _take_stream(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> Opened:
        """A connection, which is established. Raises ``HostError``; closes it then."""
        raise NotImplementedError

    def _release(self, link: LinkId, opened: Opened) -> None:
        """Close it; it is known no more."""
        raise NotImplementedError
