"""Two user-space data paths in this process, each with a real TUN device in a namespace of its own.

    namespace a: tun0 2001:db8:a::1, 192.0.2.1  ==  namespace b: tun0 2001:db8:a::2, 192.0.2.2

The outer sockets stay on loopback in the test's own namespace.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

from ovpn6.datapath.fastpath.datapath import FastpathDatapath
from ovpn6.datapath.interface import Datapath, Report, ReportSink
from ovpn6.datapath.userspace import UserspaceDatapath, UserspaceOptions
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.lab.waiting import wait_for
from ovpn6.model.addresses import Path
from ovpn6.model.flow import LinkAccepted
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DeviceSpec, KeyMaterial, LinkSpec, PeerSpec

LIMIT = 20.0
EVERYTHING = (ip_network("::/0"), ip_network("0.0.0.0/0"))
PEER = PeerId(5)


def in_python(
    report: ReportSink, loop: asyncio.AbstractEventLoop, options: UserspaceOptions | None = None
) -> Datapath:
    return UserspaceDatapath(
        report, loop, os.urandom, options or UserspaceOptions(), lambda: LinkId(9)
    )


def natively(
    report: ReportSink, loop: asyncio.AbstractEventLoop, options: UserspaceOptions | None = None
) -> Datapath:
    return FastpathDatapath(report, loop, options or UserspaceOptions(), lambda: LinkId(9))


class Ends:
    """Two data paths in this process and the namespaces of their devices."""

    def __init__(
        self, lab: Lab, make: Callable[[ReportSink, asyncio.AbstractEventLoop], Datapath]
    ) -> None:
        self.make = make
        self.loop = asyncio.new_event_loop()
        self.namespaces = [lab.namespace(name) for name in ("a", "b")]
        self.reports: list[list[Report]] = [[], []]
        self.paths = [make(reports.append, self.loop) for reports in self.reports]
        for number, (path, namespace) in enumerate(zip(self.paths, self.namespaces, strict=True)):
            name = path.open_device(DeviceSpec(netns=namespace.full_name, txqueuelen=321), 1420)
            assert name == "tun0"
            namespace.add_address(name, f"2001:db8:a::{number + 1}/64")
            namespace.add_address(name, f"192.0.2.{number + 1}/24")
            namespace.set_up(name, mtu=1420)
            # Before that the kernel sends from the link-local address, which no peer has.
            wait_for(
                lambda there=namespace: (
                    not there.run(("ip", "address", "show", "tentative")).stdout
                ),
                LIMIT,
                "addresses in use",
            )

    def join(self, transport: Transport) -> None:
        """Open links, make each end the other's peer."""
        loopback = IPv6Address("::1")
        first, second = self.paths
        bound = LinkSpec(transport, local_address=loopback)
        at = self.loop.run_until_complete(first.open_link(LinkId(1), bound))
        spec = LinkSpec(transport, local_address=loopback, remote=at)
        other = self.loop.run_until_complete(second.open_link(LinkId(1), spec))
        link = LinkId(1)
        if transport is Transport.TCP:
            self.until(lambda: LinkAccepted(link, LinkId(9), other) in self.reports[0])
            link = LinkId(9)
        self.know_each_other(Path(link, other), Path(LinkId(1), at))

    def know_each_other(self, first: Path, second: Path, *, copy_ecn: bool = False) -> None:
        """Each end gets the other as its peer, and keys: where the first and where the second
        sends to."""
        for path, target in zip(self.paths, (first, second), strict=True):
            path.add_peer(PeerSpec(PEER, PEER, target, EVERYTHING, copy_ecn=copy_ecn))
        keys = [SecretBytes(bytes([7 + i]) * 32) for i in (0, 1)]
        ivs = [SecretBytes(bytes([17 + i]) * 8) for i in (0, 1)]
        for end, path in enumerate(self.paths):
            key = KeyMaterial(
                KeyId(0), "AES-256-GCM", keys[end], ivs[end], keys[1 - end], ivs[1 - end]
            )
            path.install_key(PEER, KeySlot.PRIMARY, key)

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until the condition holds, within the limit."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(asyncio.wait_for(wait(), LIMIT))

    def run(self, namespace: Namespace, *words: str) -> str:
        """A program in a namespace while the loop runs; its output when it succeeded."""
        job = asyncio.to_thread(namespace.run, words, check=False, limit=LIMIT)
        done = self.loop.run_until_complete(job)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return str(done.stdout)

    def close(self) -> None:
        for path in self.paths:
            path.close()
        self.loop.close()
