"""The outer sockets of the native worker: it reads them all, and writes connections alone.

A UDP link has a socket for each lane. Control packets to UDP peers are sent over the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Sequence

from ovpn6.datapath.errors import Counts, host_error
from ovpn6.datapath.fastpath.lanes import Lanes
from ovpn6.datapath.fastpath.report_queue import ReportQueue
from ovpn6.datapath.fastpath.reports import CONTROL, LINK_CLOSED
from ovpn6.datapath.fastpath.steering import open_beside
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.links import Link, Source
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.open_links import OpenLinks
from ovpn6.datapath.stream_link import longest_frame
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.names import LinkId
from ovpn6.model.specs import LinkSpec

RECEIVE_BUFFER = 4 << 20
"""Octets that wait in a UDP socket, where the operator says nothing: some trains of 64 KB."""

_SO_RCVBUFFORCE = 33


class FastpathLinks(OpenLinks[UdpLink | socket.socket]):
    """A UDP link or a connection's socket by its id."""

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        new_link_id: Callable[[], LinkId],
        lanes: Lanes,
        queue: ReportQueue,
        without: Collection[Offload],
    ) -> None:
        super().__init__(report, loop, counts, new_link_id)
        self._lanes = lanes
        self._queue = queue
        self._without = without
        self._beside: dict[LinkId, list[UdpLink]] = {}
        self.mtu = 0
        """Of the tunnel, octets; connections that are opened from now on take its data packets."""

    def broken(self, link: LinkId) -> bool:
        """The worker has left a connection; False when it was closed here before that was told."""
        sock = self._links.pop(link, None)
        if sock is None:
            return False
        self._lanes.worker.remove_link(link)
        self._queue.streams.pop(link, None)
        sock.close()
        return True

    def gather(self) -> None:
        """The worker uses each link's first socket only."""
        for beside in self._beside.values():
            for link in beside:
                link.close()
        self._beside.clear()

    def _take_udp(self, link: LinkId, sock: socket.socket, spec: LinkSpec) -> UdpLink:
        multihome = spec.options.multihome
        kind = MultihomeUdpLink if multihome else UdpLink
        opened = []
        for one in [sock, *self._open_beside(sock, spec)]:
            if not spec.options.rcvbuf:
                # Only root may go beyond the host's limit; without, the kernel's own size serves.
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            opened.append(kind(link, one, _received_elsewhere, self._counts, self._without))
        descriptors = [one.sock.fileno() for one in opened]
        try:
            self._lanes.worker.add_udp(link, descriptors, int(sock.family), multihome)
        except OSError as error:
            for each in opened:
                each.close()
            raise host_error("watch a UDP socket", error) from None
        first, *self._beside[link] = opened
        return first

    def _take_stream(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> socket.socket:
        self._queue.streams[link] = remote
        try:
            self._lanes.worker.add_stream(link, sock.fileno(), longest_frame(self.mtu))
        except OSError as error:
            del self._queue.streams[link]
            sock.close()
            raise host_error("watch a connection", error) from None
        return sock

    def _release(self, link: LinkId, opened: UdpLink | socket.socket) -> None:
        self._lanes.worker.remove_link(link)
        self._queue.forget(lambda one: one.link == link and one.kind in (CONTROL, LINK_CLOSED))
        self._queue.streams.pop(link, None)
        opened.close()
        for beside in self._beside.pop(link, []):
            beside.close()

    def _open_beside(self, first: socket.socket, spec: LinkSpec) -> list[socket.socket]:
        """A socket for each further lane."""
        if self._lanes.count > 1:
            try:
                return open_beside(first, spec, self._lanes.count)
            except HostError as error:
                self._lanes.gather(str(error))
        return []


def _received_elsewhere(
    link: Link, datagrams: Sequence[bytes], source: Source, traffic_class: int
) -> None:
    """The worker reads the sockets."""
    raise UsageError(f"link {link.link} is not read here")
