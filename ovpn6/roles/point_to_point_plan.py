"""From the configuration of one of two equal ends to its sockets, its words and its tunnel. PURE.

Source: OpenVPN ``options.c`` (options_string), ``tun.c`` (ifconfig_options_string), ``init.c``
(do_deferred_p2p_ncp).
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from ovpn6.config.schema import PointToPointConfig, Remote, TunnelConfig
from ovpn6.model.addresses import Endpoint, IPAddress
from ovpn6.model.errors import UsageError
from ovpn6.model.names import Family, PeerId, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.specs import Framing, LinkSpec, Route
from ovpn6.protocol.connection import ConnectionSettings
from ovpn6.protocol.negotiation_rules import HISTORIC_CIPHER, options_string
from ovpn6.protocol.point_to_point import Agreement, peer_info
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.client_settings import extra_peer_info, uses_tls_auth
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.route_plan import RouteSetting, plan_routes

UNDECIDED = Agreement("", PeerId(0), False, False, False)
"""Before there is a peer: the host's side of the tunnel does not depend on it."""


@dataclass(frozen=True, slots=True)
class Words:
    """Options strings: ours, and the one that a peer with fitting options has."""

    ours: str
    expected: str


def plan_tunnel(
    config: TunnelConfig,
    entry: Remote,
    outer: IPAddress | None,
    agreement: Agreement = UNDECIDED,
) -> Tunnel:
    """All from the file but what was negotiated. ``outer`` is the peer's address where it is known
    before it has come, ``entry`` what describes the connection."""
    host, data, both = config.host, config.data, _both(config)
    gateway_ipv4 = host.route_gateway or both.ifconfig_remote
    gateway_ipv6 = host.route_ipv6_gateway or both.ifconfig_ipv6_remote
    routes = plan_routes(
        host.routes,
        RouteSetting(
            remote=outer,
            addresses=host.ifconfig,
            gateway_ipv4=gateway_ipv4,
            gateway_ipv6=gateway_ipv6,
            redirect=host.redirect_gateway,
            block_ipv6=host.block_ipv6,
            metric=host.route_metric,
            table=host.route_table,
            max_routes=host.max_routes,
            allow_recursive=host.allow_recursive_routing,
        ),
    )
    return Tunnel(
        cipher=agreement.cipher,
        use_ekm=agreement.use_ekm,
        dynamic_tls_crypt=agreement.dynamic_tls_crypt,
        control_exit=agreement.control_exit,
        data_format=agreement.data_format,
        copy_ecn=agreement.copy_ecn,
        numbered_probes=agreement.numbered_probes,
        peer=agreement.peer,
        framing=Framing.STUB if data.comp_stub else Framing.NONE,
        keepalive=data.keepalive,
        ping_exit=data.ping_exit,
        inactive=data.inactive,
        inactive_bytes=data.inactive_bytes,
        session_timeout=data.session_timeout,
        exit_notify=entry.explicit_exit_notify,
        float_allowed=data.float,
        mtu=host.tun_mtu,
        addresses=host.ifconfig,
        gateway_ipv4=gateway_ipv4,
        gateway_ipv6=gateway_ipv6,
        ifconfig_ipv6_remote=both.ifconfig_ipv6_remote,
        redirect=host.redirect_gateway,
        route_plan=routes,
        ifconfig_remote=both.ifconfig_remote,
        peer_routes=_peer_routes(config, both),
        notices=routes.notices,
    )


def connection_settings(
    context: RoleContext, entry: Remote, wrapped_client_key: bytes, reneg_sec: float
) -> ConnectionSettings:
    """For one session, in either part."""
    config = context.config
    control = config.control
    return ConnectionSettings(
        is_server=config.is_tls_server,
        transport=entry.transport,
        options=words(config, entry).ours,
        peer_info=peer_info(
            context.ciphers,
            extra_peer_info(control),
            data_epoch=context.data_epoch,
            ecn=context.ecn,
        ),
        tls_timeout=control.tls_timeout,
        hand_window=control.hand_window,
        tran_window=control.tran_window,
        reneg_sec=reneg_sec,
        tls_mtu=control.tls_mtu,
        wall_offset=context.wall_offset,
        wrapped_client_key=wrapped_client_key,
    )


def words(config: TunnelConfig, entry: Remote) -> Words:
    """Both options strings."""
    return Words(_options(config, entry, remote=False), _options(config, entry, remote=True))


def link_spec(config: TunnelConfig, entry: Remote, endpoint: Endpoint | None) -> LinkSpec:
    """The socket: to ``endpoint``, or for whoever comes (also where only one may: who waits for a
    TCP connection cannot tell the system from whom)."""
    waits = entry.transport is Transport.TCP and _both(config).tcp_server
    family = entry.family
    if endpoint is not None:
        family = Family.IPV6 if endpoint.address.version == 6 else Family.IPV4
    return LinkSpec(
        transport=entry.transport,
        family=family,
        local_address=ip_address(entry.local_address) if entry.local_address else None,
        local_port=entry.local_port,
        remote=None if waits else endpoint,
        connect_timeout=entry.connect_timeout,
        options=config.sockets,
    )


def may_come(config: TunnelConfig, expected: Endpoint | None, comes: Endpoint) -> bool:
    """Whether a session may begin with ``comes``: with ``remote`` and without ``float`` nobody
    else's may. Over TCP the port is not compared, the system has chosen it."""
    if expected is None or config.data.float:
        return True
    if _both(config).tcp_server:
        return comes.address == expected.address
    return comes == expected


def _both(config: TunnelConfig) -> PointToPointConfig:
    if config.point_to_point is None:
        raise UsageError("not one of two equal ends")
    return config.point_to_point


def _peer_routes(config: TunnelConfig, both: PointToPointConfig) -> tuple[Route, ...]:
    """To the other end, where our own prefix does not reach it."""
    remotes = (both.ifconfig_ipv6_remote, both.ifconfig_remote)
    return tuple(
        Route(ip_network(remote))
        for remote in remotes
        if remote is not None and not any(remote in own.network for own in config.host.ifconfig)
    )


def _options(config: TunnelConfig, entry: Remote, *, remote: bool) -> str:
    """Ours, or with ``remote`` the one we expect."""
    both = _both(config)
    tls_auth, direction = uses_tls_auth(config, entry)
    if remote and direction is not None:
        direction = 1 - direction
    return options_string(
        is_server=both.tls_server is not remote,
        transport=entry.transport,
        tun_mtu=config.host.tun_mtu,
        tls_auth=tls_auth,
        key_direction=direction if tls_auth else None,
        compression=config.data.comp_stub,
        tunnel=_tunnel_words(config, both, remote=remote),
        cipher=config.data.cipher_fallback or HISTORIC_CIPHER,
        tcp_server=both.tcp_server is not remote,
    )


def _tunnel_words(config: TunnelConfig, both: PointToPointConfig, *, remote: bool) -> list[str]:
    found = []
    if any(isinstance(own, IPv6Interface) for own in config.host.ifconfig):
        found.append("tun-ipv6")
    for own in config.host.ifconfig:
        if not isinstance(own, IPv4Interface):
            continue
        if both.ifconfig_remote is None:
            found.append(f"ifconfig {own.network.network_address} {own.netmask}")
        else:
            pair = (both.ifconfig_remote, own.ip)
            first, second = reversed(pair) if remote else pair
            found.append(f"ifconfig {first} {second}")
    return found
