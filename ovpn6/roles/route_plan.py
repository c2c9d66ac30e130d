"""From route lines and ``redirect-gateway`` to kernel routes. PURE; knows nothing of netlink.

Source of the facts: OpenVPN ``route.c`` (init_route_list, redirect_default_route_to_vpn),
``init.c`` (do_init_route_ipv6_list). What differs here, on purpose:

* the host's own default route is never replaced: IPv4 goes over two halves, as with ``def1``;
* any route into the tunnel that would swallow our own outer packets is answered by a host route
  around the tunnel, in both families, not only for ``redirect-gateway``;
* what ``block-ipv6`` stops, and what ``redirect-gateway ipv6`` asks of a tunnel without IPv6
  address, is answered by ``unreachable`` routes instead of silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ovpn6.config.schema import RouteOrder
from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork
from ovpn6.model.records import dataclass
from ovpn6.model.specs import Route, RouteVia

IPV4_HALVES = (IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1"))
"""More specific than any default route, together everything."""

IPV6_QUARTERS = tuple(IPv6Network(text) for text in ("::/3", "2000::/4", "3000::/4", "fc00::/7"))
"""What OpenVPN routes for ``redirect-gateway ipv6``: all unicast but link-local."""


@dataclass(frozen=True, slots=True)
class RouteSetting:
    """What route lines mean depends on.

    ``remote`` is the outer address of the peer, None where it is not known yet.
    ``gateway_ipv4``/``gateway_ipv6``: what ``vpn_gateway`` stands for, None when neither configured
    nor pushed. ``redirect``: the flags of ``redirect-gateway``, None without it. ``metric``,
    ``table``: defaults. ``max_routes`` 0 is no limit.
    """

    remote: IPAddress | None
    addresses: tuple[IPInterface, ...] = ()
    gateway_ipv4: IPAddress | None = None
    gateway_ipv6: IPAddress | None = None
    redirect: frozenset[str] | None = None
    block_ipv6: bool = False
    metric: int | None = None
    table: int = 0
    max_routes: int = 0
    allow_recursive: bool = False


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """``routes`` is everything for the kernel; ``listed`` those that route lines named, in their
    order, as scripts see them (``route_network_1`` ...); ``notices`` what could not be done."""

    routes: tuple[Route, ...] = ()
    listed: tuple[Route, ...] = ()
    notices: tuple[str, ...] = ()


def plan_routes(orders: Iterable[RouteOrder], setting: RouteSetting) -> RoutePlan:
    """All routes that ``orders`` and the setting's ``redirect-gateway`` ask for."""
    notices: list[str] = []
    listed = _listed(orders, setting, notices)
    redirected = _redirected(setting, notices)
    tunnel = _without_duplicates((*redirected, *listed))
    if setting.block_ipv6:
        tunnel = _blocked_ipv6(tunnel, setting)
    bypass = _bypass(redirected, listed, setting)
    around = {route.destination for route in bypass}
    tunnel = tuple(route for route in tunnel if route.destination not in around)
    return RoutePlan((*bypass, *tunnel), listed, tuple(notices))


def bypass_for(
    routes: Iterable[Route], addresses: Iterable[IPInterface], remote: IPAddress, table: int = 0
) -> Route | None:
    """The host route that keeps packets to ``remote`` out of the tunnel; None when no route into
    the tunnel, nor the tunnel's own prefix, covers it, or it is there already."""
    host = Route(ip_network(remote), RouteVia.UNDERLAY, table=table)
    known = tuple(routes)
    if any(route.destination == host.destination and _is_bypass(route) for route in known):
        return None
    covered = [route.destination for route in known if not _is_bypass(route)]
    covered += [address.network for address in addresses]
    return host if any(_covers(network, remote) for network in covered) else None


# --- route lines ---------------------------------------------------------------------------------


def _listed(
    orders: Iterable[RouteOrder], setting: RouteSetting, notices: list[str]
) -> tuple[Route, ...]:
    routes: list[Route] = []
    left_out = 0
    for order in orders:
        if setting.max_routes and len(routes) >= setting.max_routes:
            left_out += 1
            continue
        route = _route(order, setting, notices)
        if route is not None:
            routes.append(route)
    if left_out:
        notices.append(f"{left_out} routes left out: max-routes is {setting.max_routes}")
    return tuple(routes)


