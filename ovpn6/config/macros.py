"""What the macros ``server``, ``server-ipv6``, ``keepalive`` and ``tcp-nodelay`` stand for.

They are expanded when everything is read, and push in the order of OpenVPN 2.6 (``helper.c``).
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from ovpn6.config.draft import Draft
from ovpn6.config.schema import ServerConfig
from ovpn6.model.addresses import IPInterface
from ovpn6.model.records import replace
from ovpn6.model.specs import Keepalive


def expand_server(draft: Draft) -> ServerConfig:
    """The server's networks, pools and pushes; notes in ``draft`` what contradicts them."""
    pushes: list[str] = []
    if draft.role.server_ipv6 is not None:
        pushes += _server_ipv6(draft, draft.role.server_ipv6)
    if draft.role.server is not None:
        pushes += _server_ipv4(draft, draft.role.server)
    if draft.role.keepalive is not None:
        interval, timeout = draft.role.keepalive
        pushes += [f"ping {interval}", f"ping-restart {timeout}"]
    if draft.role.tcp_nodelay:
        pushes.append("socket-flags TCP_NODELAY")
    role = draft.role
    first, last, mask = role.pool or (None, None, None)
    ipv4 = role.ifconfig.network if role.ifconfig else None
    ipv6 = role.ifconfig_ipv6.network if role.ifconfig_ipv6 else None
    if first is not None and mask is None and role.ifconfig is not None:
        mask = role.ifconfig.netmask
    return replace(
        draft.server,
        server=ipv4,
        server_nopool=ipv4 is not None and first is None,
        server_ipv6=ipv6,
        pool_start=first,
        pool_end=last,
        pool_netmask=mask,
        pool_ipv6=role.pool_ipv6,
        push=(*draft.server.push, *pushes),
    )


def own_addresses(draft: Draft) -> tuple[IPInterface, ...]:
    """``ifconfig-ipv6`` and ``ifconfig``, once the macros are expanded."""
    return tuple(filter(None, (draft.role.ifconfig_ipv6, draft.role.ifconfig)))


def liveness(draft: Draft, *, is_server: bool) -> tuple[Keepalive, bool]:
    """The keepalive of our end, and whether its timeout ends the process."""
    role = draft.role
    if role.keepalive is not None:
        interval, timeout = role.keepalive
        return Keepalive(interval, 2 * timeout if is_server else timeout), False
    if role.ping_exit is not None:
        return Keepalive(role.ping or 0, role.ping_exit), True
    return Keepalive(role.ping or 0, role.ping_restart or 0), False


def _server_ipv6(draft: Draft, network: IPv6Network) -> list[str]:
    base, length = network.network_address, network.prefixlen
    _only_by_macro(draft, "server-ipv6", ("ifconfig-ipv6", "ifconfig-ipv6-pool"))
    if draft.role.server_nopool:
        source = draft.source_of("server")
        draft.fail("nopool cannot be used with server-ipv6", source, "remove nopool")
    draft.role.ifconfig_ipv6 = IPv6Interface((base + 1, length))
    draft.role.pool_ipv6 = IPv6Interface((base + (0x1000 if length < 112 else 2), length))
    return ["tun-ipv6"]


def _server_ipv4(draft: Draft, network: IPv4Network) -> list[str]:
    base = network.network_address
    _only_by_macro(draft, "server", ("ifconfig",))
    draft.role.ifconfig = IPv4Interface((base + 1, network.prefixlen))
    if not draft.role.server_nopool:
        _only_by_macro(draft, "server", ("ifconfig-pool",))
        draft.role.pool = (base + 2, network.broadcast_address - 1, network.netmask)
    return [f"route-gateway {base + 1}", "topology subnet"]


def _only_by_macro(draft: Draft, macro: str, names: tuple[str, ...]) -> None:
    for name in names:
        if draft.is_given(name):
            advice = f"remove {name}, or write `mode server` and all addresses instead of {macro}"
            draft.fail(f"{macro} already sets {name}", draft.source_of(name), advice)
