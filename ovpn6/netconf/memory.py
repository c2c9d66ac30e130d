"""A host in memory: the fake under the contract tests of the real one, and for the daemon's tests.

It keeps Linux's rules where they decide what a change must look like: what goes with a device, with
a device that goes down, with a subnet's first IPv4 address, with a device's last one; what a key of
a route allows; what a gateway needs; and what ``conf/all/forwarding`` does to the others.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from ipaddress import IPv4Interface, IPv6Address

from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.records import dataclass, replace
from ovpn6.netconf.interface import ROUTE_PROTOCOL, Notice
from ovpn6.netconf.keeper import HostKeeper
from ovpn6.netconf.ledger import Ledger
from ovpn6.netconf.namespace import FibEntry, Link
from ovpn6.netconf.plan import MAIN_TABLE, KernelRoute
from ovpn6.netconf.underlay import best
from ovpn6.netconf.undo import Undoing

RA_PROTOCOL = 9
"""``RTPROT_RA``: a route that a router advertised."""
STATIC_PROTOCOL = 4
"""``RTPROT_STATIC``: a route that an operator made."""


@dataclass(slots=True)
class MemoryNamespace:
    """A :class:`ovpn6.netconf.namespace.Namespace`, with methods for what others do to a host.

    ``refuse`` maps the start of an operation's text to the errno it fails with.
    """

    identity: int = 1
    refuse: dict[str, int] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    fib: dict[tuple[object, ...], FibEntry] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    segments: dict[str, dict[IPNetwork, int]] = field(default_factory=dict)
    """Largest TCP segments, by device."""
    guarded: dict[str, frozenset[int]] = field(default_factory=dict)
    """Guarded ports, by device."""
    guarded_peers: set[IPAddress] = field(default_factory=set)
    fragments: dict[IPAddress, int] = field(default_factory=dict)
    """Left for outer addresses; a test may say so."""
    _addresses: dict[int, list[IPInterface]] = field(default_factory=dict)
    _next_index: int = 1

    @property
    def inode(self) -> int:
        """As good as any."""
        return self.identity

    def add_device(self, name: str, mtu: int = 1500, up: bool = False) -> int:
        """Somebody makes an interface; returns its index."""
        index = self._next_index
        self._next_index += 1
        self.links[index] = Link(index, name, mtu, up, 500)
        self._addresses[index] = []
        for directory, knobs in _KNOBS.items():
            for knob, value in knobs.items():
                inherited = self.settings.get(f"{directory}/default/{knob}", value)
                self.settings[f"{directory}/{name}/{knob}"] = inherited
                for general in ("all", "default"):
                    self.settings.setdefault(f"{directory}/{general}/{knob}", value)
        return index

    def remove_device(self, name: str) -> None:
        """Somebody removes an interface; the kernel removes what hangs on it."""
        index = next(link.index for link in self.links.values() if link.name == name)
        del self.links[index], self._addresses[index]
        self._drop_routes(index)
        for setting in [key for key in self.settings if f"/conf/{name}/" in key]:
            del self.settings[setting]

    def add_foreign_route(self, route: KernelRoute, protocol: int = STATIC_PROTOCOL) -> None:
        """Somebody else makes a route."""
        self.fib[route.key] = FibEntry(route, protocol)

    def add_foreign_address(self, index: int, address: IPInterface) -> None:
        """Somebody else gives an interface an address."""
        self._addresses[index].append(address)

    # --- the port --------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """By name."""
        return next((link for link in self.links.values() if link.name == name), None)

    def link_name(self, index: int) -> str:
        """By index."""
        return self.links[index].name if index in self.links else ""

    def link_names(self) -> dict[int, str]:
        """All of them."""
        return {index: link.name for index, link in self.links.items()}

    def set_mtu(self, index: int, mtu: int) -> None:
        """Octets."""
        self._operate(f"set mtu {mtu}", index)
        self.links[index] = replace(self.links[index], mtu=mtu)

    def set_up(self, index: int, up: bool) -> None:
        """Down takes routes and IPv6 addresses along."""
        self._operate(f"set link {'up' if up else 'down'}", index)
        self.links[index] = replace(self.links[index], up=up)
        if not up:
            self._drop_routes(index)
            self._addresses[index] = [a for a in self._addresses[index] if a.version == 4]

    def set_txqueuelen(self, index: int, packets: int) -> None:
        """Packets."""
        self._operate(f"set txqueuelen {packets}", index)
        self.links[index] = replace(self.links[index], txqueuelen=packets)

    def addresses(self, index: int) -> frozenset[IPInterface]:
        """Of one interface."""
        return frozenset(self._addresses.get(index, ()))

    def add_address(self, index: int, address: IPInterface) -> None:
        """EEXIST when it is there."""
        operation = f"add address {address}"
        self._operate(operation, index)
        if address in self._addresses[index]:
            raise HostError(operation, "File exists", errno.EEXIST)
        self._addresses[index].append(address)

    def remove_address(self, index: int, address: IPInterface) -> None:
        """The first of an IPv4 subnet takes the others along, the last one the routes."""
        if index not in self.links or address not in self._addresses[index]:
            return
        self._operate(f"remove address {address}", index)
        present = self._addresses[index]
        first = next(other for other in present if other.network == address.network)
        present.remove(address)
        if isinstance(address, IPv4Interface):
            if first == address:
                present[:] = [other for other in present if other.network != address.network]
            if not any(other.version == 4 for other in present):
                self._drop_routes(index, version=4)

    def own_routes(self) -> frozenset[KernelRoute]:
        """By protocol."""
        return frozenset(e.route for e in self.fib.values() if e.protocol == ROUTE_PROTOCOL)

    def table_routes(self, version: int, table: int) -> tuple[FibEntry, ...]:
        """Unicast only."""
        return tuple(
            entry
            for entry in self.fib.values()
            if entry.route.destination.version == version
            and entry.route.table == table
            and entry.route.hop is not None
        )

    def lookup(self, address: IPAddress) -> FibEntry | None:
        """In table main."""
        if any(address == own.ip for present in self._addresses.values() for own in present):
            return None
        operation = f"find a route to {address}"
        entry = best(
            (e for e in self.fib.values() if e.route.table == MAIN_TABLE), address, lambda _: False
        )
        if entry is None:
            raise HostError(operation, "Network is unreachable", errno.ENETUNREACH)
        if entry.route.hop is None:
            raise HostError(operation, "No route to host", errno.EHOSTUNREACH)
        return entry

    def add_route(self, route: KernelRoute) -> None:
        """EEXIST when the key is taken."""
        operation = f"add route {route}"
        self._check_route(operation, route)
        if route.key in self.fib:
            raise HostError(operation, "File exists", errno.EEXIST)
        self.fib[route.key] = FibEntry(route, ROUTE_PROTOCOL)

    def replace_route(self, route: KernelRoute) -> None:
        """Whatever has its key."""
        self._check_route(f"replace route {route}", route)
        self.fib[route.key] = FibEntry(route, ROUTE_PROTOCOL)

    def remove_route(self, route: KernelRoute) -> None:
        """Exactly it."""
        if self.fib.get(route.key) == FibEntry(route, ROUTE_PROTOCOL):
            self._operate(f"remove route {route}")
            del self.fib[route.key]

    def limit_segments(self, device: str) -> MemorySegments:
        """:meth:`MemoryWorld.kill` ends it too."""
        self._operate(f"make table ovpn6-{device}")
        self.segments[device] = {}
        return MemorySegments(self, device)

    def guard_ports(self, name: str) -> MemoryGuard:
        """As :meth:`limit_segments`."""
        self._operate(f"make table ovpn6-{name}-guard")
        self.guarded[name] = frozenset()
        return MemoryGuard(self, name)

    def count_fragments(self, name: str) -> MemoryFragments:
        """As :meth:`limit_segments`."""
        self._operate(f"make table ovpn6-{name}-fragments")
        return MemoryFragments(self)

    def route_news(self) -> MemoryNews:
        """Always news."""
        return MemoryNews()

    def setting_names(self, directory: str) -> tuple[str, ...]:
        """One level."""
        prefix = f"{directory}/"
        inside = (key[len(prefix) :] for key in self.settings if key.startswith(prefix))
        return tuple(sorted({name.partition("/")[0] for name in inside}))

    def read_setting(self, name: str) -> str | None:
        """None without it."""
        return self.settings.get(name)

    def write_setting(self, name: str, value: str) -> None:
        """``all`` writes to each; an IPv6 router loses what routers advertised."""
        if name not in self.settings:
            return
        self._operate(f"set {name} to {value}")
        self.settings[name] = value
        directory, _, rest = name.partition("/all/")
        if rest:
            for other in self.settings:
                if other.startswith(f"{directory}/") and other.endswith(f"/{rest}"):
                    self.settings[other] = value
        if name.startswith("net/ipv6") and name.endswith("/forwarding") and value == "1":
            self._purge_advertised()

    def close(self) -> None:
        """Nothing to let go of."""

    # --- rules -----------------------------------------------------------------------------------

    def _operate(self, operation: str, index: int | None = None) -> None:
        self.log.append(operation)
        for start, code in self.refuse.items():
            if operation.startswith(start):
                raise HostError(operation, "refused", code)
        if index is not None and index not in self.links:
            raise HostError(operation, "No such device", errno.ENODEV)

    def _check_route(self, operation: str, route: KernelRoute) -> None:
        self._operate(operation)
        if route.hop is None:
            return
        link = self.links.get(route.hop.device)
        if link is None:
            raise HostError(operation, "No such device", errno.ENODEV)
        if not link.up:
            raise HostError(operation, "Network is down", errno.ENETDOWN)
        gateway = route.hop.gateway
        if gateway is None or route.hop.onlink:
            return
        if isinstance(gateway, IPv6Address) and gateway.is_link_local:
            return
        if not any(self._reaches(entry, route, gateway) for entry in self.fib.values()):
            raise HostError(operation, "Nexthop has invalid gateway", errno.ENETUNREACH)

    def _reaches(self, entry: FibEntry, route: KernelRoute, gateway: IPAddress) -> bool:
        hop, destination = entry.route.hop, entry.route.destination
        return (
            route.hop is not None
            and hop is not None
            and (hop.device, hop.gateway) == (route.hop.device, None)
            and destination.version == gateway.version
            and gateway in destination
        )

    def _drop_routes(self, index: int, version: int = 0) -> None:
        for key, entry in list(self.fib.items()):
            hop = entry.route.hop
            family = entry.route.destination.version
            if hop is not None and hop.device == index and version in (0, family):
                del self.fib[key]

    def _purge_advertised(self) -> None:
        for key, entry in list(self.fib.items()):
            hop = entry.route.hop
            if entry.protocol != RA_PROTOCOL or hop is None:
                continue
            name = f"net/ipv6/conf/{self.links[hop.device].name}/accept_ra"
            if self.settings.get(name) != "2":
                del self.fib[key]


@dataclass(slots=True)
class MemorySegments:
    """A :class:`ovpn6.netconf.namespace.SegmentLimits`."""

    space: MemoryNamespace
    device: str

    def change(self, sizes: Mapping[IPNetwork, int | None]) -> None:
        """At once."""
        held = self.space.segments[self.device]
        for network, size in sizes.items():
            if size is None:
                del held[network]
            else:
                held[network] = size

    def close(self) -> None:
        """Gone."""
        self.space.segments.pop(self.device, None)


@dataclass(slots=True)
class MemoryGuard:
    """A :class:`ovpn6.netconf.namespace.PortGuard`."""

    space: MemoryNamespace
    name: str

    def change(self, ports: frozenset[int]) -> None:
        """At once."""
        self.space.guarded[self.name] = ports

    def know(self, address: IPAddress) -> None:
        """A peer's."""
        self.space.guarded_peers.add(address)

    def forget(self, address: IPAddress) -> None:
        """Nobody's."""
        self.space.guarded_peers.discard(address)

    def close(self) -> None:
        """Gone."""
        self.space.guarded.pop(self.name, None)


