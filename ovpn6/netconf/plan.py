"""The difference between a host's state and a :class:`HostPlan`, as an ordered list of changes.

Pure: knows nothing of netlink, files or processes. The order is what makes a change seamless: the
link first, then addresses, then routes (those of the underlay before those of the tunnel, which may
cover them; those without a gateway before those that need one), and only then what is no longer
wanted goes, the other way round. The same plan twice gives no change.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import IPv4Interface

from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork
from ovpn6.model.records import dataclass
from ovpn6.model.specs import HostPlan, Route, RouteVia

MAIN_TABLE = 254
"""``RT_TABLE_MAIN``: what table 0 of a :class:`Route` means."""
DEFAULT_METRICS = {4: 0, 6: 1024}
"""The kernel's own metric for a route without one (``IP6_RT_PRIO_USER`` for IPv6)."""
ON_LINK_METRICS = {4: 0, 6: 256}
"""What the kernel gives the on-link route of an address (``IP6_RT_PRIO_ADDRCONF``)."""
MINIMUM_IPV6_MTU = 1280
"""RFC 8200 section 5; below it Linux takes IPv6 off the interface."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a route leads. ``device`` is an ifindex; ``gateway`` may be IPv6 for an IPv4 route;
    ``onlink``: the gateway is taken as a neighbour unchecked; ``source`` the preferred source;
    ``mtu`` 0 is the device's."""

    device: int
    gateway: IPAddress | None = None
    onlink: bool = False
    source: IPAddress | None = None
    mtu: int = 0


RouteKey = tuple[int, IPNetwork, int, int]
"""What a kernel lets exist once: namespace, destination, table, metric."""


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One route as the kernel holds it. ``namespace`` tells network namespaces apart (see
    ``Namespace.identity``); ``hop`` None is an unreachable route."""

    namespace: int
    destination: IPNetwork
    table: int
    metric: int
    hop: Hop | None

    @property
    def key(self) -> RouteKey:
        """Two routes of one key cannot both exist."""
        return (self.namespace, self.destination, self.table, self.metric)

    def __str__(self) -> str:
        kind = "" if self.hop else "unreachable "
        via = f" via {self.hop.gateway}" if self.hop and self.hop.gateway else ""
        table = "" if self.table == MAIN_TABLE else f" table {self.table}"
        return f"{kind}{self.destination}{via}{table} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What is there now.

    ``addresses`` are all of the device, ``own_addresses`` those of them that we made; ``routes``
    those that we made and that still exist; ``forwarding`` the IP versions (4, 6) we turned on.
    """

    tunnel_namespace: int
    underlay_namespace: int
    device: int
    mtu: int
    up: bool
    addresses: frozenset[IPInterface] = frozenset()
    own_addresses: frozenset[IPInterface] = frozenset()
    routes: frozenset[KernelRoute] = frozenset()
    forwarding: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SetMtu:
    """The device's MTU in octets."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SetUp:
    """The device's administrative state."""

    up: bool


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give the device an address, without the kernel's own on-link route."""

    address: IPInterface


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address of ours from the device."""

    address: IPInterface


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Make a route whose key is free."""

    route: KernelRoute


@dataclass(frozen=True, slots=True)
class ReplaceRoute:
    """Put ``new`` in the place of ``old``, which has the same key, in one step."""

    old: KernelRoute
    new: KernelRoute


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove a route of ours."""

    route: KernelRoute


@dataclass(frozen=True, slots=True)
class EnableForwarding:
    """Let the tunnel's namespace forward packets of IP ``version``."""

    version: int


@dataclass(frozen=True, slots=True)
class RestoreForwarding:
    """Put back what :class:`EnableForwarding` changed."""

    version: int


Change = (
    SetMtu
    | SetUp
    | AddAddress
    | RemoveAddress
    | AddRoute
    | ReplaceRoute
    | RemoveRoute
    | EnableForwarding
    | RestoreForwarding
)


def changes(
    observed: ObservedState,
    wanted: HostPlan,
    hops: Mapping[IPNetwork, Hop | None],
    held: Container[RouteKey] = (),
) -> tuple[Change, ...]:
    """What makes ``observed`` the wanted state, in order.

    ``hops`` says for each UNDERLAY destination how the host reaches it; None, or no entry, is an
    address of the host itself, which needs no route. ``held``: keys that are not the plan's to
    change (:mod:`ovpn6.netconf.fitting`).
    """
    routes = wanted_routes(observed, wanted, hops)
    missing = [address for address in wanted.addresses if address not in observed.addresses]
    surplus = sorted(observed.own_addresses - frozenset(wanted.addresses), key=str)
    in_the_way = [old for old in surplus if _shadows(old, missing)]
    forwarding = {address.version for address in wanted.addresses} if wanted.forwarding else set()
    return (
        *([SetMtu(observed.mtu, wanted.mtu)] if observed.mtu != wanted.mtu else []),
        *([] if observed.up else [SetUp(True)]),
        *(EnableForwarding(version) for version in sorted(forwarding - observed.forwarding)),
        *(RemoveAddress(address) for address in in_the_way),
        *(AddAddress(address) for address in dict.fromkeys(missing)),
        *_route_changes(observed, routes, held),
        *(RemoveAddress(address) for address in surplus if address not in in_the_way),
        *(RestoreForwarding(version) for version in sorted(observed.forwarding - forwarding)),
    )


