"""Rows: what only a client has, and what only a server pushes."""

from __future__ import annotations

from base64 import b64decode

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import appends, file_ref, flag, put, sets, shown_ref
from ovpn6.config.options.row import Effect, Fold, Option, Side
from ovpn6.config.schema import PullFilter, TunnelConfig
from ovpn6.config.values import integer, one_of
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import NO_PEER_ID

_SECTION = "Client"
_PUSHED = "Only pushed"


def _fold_client(draft: Draft, directive: Directive) -> None:
    draft.role.client = True


def _fold_pull(draft: Draft, directive: Directive) -> None:
    draft.role.pull = True


def _fold_tls_client(draft: Draft, directive: Directive) -> None:
    draft.role.tls_client = True


def _show_client(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [()] if config.client is not None and config.point_to_point is None else []


def _show_tls_client(config: TunnelConfig) -> list[tuple[str, ...]]:
    both = config.point_to_point
    return [()] if both is not None and not both.tls_server else []


def _fold_user_pass(draft: Draft, directive: Directive) -> None:
    if directive.inline is None and (not directive.args or directive.args[0] == "stdin"):
        put(draft, "client", auth_user_pass_prompt=True, auth_user_pass=None)
        return
    if directive.inline is None and directive.args[0] == "username-only":
        advice = "give a file with an empty second line"
        raise ConfigError("username-only is not supported", advice=advice)
    reference = file_ref(draft, directive)
    put(draft, "client", auth_user_pass=reference, auth_user_pass_prompt=False)


def _show_user_pass(config: TunnelConfig) -> list[tuple[str, ...]]:
    client = config.client
    if client is None:
        return []
    if client.auth_user_pass is not None:
        return [(shown_ref(client.auth_user_pass),)]
    return [()] if client.auth_user_pass_prompt else []


def _pull_filter(draft: Draft, directive: Directive) -> PullFilter:
    action, prefix = directive.args
    return PullFilter(one_of("accept", "ignore", "reject")(action), prefix)


def _pushed_flags(draft: Draft, directive: Directive) -> None:
    flags = draft.pushed.protocol_flags | frozenset(directive.args)
    put(draft, "pushed", protocol_flags=flags)


def _pushed_derivation(draft: Draft, directive: Directive) -> None:
    one_of("tls-ekm")(directive.args[0])
    _pushed_flags(draft, directive)


def _pushed_nothing(draft: Draft, directive: Directive) -> None:
    """``push-continuation`` only says that more comes; who joins the parts has read it."""


def _pushed_dhcp(draft: Draft, directive: Directive) -> None:
    line = " ".join((directive.name, *directive.args))
    put(draft, "pushed", dhcp_options=(*draft.pushed.dhcp_options, line))


def _pushed_token_user(draft: Draft, directive: Directive) -> None:
    """The name is pushed in base64."""
    try:
        name = b64decode(directive.args[0], validate=True).decode()
    except ValueError:
        raise ConfigError("the user name is not base64 of UTF-8 text") from None
    put(draft, "pushed", auth_token_user=name)


def _row(name: str, usage: str, text: str, effect: Effect, *, lenient: bool = False) -> Option:
    return Option(name, usage, text, _SECTION, side=Side.CLIENT, effect=effect, lenient=lenient)


def _pushed(name: str, usage: str, text: str, fold: Fold) -> Option:
    return Option(name, usage, text, _PUSHED, pushed=fold)


ROWS: tuple[Option, ...] = (
    _row(
        "client",
        "",
        "Be a client: tls-client and pull.",
        Effect(_fold_client, _show_client),
    ),
    _row("pull", "", "Take addresses and options from the server.", Effect(_fold_pull)),
    _row(
        "tls-client",
        "",
        "Take the client's part in TLS; included in client. Without pull: one of two equal ends, "
        "and the other has tls-server.",
        Effect(_fold_tls_client, _show_tls_client),
    ),
    _row(
        "pull-filter",
        "ACTION PREFIX",
        "The first whose PREFIX a pushed option begins with decides: accept, ignore, or reject, "
        "which ends the connection.",
        appends("client.pull_filters", _pull_filter, lambda each: (each.action, each.prefix)),
        lenient=True,
    ),
    _row(
        "route-nopull",
        "",
        "Take no routes and no DNS settings from the server.",
        flag("client.route_nopull"),
        lenient=True,
    ),
    Option(
        "auth-user-pass",
        "[FILE]",
        "Send a user name and password: two lines of FILE, or asked for at the start.",
        _SECTION,
        side=Side.CLIENT,
        effect=Effect(_fold_user_pass, _show_user_pass),
        inline=True,
    ),
    _row(
        "auth-retry",
        "HOW",
        "When the password is refused: none gives up, nointeract tries again, interact asks.",
        sets("client.auth_retry", one_of("none", "nointeract", "interact")),
        lenient=True,
    ),
    Option(
        "auth-nocache",
        "",
        "Forget the password once it is sent.",
        _SECTION,
        side=Side.CLIENT,
        effect=flag("client.auth_nocache"),
        lenient=True,
    ),
    _pushed(
        "peer-id",
        "N",
        "The id in our data packets.",
        sets("pushed.peer_id", integer(0, NO_PEER_ID)).fold,
    ),
    _pushed(
        "ecn-marks",
        "",
        "The server carries congestion marks of outer packets inside (RFC 6040), as this client "
        "said it does. Of ovpn6 alone.",
        flag("pushed.ecn_marks").fold,
    ),
    _pushed(
        "numbered-probes",
        "",
        "The server answers numbered probes of the path's MTU, as this client said it does. Of "
        "ovpn6 alone.",
        flag("pushed.numbered_probes").fold,
    ),
    _pushed("protocol-flags", "FLAG ...", "What both ends agreed on.", _pushed_flags),
    _pushed("key-derivation", "HOW", "tls-ekm: data keys from the exporter.", _pushed_derivation),
    _pushed("push-continuation", "N", "2: more follows, 1: the last part.", _pushed_nothing),
    _pushed(
        "auth-token",
        "TOKEN",
        "Replaces the password.",
        sets("pushed.auth_token", str).fold,
    ),
    _pushed(
        "auth-token-user",
        "NAME",
        "Replaces the user name, in base64.",
        _pushed_token_user,
    ),
)

PUSHED_DHCP: Fold = _pushed_dhcp
"""Keeps a pushed ``dhcp-option`` or ``dns`` line for the up script."""
