"""The data path with the native worker: its Python side, on the daemon's event loop.

Python opens devices and sockets, and tells the worker of links, peers, prefixes and keys. The
worker moves data packets in threads of its own, and tells what happened through one queue. Control
packets to UDP peers are sent from here, over the same sockets.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from ovpn6.datapath.errors import Counts, count, error_name
from ovpn6.datapath.fastpath import CAPABILITIES
from ovpn6.datapath.fastpath.device import (
    Device,
    OpenDevice,
    OpenQueues,
    open_device,
    open_queues,
)
from ovpn6.datapath.fastpath.lanes import Lanes
from ovpn6.datapath.fastpath.links import FastpathLinks
from ovpn6.datapath.fastpath.report_queue import ReportQueue
from ovpn6.datapath.fastpath.reports import (
    LINK_CLOSED,
    NOTICE,
    TUNNEL_LOST,
    Happened,
    to_local,
    to_sockaddr,
)
from ovpn6.datapath.fastpath.routes import Claims
from ovpn6.datapath.interface import Capabilities, Drops, ReportSink
from ovpn6.datapath.links import no_probes
from ovpn6.datapath.replay_warnings import ReplayWarnings
from ovpn6.datapath.tun import open_tun, open_tun_queues
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId
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
from ovpn6.protocol.data_channel import usage_limits

NO_LIMIT = (1 << 64) - 1
REPLAY_WARNING_INTERVAL = 10.0
"""Seconds between warnings about replays."""

_FRAMINGS = {Framing.NONE: 0, Framing.STUB: 1, Framing.STUB_SWAP: 2, Framing.STUB_V2: 3}
_NOTICES = {
    1: "link {0}: one datagram a send call ({1})",
    2: "tunnel device: one packet a write call ({1})",
    3: "link {0}: no flow labels of ours ({1})",
}

log = logging.getLogger("ovpn6.datapath")


class FastpathDatapath:
    """See :class:`~ovpn6.datapath.interface.Datapath`.

    A link that has gone is a counted drop and no ``UsageError``: it may go between a role's
    decision and its execution.
    """

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        options: UserspaceOptions,
        new_link_id: Callable[[], LinkId],
        opener: OpenDevice = open_tun,
        *,
        open_queues: OpenQueues = open_tun_queues,
        single: bool | None = None,
    ) -> None:
        """Starts the worker's threads; ``single`` as in
        :class:`~ovpn6.datapath.fastpath.lanes.Lanes`. Raises ``HostError``."""
        self._report = report
        self._loop = loop
        self._options = options
        self._without = options.without
        self._opener = opener
        self._open_queues = open_queues
        self._counts: Counts = {}
        self._lanes = Lanes(options, single, self._gathered)
        self._worker = self._lanes.worker
        self._claims = Claims(self._lanes.grant, self._lanes.clear)
        self._reports = ReportQueue(self._worker, loop, self._tell)
        self._links = FastpathLinks(
            report, loop, self._counts, new_link_id, self._lanes, self._reports, options.without
        )
        self._device: Device | None = None
        self._specs: dict[PeerId, PeerSpec] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._replays = ReplayWarnings(options.mute_replay_warnings)
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def shares(self) -> list[tuple[int, int]]:
        """Datagrams that each worker opened and sealed."""
        return self._worker.lanes()

    # --- device ---------------------------------------------------------------------------------

    def open_device(self, spec: DeviceSpec, mtu: int) -> str:
        if self._device is not None:
            raise UsageError("the device is open")
        device = self._open(spec)
        self._worker.set_tunnel(device.descriptors, device.vnet, device.uso)
        self._device = device
        self._links.mtu = mtu
        return device.name

    def close_device(self) -> None:
        if self._device is not None:
            self._worker.set_tunnel((), False, False)
            self._device.close()
            self._device = None
            self._reports.forget(lambda one: one.kind == TUNNEL_LOST)

    # --- links ----------------------------------------------------------------------------------

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        return await self._links.open(link, spec)

    def close_link(self, link: LinkId) -> None:
        self._links.close(link)

    def send_control(self, path: Path, datagram: bytes) -> None:
        link = self._links.find(path.link)
        if link is None:
            count(self._counts, "send closed link")
        elif isinstance(link, UdpLink):
            link.send((datagram,), link.source(path))
        else:
            self._worker.send_stream(path.link, datagram)

    def send_probe(self, path: Path, datagram: bytes) -> None:
        link = self._links.find(path.link)
        if link is None:
            count(self._counts, "send closed link")
        elif isinstance(link, UdpLink):
            link.send_probe(datagram, link.source(path))
        else:
            raise no_probes()

    # --- peers ----------------------------------------------------------------------------------

    def add_peer(self, spec: PeerSpec) -> None:
        if spec.peer in self._specs:
            raise UsageError(f"peer {spec.peer} exists")
        self._worker.add_peer(spec.peer)
        self._specs[spec.peer] = spec
        self._claims.replace(spec.peer, (), spec.networks)
        self._set_peer(spec)
        if self._timer is None:
            self._warn_later()

    def update_peer(self, spec: PeerSpec) -> None:
        before = self._spec(spec.peer)
        self._specs[spec.peer] = spec
        self._claims.replace(spec.peer, before.networks, spec.networks)
        self._set_peer(spec)

    def fit_routes(self, peer: PeerId, fit: PeerFit | None) -> frozenset[IPNetwork]:
        """It makes none."""
        return frozenset()

    def remove_peer(self, peer: PeerId) -> PeerCounters:
        self._claims.replace(peer, self._spec(peer).networks, ())
        del self._specs[peer]
        counters = PeerCounters(*self._worker.remove_peer(peer))
        self._reports.forget(lambda one: one.peer == peer and one.about_peer)
        return counters

    def counters(self, peer: PeerId) -> PeerCounters:
        self._spec(peer)
        return PeerCounters(*self._worker.counters(peer))

    # --- keys -----------------------------------------------------------------------------------

    def install_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        self._spec(peer)
        limits = usage_limits(key.cipher)
        epoch = key.data_format is DataFormat.EPOCH
        usage = limits.usage
        if epoch and self._options.epoch_usage is not None:
            usage = self._options.epoch_usage
        try:
            self._worker.install_key(
                peer,
                slot.value,
                key.key_id,
                key.cipher,
                epoch,
                NO_LIMIT if usage is None else usage,
                limits.failures,
                key.send_key.reveal(),
                key.send_iv.reveal(),
                key.receive_key.reveal(),
                key.receive_iv.reveal(),
            )
        except ValueError as error:
            raise UsageError(str(error)) from None

    def swap_keys(self, peer: PeerId) -> None:
        self._spec(peer)
        self._worker.swap_keys(peer)

    def drop_key(self, peer: PeerId, slot: KeySlot) -> None:
        self._spec(peer)
        self._worker.drop_key(peer, slot.value)

    def keys(self, peer: PeerId) -> dict[KeySlot, KeyId]:
        self._spec(peer)
        installed = zip(KeySlot, self._worker.keys(peer), strict=True)
        return {slot: KeyId(number) for slot, number in installed if number >= 0}

    def send_exit(self, peer: PeerId) -> None:
        self._spec(peer)
        self._worker.send_exit(peer)

    def drops(self) -> Drops:
        counts = dict(self._counts)
        if not self._closed:
            for reason, number in self._worker.drops().items():
                count(counts, reason, number)
            for (call, errno), number in self._worker.errors().items():
                count(counts, f"{call} {error_name(OSError(errno, ''))}", number)
        return Drops(counts)

    def close(self) -> None:
        if self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._reports.close()
        self._links.close_all()
        self.close_device()
        self._counts = self.drops().counts
        self._closed = True
        self._worker.close()
        self._specs.clear()

    # --- device, in detail ----------------------------------------------------------------------

    def _open(self, spec: DeviceSpec) -> Device:
        """The device, with a queue for each lane where the kernel has that."""
        lanes = self._lanes
        if lanes.count > 1:
            try:
                return open_queues(
                    spec, self._without, self._open_queues, lanes.count, lanes.program
                )
            except HostError as error:
                lanes.gather(str(error))
        return open_device(spec, self._without, self._opener)

    def _gathered(self) -> None:
        """Only the first lane is used from now on."""
        if self._device is not None:
            device, self._device = self._device, self._device.with_one_queue()
            self._worker.set_tunnel(self._device.descriptors, device.vnet, device.uso)
            for descriptor in device.descriptors[1:]:
                os.close(descriptor)
        self._links.gather()

    # --- peers, in detail -----------------------------------------------------------------------

    def _spec(self, peer: PeerId) -> PeerSpec:
        spec = self._specs.get(peer)
        if spec is None:
            raise UsageError(f"no peer {peer}")
        return spec

    def _set_peer(self, spec: PeerSpec) -> None:
        self._worker.set_peer(
            spec.peer,
            spec.send_id,
            spec.keepalive.interval,
            spec.keepalive.timeout,
            _FRAMINGS[spec.framing],
            spec.float_allowed,
            spec.inactive_after,
            spec.inactive_bytes,
            spec.copy_ecn,
        )
        link = self._links.find(spec.path.link)
        if link is None:
            self._worker.unplace_peer(spec.peer)
        elif isinstance(link, UdpLink):
            family = int(link.sock.family)
            local = to_local(spec.path.local, family) if isinstance(link, MultihomeUdpLink) else b""
            remote = to_sockaddr(spec.path.remote, family)
            self._worker.place_peer(spec.peer, spec.path.link, remote, local)
        else:
            self._worker.place_peer(spec.peer, spec.path.link, b"", b"")

    # --- reports --------------------------------------------------------------------------------

    def _tell(self, one: Happened) -> None:
        if one.kind == NOTICE:
            log.info(_NOTICES[one.other].format(one.link, error_name(OSError(one.value, ""))))
            return
        if one.kind == LINK_CLOSED and not self._links.broken(one.link):
            return
        if one.kind == TUNNEL_LOST:
            self.close_device()
        self._report(one.report())

    def _warn_later(self) -> None:
        self._timer = self._loop.call_later(REPLAY_WARNING_INTERVAL, self._warn_of_replays)

    def _warn_of_replays(self) -> None:
        self._warn_later()
        self._replays.look(self.drops().counts.get("data replay", 0))
