"""The data path in the kernel: its module moves data packets, we drive it by netlink.

The module is Linux' own (``ovpn``) or ours (``ovpn6``).

The kernel takes data packets out of our own sockets and leaves every other packet in them. What it
tells (a peer is gone, has moved, a key is used up) goes to everybody in the sockets' network
namespace and names a device of another; so it is taken as a hint, and the peer itself is read.
Messages may be lost, and older kernels do not tell of moves: peers are also read in turn.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence

from ovpn6.datapath.errors import Counts, count
from ovpn6.datapath.interface import Capabilities, Drops, ReportSink
from ovpn6.datapath.kernel_keepalive import KernelKeepalive
from ovpn6.datapath.kernel_links import KernelLinks
from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.kernel_peers import (
    KernelPeer,
    KernelPeers,
    kernel_keepalive,
    networks_behind,
    order,
)
from ovpn6.datapath.kernel_tcp import KernelTcpLink
from ovpn6.datapath.kernel_watch import KernelWatch
from ovpn6.datapath.links import Link, Source
from ovpn6.datapath.ovpn_netlink.messages import FAMILY, OWN_FAMILY
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import ControlReceived, DeviceLost, LinkClosed
from ovpn6.model.names import Instant, KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.records import replace
from ovpn6.model.specs import (
    DataFormat,
    DeviceSpec,
    Framing,
    KeyMaterial,
    LinkSpec,
    PeerCounters,
    PeerFit,
    PeerSpec,
)
from ovpn6.protocol.packets import Opcode

CAPABILITIES = {
    name: Capabilities(
        name=f"kernel ({name})",
        ciphers=tuple(CIPHERS),
        # Nothing stands before IP packets in STUB_V2 either: only what begins with 0x50 is escaped.
        framings=frozenset({Framing.NONE, Framing.STUB_V2}),
        occ=False,
    )
    for name in (FAMILY, OWN_FAMILY)
}
"""By the name of the module's netlink family and link kind."""

OpenKernel = Callable[[DeviceSpec], Kernel]

log = logging.getLogger("ovpn6.datapath")