def _route(order: RouteOrder, setting: RouteSetting, notices: list[str]) -> Route | None:
    destination = order.destination or _special_destination(order.host, setting)
    if destination is None:
        notices.append(f"route to {order.host or 'nothing'} left out: it is not known here")
        return None
    metric = setting.metric if order.metric is None else order.metric
    table = order.table or setting.table
    via, gateway = RouteVia.TUNNEL, _tunnel_gateway(destination, setting)
    if order.gateway == "net_gateway":
        via, gateway = RouteVia.UNDERLAY, None
    elif order.gateway and order.gateway != "vpn_gateway":
        gateway = ip_address(order.gateway)
        if gateway in (setting.gateway_ipv4, setting.gateway_ipv6):
            gateway = _tunnel_gateway(destination, setting)
        elif not _is_on_tunnel(gateway, destination, setting):
            notices.append(
                f"route to {destination} left out: gateway {gateway} is not on the tunnel; "
                f"net_gateway stands for the host's own way"
            )
            return None
    if via is RouteVia.TUNNEL and not _has_family(setting, destination.version):
        if destination.version == 4:
            notices.append(f"route to {destination} left out: the tunnel has no IPv4 address")
            return None
        notices.append(f"route to {destination}: the tunnel has no IPv6 address")
    return Route(destination, via, gateway, metric, table)


def _special_destination(host: str, setting: RouteSetting) -> IPNetwork | None:
    address = {"remote_host": setting.remote, "vpn_gateway": setting.gateway_ipv4}.get(host)
    return None if address is None else ip_network(address)


def _is_on_tunnel(gateway: IPAddress, destination: IPNetwork, setting: RouteSetting) -> bool:
    same_family = gateway.version == destination.version
    return same_family and any(gateway in address.network for address in setting.addresses)


def _tunnel_gateway(destination: IPNetwork, setting: RouteSetting) -> IPAddress | None:
    """IPv4 routes name the gateway where it is on the tunnel's prefix, which the kernel demands;
    IPv6 ones name the device alone, as OpenVPN's do."""
    gateway = setting.gateway_ipv4
    if destination.version == 6 or gateway is None:
        return None
    on_link = any(gateway in address.network for address in setting.addresses)
    return gateway if on_link else None


# --- redirect-gateway ----------------------------------------------------------------------------


def _redirected(setting: RouteSetting, notices: list[str]) -> tuple[Route, ...]:
    flags = setting.redirect
    if flags is None:
        return ()
    if "block-local" in flags:
        notices.append(
            "redirect-gateway block-local is not done: the local network stays reachable"
        )
    if "private" in flags:
        return ()
    routes: list[Route] = []
    if "!ipv4" not in flags:
        if _has_family(setting, 4):
            routes += [
                Route(half, RouteVia.TUNNEL, _tunnel_gateway(half, setting), table=setting.table)
                for half in IPV4_HALVES
            ]
        else:
            notices.append("redirect-gateway: the tunnel has no IPv4 address, IPv4 is left alone")
    if "ipv6" in flags:
        via = RouteVia.TUNNEL
        if not _has_family(setting, 6):
            via = RouteVia.UNREACHABLE
            notices.append("redirect-gateway ipv6: the tunnel has no IPv6 address, IPv6 is blocked")
        routes += [
            Route(quarter, via, metric=setting.metric, table=setting.table)
            for quarter in IPV6_QUARTERS
        ]
    return tuple(routes)


def _blocked_ipv6(routes: tuple[Route, ...], setting: RouteSetting) -> tuple[Route, ...]:
    """``block-ipv6``: IPv6 that would leave through the tunnel is unreachable, also the on-link
    prefix, by a metric below that of the prefix's own route."""
    blocked = [
        Route(route.destination, RouteVia.UNREACHABLE, None, route.metric, route.table)
        if route.destination.version == 6 and route.via is RouteVia.TUNNEL
        else route
        for route in routes
    ]
    for address in setting.addresses:
        if address.version == 6 and address.network.prefixlen < 128:
            blocked.append(Route(address.network, RouteVia.UNREACHABLE, metric=1))
    return tuple(blocked)


# --- around the tunnel ---------------------------------------------------------------------------


def _bypass(
    redirected: tuple[Route, ...], listed: tuple[Route, ...], setting: RouteSetting
) -> tuple[Route, ...]:
    if setting.allow_recursive or setting.remote is None:
        return ()
    flags = setting.redirect or frozenset()
    if "private" in flags and "local" not in flags:
        return (Route(ip_network(setting.remote), RouteVia.UNDERLAY, table=setting.table),)
    swallowing = listed if "local" in flags else (*redirected, *listed)
    host = bypass_for(swallowing, setting.addresses, setting.remote, setting.table)
    return () if host is None else (host,)


def _is_bypass(route: Route) -> bool:
    return route.via is RouteVia.UNDERLAY


def _covers(network: IPNetwork, address: IPAddress) -> bool:
    return network.version == address.version and address in network


def _has_family(setting: RouteSetting, version: int) -> bool:
    return any(address.version == version for address in setting.addresses)


def _without_duplicates(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The first of each (destination, metric, table): the kernel takes no second."""
    seen: dict[tuple[IPNetwork, int | None, int], Route] = {}
    for route in routes:
        seen.setdefault((route.destination, route.metric, route.table), route)
    return tuple(seen.values())
