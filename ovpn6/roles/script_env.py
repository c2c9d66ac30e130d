"""The environment of a server's scripts, by OpenVPN's names. PURE.

Source: OpenVPN ``doc/man-sections/script-options.rst``, ``ssl_verify.c`` (verify_cert_set_env),
``multi.c`` (multi_client_connect_setenv, multi_set_virtual_addr_env), ``misc.c``
(output_peer_info_env), ``socket.c`` (setenv_sockaddr), ``tun.c`` (do_ifconfig_setenv), ``route.c``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface

from ovpn6.config.schema import Listen
from ovpn6.model.addresses import Endpoint, IPAddress, IPInterface
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Route, RouteVia

Environment = dict[str, str]

_SHELL_META = frozenset("$(`")


def printable(text: str) -> str:
    """The text with what a script or log could trip over as ``_``: controls, line ends."""
    return "".join("_" if ord(c) < 32 or ord(c) == 127 else c for c in text)


def tunnel_environment(
    device: str, tun_mtu: int, addresses: Iterable[IPInterface], *, context: str = "init"
) -> Environment:
    """Device and own addresses: ``up``, ``down``, ``route-up``, and the base of all others."""
    env = {
        "dev": device,
        "dev_type": "tun",
        "tun_mtu": str(tun_mtu),
        "script_context": context,
    }
    for interface in addresses:
        if isinstance(interface, IPv4Interface):
            env["ifconfig_local"] = str(interface.ip)
            env["ifconfig_netmask"] = str(interface.netmask)
        else:
            env["ifconfig_ipv6_local"] = str(interface.ip)
            env["ifconfig_ipv6_netbits"] = str(interface.network.prefixlen)
            env["ifconfig_ipv6_remote"] = str(interface.ip + 1)
    return env


def listen_environment(listens: Iterable[Listen]) -> Environment:
    """A server's sockets, numbered from 1; ``remote_port`` repeats the port, as OpenVPN has it."""
    env: Environment = {}
    for number, listen in enumerate(listens, start=1):
        digit = {Family.IPV6: "6", Family.IPV4: "4"}.get(listen.family, "")
        side = "-server" if listen.transport is Transport.TCP else ""
        env[f"proto_{number}"] = f"{listen.transport.value}{digit}{side}"
        env[f"local_port_{number}"] = env[f"remote_port_{number}"] = str(listen.port)
        if listen.address:
            env[f"local_{number}"] = listen.address
    return env


def route_environment(
    routes: Iterable[Route], gateways: Mapping[int, IPAddress] | None = None
) -> Environment:
    """The configured routes, numbered from 1 in each family.

    ``gateways``, by family: what a route into the tunnel leads through that names none.
    """
    env: Environment = {}
    numbers = {4: 0, 6: 0}
    for route in routes:
        destination = route.destination
        numbers[destination.version] += 1
        number = numbers[destination.version]
        if isinstance(destination, IPv4Network):
            env[f"route_network_{number}"] = str(destination.network_address)
            env[f"route_netmask_{number}"] = str(destination.netmask)
            prefix = "route"
        else:
            env[f"route_ipv6_network_{number}"] = str(destination)
            prefix = "route_ipv6"
        gateway = route.gateway
        if gateway is None and gateways is not None and route.via is RouteVia.TUNNEL:
            gateway = gateways.get(destination.version)
        if gateway is not None:
            env[f"{prefix}_gateway_{number}"] = str(gateway)
        if route.metric is not None:
            env[f"{prefix}_metric_{number}"] = str(route.metric)
    return env


def up_down_arguments(
    device: str,
    tun_mtu: int,
    addresses: Iterable[IPInterface],
    context: str = "init",
    remote: IPAddress | None = None,
) -> tuple[str, ...]:
    """``up`` and ``down``: device, MTU, 0, IPv4 address and netmask, or the other end's address
    where ``ifconfig`` names that (both empty without IPv4), context."""
    ipv4 = next((one for one in addresses if isinstance(one, IPv4Interface)), None)
    local, second = (str(ipv4.ip), str(remote or ipv4.netmask)) if ipv4 else ("", "")
    return device, str(tun_mtu), "0", local, second, context


def endpoint_environment(prefix: str, endpoint: Endpoint) -> Environment:
    """``trusted`` or ``untrusted``: the client's outer address, ``_ip6`` or ``_ip``, and port."""
    name = f"{prefix}_ip6" if endpoint.address.version == 6 else f"{prefix}_ip"
    return {name: str(endpoint.address), f"{prefix}_port": str(endpoint.port)}


def identity_environment(identity: PeerIdentity) -> Environment:
    """The verified certificates, the client's own as number 0."""
    env: Environment = {}
    for depth, certificate in enumerate(identity.chain):
        env[f"tls_id_{depth}"] = printable(certificate.subject)
        env[f"tls_digest_{depth}"] = _colons(certificate.sha1)
        env[f"tls_digest_sha256_{depth}"] = _colons(certificate.sha256)
        env[f"tls_serial_{depth}"] = str(certificate.serial)
        env[f"tls_serial_hex_{depth}"] = _colons(_even_hex(certificate.serial))
        for name, value in certificate.fields.items():
            env[f"X509_{depth}_{_variable(name)}"] = printable(value)
    return env


def peer_info_environment(peer_info: Mapping[str, str]) -> Environment:
    """``IV_*`` and ``UV_*`` lines; a client chose their values, so shell characters go."""
    return {
        name: "".join(_harmless(c) for c in value)
        for name, value in peer_info.items()
        if name.startswith(("IV_", "UV_")) and _variable(name) == name
    }


def pool_environment(
    ipv4: IPv4Interface | None, ipv6: IPv6Interface | None, server_ipv6: IPv6Interface | None
) -> Environment:
    """The client's tunnel addresses, and ours as its IPv6 gateway."""
    env: Environment = {}
    if ipv4 is not None:
        env["ifconfig_pool_remote_ip"] = str(ipv4.ip)
        env["ifconfig_pool_netmask"] = str(ipv4.netmask)
    if ipv6 is not None:
        env["ifconfig_pool_remote_ip6"] = str(ipv6.ip)
        env["ifconfig_pool_ip6_netbits"] = str(ipv6.network.prefixlen)
        if server_ipv6 is not None:
            env["ifconfig_pool_local_ip6"] = str(server_ipv6.ip)
    return env


def time_environment(wall: float) -> Environment:
    """When the client connected; the text is in UTC."""
    return {
        "time_unix": str(int(wall)),
        "time_ascii": datetime.fromtimestamp(int(wall), UTC).strftime("%Y-%m-%d %H:%M:%S"),
    }


def _harmless(character: str) -> str:
    bad = not character.isprintable() or character.isspace() or character in _SHELL_META
    return "_" if bad else character


def _variable(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)


def _even_hex(number: int) -> str:
    digits = f"{number:x}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _colons(digits: str) -> str:
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