class KernelDatapath:
    """See :class:`~ovpn6.datapath.interface.Datapath`.

    A peer that the kernel removed stays known until ``remove_peer``; keys cannot be given to it.
    """

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        open_kernel: OpenKernel,
        new_link_id: Callable[[], LinkId],
        *,
        many_peers: bool,
        name: str = FAMILY,
    ) -> None:
        """``many_peers``: a server's device, which finds peers by their addresses in the tunnel;
        else everything goes to the only peer. ``name``: of :data:`CAPABILITIES`."""
        self._capabilities = CAPABILITIES[name]
        self._report = report
        self._loop = loop
        self._open_kernel = open_kernel
        self._many_peers = many_peers
        self._counts: Counts = {}
        self._peers = KernelPeers()
        self._kernel: Kernel | None = None
        self._watch: KernelWatch | None = None
        self._keepalive: KernelKeepalive | None = None
        self._links = KernelLinks(
            report, loop, self._counts, new_link_id, self._received, self._broken
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    # --- device ---------------------------------------------------------------------------------

    def open_device(self, spec: DeviceSpec, mtu: int) -> str:
        if self._kernel is not None:
            raise UsageError("the device is open")
        self._kernel = self._open_kernel(spec)
        self._watch = KernelWatch(
            self._kernel, self._peers, self._links, self._report, self._loop, self._counts
        )
        self._keepalive = KernelKeepalive(self._kernel, self._peers, self._loop)
        self._loop.add_reader(self._kernel.device.fileno(), self._device_happened)
        return self._kernel.device.name

    def close_device(self) -> None:
        kernel, watch, self._kernel, self._watch = self._kernel, self._watch, None, None
        if kernel is None or watch is None:
            return
        watch.close()
        if self._keepalive is not None:
            self._keepalive.close()
            self._keepalive = None
        self._loop.remove_reader(kernel.device.fileno())
        for peer in self._peers.all():
            peer.alive = False
        try:
            kernel.close()
        except HostError as error:
            log.warning("%s", error)

    # --- links ----------------------------------------------------------------------------------

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        return await self._links.open(link, spec)

    def close_link(self, link: LinkId) -> None:
        orphans = [peer for peer in self._peers.on_link(link) if peer.alive]
        if orphans and self._watch is not None:
            self._watch.refresh(orphans)
        for peer in orphans:
            peer.alive = False
        self._links.close(link)

    def send_control(self, path: Path, datagram: bytes) -> None:
        link = self._links.find(path.link)
        if link is None:
            count(self._counts, "send closed link")
        else:
            link.send((datagram,), link.source(path))

    def send_probe(self, path: Path, datagram: bytes) -> None:
        link = self._links.find(path.link)
        if link is None:
            count(self._counts, "send closed link")
        else:
            link.send_probe(datagram, link.source(path))

    # --- peers ----------------------------------------------------------------------------------

    def add_peer(self, spec: PeerSpec) -> None:
        peer = KernelPeer(spec, Instant(self._loop.time()))
        if self._peers.find(spec.peer) is not None:
            raise UsageError(f"peer {spec.peer} exists")
        if self._links.find(spec.path.link) is None:
            # It went between a role's decision and now; that was told.
            peer.alive = False
            count(self._counts, "send closed link")
        else:
            self._make(self._opened(), spec)
        self._peers.add(peer)
        if peer.alive:
            try:
                self._route(peer)
            except HostError:
                self.remove_peer(spec.peer)
                raise

    def update_peer(self, spec: PeerSpec) -> None:
        peer = self._peers.get(spec.peer)
        old = peer.spec
        if peer.alive:
            if old.path.link != spec.path.link:
                self._move(peer, spec)
            else:
                self._change(peer, spec)
        self._peers.update(peer, spec)
        if peer.alive:
            self._route(peer)

    def fit_routes(self, peer: PeerId, fit: PeerFit | None) -> frozenset[IPNetwork]:
        if self._kernel is None or not self._many_peers or not self._kernel.routes.makes_routes:
            return frozenset()
        if fit is None:
            self._kernel.routes.fit(peer, {})
            return frozenset()
        self._kernel.routes.fit(peer, {6: fit.ipv6.mtu, 4: fit.ipv4.mtu})
        return frozenset(networks_behind(fit.networks))

    def remove_peer(self, peer: PeerId) -> PeerCounters:
        known = self._peers.get(peer)
        self._peers.remove(known)
        if self._kernel is not None:
            try:
                self._unmake(self._kernel, known)
            except HostError as error:
                # Then it goes with the device, if that is still there.
                log.warning("%s", error)
        return known.counters

    def counters(self, peer: PeerId) -> PeerCounters:
        known = self._peers.get(peer)
        if known.alive and self._watch is not None:
            self._watch.refresh([known])
        return known.counters

    # --- keys -----------------------------------------------------------------------------------

    def install_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        known = self._living(peer)
        if key.data_format is not DataFormat.CLASSIC:
            raise UsageError("the kernel has no epoch keys")
        self._opened().peers.new_key(peer, slot, key)
        known.install(slot, key)

    def swap_keys(self, peer: PeerId) -> None:
        known = self._living(peer)
        self._opened().peers.swap_keys(peer)
        known.swap()

    def drop_key(self, peer: PeerId, slot: KeySlot) -> None:
        known = self._peers.get(peer)
        if known.keys.pop(slot, None) is not None and known.alive:
            self._opened().peers.delete_key(peer, slot)

    def send_exit(self, peer: PeerId) -> None:
        """The kernel has no words for it (no OCC)."""
        self._peers.get(peer)

    def keys(self, peer: PeerId) -> dict[KeySlot, KeyId]:
        return dict(self._peers.get(peer).keys)

    def drops(self) -> Drops:
        return Drops(dict(self._counts))

    def close(self) -> None:
        """Keys were never kept here; the kernel frees its own with the device."""
        self._links.close_all()
        self.close_device()
        for peer in self._peers.all():
            self._peers.remove(peer)

    # --- helpers --------------------------------------------------------------------------------

    def _opened(self) -> Kernel:
        if self._kernel is None:
            raise HostError("use the tunnel device", "there is none", errno.ENODEV)
        return self._kernel

    def _living(self, number: PeerId) -> KernelPeer:
        peer = self._peers.get(number)
        if not peer.alive:
            raise HostError(f"use peer {number}", "the kernel has removed it", errno.ENOENT)
        return peer

    def _make(self, kernel: Kernel, spec: PeerSpec) -> None:
        link = self._links.find(spec.path.link)
        assert link is not None
        is_tcp = isinstance(link, KernelTcpLink)
        if isinstance(link, KernelTcpLink):
            link.attach()
        try:
            wanted = order(spec, remote=not is_tcp, many_peers=self._many_peers)
            kernel.peers.new_peer(wanted, link.sock.fileno())
        except HostError:
            self._detach(spec.path.link)
            raise
        if self._keepalive is not None:
            self._keepalive.peer_added()

    def _unmake(self, kernel: Kernel, peer: KernelPeer) -> None:
        if peer.alive:
            state = kernel.peers.peer(peer.spec.peer)
            peer.counters = state.counters if state is not None else peer.counters
            kernel.peers.delete_peer(peer.spec.peer)
            self._detach(peer.spec.path.link)
        kernel.routes.set(peer.spec.peer, {})

    def _route(self, peer: KernelPeer) -> None:
        if self._many_peers:
            self._opened().routes.set(peer.spec.peer, peer.iroutes())

    def _move(self, peer: KernelPeer, spec: PeerSpec) -> None:
        """To another socket. Keys would have to be installed again, and their packet ids with them:
        that would repeat nonces."""
        if peer.keys:
            operation = f"move peer {spec.peer} to another socket"
            raise HostError(operation, "the kernel cannot with its keys", errno.EOPNOTSUPP)
        kernel = self._opened()
        # What is behind it would go with it.
        kernel.routes.set(spec.peer, {})
        kernel.peers.delete_peer(spec.peer)
        self._detach(peer.spec.path.link)
        peer.alive = self._links.find(spec.path.link) is not None
        if peer.alive:
            self._make(kernel, spec)

    def _change(self, peer: KernelPeer, spec: PeerSpec) -> None:
        is_tcp = isinstance(self._links.find(spec.path.link), KernelTcpLink)
        before = order(peer.spec, remote=not is_tcp, many_peers=self._many_peers)
        after = order(spec, remote=not is_tcp, many_peers=self._many_peers)
        same_path = (before.remote, before.local) == (after.remote, after.local)
        same_keepalive = kernel_keepalive(peer.spec.keepalive) == after.keepalive
        change = replace(
            after,
            remote=None if same_path else after.remote,
            local=None if same_path else after.local,
            vpn_ipv4=None if before.vpn_ipv4 == after.vpn_ipv4 else after.vpn_ipv4,
            vpn_ipv6=None if before.vpn_ipv6 == after.vpn_ipv6 else after.vpn_ipv6,
            keepalive=None if same_keepalive else after.keepalive,
            tx_id=None if before.tx_id == after.tx_id else after.tx_id,
        )
        if change != PeerOrder(spec.peer):
            self._opened().peers.set_peer(change)

    def _detach(self, link: LinkId) -> None:
        opened = self._links.find(link)
        if isinstance(opened, KernelTcpLink):
            opened.detach()

    def _received(
        self, link: Link, datagrams: Sequence[bytes], source: Source, traffic_class: int
    ) -> None:
        for datagram in datagrams:
            opcode = datagram[0] >> 3 if datagram else None
            if opcode in _CONTROL_OPCODES:
                self._report(ControlReceived(link.path(source), datagram))
            elif opcode is None:
                count(self._counts, "empty datagram")
            elif opcode == Opcode.DATA_V1:
                count(self._counts, "data version 1")
            elif opcode == Opcode.DATA_V2:
                # The kernel takes them only from sockets that it has a peer on.
                count(self._counts, "data unknown peer")
            else:
                count(self._counts, "unknown opcode")

    def _broken(self, link: LinkId, reason: str) -> None:
        for peer in self._peers.on_link(link):
            peer.alive = False
        self._report(LinkClosed(link, reason))

    def _device_happened(self) -> None:
        kernel = self._opened()
        was_up = kernel.device.is_up
        lost = kernel.device.look()
        if lost:
            self.close_device()
            self._report(DeviceLost(lost))
        elif kernel.device.is_up and not was_up:
            kernel.routes.again()


_CONTROL_OPCODES = frozenset(int(opcode) for opcode in Opcode) - {
    int(Opcode.DATA_V1),
    int(Opcode.DATA_V2),
}
