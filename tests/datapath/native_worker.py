"""The native worker alone: a socket pair for its tunnel, a plain UDP socket for its peer.

Peer 5 of the worker (end 0 of ``key_pair``) has everything; whoever has the plain socket is end 1.
With several lanes there are a socket pair and a socket of the same port for each.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv6Address

import pytest

from ovpn6.datapath.fastpath.reports import to_sockaddr
from ovpn6.datapath.fastpath.steering import open_beside
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.udp_link import UDP_GRO, UDP_SEGMENT
from ovpn6.model.names import Transport
from ovpn6.model.specs import DataFormat, KeyMaterial, LinkSpec
from ovpn6.protocol.data_channel import ReceiveKey, ReplayWindow, SendKey
from tests.datapath.packets import key_pair

LIMIT = 10.0
"""Seconds that anything here may take."""
PEER = 5
LINK = 1
CONFIRMED, WORN_OUT = 9, 8
NO_LIMIT = (1 << 64) - 1
HERE = IPv6Address("::1")


class Alone:
    """One worker with one link, one peer and a primary key. ``inside`` is the far end of the pair
    of the peer's lane, ``queues`` has those of all."""

    def __init__(
        self,
        *,
        vnet: bool = True,
        window: tuple[int, int] = (64, 15),
        usage: int = NO_LIMIT,
        provider: str = "",
        flow_secret: bytes = b"",
        single: bool = False,
        lanes: int = 1,
    ) -> None:
        fastpath = pytest.importorskip("ovpn6.datapath.fastpath._fastpath")
        self.worker = fastpath.Worker(
            window[0],
            window[1] * 1000,
            provider,
            flow_secret=flow_secret,
            single=single,
            lanes=lanes,
        )
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(lanes)]
        self.queues, self.ours = zip(*pairs, strict=True)
        self.inside = self.queues[PEER % lanes]
        self.link, self.outside = (socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in "12")
        for sock in (self.link, self.outside):
            sock.bind(("::1", 0))
        self.links = [self.link]
        if lanes > 1:
            self.links += open_beside(self.link, LinkSpec(Transport.UDP, local_address=HERE), lanes)
        for sock in (*self.links, self.outside):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for sock in (*self.queues, *self.ours, *self.links, self.outside):
            sock.setblocking(False)
        for sock in self.links:
            sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        self.sockets = [sock.fileno() for sock in self.links]
        self.tunnels = [sock.fileno() for sock in self.ours]
        self.worker.add_udp(LINK, self.sockets, socket.AF_INET6, False)
        self.worker.add_peer(PEER)
        self.worker.set_peer(PEER, PEER, 0, 0, 0, True, 0, 0, True)
        for size in (4, 16):
            self.worker.set_route(bytes(size), 0, PEER)
        self.there = to_sockaddr(to_endpoint(self.outside.getsockname()), socket.AF_INET6)
        self.worker.place_peer(PEER, LINK, self.there, b"")
        self.install(key_pair(0), usage)
        self.worker.set_tunnel(self.tunnels, vnet, True)
        self.sender = SendKey(key_pair(1), PEER)
        self.receiver = ReceiveKey(key_pair(1), ReplayWindow(0))

    def install(
        self, key: KeyMaterial, usage: int = NO_LIMIT, slot: int = 0, peer: int = PEER
    ) -> None:
        """A key into a slot."""
        self.worker.install_key(
            peer,
            slot,
            key.key_id,
            key.cipher,
            key.data_format is DataFormat.EPOCH,
            usage,
            1 << 36,
            key.send_key.reveal(),
            key.send_iv.reveal(),
            key.receive_key.reveal(),
            key.receive_iv.reveal(),
        )

    def send(self, datagrams: Sequence[bytes], traffic_class: int = 0) -> None:
        """To the worker; datagrams of one size as one train, which arrives as one."""
        ancillary = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(datagrams[0])))]
        if traffic_class:
            tclass = struct.pack("=i", traffic_class)
            ancillary.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tclass))
        self.outside.sendmsg(datagrams, ancillary, 0, self.link.getsockname())

    def until(self, condition: Callable[[], bool], *sockets: socket.socket) -> None:
        """Wait for a condition, looking when one of the sockets is readable and now and then."""
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, (self.worker.drops(), self.worker.errors())
            select.select(sockets, (), (), 0.005)

    def written(self, count: int) -> list[bytes]:
        """What the worker wrote into the tunnel: so many writes."""
        return self._take(self.inside, count)

    def sealed(self, count: int) -> list[bytes]:
        """What it sent: so many datagrams."""
        return self._take(self.outside, count)

    def opened(self, count: int) -> list[bytes]:
        """The same, opened by the reference."""
        return [self.receiver.open(datagram) for datagram in self.sealed(count)]

    def reports(self, kind: int) -> list[tuple[object, ...]]:
        """Of one kind, taken from the queue with all others."""
        return [report for report in self.worker.reports() if report[0] == kind]

    def close(self) -> None:
        self.worker.close()
        for sock in (*self.queues, *self.ours, *self.links, self.outside):
            sock.close()

    def _take(self, sock: socket.socket, count: int) -> list[bytes]:
        taken: list[bytes] = []

        def enough() -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    taken.append(sock.recv(1 << 17))
            return len(taken) >= count

        self.until(enough, sock)
        return taken


@contextmanager
def alone(**settings: object) -> Iterator[Alone]:
    """An ``Alone`` that is closed afterwards."""
    made = Alone(**settings)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