def wanted_routes(
    observed: ObservedState, plan: HostPlan, hops: Mapping[IPNetwork, Hop | None]
) -> dict[RouteKey, KernelRoute]:
    """The plan's routes as the kernel would show them, one for each key.

    Each address with a prefix gets an on-link route of our own, unless the plan has one. Where two
    routes claim one key, the first counts, those of the underlay before all others.
    """
    routes: dict[RouteKey, KernelRoute] = {}
    explicit = [*_underlay_routes(observed, plan, hops), *_tunnel_routes(observed, plan)]
    for route in (*explicit, *_on_link_routes(observed, plan)):
        routes.setdefault(route.key, route)
    return routes


def inverse(change: Change) -> Change:
    """The change that takes ``change`` back."""
    match change:
        case SetMtu(before, after):
            return SetMtu(after, before)
        case SetUp(up):
            return SetUp(not up)
        case AddAddress(address):
            return RemoveAddress(address)
        case RemoveAddress(address):
            return AddAddress(address)
        case AddRoute(route):
            return RemoveRoute(route)
        case ReplaceRoute(old, new):
            return ReplaceRoute(new, old)
        case RemoveRoute(route):
            return AddRoute(route)
        case EnableForwarding(version):
            return RestoreForwarding(version)
        case RestoreForwarding(version):
            return EnableForwarding(version)


def _shadows(old: IPInterface, missing: Iterable[IPInterface]) -> bool:
    """Whether ``old`` must go before a missing address comes.

    Linux keeps a second IPv4 address of the same subnet as a secondary of the first, and removes
    it with the first.
    """
    return isinstance(old, IPv4Interface) and any(old.network == new.network for new in missing)


def _route_changes(
    observed: ObservedState, wanted: dict[RouteKey, KernelRoute], held: Container[RouteKey]
) -> Iterator[AddRoute | ReplaceRoute | RemoveRoute]:
    present = {route.key: route for route in observed.routes}

    def rank(route: KernelRoute) -> tuple[bool, bool, bool, int, str]:
        pinned = route.namespace == observed.underlay_namespace and (
            route.hop is not None and route.hop.device != observed.device
        )
        gateway = route.hop is not None and route.hop.gateway is not None
        # An unreachable route after the unicast ones: it may cover what they still let through.
        return (not pinned, gateway, route.hop is None, -route.destination.prefixlen, str(route))

    for route in sorted(wanted.values(), key=rank):
        old = present.get(route.key)
        if route.key in held:
            continue
        if old is None:
            yield AddRoute(route)
        elif old != route:
            yield ReplaceRoute(old, route)
    for route in sorted(observed.routes, key=rank, reverse=True):
        if route.key not in wanted and route.key not in held:
            yield RemoveRoute(route)


def _metric(route: Route) -> int:
    # The kernel reads an IPv6 metric of 0 as no metric.
    return route.metric or DEFAULT_METRICS[route.destination.version]


def _underlay_routes(
    observed: ObservedState, plan: HostPlan, hops: Mapping[IPNetwork, Hop | None]
) -> Iterator[KernelRoute]:
    for route in plan.routes:
        if route.via is not RouteVia.UNDERLAY:
            continue
        hop = hops.get(route.destination)
        if hop is None:
            continue
        if route.mtu is not None:
            hop = Hop(hop.device, hop.gateway, hop.onlink, hop.source, route.mtu)
        table = route.table or MAIN_TABLE
        yield KernelRoute(
            observed.underlay_namespace, route.destination, table, _metric(route), hop
        )


def _tunnel_routes(observed: ObservedState, plan: HostPlan) -> Iterator[KernelRoute]:
    for route in plan.routes:
        if route.via is RouteVia.UNDERLAY:
            continue
        hop = None
        if route.via is RouteVia.TUNNEL:
            hop = Hop(observed.device, route.gateway, mtu=route.mtu or 0)
        table = route.table or MAIN_TABLE
        yield KernelRoute(observed.tunnel_namespace, route.destination, table, _metric(route), hop)


def _on_link_routes(observed: ObservedState, plan: HostPlan) -> Iterator[KernelRoute]:
    given = {
        route.destination
        for route in plan.routes
        if route.via is RouteVia.TUNNEL and route.gateway is None and not route.table
    }
    for address in plan.addresses:
        network = address.network
        if network.prefixlen < network.max_prefixlen and network not in given:
            metric = ON_LINK_METRICS[network.version]
            hop = Hop(observed.device)
            yield KernelRoute(observed.tunnel_namespace, network, MAIN_TABLE, metric, hop)
