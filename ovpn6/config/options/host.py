"""Rows: the tunnel's interface, its addresses and routes."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options import routes
from ovpn6.config.options.effects import flag, nothing, put, sets
from ovpn6.config.options.row import Effect, Option, Side
from ovpn6.config.schema import TunnelConfig
from ovpn6.config.values import (
    integer,
    interface_name,
    ipv4_address,
    ipv6_address,
    ipv6_interface,
    netmask,
    netns_name,
    one_of,
)
from ovpn6.model.errors import ConfigError
from ovpn6.model.records import replace

_SECTION = "Tunnel interface and routes"
_MTU = integer(100, 65535)


def _fold_dev(draft: Draft, directive: Directive) -> None:
    name = directive.args[0]
    if name == "null":
        raise ConfigError("a tunnel without an interface is not supported", advice="use dev tun")
    draft.role.device = interface_name(name)


def _fold_dev_type(draft: Draft, directive: Directive) -> None:
    if one_of("tun", "tap")(directive.args[0]) == "tap":
        message = "Ethernet tunnels (tap) are not supported"
        raise ConfigError(message, advice="use dev-type tun on both ends")
    draft.role.device_type = "tun"


def _show_dev(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(config.host.device.name,)]


def _show_dev_type(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [] if config.host.device.name.startswith("tun") else [("tun",)]


def _fold_netns(draft: Draft, directive: Directive) -> None:
    device = replace(draft.host.device, netns=netns_name(directive.args[0]))
    put(draft, "host", device=device)


def _show_netns(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(config.host.device.netns,)] if config.host.device.netns else []


def _fold_txqueuelen(draft: Draft, directive: Directive) -> None:
    device = replace(draft.host.device, txqueuelen=integer(0)(directive.args[0]))
    put(draft, "host", device=device)


def _show_txqueuelen(config: TunnelConfig) -> list[tuple[str, ...]]:
    length = config.host.device.txqueuelen
    return [(str(length),)] if length else []


def _fold_mtu(draft: Draft, directive: Directive, section: str) -> None:
    put(draft, section, tun_mtu=_MTU(directive.args[0]))
    if len(directive.args) > 1:
        _MTU(directive.args[1])


def _show_mtu(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(str(config.host.tun_mtu),)] if config.host.tun_mtu != 1420 else []


def _fold_topology(draft: Draft, directive: Directive) -> None:
    draft.role.topology = one_of("subnet", "net30", "p2p")(directive.args[0])


def _fold_ifconfig(draft: Draft, directive: Directive) -> None:
    """Whether another address may stand for the netmask depends on the mode, see ``rules``."""
    own, second = (ipv4_address(text) for text in directive.args)
    try:
        draft.role.ifconfig = IPv4Interface((own, netmask(str(second))))
        draft.role.ifconfig_remote = None
    except ConfigError:
        draft.role.ifconfig = IPv4Interface((own, 32))
        draft.role.ifconfig_remote = second


def _fold_ifconfig_ipv6(draft: Draft, directive: Directive) -> None:
    draft.role.ifconfig_ipv6 = ipv6_interface(directive.args[0])
    remote = ipv6_address(directive.args[1]) if len(directive.args) > 1 else None
    draft.role.ifconfig_ipv6_remote = remote


def _show_ifconfig(config: TunnelConfig) -> list[tuple[str, ...]]:
    both = config.point_to_point
    remote = both.ifconfig_remote if both is not None else None
    return [
        (str(each.ip), str(remote or each.netmask))
        for each in config.host.ifconfig
        if isinstance(each, IPv4Interface)
    ]


def _show_ifconfig_ipv6(config: TunnelConfig) -> list[tuple[str, ...]]:
    both = config.point_to_point
    remote = both.ifconfig_ipv6_remote if both is not None else None
    second = (str(remote),) if remote is not None else ()
    return [
        (str(each), *second) for each in config.host.ifconfig if isinstance(each, IPv6Interface)
    ]


def _pushed_ifconfig(draft: Draft, directive: Directive) -> None:
    """``ifconfig OWN NETMASK`` of topology subnet, ``ifconfig OWN PEER`` of net30 and p2p.

    The topology may be pushed after it, so what the second word is shows by its value.
    """
    own, second = (ipv4_address(text) for text in directive.args)
    try:
        prefix = netmask(str(second))
    except ConfigError:
        prefix = 0
    if prefix:
        put(draft, "pushed", ifconfig=IPv4Interface((own, prefix)))
        return
    topology = draft.pushed.topology if draft.pushed.topology == "net30" else "p2p"
    put(draft, "pushed", ifconfig=IPv4Interface((own, 32)), topology=topology)
    if draft.pushed.route_gateway is None:
        put(draft, "pushed", route_gateway=IPv4Address(second))


def _pushed_topology(draft: Draft, directive: Directive) -> None:
    put(draft, "pushed", topology=one_of("subnet", "net30", "p2p")(directive.args[0]))


def _pushed_ifconfig_ipv6(draft: Draft, directive: Directive) -> None:
    own = ipv6_interface(directive.args[0])
    gateway = ipv6_address(directive.args[1]) if len(directive.args) > 1 else None
    put(draft, "pushed", ifconfig_ipv6=own, ifconfig_ipv6_gateway=gateway)


def _route_delay(draft: Draft, directive: Directive) -> None:
    seconds = [integer(0)(text) for text in directive.args]
    put(draft, "host", route_delay=seconds[0] if seconds else 0)


def _show_route_delay(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(str(config.host.route_delay),)] if config.host.route_delay else []


def _row(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect)


def _redirect(name: str, text: str) -> Option:
    private = name == "redirect-private"
    return Option(
        name,
        "[FLAG] ...",
        text,
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(routes.fold_redirect, partial(routes.show_redirect, private=private)),
        pushed=routes.pushed_redirect,
    )


ROWS: tuple[Option, ...] = (
    _row(
        "dev",
        "NAME",
        "The tunnel's interface; tun is the first free one, another name needs dev-type tun.",
        Effect(_fold_dev, _show_dev),
    ),
    _row("dev-type", "TYPE", "tun is the only one.", Effect(_fold_dev_type, _show_dev_type)),
    _row(
        "dev-netns",
        "NAME",
        "Put the interface into this network namespace, while the outer sockets stay in ours. A "
        "directive of ovpn6 alone.",
        Effect(_fold_netns, _show_netns),
    ),
    _row(
        "txqueuelen",
        "N",
        "Length of the interface's queue.",
        Effect(_fold_txqueuelen, _show_txqueuelen),
    ),
    Option(
        "tun-mtu",
        "BYTES [OCC]",
        "Largest inner packet (1420, which fits IPv6 on a path of 1500); IPv6 needs 1280.",
        _SECTION,
        effect=Effect(lambda draft, each: _fold_mtu(draft, each, "host"), _show_mtu),
        pushed=lambda draft, each: _fold_mtu(draft, each, "pushed"),
    ),
    _row(
        "tun-mtu-max",
        "BYTES",
        "Largest MTU that a server may push (1600).",
        sets("host.tun_mtu_max", integer(1600, 65535)),
    ),
    Option(
        "topology",
        "KIND",
        "subnet, the default and the only one for a server; between two equal ends the second word "
        "of ifconfig says it already.",
        _SECTION,
        effect=Effect(_fold_topology),
        pushed=_pushed_topology,
    ),
    Option(
        "ifconfig-ipv6",
        "ADDRESS/BITS [PEER]",
        "Own IPv6 address in the tunnel, and the other end's.",
        _SECTION,
        effect=Effect(_fold_ifconfig_ipv6, _show_ifconfig_ipv6),
        pushed=_pushed_ifconfig_ipv6,
    ),
    Option(
        "ifconfig",
        "ADDRESS NETMASK|PEER",
        "Own IPv4 address in the tunnel; between two equal ends the second word may be the other "
        "end's address.",
        _SECTION,
        effect=Effect(_fold_ifconfig, _show_ifconfig),
        pushed=_pushed_ifconfig,
    ),
    _row(
        "ifconfig-noexec",
        "",
        "Leave the interface's addresses to a script; they are in its environment.",
        flag("host.ifconfig_noexec"),
    ),
    _row("ifconfig-nowarn", "", "Ends are not compared, so nothing is warned of.", nothing()),
    Option(
        "persist-tun",
        "",
        "Keep interface, addresses and routes over a restart of the connection.",
        _SECTION,
        effect=flag("host.persist_tun"),
        pushed=lambda draft, each: None,
    ),
    Option(
        "persist-key",
        "",
        "Keep keys over a restart, which is always done.",
        _SECTION,
        effect=nothing(),
        pushed=lambda draft, each: None,
    ),
    _row(
        "route-table",
        "N",
        "Routing table of the routes that follow (main).",
        sets("host.route_table", integer(0, 0x7FFFFFFF)),
    ),
    Option(
        "route-ipv6",
        "NETWORK/BITS [GATEWAY] [METRIC]",
        "A route into the tunnel; GATEWAY may be an address, vpn_gateway, net_gateway, default.",
        _SECTION,
        effect=Effect(routes.fold_route_ipv6, routes.show_routes_ipv6),
        pushed=routes.pushed_route_ipv6,
    ),
    Option(
        "route",
        "NETWORK [NETMASK] [GATEWAY] [METRIC]",
        "The same for IPv4; NETWORK may also be vpn_gateway, net_gateway, remote_host.",
        _SECTION,
        effect=Effect(routes.fold_route, routes.show_routes),
        pushed=routes.pushed_route,
    ),
    Option(
        "route-ipv6-gateway",
        "ADDRESS",
        "Gateway of IPv6 routes that name none.",
        _SECTION,
        effect=sets("host.route_ipv6_gateway", ipv6_address),
        pushed=sets("pushed.route_ipv6_gateway", ipv6_address).fold,
    ),
    Option(
        "route-gateway",
        "ADDRESS",
        "Gateway of IPv4 routes that name none.",
        _SECTION,
        effect=Effect(
            lambda draft, each: routes.fold_route_gateway(draft, each, "host"),
            sets("host.route_gateway", ipv4_address).show,
        ),
        pushed=lambda draft, each: routes.fold_route_gateway(draft, each, "pushed"),
    ),
    Option(
        "route-metric",
        "N",
        "Metric of routes that name none.",
        _SECTION,
        effect=sets("host.route_metric", integer(0)),
        pushed=sets("pushed.route_metric", integer(0)).fold,
    ),
    Option(
        "route-delay",
        "[SECONDS] [WINDOW]",
        "Add routes this long after the connection.",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_route_delay, _show_route_delay),
    ),
    _row(
        "route-noexec",
        "",
        "Leave routes to a script; they are in its environment.",
        flag("host.route_noexec"),
    ),
    _row("max-routes", "[N]", "Accept at most N routes.", sets("host.max_routes", integer(1))),
    _redirect(
        "redirect-gateway",
        "Send everything into the tunnel: ipv6 takes IPv6 too, !ipv4 leaves IPv4 out, def1 covers "
        "the default route instead of replacing it.",
    ),
    _redirect("redirect-private", "The flags of redirect-gateway without the default route."),
    Option(
        "block-ipv6",
        "",
        "Answer IPv6 with `unreachable` instead of letting it bypass an IPv4 tunnel.",
        _SECTION,
        effect=flag("host.block_ipv6"),
        pushed=flag("pushed.block_ipv6").fold,
    ),
    Option(
        "allow-recursive-routing",
        "",
        "Do not drop packets whose route into the tunnel leads to the server itself.",
        _SECTION,
        side=Side.CLIENT,
        effect=flag("host.allow_recursive_routing"),
    ),
)
