"""What every data path that handles packets itself shares: peers, keys, counters, the worker.

A backend adds the device, the links and the clock. The kernel's own data path shares none of this.
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.datapath.errors import Counts, count
from ovpn6.datapath.interface import Capabilities, Drops, ReportSink
from ovpn6.datapath.keepalive import Keepalive, begin
from ovpn6.datapath.links import Link
from ovpn6.datapath.peers import KeyPair, PeerTable
from ovpn6.datapath.worker import Read, Worker, Write
from ovpn6.model.addresses import IPNetwork, Path
from ovpn6.model.names import Instant, KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.specs import KeyMaterial, PeerCounters, PeerFit, PeerSpec
from ovpn6.protocol.data_channel import OCC_EXIT, KeyExhausted, ReplayWindow, UsageLimits


class DatapathCore:
    """Half of a :class:`~ovpn6.datapath.interface.Datapath`, which describes the methods.

    A link that has gone is a counted drop and no ``UsageError``: it may go between a role's
    decision and its execution.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        report: ReportSink,
        clock: Callable[[], float],
        replay: Callable[[], ReplayWindow],
        device_lost: Callable[[OSError], None],
        read: Read,
        write: Write,
        epoch_limits: UsageLimits | None = None,
    ) -> None:
        """``replay`` makes the window of one key; ``read``, ``write`` are the tunnel device's.
        ``epoch_limits``: when epochs are left, None as the cipher's own limits say."""
        self._capabilities = capabilities
        self._report = report
        self._clock = clock
        self._replay = replay
        self._epoch_limits = epoch_limits
        self._counts: Counts = {}
        self._peers = PeerTable()
        self._worker = Worker(self._peers, report, self._counts, device_lost, read, write)
        self._keepalive = Keepalive(self._peers, report, self._worker.transmit, self._counts)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def send_control(self, path: Path, datagram: bytes) -> None:
        link = self._find_link(path.link)
        if link is None:
            count(self._counts, "send closed link")
        else:
            link.send((datagram,), link.source(path))

    def send_probe(self, path: Path, datagram: bytes) -> None:
        link = self._find_link(path.link)
        if link is None:
            count(self._counts, "send closed link")
        else:
            link.send_probe(datagram, link.source(path))

    def add_peer(self, spec: PeerSpec) -> None:
        self._peers.add(spec, self._find_link(spec.path.link))

    def update_peer(self, spec: PeerSpec) -> None:
        self._peers.update(spec, self._find_link(spec.path.link))

    def fit_routes(self, peer: PeerId, fit: PeerFit | None) -> frozenset[IPNetwork]:
        """It makes none."""
        return frozenset()

    def remove_peer(self, peer: PeerId) -> PeerCounters:
        removed = self._peers.remove(peer)
        counters = removed.counters()
        removed.wipe()
        return counters

    def install_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        known = self._peers.get(peer)
        pair = KeyPair(key, known.spec.send_id, self._replay, self._epoch_limits)
        known.install(slot, pair)
        if known.live_since is None:
            begin(known, Instant(self._clock()))

    def swap_keys(self, peer: PeerId) -> None:
        self._peers.get(peer).swap()

    def drop_key(self, peer: PeerId, slot: KeySlot) -> None:
        self._peers.get(peer).drop(slot)

    def send_exit(self, peer: PeerId) -> None:
        known = self._peers.get(peer)
        try:
            datagram = known.seal_special(OCC_EXIT)
        except KeyExhausted:
            count(self._counts, "exit key exhausted")
            return
        if datagram is not None:
            self._worker.transmit(known, (datagram,))

    def counters(self, peer: PeerId) -> PeerCounters:
        return self._peers.get(peer).counters()

    def keys(self, peer: PeerId) -> dict[KeySlot, KeyId]:
        return {slot: key.key_id for slot, key in self._peers.get(peer).keys.items()}

    def drops(self) -> Drops:
        return Drops(dict(self._counts))

    def _find_link(self, link: LinkId) -> Link | None:
        """The open link, None when it is closed."""
        raise NotImplementedError

    def _forget_peers(self) -> None:
        for peer in self._peers.all():
            self.remove_peer(peer.peer)
