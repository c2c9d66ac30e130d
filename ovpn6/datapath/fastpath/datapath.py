"""The data path with the native worker: its Python side, on the daemon's event loop.

Python opens devices and sockets, and tells the worker of links, peers, prefixes and keys. The
worker moves data packets in threads of its own, and tells what happened through one queue. Control
packets to UDP peers are sent from here, over the same sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence

from ovpn6.datapath.errors import Counts, count, error_name, host_error
from ovpn6.datapath.fastpath import CAPABILITIES, provider_of
from ovpn6.datapath.fastpath._fastpath import Worker
from ovpn6.datapath.fastpath.device import (
    Device,
    OpenDevice,
    OpenQueues,
    open_device,
    open_queues,
)
from ovpn6.datapath.fastpath.reports import (
    CONTROL,
    LINK_CLOSED,
    NOTICE,
    TUNNEL_LOST,
    Happened,
    happened,
    to_local,
    to_sockaddr,
)
from ovpn6.datapath.fastpath.routes import Claims
from ovpn6.datapath.fastpath.steering import (
    FEW_PROCESSORS,
    open_beside,
    processors,
    suitable_workers,
)
from ovpn6.datapath.interface import Capabilities, Drops, ReportSink
from ovpn6.datapath.links import (
    Link,
    Source,
    connect,
    listen,
    local_endpoint,
    no_probes,
    open_socket,
)
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.stream_link import longest_frame
from ovpn6.datapath.tcp_link import TcpListener
from ovpn6.datapath.tun import open_tun, open_tun_queues
from ovpn6.datapath.udp_link import MultihomeUdpLink, UdpLink
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import LinkAccepted
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
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
RECEIVE_BUFFER = 4 << 20
"""Octets that wait in a UDP socket, where the operator says nothing: some trains of 64 KB."""
MOST_WAITING = 4096
"""Reports taken from the worker's queue before their turn."""
REPLAY_WARNING_INTERVAL = 10.0
"""Seconds between warnings about replays."""

