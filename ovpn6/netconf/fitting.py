"""Which routes give packets to a peer the sizes of its path. PURE.

A peer with networks of its own gets its sizes by routes to these; one that has the whole device
(``::/0``, ``0.0.0.0/0``) by the device's MTU and that of the plan's own routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId
from ovpn6.model.records import replace
from ovpn6.model.specs import HostPlan, PeerFit, Route, RouteVia
from ovpn6.netconf.plan import (
    DEFAULT_METRICS,
    MAIN_TABLE,
    MINIMUM_IPV6_MTU,
    Hop,
    KernelRoute,
    RouteKey,
)

Key = TypeVar("Key")
Value = TypeVar("Value")


class Ground:
    """What the plan leads into the tunnel: the routes that fits stand on."""

    def __init__(self, namespace: int, device: int, routes: Iterable[KernelRoute] = ()) -> None:
        """``routes``: the plan's, of any namespace; those that lead elsewhere do not count."""
        self._namespace = namespace
        self._device = device
        self._routes: dict[IPNetwork, list[KernelRoute]] = {}
        self._main: set[IPNetwork] = set()
        self._lengths: dict[int, set[int]] = {4: set(), 6: set()}
        """Of what leads there in table main, by version."""
        for route in routes:
            if route.namespace == namespace and route.hop and route.hop.device == device:
                self._routes.setdefault(route.destination, []).append(route)
                if route.table == MAIN_TABLE:
                    self._main.add(route.destination)
                    self._lengths[route.destination.version].add(route.destination.prefixlen)

    def base(self, key: RouteKey) -> KernelRoute | None:
        """The plan's own route of this key."""
        return next((r for r in self._routes.get(key[1], ()) if r.key == key), None)

    def fitted(self, network: IPNetwork, mtu: int) -> Iterator[KernelRoute]:
        """The routes to a network with this MTU: the plan's own with it, else one that is made.

        None when no route of the plan covers it: then such packets do not come here.
        """
        own = self._routes.get(network)
        if own is not None:
            for route in own:
                assert route.hop is not None
                yield replace(route, hop=replace(route.hop, mtu=mtu))
        elif self._covers(network):
            metric = DEFAULT_METRICS[network.version]
            hop = Hop(self._device, mtu=mtu)
            yield KernelRoute(self._namespace, network, MAIN_TABLE, metric, hop)

    def _covers(self, network: IPNetwork) -> bool:
        return any(
            length < network.prefixlen and network.supernet(new_prefix=length) in self._main
            for length in self._lengths[network.version]
        )


class Claims(Generic[Key, Value]):
    """Whose value counts where several peers ask for the same: the newest one's, and that of the
    one before again when it goes (a client that connects anew before its old connection ends)."""

    def __init__(self) -> None:
        self._of_key: dict[Key, dict[PeerId, Value]] = {}
        self._of_peer: dict[PeerId, tuple[Key, ...]] = {}

    def replace(self, peer: PeerId, values: Mapping[Key, Value]) -> list[Key]:
        """A peer's values are these now; the keys to look at again."""
        before = self._of_peer.pop(peer, ())
        for key in before:
            if key not in values:
                holders = self._of_key[key]
                del holders[peer]
                if not holders:
                    del self._of_key[key]
        for key, value in values.items():
            self._of_key.setdefault(key, {})[peer] = value
        if values:
            self._of_peer[peer] = tuple(values)
        return list(dict.fromkeys((*before, *values)))

    def newest(self, key: Key) -> Value | None:
        """None without any."""
        holders = self._of_key.get(key)
        return next(reversed(holders.values())) if holders else None

    def all(self, key: Key) -> Iterable[Value]:
        """Oldest first."""
        return self._of_key.get(key, {}).values()


def has_whole_device(fit: PeerFit) -> bool:
    """Whether the peer is the device's only one."""
    return any(network.prefixlen == 0 for network in fit.networks)


def fitted_routes(fit: PeerFit, ground: Ground) -> dict[RouteKey, KernelRoute]:
    """The routes that a peer with networks of its own needs."""
    routes = {}
    for network in fit.networks:
        mtu = (fit.ipv6 if network.version == 6 else fit.ipv4).mtu
        if mtu is not None and network.prefixlen:
            routes.update({route.key: route for route in ground.fitted(network, mtu)})
    return routes


def fitted_segments(fit: PeerFit) -> dict[IPNetwork, int]:
    """The largest TCP segment for each network of a peer; a default for the whole device."""
    sizes = {n: (fit.ipv6 if n.version == 6 else fit.ipv4).mss for n in fit.networks}
    return {network: size for network, size in sizes.items() if size}


def fitted_plan(plan: HostPlan, fit: PeerFit) -> HostPlan:
    """The plan of a device that has one peer: its MTU no less than IPv6 needs, IPv4's routes with
    less where the path has less."""
    wanted = fit.ipv6.mtu if fit.ipv6.mtu is not None else fit.ipv4.mtu
    mtu = plan.mtu if wanted is None else max(MINIMUM_IPV6_MTU, min(wanted, plan.mtu))
    mtu = min(mtu, plan.mtu)  # a device without IPv6 may have less than that
    ipv4 = fit.ipv4.mtu
    if ipv4 is None or ipv4 >= mtu:
        return replace(plan, mtu=mtu)
    on_link = [
        Route(address.network)
        for address in plan.addresses
        if address.version == 4 and address.network.prefixlen < 32
    ]
    known = {route.destination for route in plan.routes if route.via is RouteVia.TUNNEL}
    routes = (*plan.routes, *(route for route in on_link if route.destination not in known))
    return replace(plan, mtu=mtu, routes=tuple(_shortened(route, ipv4) for route in routes))


def _shortened(route: Route, mtu: int) -> Route:
    if route.via is not RouteVia.TUNNEL or route.destination.version != 4:
        return route
    return replace(route, mtu=min(mtu, route.mtu or mtu))
