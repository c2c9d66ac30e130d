"""The peers of a user-space data path: keys, path, counters. No socket call, no timer."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ovpn6.datapath.inner_routes import InnerRoutes
from ovpn6.datapath.links import Link, Source
from ovpn6.model.errors import UsageError
from ovpn6.model.names import Instant, KeyId, KeySlot, PeerId
from ovpn6.model.specs import DataFormat, Framing, KeyMaterial, PeerCounters, PeerSpec
from ovpn6.protocol.data_channel import (
    OVERHEAD,
    ReceiveKey,
    ReplayWindow,
    SendKey,
    UsageLimits,
    frame,
)
from ovpn6.protocol.epoch_channel import EPOCH_OVERHEAD, EpochReceiveKey, EpochSendKey

Sealer = SendKey | EpochSendKey
Opener = ReceiveKey | EpochReceiveKey


class KeyPair:
    """One installed key, both directions. ``overhead``: octets that its format adds to each."""

    __slots__ = ("key_id", "overhead", "receive", "send", "worn_out")

    def __init__(
        self,
        material: KeyMaterial,
        send_id: int,
        new_window: Callable[[], ReplayWindow],
        epoch_limits: UsageLimits | None = None,
    ) -> None:
        """``epoch_limits``: when epochs are left, None as the cipher's own limits say."""
        self.key_id: KeyId = material.key_id
        self.send: Sealer
        self.receive: Opener
        if material.data_format is DataFormat.EPOCH:
            self.overhead = EPOCH_OVERHEAD
            self.send = send = EpochSendKey(material, send_id, epoch_limits)
            self.receive = EpochReceiveKey(material, send, new_window, epoch_limits)
        else:
            self.overhead = OVERHEAD
            self.send = SendKey(material, send_id)
            self.receive = ReceiveKey(material, new_window())
        self.worn_out = False
        """``KeyWornOut`` was reported."""

    def wipe(self) -> None:
        """Forget both keys."""
        self.send.wipe()
        self.receive.wipe()


class Tally:
    """Packets and octets of one direction. ``special`` ones are no inner packets (ping, OCC, or
    dropped after opening); ``framing`` are octets of compression stubs, ``overhead`` those of
    headers and tags."""

    __slots__ = ("framing", "octets", "overhead", "packets", "special_octets", "special_packets")

    def __init__(self) -> None:
        self.packets = 0
        self.octets = 0
        self.overhead = 0
        self.special_packets = 0
        self.special_octets = 0
        self.framing = 0


class Peer:
    """One peer. ``link`` None: its socket is closed. ``framing`` None: nothing before packets.

    The counters of living keys are kept in the keys, so that the worker touches as little as it
    can; ``sent`` and ``received`` hold those of keys that are gone, and all exceptions.
    """

    __slots__ = (
        "framing",
        "heard_at",
        "heard_packets",
        "keys",
        "link",
        "live_since",
        "moved_at",
        "moved_octets",
        "moves",
        "receive",
        "received",
        "replayed",
        "reported",
        "send_key",
        "sent",
        "sent_at",
        "sent_packets",
        "source",
        "spec",
    )

    def __init__(self, spec: PeerSpec) -> None:
        self.spec = spec
        self.framing: Framing | None = _framing(spec)
        self.link: Link | None = None
        self.source: Source = None
        self.keys: dict[KeySlot, KeyPair] = {}
        self.send_key: Sealer | None = None
        self.receive: list[Opener | None] = [None] * 8
        self.sent = Tally()
        self.received = Tally()
        self.replayed = 0
        # What the keepalive last saw, and when it changed.
        self.live_since: Instant | None = None
        self.sent_at = self.heard_at = self.moved_at = Instant(0.0)
        self.sent_packets = self.heard_packets = self.moved_octets = 0
        self.moves = 0
        """Times that it came another way since the keepalive last looked."""
        self.reported: set[type] = set()
        """Reports that are not repeated until something changes."""

    @property
    def peer(self) -> PeerId:
        """Its id."""
        return self.spec.peer

    def install(self, slot: KeySlot, key: KeyPair) -> None:
        """Put a key into a slot, over what was there."""
        self.drop(slot)
        self.keys[slot] = key
        self._index()

    def swap(self) -> None:
        """PRIMARY and SECONDARY change places."""
        primary, secondary = self.keys.get(KeySlot.PRIMARY), self.keys.get(KeySlot.SECONDARY)
        self.keys = {}
        if secondary is not None:
            self.keys[KeySlot.PRIMARY] = secondary
        if primary is not None:
            self.keys[KeySlot.SECONDARY] = primary
        self._index()

    def drop(self, slot: KeySlot) -> None:
        """Empty a slot, keep its counters."""
        key = self.keys.pop(slot, None)
        if key is None:
            return
        self.sent.packets += key.send.packets
        self.sent.octets += key.send.octets
        self.sent.overhead += key.send.packets * key.overhead
        self.received.packets += key.receive.packets
        self.received.octets += key.receive.octets
        self.received.overhead += key.receive.packets * key.overhead
        key.wipe()
        self._index()

    def seal_special(self, message: bytes) -> bytes | None:
        """A datagram with a ping or OCC message; None without a key. Raises ``KeyExhausted``."""
        if self.send_key is None:
            return None
        payload = message if self.framing is None else frame(self.framing, message)
        datagram = self.send_key.seal(payload)
        self.sent.special_packets += 1
        self.sent.special_octets += len(message)
        self.sent.framing += len(payload) - len(message)
        return datagram

    def packets_sealed(self) -> int:
        """Datagrams sent, pings included."""
        return self.sent.packets + sum(key.send.packets for key in self.keys.values())

    def packets_opened(self) -> int:
        """Authentic datagrams received, pings included."""
        return self.received.packets + sum(key.receive.packets for key in self.keys.values())

    def counters(self) -> PeerCounters:
        """Now. ``link_*`` are octets of outer datagrams of the data channel."""
        keys = self.keys.values()
        sealed, opened = self.packets_sealed(), self.packets_opened()
        octets_out = self.sent.octets + sum(key.send.octets for key in keys)
        octets_in = self.received.octets + sum(key.receive.octets for key in keys)
        overhead_out = sum(key.send.packets * key.overhead for key in keys)
        overhead_in = sum(key.receive.packets * key.overhead for key in keys)
        return PeerCounters(
            link_in=octets_in + self.received.overhead + overhead_in,
            link_out=octets_out + self.sent.overhead + overhead_out,
            bytes_in=octets_in - self.received.special_octets - self.received.framing,
            bytes_out=octets_out - self.sent.special_octets - self.sent.framing,
            packets_in=opened - self.received.special_packets,
            packets_out=sealed - self.sent.special_packets,
        )

    def wipe(self) -> None:
        """Forget all keys."""
        for slot in list(self.keys):
            self.drop(slot)

    def _index(self) -> None:
        primary = self.keys.get(KeySlot.PRIMARY)
        self.send_key = primary.send if primary is not None else None
        self.receive = [None] * 8
        # Primary last: should both slots hold one key id, the primary opens.
        for slot in (KeySlot.SECONDARY, KeySlot.PRIMARY):
            key = self.keys.get(slot)
            if key is not None:
                self.receive[key.key_id] = key.receive


