"""The outer sockets of the data path in Python, which reads them on the daemon's event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

from ovpn6.datapath.errors import Counts
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.open_links import OpenLinks
from ovpn6.datapath.peers import PeerTable
from ovpn6.datapath.stream_link import Owner, longest_frame
from ovpn6.datapath.tcp_link import TcpLink
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.datapath.worker import Worker
from ovpn6.model.addresses import Endpoint
from ovpn6.model.flow import LinkClosed
from ovpn6.model.names import LinkId
from ovpn6.model.specs import LinkSpec


class UserspaceLinks(OpenLinks[UdpLink | TcpLink]):
    """Each is read to the worker."""

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        new_link_id: Callable[[], LinkId],
        worker: Worker,
        peers: PeerTable,
        without: Collection[Offload],
    ) -> None:
        super().__init__(report, loop, counts, new_link_id)
        self._worker = worker
        self._peers = peers
        self._without = without
        self._owner = Owner(worker.received, self._broken, counts, loop)
        self.mtu = 0
        """Of the tunnel, octets; connections that are opened from now on take its data packets."""

    def _take_udp(self, link: LinkId, sock: socket.socket, spec: LinkSpec) -> UdpLink:
        kind = MultihomeUdpLink if spec.options.multihome else UdpLink
        opened = kind(link, sock, self._worker.received, self._counts, self._without)
        self._loop.add_reader(sock, self._readable, opened)
        return opened

    def _take_stream(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> TcpLink:
        opened = TcpLink(link, sock, remote, self._owner, longest_frame(self.mtu))
        self._loop.add_reader(sock, self._readable, opened)
        return opened

    def _release(self, link: LinkId, opened: UdpLink | TcpLink) -> None:
        self._peers.unlink(opened)
        self._loop.remove_reader(opened.sock)
        opened.close()

    def _readable(self, link: UdpLink | TcpLink) -> None:
        link.readable()
        self._worker.flush()

    def _broken(self, link: LinkId, reason: str) -> None:
        broken = self._links.pop(link, None)
        if broken is not None:
            self._peers.unlink(broken)
        self._report(LinkClosed(link, reason))
