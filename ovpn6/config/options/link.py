"""Rows: the outer network: sockets, ports, protocols, where to connect."""

from __future__ import annotations

from ovpn6.config.draft import Draft, LocalLine, RemoteLine
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import flag, nothing, put, sets
from ovpn6.config.options.row import Effect, Fold, Option, Show, Side, nothing_shown
from ovpn6.config.schema import Listen, Remote, TunnelConfig
from ovpn6.config.values import (
    PROTOS,
    Parser,
    Proto,
    host,
    integer,
    interface_name,
    one_of,
    port,
    proto,
)
from ovpn6.model.names import Transport
from ovpn6.model.specs import FlowLabel

_SECTION = "Outer network"


def _fold_local(draft: Draft, directive: Directive) -> None:
    address, *rest = directive.args
    line = LocalLine(
        directive.source,
        "" if address == "*" else host(address),
        integer(0, 65535)(rest[0]) if rest else None,
        proto(rest[1]) if len(rest) > 1 else None,
    )
    draft.link.locals = (*draft.link.locals, line)


def _show_local(config: TunnelConfig) -> list[tuple[str, ...]]:
    both = config.point_to_point
    if both is not None and both.passive is not None:
        own = both.passive
        listen = Listen(own.transport, own.family, own.local_address, own.local_port)
        return [_listen_words(listen)]
    if config.server is None:
        return []
    return [_listen_words(listen) for listen in config.server.listens]


def _listen_words(listen: Listen) -> tuple[str, ...]:
    side = "server" if listen.transport is Transport.TCP else ""
    word = proto_word(Proto(listen.transport, listen.family, side))
    return (listen.address or "*", str(listen.port), word)


def proto_word(value: Proto) -> str:
    """The word that stands for a protocol."""
    return next(text for text, known in PROTOS.items() if known == value)


def _fold_remote(draft: Draft, directive: Directive) -> None:
    name, *rest = directive.args
    line = RemoteLine(
        directive.source,
        host(name),
        port(rest[0]) if rest else None,
        proto(rest[1]) if len(rest) > 1 else None,
    )
    draft.link.remotes = (*draft.link.remotes, line)


def remote_words(remote: Remote, tcp_side: str = "client") -> tuple[str, ...]:
    """The words of the ``remote`` line that names it; ``tcp_side``: who makes the connection."""
    side = tcp_side if remote.transport is Transport.TCP else ""
    word = proto_word(Proto(remote.transport, remote.family, side))
    return (remote.host, str(remote.port), word)


def _fold_proto(draft: Draft, directive: Directive) -> None:
    draft.link.proto = proto(directive.args[0])


def _fold_port(draft: Draft, directive: Directive) -> None:
    draft.link.local_port = draft.link.remote_port = port(directive.args[0])


def _fold_lport(draft: Draft, directive: Directive) -> None:
    draft.link.local_port = integer(0, 65535)(directive.args[0])
    draft.link.local_port_given = draft.link.local_port != 0


def _fold_rport(draft: Draft, directive: Directive) -> None:
    draft.link.remote_port = port(directive.args[0])


def _fold_bind(draft: Draft, directive: Directive) -> None:
    draft.link.bind = True
    if directive.args:
        one_of("ipv6only")(directive.args[0])
        put(draft, "sockets", ipv6_only=True)