class PeerTable:
    """All peers, by id, by path, by inner address."""

    def __init__(self) -> None:
        self.by_wire_id: dict[bytes, Peer] = {}
        """Key: the three bytes of the peer id in a packet."""
        self.routes: InnerRoutes[Peer] = InnerRoutes()
        self._by_holder: dict[Hashable, Peer] = {}

    def add(self, spec: PeerSpec, link: Link | None) -> Peer:
        """``link`` None: it is closed. Raises ``UsageError`` when the id is taken."""
        wire_id = spec.peer.to_bytes(3, "big")
        if wire_id in self.by_wire_id:
            raise UsageError(f"peer {spec.peer} exists")
        peer = Peer(spec)
        self.by_wire_id[wire_id] = peer
        if link is not None:
            self.place(peer, link, link.source(spec.path))
        for network in spec.networks:
            self.routes.add(network, peer)
        return peer

    def update(self, spec: PeerSpec, link: Link | None) -> None:
        """Replace a peer's spec. Raises ``UsageError`` when it is unknown."""
        peer = self.get(spec.peer)
        for network in peer.spec.networks:
            self.routes.remove(network, peer)
        peer.spec = spec
        peer.framing = _framing(spec)
        for network in spec.networks:
            self.routes.add(network, peer)
        if link is None:
            self._leave(peer)
        else:
            self.place(peer, link, link.source(spec.path))

    def remove(self, peer_id: PeerId) -> Peer:
        """Raises ``UsageError`` when it is unknown."""
        peer = self.get(peer_id)
        del self.by_wire_id[peer_id.to_bytes(3, "big")]
        for network in peer.spec.networks:
            self.routes.remove(network, peer)
        self._leave(peer)
        return peer

    def get(self, peer_id: PeerId) -> Peer:
        """Raises ``UsageError`` when it is unknown."""
        peer = self.by_wire_id.get(peer_id.to_bytes(3, "big"))
        if peer is None:
            raise UsageError(f"no peer {peer_id}")
        return peer

    def place(self, peer: Peer, link: Link, source: Source) -> None:
        """The peer is now reached there."""
        self._leave(peer)
        peer.link, peer.source = link, source
        self._by_holder[link.holder(source)] = peer

    def holder(self, link: Link, source: Source) -> Peer | None:
        """Who is reached there."""
        return self._by_holder.get(link.holder(source))

    def unlink(self, link: Link) -> None:
        """A link is closed: its peers stay, without a way to send."""
        for peer in self.all():
            if peer.link is link:
                self._leave(peer)

    def all(self) -> list[Peer]:
        """Every peer."""
        return list(self.by_wire_id.values())

    def _leave(self, peer: Peer) -> None:
        if peer.link is not None:
            key = peer.link.holder(peer.source)
            if self._by_holder.get(key) is peer:
                del self._by_holder[key]
        peer.link = None


def _framing(spec: PeerSpec) -> Framing | None:
    return None if spec.framing is Framing.NONE else spec.framing
