"""What a client's configuration and a server's push make together: one tunnel. PURE.

Source: OpenVPN ``init.c`` (do_deferred_options, do_up), ``ssl_ncp.c`` (check_pull_client_ncp,
tls_session_update_crypto_params), ``comp.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network

from ovpn6.config.schema import PushedConfig, Remote, TunnelConfig
from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork, Path
from ovpn6.model.names import NO_PEER_ID, PeerId, Transport
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import DataFormat, Framing, HostPlan, Keepalive, PeerSpec, Route
from ovpn6.mtu.overhead import IPV6_MINIMUM
from ovpn6.protocol.negotiation_rules import options_words
from ovpn6.roles.client_pull import PushRefused
from ovpn6.roles.route_plan import RoutePlan, RouteSetting, plan_routes

EVERYTHING: tuple[IPNetwork, ...] = (IPv6Network("::/0"), IPv4Network("0.0.0.0/0"))
"""What a client exchanges with its only peer."""

DEFAULT_PING_RESTART = 120
"""Seconds of silence that a pulling client over UDP stands when neither end says (options.c)."""

PROTOCOL_FLAGS = frozenset(("cc-exit", "tls-ekm", "dyn-tls-crypt"))
"""What our peer-info lets a server choose on every data path."""
EPOCH_FLAG = "aead-epoch"
"""What it lets it choose besides, where the data path has the epoch format."""

_FRAMINGS = {"": Framing.NONE, "stub": Framing.STUB, "stub-v2": Framing.STUB_V2}


@dataclass(frozen=True, slots=True)
class Means:
    """What our side can do: ciphers, framings and data formats that were advertised."""

    ciphers: tuple[str, ...]
    framings: frozenset[Framing]
    data_epoch: bool = False
    ecn: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """All that follows from one push. Times in seconds, 0 is never.

    ``gateway_ipv4``, ``gateway_ipv6``: what ``vpn_gateway`` stands for. ``control_exit``: goodbye
    is said in the control channel. ``foreign`` and ``setenv`` are for scripts, ``notices`` for the
    log. ``ifconfig_remote`` is the other end's IPv4 address where ``ifconfig`` names it,
    ``peer_routes`` lead to the other end where the addresses' prefixes do not.
    ``numbered_probes``: the other end answers those.
    """

    cipher: str
    data_format: DataFormat
    use_ekm: bool
    dynamic_tls_crypt: bool
    control_exit: bool
    peer: PeerId
    framing: Framing
    keepalive: Keepalive
    ping_exit: bool
    inactive: int
    inactive_bytes: int
    session_timeout: int
    exit_notify: int
    float_allowed: bool
    mtu: int
    addresses: tuple[IPInterface, ...]
    gateway_ipv4: IPAddress | None
    gateway_ipv6: IPAddress | None
    ifconfig_ipv6_remote: IPAddress | None
    redirect: frozenset[str] | None
    route_plan: RoutePlan
    foreign: tuple[str, ...] = ()
    setenv: tuple[tuple[str, str], ...] = ()
    ifconfig_remote: IPAddress | None = None
    peer_routes: tuple[Route, ...] = ()
    copy_ecn: bool = False
    numbered_probes: bool = False
    notices: tuple[str, ...] = field(default=(), compare=False)

    def peer_spec(self, path: Path) -> PeerSpec:
        """The server, for the datapath."""
        return PeerSpec(
            peer=self.peer,
            send_id=self.peer,
            path=path,
            networks=EVERYTHING,
            keepalive=self.keepalive,
            framing=self.framing,
            float_allowed=self.float_allowed,
            inactive_after=self.inactive,
            inactive_bytes=self.inactive_bytes,
            copy_ecn=self.copy_ecn,
        )

    def host_plan(self, config: TunnelConfig, *, with_routes: bool = True) -> HostPlan:
        """Host state, as far as ``ifconfig-noexec`` and ``route-noexec`` leave it to us."""
        routes: tuple[Route, ...] = ()
        if with_routes and not config.host.route_noexec:
            routes = self.route_plan.routes
        if config.host.ifconfig_noexec:
            return HostPlan(self.mtu, (), routes)
        return HostPlan(self.mtu, self.addresses, (*self.peer_routes, *routes))

    def looks_like(self, other: Tunnel) -> bool:
        """Whether scripts and applications see no difference: all of the inner side is equal. The
        way around the tunnel may differ."""
        return self._inner() == other._inner()

    def _inner(self) -> tuple[object, ...]:
        inner = replace(self.route_plan, routes=(), notices=())
        return (self.mtu, self.addresses, self.redirect, self.foreign, self.setenv, inner)


def plan_tunnel(
    config: TunnelConfig,
    pushed: PushedConfig,
    means: Means,
    remote: Remote,
    server: IPAddress,
    server_options: str,
) -> Tunnel:
    """Combine both. ``server`` is the outer address in use, ``server_options`` the options string
    of its key exchange. Raises ``PushRefused`` when they do not fit together."""
    notices = list(pushed.ignored)
    offered = PROTOCOL_FLAGS | {EPOCH_FLAG} if means.data_epoch else PROTOCOL_FLAGS
    unknown = pushed.protocol_flags - offered
    if unknown:
        raise PushRefused(
            f"OPTIONS ERROR: the server pushed protocol-flags that were not offered: "
            f"{' '.join(sorted(unknown))}"
        )
    if pushed.peer_id is None or not 0 <= pushed.peer_id < NO_PEER_ID:
        raise PushRefused(
            "OPTIONS ERROR: the server pushed no peer-id; servers before OpenVPN 2.4 "
            "are not supported"
        )
    for name, size in (("sndbuf", pushed.sndbuf), ("rcvbuf", pushed.rcvbuf)):
        if size:
            notices.append(f"pushed {name} {size} is not applied: the socket is open already")
    addresses = _addresses(config, pushed)
    keepalive, ping_exit = _keepalive(config, pushed, remote)
    inactive_is_pushed = pushed.inactive is not None
    route_plan = plan_routes(
        (*config.host.routes, *pushed.routes), _route_setting(config, pushed, addresses, server)
    )
    notices += route_plan.notices
    return Tunnel(
        cipher=_cipher(config, pushed, means, server_options),
        data_format=(
            DataFormat.EPOCH if EPOCH_FLAG in pushed.protocol_flags else DataFormat.CLASSIC
        ),
        use_ekm="tls-ekm" in pushed.protocol_flags,
        dynamic_tls_crypt="dyn-tls-crypt" in pushed.protocol_flags,
        control_exit="cc-exit" in pushed.protocol_flags,
        peer=PeerId(pushed.peer_id),
        framing=_framing(config, pushed, means),
        keepalive=keepalive,
        ping_exit=ping_exit,
        inactive=_first(pushed.inactive, config.data.inactive),
        inactive_bytes=pushed.inactive_bytes if inactive_is_pushed else config.data.inactive_bytes,
        session_timeout=_first(pushed.session_timeout, config.data.session_timeout),
        exit_notify=_exit_notify(config, pushed, remote),
        float_allowed=config.data.float,
        mtu=_mtu(config, pushed, notices),
        addresses=addresses,
        gateway_ipv4=_gateway_ipv4(config, pushed),
        gateway_ipv6=_gateway_ipv6(config, pushed),
        ifconfig_ipv6_remote=pushed.ifconfig_ipv6_gateway,
        redirect=_redirect(config, pushed),
        route_plan=route_plan,
        foreign=pushed.dhcp_options,
        setenv=pushed.setenv,
        copy_ecn=means.ecn and pushed.ecn_marks,
        numbered_probes=pushed.numbered_probes,
        notices=tuple(notices),
    )


def _cipher(config: TunnelConfig, pushed: PushedConfig, means: Means, server_options: str) -> str:
    """The pushed cipher, else that of the server's options string, else the fallback."""
    occ_cipher = options_words(server_options).get("cipher", "")
    chosen = pushed.cipher or occ_cipher or config.data.cipher_fallback
    allowed = (*means.ciphers, config.data.cipher_fallback)
    if chosen and chosen.upper() in allowed:
        return chosen.upper()
    if pushed.cipher:
        raise PushRefused(
            f"Error: negotiated cipher not allowed - {pushed.cipher} not in "
            f"{':'.join(means.ciphers)}"
        )
    if occ_cipher:
        raise PushRefused(
            f"OPTIONS ERROR: failed to negotiate cipher with server. Add the server's cipher "
            f"('{occ_cipher}') to --data-ciphers (currently '{':'.join(means.ciphers)}') if you "
            f"want to connect to this server."
        )
    raise PushRefused(
        "OPTIONS ERROR: failed to negotiate cipher with server. Configure "
        "--data-ciphers-fallback if you want to connect to this server."
    )


