"""What happens to peers in the kernel: its notifications, and reading the peers in turn.

Notifications are hints (see :mod:`ovpn6.datapath.kernel`). A dump finds what they do not tell:
moves on kernels before 7.0, peers lost together with their notification, ``inactive``, and keys
that near their limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ovpn6.datapath.errors import Counts, count
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.kernel_links import KernelLinks
from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.kernel_peers import KernelPeer, KernelPeers
from ovpn6.datapath.kernel_tcp import KernelTcpLink
from ovpn6.datapath.ovpn_netlink.messages import DeleteReason
from ovpn6.datapath.ovpn_netlink.records import (
    KeyUsedUp,
    Notification,
    PeerDeleted,
    PeerMoved,
    PeerOrder,
    PeerState,
)
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import FloatConflict, KeyWornOut, PeerExpired, PeerFloated, PeerInactive
from ovpn6.model.names import Instant, KeySlot, PeerId
from ovpn6.model.records import replace
from ovpn6.netlink.conversation import Overrun

TICK = 1.0
"""Seconds between looks at whether a dump is due."""
POLL, POLL_FOR_FLOATS, POLL_FOR_INACTIVE = 30.0, 5.0, 1.0
"""Seconds between dumps: when the kernel tells of moves, when it does not, and when a peer's
``inactive`` must be kept."""
MOVES_PAUSE = 0.125
"""Seconds between looks at peers that moved: one that sends from two sockets in turn makes a
notification of every packet."""
DUMP_AT = 8
"""From so many peers on, a dump is cheaper than reading one by one."""
FRESH = 0.5
"""Seconds for which the counters of a dump are good enough for all."""
UNKNOWN = "it is not there any more"

log = logging.getLogger("ovpn6.datapath")


class KernelWatch:
    """Reports what happens to the peers of one device while it is open."""

    def __init__(
        self,
        kernel: Kernel,
        peers: KernelPeers,
        links: KernelLinks,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
    ) -> None:
        self._kernel = kernel
        self._peers = peers
        self._links = links
        self._report = report
        self._loop = loop
        self._counts = counts
        self._dumped_at = -FRESH
        self._moved: set[PeerId] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._timer = loop.call_later(TICK, self._tick)
        loop.add_reader(kernel.news.fileno(), self._news)

    def close(self) -> None:
        """No more reports."""
        self._loop.remove_reader(self._kernel.news.fileno())
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def refresh(self, wanted: Iterable[KernelPeer]) -> None:
        """Bring the counters of these peers up to date; what else shows is reported too."""
        now = self._loop.time()
        wanted = list(wanted)
        try:
            if len(self._peers) < DUMP_AT:
                for peer in wanted:
                    self._read(peer)
            elif now - self._dumped_at >= FRESH:
                self._dump()
        except HostError as error:
            log.warning("%s", error)

    # --- notifications --------------------------------------------------------------------------

    def _news(self) -> None:
        try:
            for notification in self._kernel.news.read():
                if notification.index == self._kernel.device.index:
                    self._take(notification)
        except (Overrun, ValueError) as error:
            count(self._counts, "netlink notifications lost")
            log.info("netlink notifications were lost (%s): reading all peers", error)
            self._dump_safely()
        except HostError as error:
            log.warning("%s", error)

    def _take(self, notification: Notification) -> None:
        peer = self._peers.find(notification.peer)
        if peer is None or not peer.alive:
            return
        match notification:
            case PeerDeleted():
                if self._kernel.peers.peer(notification.peer) is None:
                    self._gone(peer, notification.reason)
            case KeyUsedUp():
                key = self._kernel.peers.key(notification.peer, KeySlot.PRIMARY)
                if key is None or key.key_id != notification.key_id:
                    self._worn_out(peer)
            case PeerMoved():
                self._moved.add(notification.peer)
                if self._looking is None:
                    self._look_at_moved()

    def _look_at_moved(self) -> None:
        self._looking = None
        moved, self._moved = self._moved, set()
        if not moved:
            return
        self._looking = self._loop.call_later(MOVES_PAUSE, self._look_at_moved)
        for number in moved:
            peer = self._peers.find(number)
            if peer is not None and peer.alive:
                try:
                    self._read(peer)
                except HostError as error:
                    log.warning("%s", error)

    # --- reading --------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        alive = [peer for peer in self._peers.all() if peer.alive]
        if not alive:
            return
        interval = POLL if self._kernel.floats else POLL_FOR_FLOATS
        if any(peer.spec.inactive_after for peer in alive):
            interval = POLL_FOR_INACTIVE
        # A tick may come a little early.
        if self._loop.time() - self._dumped_at >= interval - TICK / 2:
            self._dump_safely()
            now = Instant(self._loop.time())
            for peer in self._peers.all():
                if peer.alive:
                    self._judge(peer, now)

    def _dump_safely(self) -> None:
        try:
            self._dump()
        except HostError as error:
            log.warning("%s", error)

    def _dump(self) -> None:
        states = {state.peer: state for state in self._kernel.peers.peers()}
        self._dumped_at = self._loop.time()
        for peer in self._peers.all():
            if not peer.alive:
                continue
            state = states.get(peer.spec.peer)
            if state is None:
                self._gone(peer, None)
            else:
                self._compare(peer, state)

    def _read(self, peer: KernelPeer) -> None:
        state = self._kernel.peers.peer(peer.spec.peer)
        if state is None:
            self._gone(peer, None)
        else:
            self._compare(peer, state)

    def _compare(self, peer: KernelPeer, state: PeerState) -> None:
        peer.counters = state.counters
        link = self._links.find(peer.spec.path.link)
        remote = state.remote
        if remote is None or link is None or not link.can_float:
            return
        known = peer.spec.path.remote
        if (remote.address, remote.port) != (known.address, known.port):
            self._floated(peer, state, remote)

    def _floated(self, peer: KernelPeer, state: PeerState, remote: Endpoint) -> None:
        if not peer.spec.float_allowed:
            self._move_back(peer)
            count(self._counts, "data from another address")
            return
        path = Path(peer.spec.path.link, remote, state.local if peer.spec.path.local else None)
        owner = self._peers.owner(path)
        if owner is not None and owner is not peer and owner.alive:
            self._move_back(peer)
            count(self._counts, "data float conflict")
            self._report(FloatConflict(peer.spec.peer, path, owner.spec.peer))
            return
        self._peers.update(peer, replace(peer.spec, path=path))
        self._report(PeerFloated(peer.spec.peer, path))

    def _move_back(self, peer: KernelPeer) -> None:
        """The kernel has moved it already, and what came from there is delivered."""
        old = peer.spec.path
        self._kernel.peers.set_peer(PeerOrder(peer.spec.peer, remote=old.remote, local=old.local))

    # --- judgement ------------------------------------------------------------------------------

    def _gone(self, peer: KernelPeer, reason: DeleteReason | int | None) -> None:
        peer.alive = False
        peer.keys.clear()
        words = _REASONS.get(reason, UNKNOWN) if reason is not None else UNKNOWN
        log.info("the kernel removed peer %d: %s", peer.spec.peer, words)
        link = self._links.find(peer.spec.path.link)
        if isinstance(link, KernelTcpLink):
            link.detach()
            if reason in (DeleteReason.TRANSPORT_ERROR, DeleteReason.TRANSPORT_DISCONNECT):
                link.end(words)
                return
        self._report(PeerExpired(peer.spec.peer))

    def _judge(self, peer: KernelPeer, now: Instant) -> None:
        if peer.is_worn_out():
            self._worn_out(peer)
        spec = peer.spec
        if not spec.inactive_after:
            return
        moved = peer.counters.bytes_in + peer.counters.bytes_out
        if moved - peer.moved_octets >= max(1, spec.inactive_bytes):
            peer.moved_octets, peer.moved_at = moved, now
            peer.reported.discard(PeerInactive)
        elif now - peer.moved_at >= spec.inactive_after and PeerInactive not in peer.reported:
            peer.reported.add(PeerInactive)
            self._report(PeerInactive(spec.peer))

    def _worn_out(self, peer: KernelPeer) -> None:
        key_id = peer.keys.get(KeySlot.PRIMARY)
        if key_id is not None and key_id not in peer.reported:
            peer.reported.add(key_id)
            self._report(KeyWornOut(peer.spec.peer, key_id))


_REASONS: dict[DeleteReason | int, str] = {
    DeleteReason.TEARDOWN: "the device was taken down",
    DeleteReason.USERSPACE: "another process did it",
    DeleteReason.EXPIRED: "nothing heard for the keepalive timeout",
    DeleteReason.TRANSPORT_ERROR: "the connection failed",
    DeleteReason.TRANSPORT_DISCONNECT: "the connection was closed",
}
