"""Once a second for every peer: pings, silence, idleness, worn-out keys, replay clocks.

Nothing here is driven by packets: a peer's counters are compared with those of a second ago, so
that the hot loop needs no clock. Deadlines are therefore met up to a second late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ovpn6.datapath.errors import Counts, count
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.peers import Peer, PeerTable
from ovpn6.model.flow import KeyWornOut, PeerExpired, PeerInactive
from ovpn6.model.names import Instant, KeySlot
from ovpn6.protocol.data_channel import PING, KeyExhausted

INTERVAL = 1.0
"""Seconds between calls of :meth:`Keepalive.tick`."""


class Keepalive:
    """The slow clock of a data path."""

    def __init__(
        self,
        peers: PeerTable,
        report: ReportSink,
        transmit: Callable[[Peer, Sequence[bytes]], None],
        counts: Counts,
    ) -> None:
        self._peers = peers
        self._report = report
        self._transmit = transmit
        self._counts = counts

    def tick(self, now: Instant) -> None:
        """Look at every peer that has a key."""
        for peer in self._peers.all():
            if not peer.keys:
                continue
            if peer.live_since is None:
                begin(peer, now)
            peer.moves = 0
            self._keys(peer, now)
            self._silence(peer, now)
            self._idleness(peer, now)
            self._ping(peer, now)

    def _keys(self, peer: Peer, now: Instant) -> None:
        for slot, key in peer.keys.items():
            key.receive.tick(now)
            if slot is KeySlot.PRIMARY and not key.worn_out:
                key.worn_out = key.send.worn_out or key.receive.worn_out
                if key.worn_out:
                    self._report(KeyWornOut(peer.peer, key.key_id))

    def _silence(self, peer: Peer, now: Instant) -> None:
        opened = peer.packets_opened()
        timeout = peer.spec.keepalive.timeout
        if opened != peer.heard_packets:
            peer.heard_packets, peer.heard_at = opened, now
            peer.reported.discard(PeerExpired)
        elif timeout and now - peer.heard_at >= timeout and PeerExpired not in peer.reported:
            peer.reported.add(PeerExpired)
            self._report(PeerExpired(peer.peer))

    def _idleness(self, peer: Peer, now: Instant) -> None:
        if not peer.spec.inactive_after:
            return
        counters = peer.counters()
        moved = counters.bytes_in + counters.bytes_out
        if moved - peer.moved_octets >= max(1, peer.spec.inactive_bytes):
            peer.moved_octets, peer.moved_at = moved, now
            peer.reported.discard(PeerInactive)
        elif now - peer.moved_at >= peer.spec.inactive_after and PeerInactive not in peer.reported:
            peer.reported.add(PeerInactive)
            self._report(PeerInactive(peer.peer))

    def _ping(self, peer: Peer, now: Instant) -> None:
        interval = peer.spec.keepalive.interval
        sealed = peer.packets_sealed()
        if sealed != peer.sent_packets:
            peer.sent_packets, peer.sent_at = sealed, now
        elif interval and now - peer.sent_at >= interval:
            try:
                datagram = peer.seal_special(PING)
            except KeyExhausted:
                count(self._counts, "ping key exhausted")
                return
            if datagram is not None:
                peer.sent_packets, peer.sent_at = sealed + 1, now
                self._transmit(peer, (datagram,))


def begin(peer: Peer, now: Instant) -> None:
    """The peer's clocks start: its first key was installed."""
    peer.live_since = peer.sent_at = peer.heard_at = peer.moved_at = now