def _framing(config: TunnelConfig, pushed: PushedConfig, means: Means) -> Framing:
    wanted = pushed.compression or ("stub" if config.data.comp_stub else "")
    framing = _FRAMINGS.get(wanted)
    if framing is None or framing not in means.framings:
        raise PushRefused(
            f"OPTIONS ERROR: server pushed compression settings that are not allowed ({wanted})"
        )
    return framing


def _keepalive(
    config: TunnelConfig, pushed: PushedConfig, remote: Remote
) -> tuple[Keepalive, bool]:
    """The times, and whether silence ends the process (``ping-exit``)."""
    interval = _first(pushed.ping, config.data.keepalive.interval)
    if pushed.ping_exit is not None:
        return Keepalive(interval, pushed.ping_exit), True
    if pushed.ping_restart is not None:
        return Keepalive(interval, pushed.ping_restart), False
    timeout = config.data.keepalive.timeout
    if not timeout and remote.transport is Transport.UDP:
        timeout = DEFAULT_PING_RESTART
    return Keepalive(interval, timeout), config.data.ping_exit


def _exit_notify(config: TunnelConfig, pushed: PushedConfig, remote: Remote) -> int:
    """Only where a datagram's loss would go unseen."""
    if remote.transport is not Transport.UDP:
        return 0
    own = remote.explicit_exit_notify
    if not own and config.client is not None:
        own = config.client.explicit_exit_notify
    return _first(pushed.explicit_exit_notify, own)


