"""Host routes with an MTU to outer addresses of peers whose path carries less than IPv6 demands.

So the host itself fragments what the path would drop (Linux 6.18: no socket option does it, and an
exception that a router's word installs may be anybody's word). Each route goes where the host
reaches the peer now. Peers behind one address share its smallest MTU.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Iterable, Mapping
from ipaddress import ip_network

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.records import replace
from ovpn6.model.specs import PeerFit
from ovpn6.netconf.fitting import Claims
from ovpn6.netconf.interface import Notice
from ovpn6.netconf.namespace import Namespace
from ovpn6.netconf.plan import DEFAULT_METRICS, MAIN_TABLE, Hop, KernelRoute, RouteKey

FindHop = Callable[[IPNetwork], Hop | None]
"""How the host reaches an address apart from our routes; None: no route is to be made."""


class OuterRoutes:
    """In the namespace of the outer sockets. ``find_again`` is for what has a route of ours now;
    ``added`` and ``dropped`` are told of each route,
    before it is made and after it was removed."""

    def __init__(
        self,
        namespace: Namespace,
        find_hop: FindHop,
        find_again: FindHop,
        added: Callable[[KernelRoute], None],
        dropped: Callable[[KernelRoute], None],
        notice: Notice,
    ) -> None:
        self._namespace = namespace
        self._find_hop = find_hop
        self._find_again = find_again
        self._added = added
        self._dropped = dropped
        self._notice = notice
        self._claims: Claims[IPAddress, int] = Claims()
        self._standing: dict[IPAddress, KernelRoute] = {}
        self._pins: Mapping[RouteKey, KernelRoute] = {}

    @property
    def held(self) -> Iterable[RouteKey]:
        """Keys whose routes are not the plan's now."""
        return {route.key for route in self._standing.values()}

    @property
    def routes(self) -> frozenset[KernelRoute]:
        """Those that stand."""
        return frozenset(self._standing.values())

    def device(self, address: IPAddress) -> int:
        """By which an address is reached whose route stands; 0 without."""
        route = self._standing.get(address)
        return route.hop.device if route is not None and route.hop is not None else 0

    def fit(self, fit: PeerFit) -> None:
        """Give a peer's outer address the route it asks for, if any."""
        outer = fit.outer
        claims = {}
        if outer is not None and fit.outer_mtu is not None and not outer.is_link_local:
            # A link-local address is reached over one link, which has the MTU it has.
            claims[outer] = fit.outer_mtu
        self._stand(self._claims.replace(fit.peer, claims))

    def release(self, peer: PeerId) -> None:
        """Take it back."""
        self._stand(self._claims.replace(peer, {}))

    def move(self, pins: Mapping[RouteKey, KernelRoute], look: bool) -> None:
        """The plan's own host routes are these now; to ``look`` is to ask anew where the underlay
        leads to the others.

        An address without any way keeps the route it has.
        """
        before, self._pins = self._pins, pins
        for address, now in list(self._standing.items()):
            if not look and before.get(now.key) == pins.get(now.key):
                continue
            try:
                hop = self._hop(address, self._find_again)
            except HostError as error:
                self._notice(f"{error}; what there is stays")
                continue
            assert now.hop is not None
            if hop is not None and replace(hop, mtu=now.hop.mtu) != now.hop:
                self._put(address, replace(now, hop=replace(hop, mtu=now.hop.mtu)), now)

    def restore(self, present: Container[KernelRoute]) -> None:
        """Make again those that are not there."""
        for address, route in list(self._standing.items()):
            if route not in present and not self._add(route):
                del self._standing[address]
                self._dropped(route)

    def _stand(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            mtu = min(self._claims.all(address), default=None)
            now = self._standing.get(address)
            if mtu is None:
                if now is not None:
                    self._withdraw(address, now)
            elif now is not None:
                assert now.hop is not None
                if now.hop.mtu != mtu:
                    self._put(address, replace(now, hop=replace(now.hop, mtu=mtu)), now)
            else:
                hop = self._hop(address, self._find_hop)
                if hop is not None:
                    route = self._route(address, replace(hop, mtu=mtu))
                    self._put(address, route, self._pins.get(route.key))

    def _route(self, address: IPAddress, hop: Hop | None) -> KernelRoute:
        metric = DEFAULT_METRICS[address.version]
        return KernelRoute(self._namespace.identity, ip_network(address), MAIN_TABLE, metric, hop)

    def _hop(self, address: IPAddress, find: FindHop) -> Hop | None:
        pin = self._pins.get(self._route(address, None).key)
        return pin.hop if pin is not None else find(ip_network(address))

    def _put(self, address: IPAddress, route: KernelRoute, now: KernelRoute | None) -> None:
        self._added(route)
        if now is not None:
            self._namespace.replace_route(route)
        elif not self._add(route):
            self._dropped(route)
            return
        before = self._standing.get(address)
        self._standing[address] = route
        if before is not None:
            self._dropped(before)

    def _withdraw(self, address: IPAddress, now: KernelRoute) -> None:
        pin = self._pins.get(now.key)
        if pin is not None:
            self._namespace.replace_route(pin)
        else:
            self._namespace.remove_route(now)
        del self._standing[address]
        self._dropped(now)

    def _add(self, route: KernelRoute) -> bool:
        try:
            self._namespace.add_route(route)
        except HostError as error:
            if error.errno != errno.EEXIST:
                raise
            self._notice(f"{error}; the host's own route is used, ours is left out")
            return False
        return True