_SO_RCVBUFFORCE = 33
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
        """Starts the worker's threads: a ``single`` one, one for each direction, or what suits the
        processors there are; so many times as there are workers. Raises ``HostError``."""
        self._report = report
        self._loop = loop
        self._options = options
        self._new_link_id = new_link_id
        self._without = options.without
        self._opener = opener
        self._open_queues = open_queues
        self._single = processors() <= FEW_PROCESSORS if single is None else single
        self._workers = suitable_workers() if options.workers is None else options.workers
        self._steering = -1
        self._worker = self._start()
        self._claims = Claims(self._grant, self._clear)
        self._device: Device | None = None
        self._mtu = 0
        self._links: dict[LinkId, UdpLink | socket.socket] = {}
        self._beside: dict[LinkId, list[UdpLink]] = {}
        self._streams: dict[LinkId, Endpoint] = {}
        self._listeners: dict[LinkId, TcpListener] = {}
        self._specs: dict[PeerId, PeerSpec] = {}
        self._counts: Counts = {}
        self._waiting: list[Happened] = []
        self._timer: asyncio.TimerHandle | None = None
        self._replays_warned = 0
        self._closed = False
        loop.add_reader(self._worker.fileno(), self._take_reports)

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
        self._mtu = mtu
        return device.name

    def close_device(self) -> None:
        if self._device is not None:
            self._worker.set_tunnel((), False, False)
            self._device.close()
            self._device = None
            self._forget(lambda one: one.kind == TUNNEL_LOST)

    # --- links ----------------------------------------------------------------------------------

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        if link in self._links or link in self._listeners:
            raise UsageError(f"link {link} is open")
        sock = open_socket(spec)
        if spec.transport is Transport.UDP:
            self._open_udp(link, sock, spec)
        elif spec.remote is None:
            listen(sock)
            listener = TcpListener(link, sock, self._accepted, self._counts, self._loop)
            self._listeners[link] = listener
            self._loop.add_reader(sock, listener.readable)
        else:
            await connect(sock, spec)
            self._open_stream(link, sock, spec.remote)
        return local_endpoint(sock)

    def close_link(self, link: LinkId) -> None:
        listener = self._listeners.pop(link, None)
        if listener is not None:
            self._loop.remove_reader(listener.sock)
            listener.close()
        opened = self._links.pop(link, None)
        if opened is not None:
            self._worker.remove_link(link)
            self._forget(lambda one: one.link == link and one.kind in (CONTROL, LINK_CLOSED))
            self._streams.pop(link, None)
            opened.close()
            for beside in self._beside.pop(link, []):
                beside.close()

    def send_control(self, path: Path, datagram: bytes) -> None:
        link = self._links.get(path.link)
        if link is None:
            count(self._counts, "send closed link")
        elif isinstance(link, UdpLink):
            link.send((datagram,), link.source(path))
        else:
            self._worker.send_stream(path.link, datagram)

    def send_probe(self, path: Path, datagram: bytes) -> None:
        link = self._links.get(path.link)
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
        self._forget(lambda one: one.peer == peer and one.about_peer)
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
        self._loop.remove_reader(self._worker.fileno())
        for link in [*self._links, *self._listeners]:
            self.close_link(link)
        self.close_device()
        self._counts = self.drops().counts
        self._closed = True
        self._worker.close()
        self._specs.clear()

    # --- workers --------------------------------------------------------------------------------

    def _start(self) -> Worker:
        """The worker's threads. Several workers need a kernel that steers to them."""
        worker = self._new_worker(self._workers)
        if self._workers == 1:
            return worker
        try:
            self._steering = worker.steer()
        except OSError as error:
            worker.close()
            self._say_one(f"the kernel takes no program to steer to them ({error_name(error)})")
            self._workers = 1
            return self._new_worker(1)
        log.info("fast path: %d workers, to which packets are steered by peer", self._workers)
        return worker

    def _new_worker(self, lanes: int) -> Worker:
        options = self._options
        try:
            return Worker(
                options.replay_window,
                options.replay_time * 1000,
                provider=provider_of(self._without),
                segment=Offload.SEGMENT not in self._without,
                copy_dscp=options.copy_dscp,
                flow_secret=options.flow_secret,
                single=self._single,
                lanes=lanes,
            )
        except OSError as error:
            raise host_error("start the native worker", error) from None

    def _say_one(self, reason: str) -> None:
        log.warning("fast path: one worker instead of %d: %s", self._workers, reason)

    def _gather(self, reason: str) -> None:
        """One worker has all peers from now on: the kernel does not steer to more."""
        self._say_one(reason)
        self._workers = 1
        self._worker.gather()
        if self._device is not None:
            device, self._device = self._device, self._device.with_one_queue()
            self._worker.set_tunnel(self._device.descriptors, device.vnet, device.uso)
            for descriptor in device.descriptors[1:]:
                os.close(descriptor)
        for beside in self._beside.values():
            for link in beside:
                link.close()
        self._beside.clear()

    def _open(self, spec: DeviceSpec) -> Device:
        """The device, with a queue for each worker where the kernel has that."""
        if self._workers > 1:
            try:
                return open_queues(
                    spec, self._without, self._open_queues, self._workers, self._steering
                )
            except HostError as error:
                self._gather(str(error))
        return open_device(spec, self._without, self._opener)

    def _open_beside(self, first: socket.socket, spec: LinkSpec) -> list[socket.socket]:
        """A socket for each further worker."""
        if self._workers > 1:
            try:
                return open_beside(first, spec, self._workers)
            except HostError as error:
                self._gather(str(error))
        return []

    def _grant(self, prefix: bytes, length: int, peer: PeerId) -> None:
        try:
            self._worker.set_route(prefix, length, peer)
        except OSError as error:
            self._gather(f"a prefix cannot be steered ({error_name(error)})")
            self._worker.set_route(prefix, length, peer)

    def _clear(self, prefix: bytes, length: int) -> None:
        try:
            self._worker.remove_route(prefix, length)
        except OSError as error:
            self._gather(f"a prefix cannot be steered ({error_name(error)})")
            self._worker.remove_route(prefix, length)

    # --- links, in detail -----------------------------------------------------------------------

    def _open_udp(self, link: LinkId, sock: socket.socket, spec: LinkSpec) -> None:
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
            self._worker.add_udp(link, descriptors, int(sock.family), multihome)
        except OSError as error:
            for each in opened:
                each.close()
            raise host_error("watch a UDP socket", error) from None
        self._links[link], *self._beside[link] = opened

    def _open_stream(self, link: LinkId, sock: socket.socket, remote: Endpoint) -> None:
        self._links[link] = sock
        self._streams[link] = remote
        self._worker.add_stream(link, sock.fileno(), longest_frame(self._mtu))

    def _accepted(self, listener: LinkId, sock: socket.socket, remote: Endpoint) -> None:
        link = self._new_link_id()
        self._open_stream(link, sock, remote)
        self._report(LinkAccepted(listener, link, remote))

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
        link = self._links.get(spec.path.link)
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

    def _take_reports(self) -> None:
        self._fetch()
        waiting, self._waiting = self._waiting, []
        while waiting and not self._closed:
            one = waiting.pop(0)
            # What a report makes the role do may end others that wait.
            self._waiting = waiting
            self._tell(one)
            waiting = self._waiting

    def _fetch(self) -> None:
        raw = self._worker.reports()
        self._waiting.extend(happened(one, self._streams) for one in raw)

    def _forget(self, over: Callable[[Happened], bool]) -> None:
        """What was told of something that is gone is for nobody."""
        before = -1
        while before < len(self._waiting) < MOST_WAITING:
            before = len(self._waiting)
            self._fetch()
        self._waiting = [one for one in self._waiting if not over(one)]
        if self._waiting and not self._closed:
            self._loop.call_soon(self._take_reports)

    def _tell(self, one: Happened) -> None:
        if one.kind == NOTICE:
            log.info(_NOTICES[one.other].format(one.link, error_name(OSError(one.value, ""))))
            return
        if one.kind == LINK_CLOSED:
            broken = self._links.pop(one.link, None)
            if broken is None:
                return
            self._worker.remove_link(one.link)
            self._streams.pop(one.link, None)
            broken.close()
        elif one.kind == TUNNEL_LOST:
            self.close_device()
        self._report(one.report())

    def _warn_later(self) -> None:
        self._timer = self._loop.call_later(REPLAY_WARNING_INTERVAL, self._warn_of_replays)

    def _warn_of_replays(self) -> None:
        self._warn_later()
        replays = self.drops().counts.get("data replay", 0)
        if replays > self._replays_warned and not self._options.mute_replay_warnings:
            log.warning(
                "%d data packets dropped as replays since the last warning; a link that reorders "
                "or repeats packets causes them too (replay-window, mute-replay-warnings)",
                replays - self._replays_warned,
            )
        self._replays_warned = replays


def _received_elsewhere(
    link: Link, datagrams: Sequence[bytes], source: Source, traffic_class: int
) -> None:
    """The worker reads the sockets."""
    raise UsageError(f"link {link.link} is not read here")