def _mtu(config: TunnelConfig, pushed: PushedConfig, notices: list[str]) -> int:
    if pushed.tun_mtu is None:
        return config.host.tun_mtu
    limit = max(config.host.tun_mtu_max, config.host.tun_mtu)
    if pushed.tun_mtu > limit:
        notices.append(
            f"Server-pushed tun-mtu is too large, please add tun-mtu-max {pushed.tun_mtu} in the "
            f"client configuration"
        )
    mtu = min(pushed.tun_mtu, limit)
    if mtu < IPV6_MINIMUM and any(each.version == 6 for each in _addresses(config, pushed)):
        notices.append(
            f"Server-pushed tun-mtu {mtu} is refused: IPv6 needs {IPV6_MINIMUM}, which is used"
        )
        return IPV6_MINIMUM
    return mtu


def _addresses(config: TunnelConfig, pushed: PushedConfig) -> tuple[IPInterface, ...]:
    """A pushed address replaces the configured one of its family; IPv6 first."""
    by_family: dict[int, IPInterface] = {a.version: a for a in config.host.ifconfig}
    for address in (pushed.ifconfig, pushed.ifconfig_ipv6):
        if address is not None:
            by_family[address.version] = address
    return tuple(by_family[version] for version in (6, 4) if version in by_family)


def _gateway_ipv4(config: TunnelConfig, pushed: PushedConfig) -> IPAddress | None:
    return pushed.route_gateway or config.host.route_gateway


def _gateway_ipv6(config: TunnelConfig, pushed: PushedConfig) -> IPAddress | None:
    return (
        pushed.route_ipv6_gateway or pushed.ifconfig_ipv6_gateway or config.host.route_ipv6_gateway
    )


def _redirect(config: TunnelConfig, pushed: PushedConfig) -> frozenset[str] | None:
    """The flags of both lines together, None without either."""
    own, theirs = config.host.redirect_gateway, pushed.redirect_gateway
    if own is None or theirs is None:
        return own if theirs is None else theirs
    return own | theirs


def _route_setting(
    config: TunnelConfig,
    pushed: PushedConfig,
    addresses: tuple[IPInterface, ...],
    server: IPAddress,
) -> RouteSetting:
    host = config.host
    return RouteSetting(
        remote=server,
        addresses=addresses,
        gateway_ipv4=_gateway_ipv4(config, pushed),
        gateway_ipv6=_gateway_ipv6(config, pushed),
        redirect=_redirect(config, pushed),
        block_ipv6=host.block_ipv6 or pushed.block_ipv6,
        metric=host.route_metric if pushed.route_metric is None else pushed.route_metric,
        table=host.route_table,
        max_routes=host.max_routes,
        allow_recursive=host.allow_recursive_routing,
    )


def _first(pushed: int | None, own: int) -> int:
    return own if pushed is None else pushed


def describe(tunnel: Tunnel) -> Iterable[str]:
    """What OpenVPN prints of a push at verb 3 (tls_print_deferred_options_results)."""
    yield f"Data Channel: cipher '{tunnel.cipher}', peer-id: {tunnel.peer}"
    timers = []
    if tunnel.keepalive.interval:
        timers.append(f"ping {tunnel.keepalive.interval}")
    if tunnel.keepalive.timeout:
        kind = "ping-exit" if tunnel.ping_exit else "ping-restart"
        timers.append(f"{kind} {tunnel.keepalive.timeout}")
    if tunnel.inactive:
        timers.append(f"inactive {tunnel.inactive} {tunnel.inactive_bytes}".removesuffix(" 0"))
    if tunnel.session_timeout:
        timers.append(f"session-timeout {tunnel.session_timeout}")
    if timers:
        yield f"Timers: {', '.join(timers)}"
    options = []
    if tunnel.exit_notify:
        options.append(f"explicit-exit-notify {tunnel.exit_notify}")
    flags = (
        (tunnel.control_exit, "cc-exit"),
        (tunnel.use_ekm, "tls-ekm"),
        (tunnel.dynamic_tls_crypt, "dyn-tls-crypt"),
        (tunnel.data_format is DataFormat.EPOCH, EPOCH_FLAG),
    )
    names = [name for given, name in flags if given]
    if names:
        options.append(f"protocol-flags {' '.join(names)}")
    if options:
        yield f"Protocol options: {', '.join(options)}"