def _show_bind(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [("ipv6only",)] if config.sockets.ipv6_only else []


def _fold_nobind(draft: Draft, directive: Directive) -> None:
    draft.link.nobind = True


def _show_nobind(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [()] if config.client is not None and config.client.nobind else []


def _fold_connect_timeout(draft: Draft, directive: Directive) -> None:
    draft.link.connect_timeout = integer(1)(directive.args[0])


def _show_connect_timeout(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.client is None or config.client.server_poll_timeout == 120:
        return []
    return [(str(config.client.server_poll_timeout),)]


def _fold_exit_notify(draft: Draft, directive: Directive) -> None:
    draft.link.explicit_exit_notify = integer(0)(directive.args[0]) if directive.args else 1


def _show_exit_notify(config: TunnelConfig) -> list[tuple[str, ...]]:
    end = config.server or config.client
    notify = end.explicit_exit_notify if end is not None else 0
    return [(str(notify),)] if notify else []


def _pushed_exit_notify(draft: Draft, directive: Directive) -> None:
    times = integer(0)(directive.args[0]) if directive.args else 1
    put(draft, "pushed", explicit_exit_notify=times)


def _fold_proto_force(draft: Draft, directive: Directive) -> None:
    put(draft, "host", proto_force=proto(directive.args[0]).transport)


def _show_proto_force(config: TunnelConfig) -> list[tuple[str, ...]]:
    forced = config.host.proto_force
    return [(forced.value,)] if forced else []


def _fold_multihome(draft: Draft, directive: Directive) -> None:
    if directive.args:
        one_of("same-interface")(directive.args[0])
    put(draft, "sockets", multihome=True)


def _show_multihome(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [()] if config.sockets.multihome else []


def _fold_socket_flags(draft: Draft, directive: Directive) -> None:
    for flag_name in directive.args:
        one_of("TCP_NODELAY")(flag_name)
    put(draft, "sockets", tcp_nodelay=True)


def _show_socket_flags(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [("TCP_NODELAY",)] if config.sockets.tcp_nodelay else []


def _fold_tcp_nodelay(draft: Draft, directive: Directive) -> None:
    draft.role.tcp_nodelay = True
    put(draft, "sockets", tcp_nodelay=True)


def _check_socket_flags(draft: Draft, directive: Directive) -> None:
    for flag_name in directive.args:
        one_of("TCP_NODELAY")(flag_name)


def _in_blocks(name: str, usage: str, text: str, fold: Fold, show: Show = nothing_shown) -> Option:
    effect = Effect(fold, show)
    return Option(name, usage, text, _SECTION, effect=effect, connection=True)


def _fold_flow_label(draft: Draft, directive: Directive) -> None:
    how = one_of(*(each.value for each in FlowLabel))(directive.args[0])
    put(draft, "sockets", flow_label=FlowLabel(how))


def _show_flow_label(config: TunnelConfig) -> list[tuple[str, ...]]:
    label = config.sockets.flow_label
    return [] if label is FlowLabel.PEER else [(label.value,)]


def _client(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, side=Side.CLIENT, effect=effect, lenient=True)


def _buffer(name: str) -> Option:
    size: Parser[int] = integer(0)
    return Option(
        name,
        "BYTES",
        f"Size of the outer sockets' {'send' if name == 'sndbuf' else 'receive'} buffer.",
        _SECTION,
        effect=sets(f"sockets.{name}", size),
        pushed=sets(f"pushed.{name}", size).fold,
    )


def _fold_connect_retry(draft: Draft, directive: Directive) -> None:
    first = integer(1, 65535)(directive.args[0])
    longest = integer(1)(directive.args[1]) if len(directive.args) > 1 else 300
    put(draft, "client", connect_retry=(first, max(first, longest)))


def _show_connect_retry(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.client is None or config.client.connect_retry == (1, 300):
        return []
    first, longest = config.client.connect_retry
    return [(str(first), str(longest))]


def _fold_resolv_retry(draft: Draft, directive: Directive) -> None:
    text = directive.args[0]
    put(draft, "client", resolv_retry=None if text == "infinite" else integer(0)(text))


def _show_resolv_retry(config: TunnelConfig) -> list[tuple[str, ...]]:
    if config.client is None or config.client.resolv_retry is None:
        return []
    return [(str(config.client.resolv_retry),)]


ROWS: tuple[Option, ...] = (
    _in_blocks(
        "local",
        "ADDRESS [PORT] [PROTO]",
        "Listen or bind here; * is any address. A server may have several, each a socket.",
        _fold_local,
        _show_local,
    ),
    Option(
        "remote",
        "HOST [PORT] [PROTO]",
        "Connect here; several are tried in order. Of two equal ends one may have none: it takes "
        "whoever comes, and with a remote it takes nobody else, unless float says so.",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_fold_remote),
        connection=True,
    ),
    Option(
        "connection",
        "",
        "A block <connection>: one place to connect to with settings of its own.",
        _SECTION,
        side=Side.CLIENT,
        effect=nothing(),
        inline=True,
    ),
    _in_blocks(
        "proto",
        "PROTO",
        "udp, tcp, or one family of them: udp6, udp4, tcp6, tcp4 (tcp6-client, tcp6-server ...).",
        _fold_proto,
    ),
    _in_blocks("port", "PORT", "Port on both ends (1194).", _fold_port),
    _in_blocks("lport", "PORT", "Local port; 0 lets the system choose.", _fold_lport),
    _in_blocks("rport", "PORT", "Port of remotes that name none.", _fold_rport),
    _in_blocks(
        "bind",
        "[ipv6only]",
        "A client binds its local port too; with ipv6only an IPv6 socket serves IPv6 alone.",
        _fold_bind,
        _show_bind,
    ),
    Option(
        "nobind",
        "",
        "Let the system choose the local port, as clients do anyway.",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_fold_nobind, _show_nobind),
        connection=True,
    ),
    _client(
        "proto-force",
        "PROTO",
        "Try only remotes of this protocol, udp or tcp.",
        Effect(_fold_proto_force, _show_proto_force),
    ),
    _client("remote-random", "", "Try the remotes in random order.", flag("client.remote_random")),
    _client(
        "resolv-retry",
        "SECONDS",
        "How long to look a remote's name up again before the next one; infinite is for ever.",
        Effect(_fold_resolv_retry, _show_resolv_retry),
    ),
    _client(
        "connect-retry",
        "SECONDS [LONGEST]",
        "Wait between attempts at all remotes (1), doubled up to LONGEST (300).",
        Effect(_fold_connect_retry, _show_connect_retry),
    ),
    _client(
        "connect-retry-max",
        "N",
        "Give up after N attempts at all remotes; 0 is never.",
        sets("client.connect_retry_max", integer(0)),
    ),
    Option(
        "connect-timeout",
        "SECONDS",
        "How long to wait for a remote's first answer (120).",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_fold_connect_timeout, _show_connect_timeout),
        connection=True,
        lenient=True,
    ),
    Option(
        "server-poll-timeout",
        "SECONDS",
        "The same as connect-timeout.",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_fold_connect_timeout),
        connection=True,
        lenient=True,
        alias_of="connect-timeout",
    ),
    Option(
        "explicit-exit-notify",
        "[N]",
        "Tell the other end when we leave; a server's 2 sends clients to their next remote.",
        _SECTION,
        effect=Effect(_fold_exit_notify, _show_exit_notify),
        pushed=_pushed_exit_notify,
        connection=True,
    ),
    Option(
        "multihome",
        "[same-interface]",
        "Answer from the address that was called, on hosts that have several.",
        _SECTION,
        effect=Effect(_fold_multihome, _show_multihome),
    ),
    _buffer("sndbuf"),
    _buffer("rcvbuf"),
    Option(
        "mark",
        "N",
        "Firewall mark of outer packets.",
        _SECTION,
        effect=sets("sockets.mark", integer(0, 0x7FFFFFFF)),
    ),
    Option(
        "bind-dev",
        "NAME",
        "Bind the outer sockets to this device or VRF.",
        _SECTION,
        effect=sets("sockets.bind_device", interface_name),
    ),
    Option(
        "flow-label",
        "HOW",
        "The flow label of outer IPv6 packets: `peer` is the kernel's own, one for each peer; "
        "`flow` gives each inner flow one, so that routers spread flows over equal paths, and who "
        "watches the network can tell flows apart; `off` is zero. A directive of ovpn6 alone.",
        _SECTION,
        effect=Effect(_fold_flow_label, _show_flow_label),
    ),
    Option(
        "socket-flags",
        "[FLAG] ...",
        "TCP_NODELAY sends small packets at once on TCP.",
        _SECTION,
        effect=Effect(_fold_socket_flags, _show_socket_flags),
        pushed=_check_socket_flags,
    ),
    Option(
        "tcp-nodelay",
        "",
        "TCP_NODELAY here, and pushed to clients.",
        _SECTION,
        side=Side.SERVER,
        effect=Effect(_fold_tcp_nodelay),
        lenient=True,
    ),
)
