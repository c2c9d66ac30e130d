"""Rows: the user's scripts."""

from __future__ import annotations

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive, join_words
from ovpn6.config.options.effects import flag, put, script, script_words
from ovpn6.config.options.row import Effect, Option, Side
from ovpn6.config.schema import TunnelConfig
from ovpn6.config.values import one_of

_SECTION = "Scripts"


def _fold_auth(draft: Draft, directive: Directive) -> None:
    method = one_of("via-env", "via-file")(directive.args[1])
    words = script_words(draft, directive)
    put(draft, "scripts", auth_user_pass_verify=words, auth_user_pass_verify_method=method)


def _show_auth(config: TunnelConfig) -> list[tuple[str, ...]]:
    words = config.scripts.auth_user_pass_verify
    method = config.scripts.auth_user_pass_verify_method
    return [(join_words(words), method)] if words else []


def _script(name: str, text: str, side: Side = Side.BOTH) -> Option:
    effect = script(f"scripts.{name.replace('-', '_')}")
    return Option(name, "COMMAND", text, _SECTION, side=side, effect=effect)


def _flag(name: str, text: str) -> Option:
    effect = flag(f"scripts.{name.replace('-', '_')}")
    return Option(name, "", text, _SECTION, effect=effect)


ROWS: tuple[Option, ...] = (
    _script("up", "Run when the interface is up. COMMAND is one word: quote its arguments."),
    _script("down", "Run when the interface is gone."),
    _flag("down-pre", "Run down before the interface goes."),
    _flag("up-restart", "Run up and down at restarts too."),
    _script("route-up", "Run when the routes are there."),
    _script("route-pre-down", "Run before the routes go."),
    _script("ipchange", "Run when the server's address is known or changes.", Side.CLIENT),
    _script(
        "client-connect",
        "Run for each client that is about to join; what it writes to its last argument is that "
        "client's configuration.",
        Side.SERVER,
    ),
    _script("client-disconnect", "Run for each client that left.", Side.SERVER),
    _script(
        "learn-address",
        "Run for each address and route that a client gains or loses.",
        Side.SERVER,
    ),
    Option(
        "auth-user-pass-verify",
        "COMMAND METHOD",
        "Run to check a user name and password, given via-file or via-env (script-security 3).",
        _SECTION,
        side=Side.SERVER,
        effect=Effect(_fold_auth, _show_auth),
    ),
)
