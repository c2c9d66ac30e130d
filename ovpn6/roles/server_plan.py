"""What a server's configuration comes to: own addresses, pool, settings for each connection. PURE.

``config`` has expanded ``server`` and ``server-ipv6`` into addresses and pools.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from ovpn6.config.schema import ServerConfig, TunnelConfig, WrapMode
from ovpn6.model.addresses import IPAddress, IPInterface
from ovpn6.model.errors import UsageError
from ovpn6.model.names import Transport
from ovpn6.model.records import dataclass
from ovpn6.model.specs import HostPlan, Route, RouteVia
from ovpn6.protocol.connection import ConnectionSettings
from ovpn6.protocol.negotiation_rules import options_string
from ovpn6.roles.address_pool import PoolRange


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Constant while a server runs. ``ipv4`` and ``ipv6`` are our own tunnel addresses, None when
    that family is not served; ``pool`` None leaves only static addresses."""

    server: ServerConfig
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    pool: PoolRange | None

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        """Our own, IPv6 first."""
        return tuple(address for address in (self.ipv6, self.ipv4) if address is not None)


def plan_server(config: TunnelConfig) -> ServerPlan:
    """Derive the plan. Raises ``UsageError`` for a configuration that is not a server's."""
    server = config.server
    if server is None:
        raise UsageError("not a server's configuration")
    ipv4, ipv6 = _own_ipv4(config, server), _own_ipv6(config, server)
    pool_ipv4, pool_ipv6 = _pool_ipv4(server), _pool_ipv6(server)
    has_pool = pool_ipv4 is not None or pool_ipv6 is not None
    return ServerPlan(server, ipv4, ipv6, PoolRange.of(pool_ipv4, pool_ipv6) if has_pool else None)


def host_plan(config: TunnelConfig, plan: ServerPlan) -> HostPlan:
    """The host state that the server itself wants; clients add nothing to it."""
    host = config.host
    return HostPlan(
        mtu=host.tun_mtu,
        addresses=() if host.ifconfig_noexec else plan.addresses,
        routes=() if host.route_noexec else server_routes(config),
        forwarding=plan.server.client_to_client,
    )


def server_routes(config: TunnelConfig) -> tuple[Route, ...]:
    """The configured routes, whoever adds them (``route-noexec`` leaves them to a script)."""
    host = config.host
    return tuple(
        Route(
            order.destination,
            via=RouteVia.UNDERLAY if order.gateway == "net_gateway" else RouteVia.TUNNEL,
            gateway=_gateway(order.gateway),
            metric=order.metric if order.metric is not None else host.route_metric,
            table=order.table or host.route_table,
        )
        for order in host.routes
        if order.destination is not None
    )


def tunnel_gateways(config: TunnelConfig, plan: ServerPlan) -> dict[int, IPAddress]:
    """What scripts see as the gateway into the tunnel, by family: ``route-gateway``, or the address
    after our own (OpenVPN ``helper.c``). The kernel needs none."""
    gateways: dict[int, IPAddress] = {}
    for own, configured in (
        (plan.ipv6, config.host.route_ipv6_gateway),
        (plan.ipv4, config.host.route_gateway),
    ):
        if own is not None:
            gateways[own.version] = configured or own.ip + 1
    return gateways


def connection_settings(
    config: TunnelConfig, transport: Transport, wall_offset: float, entropy: Callable[[int], bytes]
) -> ConnectionSettings:
    """The settings of one new connection; renegotiations are spread so that clients that came
    together do not renegotiate together."""
    control = config.control
    return ConnectionSettings(
        is_server=True,
        transport=transport,
        options=options_string(
            is_server=True,
            transport=transport,
            tun_mtu=config.host.tun_mtu,
            tls_auth=config.wrap.mode is WrapMode.TLS_AUTH,
            key_direction=config.wrap.key_direction,
            compression=config.data.comp_stub,
        ),
        tls_timeout=control.tls_timeout,
        hand_window=control.hand_window,
        tran_window=control.tran_window,
        reneg_sec=_spread(control.reneg_sec, control.reneg_sec_min, entropy),
        tls_mtu=control.tls_mtu,
        wall_offset=wall_offset,
    )


def _spread(seconds: int, least: int, entropy: Callable[[int], bytes]) -> float:
    width = min(seconds - least, seconds) if least else seconds // 10
    if width <= 0:
        return float(seconds)
    return seconds - width * int.from_bytes(entropy(4), "big") / 2**32


def _own_ipv4(config: TunnelConfig, server: ServerConfig) -> IPv4Interface | None:
    for interface in config.host.ifconfig:
        if isinstance(interface, IPv4Interface):
            return interface
    network = server.server
    if network is None:
        return None
    return IPv4Interface((int(network.network_address) + 1, network.prefixlen))


def _own_ipv6(config: TunnelConfig, server: ServerConfig) -> IPv6Interface | None:
    for interface in config.host.ifconfig:
        if isinstance(interface, IPv6Interface):
            return interface
    network = server.server_ipv6
    if network is None:
        return None
    return IPv6Interface((int(network.network_address) + 1, network.prefixlen))


def _pool_ipv4(server: ServerConfig) -> tuple[IPv4Address, IPv4Address] | None:
    if isinstance(server.pool_start, IPv4Address) and isinstance(server.pool_end, IPv4Address):
        return server.pool_start, server.pool_end
    return None


def _pool_ipv6(server: ServerConfig) -> IPv6Interface | None:
    return server.pool_ipv6 if isinstance(server.pool_ipv6, IPv6Interface) else None


def _gateway(text: str) -> IPv6Address | IPv4Address | None:
    if text in ("", "vpn_gateway", "net_gateway"):
        return None
    return IPv6Address(text) if ":" in text else IPv4Address(text)
