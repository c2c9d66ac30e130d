"""Two kernel data paths in one process, each device in a namespace of its own, by either module.

    namespace s: tun0 2001:db8::1, 192.0.2.1  ==  namespace c: tun0 2001:db8::5, 192.0.2.5

The outer sockets stay on loopback in the test's own namespace, so every notification crosses
namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from ipaddress import IPv6Address

from ovpn6.datapath.interface import Report
from ovpn6.datapath.kernel import KernelDatapath
from ovpn6.datapath.kernel_open import open_kernel
from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.messages import FAMILY
from ovpn6.datapath.tun import in_netns
from ovpn6.lab.network import Lab
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec
from ovpn6.netlink.conversation import GENERIC, Conversation

LIMIT = 20.0
STEP = 0.005
ROUTE_PROTOCOL = 54
LOOPBACK = IPv6Address("::1")
ADDRESSES = (("2001:db8::1/64", "192.0.2.1/24"), ("2001:db8::5/64", "192.0.2.5/24"))
EVERYTHING = ("::/0", "0.0.0.0/0")
ETH_P_ALL = 3
PACKET_OUTGOING = 4


class KernelRig:
    """A :class:`tests.datapath.contract.Rig`. ``many_peers`` tells each end's kind of device,
    ``name`` the module."""

    def __init__(
        self,
        transport: Transport = Transport.UDP,
        many_peers: tuple[bool, bool] = (True, False),
        name: str = FAMILY,
    ) -> None:
        self.lab = Lab()
        self.lab.__enter__()
        self.loop = asyncio.new_event_loop()
        self.transport = transport
        self.namespaces = [self.lab.namespace(name) for name in ("s", "c")]
        self.reports: tuple[list[Report], list[Report]] = ([], [])
        links = iter(range(1000, 2000))
        self.datapaths = tuple(
            KernelDatapath(
                reports.append,
                self.loop,
                lambda spec, many=many: open_kernel(  # type: ignore[misc]
                    spec, many_peers=many, route_protocol=ROUTE_PROTOCOL, name=name
                ),
                lambda: LinkId(next(links)),
                many_peers=many,
                name=name,
            )
            for reports, many in zip(self.reports, many_peers, strict=True)
        )
        self._taps: dict[int, socket.socket] = {}
        self._sources: dict[int, dict[int, socket.socket]] = {}
        self._delivered: tuple[list[bytes], list[bytes]] = ([], [])
        self._locals: dict[tuple[int, int], Endpoint] = {}
        for end in (0, 1):
            self.open_device(end)
        if transport is Transport.UDP:
            for end in (0, 1):
                self.open_link(end, 1)

    def open_device(self, end: int) -> None:
        """The device of one end, up, with its addresses and what looks into it."""
        namespace = self.namespaces[end]
        name = self.datapaths[end].open_device(DeviceSpec(netns=namespace.full_name), 1420)
        namespace.set_up(name, mtu=1416)
        for address in ADDRESSES[end]:
            namespace.add_address(name, address)
        if end == 1:
            for network in EVERYTHING:
                namespace.run(["ip", "route", "add", network, "dev", name])
        tap, sources = in_netns(namespace.full_name, lambda: _open_ends(name))
        self._taps[end], self._sources[end] = tap, sources

    def open_link(self, end: int, link: int) -> Endpoint:
        spec = LinkSpec(Transport.UDP, local_address=LOOPBACK)
        opened = self.datapaths[end].open_link(LinkId(link), spec)
        local = self.loop.run_until_complete(opened)
        self._locals[end, link] = local
        return local

    def local(self, end: int) -> Endpoint:
        return self._locals[end, 1]

    def enter(self, end: int, packet: bytes) -> None:
        version = packet[0] >> 4
        source = self._sources[end][version]
        if version == 6:
            address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
            source.sendto(packet, (address, 0, 0, 0))
        else:
            source.sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))

    def delivered(self, end: int) -> list[bytes]:
        """The kernel fills in IPv4 checksums and ids; here they are zero again. What it says of
        its own (neighbours, ICMP) does not count."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, address = self._taps[end].recvfrom(65535)
                if address[2] != PACKET_OUTGOING and not _is_kernels_own(packet):
                    self._delivered[end].append(_plain(packet))
        return self._delivered[end]

    def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(STEP)

        self.loop.run_until_complete(asyncio.wait_for(wait(), LIMIT))

    def settle(self, seconds: float = 0.3) -> None:
        """Time in which something that must not happen would have happened."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def run(self, end: int, *words: str) -> str:
        """A program in an end's namespace while the loop runs; its output when it succeeded."""
        job = asyncio.to_thread(self.namespaces[end].run, words, check=False, limit=60.0)
        done = self.loop.run_until_complete(job)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return str(done.stdout)

    def close(self) -> None:
        for path in self.datapaths:
            path.close()
        for opened in (
            *self._taps.values(),
            *(s for found in self._sources.values() for s in found.values()),
        ):
            opened.close()
        self.loop.close()
        leftover = [device for name in self.namespaces for device in name.tunnels()]
        self.lab.__exit__(None, None, None)
        assert leftover == []


def device_of(namespace: str, name: str, module: str = FAMILY) -> OvpnDevice:
    """Another conversation about a device."""

    def find() -> OvpnDevice:
        conversation = Conversation(GENERIC)
        family = find_family(conversation, module)
        assert family is not None
        return OvpnDevice(conversation, family, socket.if_nametoindex(name))

    return in_netns(namespace, find)


def _open_ends(name: str) -> tuple[socket.socket, dict[int, socket.socket]]:
    tap = socket.socket(
        socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL)
    )
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    tap.bind((name, ETH_P_ALL))
    raw = socket.IPPROTO_RAW
    return tap, {
        4: socket.socket(socket.AF_INET, socket.SOCK_RAW, raw),
        6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, raw),
    }


def _is_kernels_own(packet: bytes) -> bool:
    """ICMP, ICMPv6 and hop-by-hop options (listener reports)."""
    protocol = packet[6] if packet[0] >> 4 == 6 else packet[9]
    return protocol in (0, 1, 2, 58)


def _plain(packet: bytes) -> bytes:
    if packet[0] >> 4 == 6:
        return packet
    return packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
