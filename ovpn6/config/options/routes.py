"""How ``route``, ``redirect-gateway`` and their like are read, written and pushed."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import put
from ovpn6.config.schema import RouteOrder, TunnelConfig
from ovpn6.config.values import (
    integer,
    ipv4_address,
    ipv4_network,
    ipv6_address,
    ipv6_network,
    netmask,
    one_of,
)
from ovpn6.model.errors import ConfigError

HOST_WORDS = ("vpn_gateway", "net_gateway", "remote_host")
"""What may stand for an address in a route."""

GATEWAY_WORDS = ("vpn_gateway", "net_gateway")

REDIRECT_FLAGS = (
    "local",
    "autolocal",
    "def1",
    "bypass-dhcp",
    "bypass-dns",
    "block-local",
    "ipv6",
    "!ipv4",
)


def fold_route(draft: Draft, directive: Directive) -> None:
    """``route NETWORK [NETMASK] [GATEWAY] [METRIC]`` in a file."""
    order = ipv4_route(directive.args, draft.host.route_table, strict=True)
    put(draft, "host", routes=(*draft.host.routes, order))


def fold_route_ipv6(draft: Draft, directive: Directive) -> None:
    """``route-ipv6 NETWORK/BITS [GATEWAY] [METRIC]`` in a file."""
    order = ipv6_route(directive.args, draft.host.route_table)
    put(draft, "host", routes=(*draft.host.routes, order))


def pushed_route(draft: Draft, directive: Directive) -> None:
    """A pushed IPv4 route; bits beyond the netmask are dropped."""
    order = ipv4_route(directive.args, 0, strict=False)
    put(draft, "pushed", routes=(*draft.pushed.routes, order))


def pushed_route_ipv6(draft: Draft, directive: Directive) -> None:
    """A pushed IPv6 route."""
    order = ipv6_route(directive.args, 0)
    put(draft, "pushed", routes=(*draft.pushed.routes, order))


def ipv4_route(args: tuple[str, ...], table: int, *, strict: bool) -> RouteOrder:
    """The words of ``route``; ``default`` leaves a word out. Raises ``ConfigError``."""
    where, mask, gateway, metric = (*args, *("default",) * (4 - len(args)))
    mask = "255.255.255.255" if mask == "default" else mask
    cost = None if metric == "default" else integer(0)(metric)
    if gateway not in ("default", *GATEWAY_WORDS):
        gateway = str(ipv4_address(gateway))
    gateway = "" if gateway == "default" else gateway
    if where in HOST_WORDS:
        return RouteOrder(None, where, gateway, cost, table)
    if strict:
        return RouteOrder(ipv4_network(where, mask), "", gateway, cost, table)
    network = IPv4Network((ipv4_address(where), netmask(mask)), strict=False)
    return RouteOrder(network, "", gateway, cost, table)


def ipv6_route(args: tuple[str, ...], table: int) -> RouteOrder:
    """The words of ``route-ipv6``; bits beyond the prefix are dropped. Raises ``ConfigError``."""
    where, gateway, metric = (*args, *("default",) * (3 - len(args)))
    cost = None if metric == "default" else integer(0)(metric)
    if gateway not in ("default", *GATEWAY_WORDS):
        gateway = str(ipv6_address(gateway))
    gateway = "" if gateway == "default" else gateway
    return RouteOrder(ipv6_network(where), "", gateway, cost, table)


def show_routes(config: TunnelConfig) -> list[tuple[str, ...]]:
    """The words of every IPv4 route."""
    found = []
    for order in config.host.routes:
        if isinstance(order.destination, IPv6Network):
            continue
        where = (order.host, "255.255.255.255")
        if order.destination is not None:
            where = (str(order.destination.network_address), str(order.destination.netmask))
        found.append((*where, *_gateway_words(order)))
    return found


def show_routes_ipv6(config: TunnelConfig) -> list[tuple[str, ...]]:
    """The words of every IPv6 route."""
    return [
        (str(order.destination), *_gateway_words(order))
        for order in config.host.routes
        if isinstance(order.destination, IPv6Network)
    ]


def _gateway_words(order: RouteOrder) -> tuple[str, ...]:
    if order.metric is not None:
        return (order.gateway or "default", str(order.metric))
    return (order.gateway,) if order.gateway else ()


def redirect_flags(directive: Directive) -> frozenset[str]:
    """The flags of ``redirect-gateway`` or ``redirect-private``. Raises ``ConfigError``."""
    flags = {one_of(*REDIRECT_FLAGS)(text) for text in directive.args}
    return frozenset(flags | {"private"} if directive.name == "redirect-private" else flags)


def fold_redirect(draft: Draft, directive: Directive) -> None:
    """``redirect-gateway`` in a file; flags of several lines add up."""
    old = draft.host.redirect_gateway or frozenset()
    put(draft, "host", redirect_gateway=old | redirect_flags(directive))


def pushed_redirect(draft: Draft, directive: Directive) -> None:
    """``redirect-gateway``, pushed."""
    old = draft.pushed.redirect_gateway or frozenset()
    put(draft, "pushed", redirect_gateway=old | redirect_flags(directive))


def show_redirect(config: TunnelConfig, *, private: bool) -> list[tuple[str, ...]]:
    """The flags as one line of ``redirect-gateway``, or of ``redirect-private``."""
    flags = config.host.redirect_gateway
    if flags is None or ("private" in flags) is not private:
        return []
    return [tuple(flag for flag in REDIRECT_FLAGS if flag in flags)]


def fold_route_gateway(draft: Draft, directive: Directive, section: str) -> None:
    """``route-gateway ADDRESS`` in a file or pushed."""
    if directive.args[0] == "dhcp":
        raise ConfigError("a gateway from DHCP needs a bridge", advice="give an address")
    put(draft, section, route_gateway=ipv4_address(directive.args[0]))
