"""The environment and arguments of a client's scripts, by OpenVPN's names. PURE.

What both roles tell their scripts alike stands in ``script_env``; here is what only a client has.
Source: OpenVPN ``doc/man-sections/script-options.rst`` (Environmental Variables); ``init.c``
(run_up_down), ``route.c`` (setenv_routes), ``socket.c`` (ipchange_fmt), ``options.c``
(setenv_connection_entry, setenv_foreign_option).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ovpn6.config.schema import Remote, TunnelConfig
from ovpn6.model.addresses import Endpoint
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Route, ScriptCall
from ovpn6.roles import script_env
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.route_plan import IPV6_QUARTERS
from ovpn6.roles.script_env import Environment

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")
_FAMILY_DIGIT = {Family.ANY: "", Family.IPV6: "6", Family.IPV4: "4"}


def script_call(
    kind: str,
    command: tuple[str, ...],
    arguments: tuple[str, ...],
    *environments: Mapping[str, str],
) -> ScriptCall:
    """One run of ``command``; later environments win. Values keep printable characters only: a
    server chose some of them."""
    merged: Environment = {}
    for environment in environments:
        for name, value in environment.items():
            merged[_NOT_IN_NAMES.sub("_", name)] = script_env.printable(value)
    merged["script_type"] = kind
    return ScriptCall(kind, command, arguments, merged)


def remotes_environment(config: TunnelConfig) -> Environment:
    """Where the client may connect to, numbered from 1: known before any connection."""
    environment: Environment = {}
    remotes = config.client.remotes if config.client is not None else ()
    for number, remote in enumerate(remotes, start=1):
        environment |= _remote_environment(remote, number)
    return environment


def peer_environment(endpoint: Endpoint, identity: PeerIdentity) -> Environment:
    """Where the server is and who it proved to be."""
    return {
        **script_env.endpoint_environment("untrusted", endpoint),
        **script_env.endpoint_environment("trusted", endpoint),
        **script_env.identity_environment(identity),
        "common_name": identity.common_name,
    }


def tunnel_environment(device: str, tunnel: Tunnel) -> Environment:
    """Addresses, routes and pushed extras."""
    environment = script_env.tunnel_environment(device, tunnel.mtu, tunnel.addresses)
    if tunnel.ifconfig_remote is not None:
        del environment["ifconfig_netmask"]
        environment["ifconfig_remote"] = str(tunnel.ifconfig_remote)
    if "ifconfig_ipv6_remote" in environment:
        environment["ifconfig_ipv6_remote"] = str(tunnel.ifconfig_ipv6_remote or "::")
    if tunnel.gateway_ipv4 is not None:
        environment["route_vpn_gateway"] = str(tunnel.gateway_ipv4)
    environment |= _routes_environment(tunnel)
    for number, option in enumerate(tunnel.foreign, start=1):
        environment[f"foreign_option_{number}"] = option
    environment.update(tunnel.setenv)
    return environment


def ipchange_arguments(endpoint: Endpoint) -> tuple[str, ...]:
    """What ``ipchange`` is called with: one word, as OpenVPN (whose manual says two), for example
    ``[AF_INET6]2001:db8::1 1194``."""
    family = "[AF_INET6]" if endpoint.address.version == 6 else "[AF_INET]"
    return (f"{family}{endpoint.address} {endpoint.port}",)


def _remote_environment(remote: Remote, number: int) -> Environment:
    digit = _FAMILY_DIGIT[remote.family]
    protocol = f"udp{digit}" if remote.transport is Transport.UDP else f"tcp{digit}-client"
    environment = {
        f"proto_{number}": protocol,
        f"remote_{number}": remote.host,
        f"remote_port_{number}": str(remote.port),
    }
    if remote.local_address:
        environment[f"local_{number}"] = remote.local_address
    if remote.local_port:
        environment[f"local_port_{number}"] = str(remote.local_port)
    return environment


def _routes_environment(tunnel: Tunnel) -> Environment:
    environment: Environment = {}
    flags = tunnel.redirect or frozenset()
    redirects = tunnel.redirect is not None and "private" not in flags
    if redirects and "!ipv4" not in flags:
        environment["route_redirect_gateway_ipv4"] = "1"
    if redirects and "ipv6" in flags:
        environment["route_redirect_gateway_ipv6"] = "1"
    environment["redirect_gateway"] = str(int("route_redirect_gateway_ipv4" in environment))
    counts = {4: 0, 6: 0}
    for route in (*tunnel.route_plan.listed, *_redirected(tunnel)):
        version = route.destination.version
        counts[version] += 1
        environment |= _route_environment(tunnel, route, counts[version])
    return environment


def _redirected(tunnel: Tunnel) -> list[Route]:
    """``redirect-gateway ipv6`` is a list of routes to scripts too; IPv4 has the variable alone."""
    return [
        Route(destination)
        for destination in IPV6_QUARTERS
        if "ipv6" in (tunnel.redirect or ()) and "private" not in (tunnel.redirect or ())
    ]


def _route_environment(tunnel: Tunnel, route: Route, number: int) -> Environment:
    if route.destination.version == 4:
        prefix, gateway = "route_", route.gateway or tunnel.gateway_ipv4
        environment = {
            f"route_network_{number}": str(route.destination.network_address),
            f"route_netmask_{number}": str(route.destination.netmask),
        }
    else:
        prefix, gateway = "route_ipv6_", route.gateway or tunnel.gateway_ipv6
        environment = {f"route_ipv6_network_{number}": str(route.destination)}
    environment[f"{prefix}gateway_{number}"] = str(gateway) if gateway else ""
    if route.metric is not None:
        environment[f"{prefix}metric_{number}"] = str(route.metric)
    return environment
