"""What we know of the peers that live in the kernel. No netlink, no socket."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.model.addresses import Endpoint, IPAddress, IPNetwork, Path
from ovpn6.model.errors import UsageError
from ovpn6.model.names import Instant, KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.specs import Keepalive, KeyMaterial, PeerCounters, PeerSpec
from ovpn6.protocol.data_channel import usage_limits

NEVER = 86_400
"""Seconds: the longest keepalive time that the kernel takes."""
LAST_PACKETS = 0xF000_0000
"""Packets under one key after which a new one is wanted: the kernel itself only tells when the last
of 2^32 is used up, and then nothing is sent any more."""
BLOCK = 16

_NOTHING = PeerCounters()


class KernelPeer:
    """One peer. ``alive``: the kernel has it. ``counters`` are those it told last."""

    __slots__ = (
        "alive",
        "counters",
        "keys",
        "material_limits",
        "moved_at",
        "moved_octets",
        "reported",
        "spec",
        "usage_since",
    )

    def __init__(self, spec: PeerSpec, now: Instant) -> None:
        self.spec = spec
        self.alive = True
        self.counters = _NOTHING
        self.keys: dict[KeySlot, KeyId] = {}
        self.material_limits: dict[KeyId, int | None] = {}
        self.usage_since = _NOTHING
        self.moved_octets = 0
        self.moved_at = now
        self.reported: set[object] = set()
        """Reports that are not repeated until something changes."""

    def install(self, slot: KeySlot, key: KeyMaterial) -> None:
        """A key is in a slot now."""
        self.keys[slot] = key.key_id
        self.material_limits[key.key_id] = usage_limits(key.cipher).wanted_at
        self.reported.discard(key.key_id)
        if slot is KeySlot.PRIMARY:
            self.usage_since = self.counters

    def swap(self) -> None:
        """The slots have changed places."""
        others = {KeySlot.PRIMARY: KeySlot.SECONDARY, KeySlot.SECONDARY: KeySlot.PRIMARY}
        self.keys = {others[slot]: key_id for slot, key_id in self.keys.items()}
        self.usage_since = self.counters

    def is_worn_out(self) -> bool:
        """Whether the primary key nears a limit in either direction, by the counters.

        They count from a little before the key came into use, so this may be true too early.
        """
        key_id = self.keys.get(KeySlot.PRIMARY)
        if key_id is None:
            return False
        limit = self.material_limits.get(key_id)
        now, then = self.counters, self.usage_since
        ways = (
            (now.packets_out - then.packets_out, now.link_out - then.link_out),
            (now.packets_in - then.packets_in, now.link_in - then.link_in),
        )
        return any(
            packets > LAST_PACKETS
            or (limit is not None and packets + max(0, octets) // BLOCK > limit)
            for packets, octets in ways
        )

    def iroutes(self) -> dict[IPNetwork, IPAddress | None]:
        """What is behind it, each with its own address that leads there."""
        return networks_behind(self.spec.networks)


class KernelPeers:
    """All peers, by id and by UDP path."""

    def __init__(self) -> None:
        self._by_id: dict[PeerId, KernelPeer] = {}
        self._by_path: dict[tuple[LinkId, Endpoint], PeerId] = {}

    def add(self, peer: KernelPeer) -> None:
        """Raises ``UsageError`` when the id is taken."""
        number = peer.spec.peer
        if number in self._by_id:
            raise UsageError(f"peer {number} exists")
        self._by_id[number] = peer
        self._by_path[_key(peer.spec.path)] = number

    def find(self, number: PeerId) -> KernelPeer | None:
        """None when it is unknown."""
        return self._by_id.get(number)

    def get(self, number: PeerId) -> KernelPeer:
        """Raises ``UsageError`` when it is unknown."""
        peer = self._by_id.get(number)
        if peer is None:
            raise UsageError(f"no peer {number}")
        return peer

    def update(self, peer: KernelPeer, spec: PeerSpec) -> None:
        """Replace its spec."""
        self._leave(peer)
        peer.spec = spec
        self._by_path[_key(spec.path)] = spec.peer

    def remove(self, peer: KernelPeer) -> None:
        """Forget it."""
        del self._by_id[peer.spec.peer]
        self._leave(peer)

    def owner(self, path: Path) -> KernelPeer | None:
        """Who is reached there."""
        number = self._by_path.get(_key(path))
        return None if number is None else self._by_id.get(number)

    def on_link(self, link: LinkId) -> list[KernelPeer]:
        """Those that are reached through a link."""
        return [peer for peer in self._by_id.values() if peer.spec.path.link == link]

    def all(self) -> list[KernelPeer]:
        """Every peer."""
        return list(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def _leave(self, peer: KernelPeer) -> None:
        key = _key(peer.spec.path)
        if self._by_path.get(key) == peer.spec.peer:
            del self._by_path[key]


def inner_addresses(networks: Iterable[IPNetwork]) -> dict[int, IPAddress]:
    """By IP version, the first host address among a peer's networks: the very object in there."""
    found: dict[int, IPAddress] = {}
    for network in networks:
        if network.prefixlen == network.max_prefixlen:
            found.setdefault(network.version, network.network_address)
    return found


def networks_behind(networks: Iterable[IPNetwork]) -> dict[IPNetwork, IPAddress | None]:
    """Of a peer's networks those that are not its own addresses, each with its own address that
    leads there."""
    networks = tuple(networks)
    own = inner_addresses(networks)
    return {
        network: own.get(network.version)
        for network in networks
        if network.network_address is not own.get(network.version)
    }


def order(spec: PeerSpec, *, remote: bool, many_peers: bool) -> PeerOrder:
    """What the kernel is to know of a new peer. ``remote``: the link is UDP."""
    own = inner_addresses(spec.networks) if many_peers else {}
    ipv4, ipv6 = own.get(4), own.get(6)
    return PeerOrder(
        peer=spec.peer,
        remote=spec.path.remote if remote else None,
        local=spec.path.local if remote else None,
        vpn_ipv4=ipv4 if isinstance(ipv4, IPv4Address) else None,
        vpn_ipv6=ipv6 if isinstance(ipv6, IPv6Address) else None,
        keepalive=kernel_keepalive(spec.keepalive),
        tx_id=None if spec.send_id == spec.peer else spec.send_id,
    )


def kernel_keepalive(keepalive: Keepalive) -> Keepalive:
    """The kernel wants both times or none, so a missing one becomes a day."""
    interval, timeout = keepalive.interval, keepalive.timeout
    if (0 < interval <= NEVER and 0 < timeout <= NEVER) or interval == timeout == 0:
        return keepalive
    return Keepalive(min(interval or NEVER, NEVER), min(timeout or NEVER, NEVER))


def _key(path: Path) -> tuple[LinkId, Endpoint]:
    return path.link, path.remote