@dataclass(slots=True)
class MemoryFragments:
    """A :class:`ovpn6.netconf.namespace.FragmentCounts`."""

    space: MemoryNamespace

    def add(self, address: IPAddress, device: str) -> None:
        """From 0."""
        self.space.fragments.setdefault(address, 0)

    def drop(self, address: IPAddress) -> None:
        """Gone."""
        self.space.fragments.pop(address, None)

    def count(self, address: IPAddress) -> int:
        """What was said."""
        return self.space.fragments.get(address, 0)

    def close(self) -> None:
        """All gone."""
        self.space.fragments.clear()


class MemoryNews:
    """A :class:`ovpn6.netconf.namespace.RouteNews` that nobody can wait for."""

    def fileno(self) -> int:
        """No file."""
        return -1

    def read(self) -> tuple[bool, bool]:
        """Anything may have happened."""
        return True, True

    def close(self) -> None:
        """Nothing to let go of."""


_KNOBS = {
    "net/ipv4/conf": {"forwarding": "0"},
    "net/ipv6/conf": {"forwarding": "0", "force_forwarding": "0", "accept_ra": "1"},
}


@dataclass(slots=True)
class MemoryWorld:
    """Namespaces by name, "" the daemons' own, and the journals of the instances in it."""

    namespaces: dict[str, MemoryNamespace] = field(default_factory=lambda: {"": MemoryNamespace()})
    live: list[MemoryJournal] = field(default_factory=list)
    dead: list[Ledger] = field(default_factory=list)

    @property
    def own(self) -> MemoryNamespace:
        """The daemons' own namespace."""
        return self.namespaces[""]

    def open_namespace(self, name: str) -> MemoryNamespace:
        """ENOENT without it."""
        if name not in self.namespaces:
            operation = f"open network namespace {name}"
            raise HostError(operation, "No such file or directory", errno.ENOENT)
        return self.namespaces[name]

    def kill(self) -> None:
        """Every instance dies without a word; only journals are left."""
        died = [journal.ledger for journal in self.live if journal.ledger is not None]
        self.dead += died
        self.live.clear()
        for ledger in died:
            for space in self.namespaces.values():
                if space.identity == ledger.tunnel_namespace:
                    space.segments.pop(ledger.device, None)
                if space.identity == ledger.underlay_namespace:
                    space.guarded.pop(ledger.device, None)

    def recover(self) -> None:
        """What :func:`ovpn6.netconf.recovery.recover` does on a real host."""
        live = [journal.ledger for journal in self.live if journal.ledger is not None]
        namespaces = {space.identity: space for space in self.namespaces.values()}
        for ledger in self.dead:
            Undoing(namespaces, ledger, live).run()
        self.dead.clear()


