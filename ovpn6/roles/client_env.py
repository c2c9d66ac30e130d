"""The environment and arguments of a client's scripts, by OpenVPN's names. PURE.

Source: OpenVPN ``doc/man-sections/script-options.rst`` (Environmental Variables); ``init.c``
(run_up_down), ``tun.c`` (do_ifconfig_setenv), ``route.c`` (setenv_routes), ``socket.c``
(setenv_trusted, ipchange_fmt), ``options.c`` (setenv_settings), ``ssl_verify.c``
(setup_env_verify).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Interface

from ovpn6.config.schema import Remote, TunnelConfig
from ovpn6.model.addresses import Endpoint
from ovpn6.model.identity import CertificateFacts, PeerIdentity
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Route, ScriptCall
from ovpn6.roles.client_plan import Tunnel

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
    merged: dict[str, str] = {}
    for environment in environments:
        for name, value in environment.items():
            merged[_NOT_IN_NAMES.sub("_", name)] = _printable(value)
    merged["script_type"] = kind
    return ScriptCall(kind, command, tuple(_printable(text) for text in arguments), merged)


def settings_environment(config: TunnelConfig) -> dict[str, str]:
    """What is known before any connection."""
    process = config.process
    environment = {
        "config": config.origin.name,
        "verb": str(process.verb),
        "daemon": str(int(process.daemon)),
        "daemon_log_redirect": str(int(process.log is not None)),
    }
    remotes = config.client.remotes if config.client is not None else ()
    for number, remote in enumerate(remotes, start=1):
        environment |= _remote_environment(remote, number)
    environment.update(config.control.setenv)
    return environment


def peer_environment(endpoint: Endpoint, identity: PeerIdentity) -> dict[str, str]:
    """Where the server is and who it proved to be."""
    name = "trusted_ip6" if endpoint.address.version == 6 else "trusted_ip"
    environment = {
        name: str(endpoint.address),
        "trusted_port": str(endpoint.port),
        "common_name": identity.common_name,
    }
    for depth, facts in enumerate(identity.chain):
        environment |= _certificate_environment(facts, depth)
    return environment


def tunnel_environment(device: str, tunnel: Tunnel) -> dict[str, str]:
    """Addresses, routes and pushed extras."""
    environment = {"dev": device, "dev_type": "tun", "tun_mtu": str(tunnel.mtu), "link_mtu": "0"}
    for address in tunnel.addresses:
        if isinstance(address, IPv4Interface):
            environment["ifconfig_local"] = str(address.ip)
            environment["ifconfig_netmask"] = str(address.netmask)
        else:
            environment["ifconfig_ipv6_local"] = str(address.ip)
            environment["ifconfig_ipv6_netbits"] = str(address.network.prefixlen)
            environment["ifconfig_ipv6_remote"] = str(tunnel.ifconfig_ipv6_remote or "::")
    if tunnel.gateway_ipv4 is not None:
        environment["route_vpn_gateway"] = str(tunnel.gateway_ipv4)
    environment |= _routes_environment(tunnel)
    for number, option in enumerate(tunnel.foreign, start=1):
        environment[f"foreign_option_{number}"] = option
    environment.update(tunnel.setenv)
    return environment


def up_arguments(device: str, tunnel: Tunnel, context: str) -> tuple[str, ...]:
    """What ``up``, ``down`` and ``route-pre-down`` are called with: device, MTU, 0, IPv4 address
    and netmask ("" without), and ``init`` or ``restart``."""
    local = netmask = ""
    for address in tunnel.addresses:
        if isinstance(address, IPv4Interface):
            local, netmask = str(address.ip), str(address.netmask)
    return (device, str(tunnel.mtu), "0", local, netmask, context)


def ipchange_arguments(endpoint: Endpoint) -> tuple[str, ...]:
    """What ``ipchange`` is called with, one word as in OpenVPN: ``[AF_INET6]2001:db8::1 1194``."""
    family = "[AF_INET6]" if endpoint.address.version == 6 else "[AF_INET]"
    return (f"{family}{endpoint.address} {endpoint.port}",)


def _remote_environment(remote: Remote, number: int) -> dict[str, str]:
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


def _certificate_environment(facts: CertificateFacts, depth: int) -> dict[str, str]:
    serial = f"{facts.serial:x}"
    environment = {
        f"tls_id_{depth}": facts.subject,
        f"tls_serial_{depth}": str(facts.serial),
        f"tls_serial_hex_{depth}": _colons(serial.zfill(len(serial) + len(serial) % 2)),
        f"tls_digest_{depth}": _colons(facts.sha1),
        f"tls_digest_sha256_{depth}": _colons(facts.sha256),
    }
    environment |= {f"X509_{depth}_{name}": value for name, value in facts.fields.items()}
    return environment


def _routes_environment(tunnel: Tunnel) -> dict[str, str]:
    environment: dict[str, str] = {}
    flags = tunnel.redirect
    if flags is not None and "private" in flags:
        flags = None
    if flags is not None and "!ipv4" not in flags:
        environment["route_redirect_gateway_ipv4"] = "1"
    if flags is not None and "ipv6" in flags:
        environment["route_redirect_gateway_ipv6"] = "1"
    environment["redirect_gateway"] = str(int("route_redirect_gateway_ipv4" in environment))
    counts = {4: 0, 6: 0}
    for route in tunnel.route_plan.listed:
        version = route.destination.version
        counts[version] += 1
        environment |= _route_environment(tunnel, route, counts[version])
    return environment


def _route_environment(tunnel: Tunnel, route: Route, number: int) -> dict[str, str]:
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


def _colons(text: str) -> str:
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def _printable(value: str) -> str:
    return "".join(char if char.isprintable() else "_" for char in value)
