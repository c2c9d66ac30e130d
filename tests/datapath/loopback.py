"""Two user-space data paths over loopback sockets; a socket pair stands for each TUN device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from ovpn6.datapath.interface import Datapath, Report, ReportSink
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.userspace import UserspaceDatapath, UserspaceOptions
from ovpn6.model.addresses import Endpoint, IPAddress
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec
from tests.datapath.contract import CLIENT

LIMIT = 10.0
"""Seconds that anything here may take."""
LOOPBACK6, LOOPBACK4 = IPv6Address("::1"), IPv4Address("127.0.0.1")

OpenDevice = Callable[[DeviceSpec, bool], tuple[int, str]]
Make = Callable[[ReportSink, asyncio.AbstractEventLoop, Callable[[], LinkId], OpenDevice], Datapath]
"""Makes one end."""


def in_python(
    report: ReportSink,
    loop: asyncio.AbstractEventLoop,
    new_link_id: Callable[[], LinkId],
    opener: OpenDevice,
) -> Datapath:
    """The reference."""
    return UserspaceDatapath(report, loop, os.urandom, UserspaceOptions(), new_link_id, opener)


def natively(*without: Offload, single: bool = False, workers: int = 1) -> Make:
    """The worker in C, where it is built, with a thread for each direction or a ``single`` one.
    Of several ``workers`` there is one where the kernel has nothing to steer with."""
    # What the build may have left out.
    from ovpn6.datapath.fastpath.datapath import FastpathDatapath

    def make(
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        new_link_id: Callable[[], LinkId],
        opener: OpenDevice,
    ) -> Datapath:
        def open_queues(
            spec: DeviceSpec, vnet: bool, count: int, program: int
        ) -> tuple[tuple[int, ...], str]:
            return tuple(opener(spec, vnet)[0] for _ in range(count)), spec.name

        options = UserspaceOptions(without=frozenset(without), workers=workers)
        return FastpathDatapath(
            report, loop, options, new_link_id, opener, open_queues=open_queues, single=single
        )

    return make


class LoopbackRig:
    """Two data paths on one event loop."""

    def __init__(self, make: Make, outer: IPAddress = LOOPBACK6) -> None:
        self.loop = asyncio.new_event_loop()
        self.outer = outer
        self.reports: tuple[list[Report], list[Report]] = ([], [])
        self.queues: list[list[socket.socket]] = []
        self.inner: tuple[list[bytes], list[bytes]] = ([], [])
        ids = iter(range(100, 200))
        self.ends = [
            make(reports.append, self.loop, lambda: LinkId(next(ids)), self._open_device)
            for reports in self.reports
        ]
        self.datapaths: tuple[Datapath, Datapath] = (self.ends[0], self.ends[1])
        for end in self.ends:
            self.queues.append([])
            end.open_device(DeviceSpec("tun7"), 1420)
        self.locals = [self.open_link(end, 1) for end in (0, 1)]

    def _open_device(self, spec: DeviceSpec, vnet: bool) -> tuple[int, str]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(False)
        self.queues[-1].append(theirs)
        return ours.detach(), spec.name

    def open(self, end: int, link: int, spec: LinkSpec) -> Endpoint:
        return self.loop.run_until_complete(self.ends[end].open_link(LinkId(link), spec))

    def open_link(self, end: int, link: int) -> Endpoint:
        return self.open(end, link, LinkSpec(Transport.UDP, local_address=self.outer))

    def local(self, end: int) -> Endpoint:
        return self.locals[end]

    def enter(self, end: int, packet: bytes) -> None:
        """Into the queue of the tests' peers, whose ids are the same modulo 2 and 4."""
        queues = self.queues[end]
        while True:
            try:
                queues[CLIENT % len(queues)].send(packet)
            except BlockingIOError:
                self.loop.run_until_complete(asyncio.sleep(0))
            else:
                return

    def delivered(self, end: int) -> list[bytes]:
        for queue in self.queues[end]:
            with contextlib.suppress(BlockingIOError):
                while packet := queue.recv(65_535):
                    self.inner[end].append(packet)
        return self.inner[end]

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, [path.drops().counts for path in self.ends]
            self.loop.run_until_complete(asyncio.sleep(0.001))
        # What was told before the condition held may still be on its way from a thread.
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        for path in self.ends:
            path.close()
        for queue in itertools.chain(*self.queues):
            queue.close()
        self.loop.close()
