"""The outer sockets of the kernel's data path, which leaves control packets in them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ovpn6.datapath.errors import Counts
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.kernel_tcp import KernelTcpLink
from ovpn6.datapath.links import Deliver
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.open_links import OpenLinks
from ovpn6.datapath.stream_link import MAX_CONTROL_PACKET, Owner
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import LinkId
from ovpn6.model.specs import LinkSpec


class KernelLinks(OpenLinks[UdpLink | KernelTcpLink]):
    """Each is read for control packets. The kernel removes the peers of one that is closed."""

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        new_link_id: Callable[[], LinkId],
        deliver: Deliver,
        broken: Callable[[LinkId, str], None],
    ) -> None:
        """``broken`` is told of connections that are known no more."""
        super().__init__(report, loop, counts, new_link_id)
        self._deliver = deliver
        self._report_broken = broken
        self._owner = Owner(deliver, self._broken, counts, loop)

    def _take_udp(self, link: LinkId, sock: socket.socket, spec: LinkSpec) -> UdpLink:
        kind = MultihomeUdpLink if spec.options.multihome else UdpLink
        opened = kind(link, sock, self._deliver, self._counts, (Offload.GRO,))
        self._loop.add_reader(sock, opened.readable)
        return opened

    def _take_stream(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> KernelTcpLink:
        opened = KernelTcpLink(link, sock, remote, self._owner, MAX_CONTROL_PACKET)
        self._loop.add_reader(sock, opened.readable)
        return opened

    def _release(self, link: LinkId, opened: UdpLink | KernelTcpLink) -> None:
        self._loop.remove_reader(opened.sock)
        opened.close()

    def _broken(self, link: LinkId, reason: str) -> None:
        self._links.pop(link, None)
        self._report_broken(link, reason)
