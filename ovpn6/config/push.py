"""Options that are not a whole configuration: what a server pushed, what one client has."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface
from pathlib import Path

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive, parse_text, split_line
from ovpn6.config.options import Scope
from ovpn6.config.options.passed import PUSHED_REASONS
from ovpn6.config.reading import fold_one
from ovpn6.config.schema import PeerConfig, PushedConfig
from ovpn6.model.errors import ConfigError, ConfigErrors, Source
from ovpn6.model.records import replace

PUSHED = Source("pushed")
"""The source of pushed options."""


def split_push(text: str) -> list[str]:
    """The options in a comma list, as in PUSH_REPLY: a comma cannot be quoted there."""
    return [option.strip() for option in text.split(",") if option.strip()]


def parse_push(options: Sequence[str]) -> PushedConfig:
    """A server's pushed options, one string each.

    Never raises: an option that is unknown, may not be pushed or has a wrong value is named in
    ``ignored`` with the reason, and the others count.
    """
    draft = Draft(base=Path("/"))
    ignored: list[str] = []
    for option in options:
        try:
            words = split_line(option, PUSHED)
            if not words or PUSHED_REASONS.get(words[0]) == "":
                continue
            if words[0] in PUSHED_REASONS:
                raise ConfigError(PUSHED_REASONS[words[0]])
            fold_one(draft, Directive(words[0], tuple(words[1:]), PUSHED), Scope.PUSH)
        except ConfigError as error:
            ignored.append(f"{_printable(option)!r}: {error.message}")
    return replace(_with_topology(draft.pushed), ignored=tuple(ignored))


def parse_peer_config(text: str, source: Source) -> PeerConfig:
    """A client-config-dir file or what client-connect wrote. Raises ``ConfigErrors``."""
    draft = Draft(base=Path("/"))
    for directive in parse_text(text, source.name, source.line or 1):
        try:
            fold_one(draft, directive, Scope.CCD)
        except ConfigError as error:
            draft.errors.append(error)
    keepalive = draft.peer.keepalive
    if keepalive is not None and 0 in (keepalive.interval, keepalive.timeout):
        draft.fail("ping and ping-restart need each other here", source, "give both")
    if draft.errors:
        raise ConfigErrors(tuple(draft.errors))
    return draft.peer


# --- helpers ------------------------------------------------------------------------------------


def _with_topology(pushed: PushedConfig) -> PushedConfig:
    """A net30 server gives four addresses to each client: the address lies in a /30."""
    if pushed.topology != "net30" or pushed.ifconfig is None:
        return pushed
    return replace(pushed, ifconfig=IPv4Interface((pushed.ifconfig.ip, 30)))


def _printable(option: str) -> str:
    name = option.split(" ")[0]
    return name if name in ("auth-token", "auth-token-user") else option