class MemoryJournal:
    """A :class:`ovpn6.netconf.journal.Journal` that lives in a :class:`MemoryWorld`."""

    def __init__(self, world: MemoryWorld) -> None:
        self.ledger: Ledger | None = None
        self._world = world
        world.live.append(self)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else runs."""
        yield

    def write(self, ledger: Ledger) -> None:
        """Keep it."""
        self.ledger = ledger

    def add(self, route: KernelRoute) -> None:
        """One more."""
        assert self.ledger is not None
        self.ledger = replace(self.ledger, routes=self.ledger.routes | {route})

    def drop(self, route: KernelRoute) -> None:
        """One less."""
        assert self.ledger is not None
        self.ledger = replace(self.ledger, routes=self.ledger.routes - {route})

    def others(self) -> tuple[Ledger, ...]:
        """Of the same world."""
        journals = [journal for journal in self._world.live if journal is not self]
        return tuple(journal.ledger for journal in journals if journal.ledger is not None)

    def close(self, keep: bool = False) -> None:
        """As if the process ended."""
        if self in self._world.live:
            self._world.live.remove(self)
            if keep and self.ledger is not None:
                self._world.dead.append(self.ledger)


class MemoryHost(HostKeeper):
    """A :class:`ovpn6.netconf.interface.HostState` on a :class:`MemoryWorld`."""

    def __init__(self, world: MemoryWorld | None = None, notice: Notice | None = None) -> None:
        self.world = world or MemoryWorld()
        self.notices: list[str] = []
        super().__init__(
            open_namespace=self.world.open_namespace,
            open_journal=lambda instance, inode: MemoryJournal(self.world),
            notice=notice or self.notices.append,
        )
