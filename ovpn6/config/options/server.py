"""Rows: what only a server has, and what may be said of one client."""

from __future__ import annotations

from ipaddress import IPv4Interface

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import absolute, appends, file, flag, location, put, sets
from ovpn6.config.options.row import Effect, Fold, Option, Side
from ovpn6.config.schema import TunnelConfig
from ovpn6.config.values import (
    Parser,
    integer,
    ipv4_address,
    ipv4_interface,
    ipv4_network,
    ipv6_address,
    ipv6_interface,
    ipv6_network,
    netmask,
    one_of,
    pool_ipv6,
    tunnel_ipv6_network,
    word,
)
from ovpn6.model.errors import ConfigError

_SECTION = "Server"
_ONE_CLIENT = "One client"


def _fold_mode(draft: Draft, directive: Directive) -> None:
    if one_of("server", "p2p")(directive.args[0]) == "server":
        draft.role.mode_server = True


def _fold_tls_server(draft: Draft, directive: Directive) -> None:
    draft.role.tls_server = True


def _show_mode(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.point_to_point is not None:
        return [("p2p",)]
    return [("server",)] if config.server is not None else []


def _show_tls_server(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [()] if config.is_tls_server else []


def _fold_server(draft: Draft, directive: Directive) -> None:
    network = ipv4_network(directive.args[0], directive.args[1])
    if len(directive.args) > 2:
        one_of("nopool")(directive.args[2])
        draft.role.server_nopool = True
    if not 16 <= network.prefixlen <= 29:
        message = f"a tunnel network of /{network.prefixlen} cannot be used"
        raise ConfigError(message, advice="use 255.255.0.0 to 255.255.255.248")
    draft.role.server = network


def _fold_server_ipv6(draft: Draft, directive: Directive) -> None:
    draft.role.server_ipv6 = tunnel_ipv6_network(directive.args[0])


def _fold_pool(draft: Draft, directive: Directive) -> None:
    first, last = (ipv4_address(text) for text in directive.args[:2])
    if first > last:
        raise ConfigError(f"the pool ends at {last}, before it begins at {first}")
    if int(last) - int(first) >= 65536:
        raise ConfigError("a pool holds at most 65536 addresses")
    mask = ipv4_address(directive.args[2]) if len(directive.args) > 2 else None
    if mask is not None:
        netmask(str(mask))
    draft.role.pool = (first, last, mask)


def _show_pool(config: TunnelConfig) -> list[tuple[str, ...]]:
    server = config.server
    if server is None or server.pool_start is None:
        return []
    words = (server.pool_start, server.pool_end, server.pool_netmask)
    return [tuple(str(each) for each in words if each is not None)]


def _fold_pool_ipv6(draft: Draft, directive: Directive) -> None:
    draft.role.pool_ipv6 = pool_ipv6(directive.args[0])


def _show_pool_ipv6(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.server is None or config.server.pool_ipv6 is None:
        return []
    return [(str(config.server.pool_ipv6),)]


def _fold_persist(draft: Draft, directive: Directive) -> None:
    put(draft, "server", ifconfig_pool_persist=absolute(draft, directive.args[0]))
    if len(directive.args) > 1:
        seconds = integer(0)(directive.args[1])
        put(draft, "server", ifconfig_pool_persist_interval=seconds)


def _show_persist(config: TunnelConfig) -> list[tuple[str, ...]]:
    server = config.server
    if server is None or server.ifconfig_pool_persist is None:
        return []
    return [(str(server.ifconfig_pool_persist), str(server.ifconfig_pool_persist_interval))]


def _pair(name: str, default: tuple[int, int]) -> Effect:
    def fold(draft: Draft, directive: Directive) -> None:
        count, seconds = (integer(1)(text) for text in directive.args)
        put(draft, "server", **{name: (count, seconds)})

    def show(config: TunnelConfig) -> list[tuple[str, ...]]:
        if config.server is None or getattr(config.server, name) == default:
            return []
        count, seconds = getattr(config.server, name)
        return [(str(count), str(seconds))]

    return Effect(fold, show)


def _pushed_text(draft: Draft, directive: Directive) -> str:
    text = directive.args[0]
    if "," in text or not text.isprintable() or not text.strip():
        advice = "an option to push is one line of text without commas"
        raise ConfigError(f"{text!r} cannot be pushed", advice=advice)
    return text


def _fold_gen_token(draft: Draft, directive: Directive) -> None:
    numbers = list(directive.args)
    if "external-auth" in numbers:
        advice = "remove the word; tokens are then checked without the script"
        raise ConfigError("external-auth is not supported", advice=advice)
    lifetime = integer(0)(numbers[0]) if numbers else 0
    renewal = integer(1)(numbers[1]) if len(numbers) > 1 else 0
    put(
        draft,
        "server",
        auth_gen_token=True,
        auth_gen_token_lifetime=lifetime,
        auth_gen_token_renewal=renewal,
    )


def _show_gen_token(config: TunnelConfig) -> list[tuple[str, ...]]:
    server = config.server
    if server is None or not server.auth_gen_token:
        return []
    renewal = (str(server.auth_gen_token_renewal),) if server.auth_gen_token_renewal else ()
    return [(str(server.auth_gen_token_lifetime), *renewal)]


def _peer_ifconfig(draft: Draft, directive: Directive) -> None:
    own, mask = directive.args[:2]
    try:
        interface: IPv4Interface = ipv4_interface(own, mask)
    except ConfigError as error:
        advice = "give a netmask: ifconfig-push 10.8.0.7 255.255.255.0"
        raise ConfigError(error.message, advice=advice) from None
    put(draft, "peer", ifconfig_push=interface)


def _peer_ifconfig_ipv6(draft: Draft, directive: Directive) -> None:
    if len(directive.args) > 1:
        ipv6_address(directive.args[1])
    put(draft, "peer", ifconfig_ipv6_push=ipv6_interface(directive.args[0]))


def _peer_iroute(draft: Draft, directive: Directive) -> None:
    put(draft, "peer", iroutes=(*draft.peer.iroutes, ipv4_network(*directive.args)))


def _peer_iroute_ipv6(draft: Draft, directive: Directive) -> None:
    network = ipv6_network(directive.args[0])
    put(draft, "peer", iroutes=(*draft.peer.iroutes, network))


def _peer_push(draft: Draft, directive: Directive) -> None:
    put(draft, "peer", push=(*draft.peer.push, _pushed_text(draft, directive)))


def _peer_push_reset(draft: Draft, directive: Directive) -> None:
    put(draft, "peer", push_reset=True, push=())


def _peer_push_remove(draft: Draft, directive: Directive) -> None:
    """What this file pushed before is removed here; the server's own list is left to the role."""
    prefix = directive.args[0]
    kept = tuple(text for text in draft.peer.push if not text.startswith(prefix))
    put(draft, "peer", push=kept, push_remove=(*draft.peer.push_remove, prefix))


def _row(name: str, usage: str, text: str, effect: Effect, *, lenient: bool = False) -> Option:
    return Option(name, usage, text, _SECTION, side=Side.SERVER, effect=effect, lenient=lenient)


def _ccd(name: str, usage: str, text: str, fold: Fold) -> Option:
    return Option(name, usage, text, _ONE_CLIENT, side=Side.SERVER, peer=fold)


_COUNT: Parser[int] = integer(1)

ROWS: tuple[Option, ...] = (
    Option(
        "mode",
        "MODE",
        "server: many clients; the macros server and server-ipv6 include it. p2p: two equal ends, "
        "without anything being pushed; what tls-server or tls-client alone means.",
        _SECTION,
        effect=Effect(_fold_mode, _show_mode),
    ),
    Option(
        "tls-server",
        "",
        "Take the server's part in TLS; included in server and server-ipv6. Alone: one of two "
        "equal ends, and the other has tls-client.",
        _SECTION,
        effect=Effect(_fold_tls_server, _show_tls_server),
    ),
    _row(
        "server-ipv6",
        "NETWORK/BITS",
        "Serve this IPv6 network, /64 to /124: its first address is ours, the pool begins at "
        "::1000. Without `server` there is no IPv4 in the tunnel at all.",
        Effect(_fold_server_ipv6),
    ),
    _row(
        "server",
        "NETWORK NETMASK [nopool]",
        "Serve this IPv4 network: its first address is ours, the others are the pool.",
        Effect(_fold_server),
    ),
    _row(
        "ifconfig-ipv6-pool",
        "ADDRESS/BITS",
        "First address of the IPv6 pool.",
        Effect(_fold_pool_ipv6, _show_pool_ipv6),
    ),
    _row(
        "ifconfig-pool",
        "FIRST LAST [NETMASK]",
        "The IPv4 pool.",
        Effect(_fold_pool, _show_pool),
    ),
    _row(
        "ifconfig-pool-persist",
        "FILE [SECONDS]",
        "Remember in FILE who had which address, written every SECONDS (600); 0 never writes.",
        Effect(_fold_persist, _show_persist),
    ),
    _row(
        "client-config-dir",
        "DIR",
        "A file in DIR with a client's name, or DEFAULT, holds that client's settings.",
        location("server.client_config_dir"),
    ),
    _row(
        "ccd-exclusive",
        "",
        "Refuse clients without such a file.",
        flag("server.ccd_exclusive"),
    ),
    _row(
        "duplicate-cn",
        "",
        "A name may be connected several times.",
        flag("server.duplicate_cn"),
    ),
    _row(
        "max-clients",
        "N",
        "At most N clients (1024).",
        sets("server.max_clients", integer(1, 0xFFFFFE)),
        lenient=True,
    ),
    Option(
        "max-routes-per-client",
        "N",
        "At most N iroutes of a client (256).",
        _SECTION,
        side=Side.SERVER,
        effect=sets("server.max_routes_per_client", _COUNT),
        peer=sets("peer.max_routes_per_client", _COUNT).fold,
        lenient=True,
    ),
    _row(
        "connect-freq",
        "N SECONDS",
        "At most N new clients in SECONDS.",
        _pair("connect_freq", (0, 0)),
    ),
    _row(
        "connect-freq-initial",
        "N SECONDS",
        "Answer at most N first packets in SECONDS (100 in 10).",
        _pair("connect_freq_initial", (100, 10)),
        lenient=True,
    ),
    _row(
        "username-as-common-name",
        "",
        "The user name is the client's name.",
        flag("server.username_as_common_name"),
    ),
    _row(
        "auth-user-pass-optional",
        "",
        "Let clients without a user name reach the script.",
        flag("server.auth_user_pass_optional"),
    ),
    _row(
        "auth-gen-token",
        "[LIFETIME] [RENEWAL] [external-auth]",
        "Give clients a token instead of their password, valid LIFETIME seconds in all.",
        Effect(_fold_gen_token, _show_gen_token),
    ),
    Option(
        "auth-gen-token-secret",
        "FILE",
        "Key of the tokens, which then survive a restart.",
        _SECTION,
        side=Side.SERVER,
        effect=file("server.auth_gen_token_secret"),
        inline=True,
    ),
    Option(
        "push",
        "OPTION",
        "Send OPTION, one quoted word, to every client.",
        _SECTION,
        side=Side.SERVER,
        effect=appends("server.push", _pushed_text, lambda text: (text,)),
        peer=_peer_push,
        lenient=True,
    ),
    _ccd("push-reset", "", "Push nothing of the server's own list.", _peer_push_reset),
    _ccd("push-remove", "PREFIX", "Do not push what begins with PREFIX.", _peer_push_remove),
    _ccd(
        "ifconfig-ipv6-push",
        "ADDRESS/BITS [PEER]",
        "This client's IPv6 address.",
        _peer_ifconfig_ipv6,
    ),
    _ccd(
        "ifconfig-push",
        "ADDRESS NETMASK [ALIAS]",
        "This client's IPv4 address.",
        _peer_ifconfig,
    ),
    _ccd("iroute-ipv6", "NETWORK/BITS", "A network behind this client.", _peer_iroute_ipv6),
    _ccd("iroute", "NETWORK [NETMASK]", "An IPv4 network behind this client.", _peer_iroute),
    _ccd("disable", "", "Refuse this client.", flag("peer.disable").fold),
    _ccd(
        "override-username",
        "NAME",
        "Use NAME instead of the user name that the client gave.",
        sets("peer.override_username", word).fold,
    ),
)
