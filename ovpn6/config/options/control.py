"""Rows: the control channel: its protection and its timers."""

from __future__ import annotations

from ovpn6.config.algorithms import digest
from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import (
    file_ref,
    flag,
    put,
    script,
    sets,
    shown_ref,
)
from ovpn6.config.options.row import Effect, Option, Show, Side
from ovpn6.config.schema import TunnelConfig, WrapMode
from ovpn6.config.values import integer, key_direction, one_of
from ovpn6.model.errors import ConfigError

_SECTION = "Control channel"


def _fold_tls_auth(draft: Draft, directive: Directive) -> None:
    draft.link.tls_auth = file_ref(draft, directive)
    if len(directive.args) > 1:
        draft.link.key_direction = key_direction(directive.args[1])


def _fold_key_direction(draft: Draft, directive: Directive) -> None:
    draft.link.key_direction = key_direction(directive.args[0])


def _fold_tls_crypt(draft: Draft, directive: Directive) -> None:
    draft.link.tls_crypt = file_ref(draft, directive)


def _fold_tls_crypt_v2(draft: Draft, directive: Directive) -> None:
    draft.link.tls_crypt_v2 = file_ref(draft, directive)
    if len(directive.args) > 1:
        cookie = one_of("force-cookie", "allow-noncookie")(directive.args[1])
        put(draft, "wrap", force_cookie=cookie == "force-cookie")


def _show_wrap(mode: WrapMode) -> Show:
    def show(config: TunnelConfig) -> list[tuple[str, ...]]:
        wrap = config.wrap
        if wrap.mode is not mode or wrap.key is None:
            return []
        cookie = ("force-cookie",) if wrap.force_cookie and mode is WrapMode.TLS_CRYPT_V2 else ()
        return [(shown_ref(wrap.key), *cookie)]

    return show


def _show_key_direction(config: TunnelConfig) -> list[tuple[str, ...]]:
    direction = config.wrap.key_direction
    return [] if direction is None else [(str(direction),)]


def _fold_no_count(draft: Draft, directive: Directive) -> None:
    """Data packets are not counted for this; the limits of the ciphers themselves are kept."""
    if integer(0, 2**63 - 1)(directive.args[0]):
        advice = "use reneg-sec; keys are renewed in time for what their cipher permits"
        raise ConfigError("keys are not renewed after a count", advice=advice)


def _fold_max_packet_size(draft: Draft, directive: Directive) -> None:
    size = integer(154, 65535)(directive.args[0])
    put(draft, "control", tls_mtu=min(size, 2048))
    if size > 2048:
        draft.warn("control packets are limited to 2048 bytes", directive.source)


def _show_max_packet_size(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [(str(config.control.tls_mtu),)] if config.control.tls_mtu != 1250 else []


def _row(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect)


def _wrap(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect, connection=True, inline=True)


ROWS: tuple[Option, ...] = (
    _wrap(
        "tls-auth",
        "FILE [DIRECTION]",
        "Sign control packets with a shared key; DIRECTION is 0 on one end, 1 on the other.",
        Effect(_fold_tls_auth, _show_wrap(WrapMode.TLS_AUTH)),
    ),
    Option(
        "key-direction",
        "DIRECTION",
        "0 or 1, where tls-auth's key is inline.",
        _SECTION,
        effect=Effect(_fold_key_direction, _show_key_direction),
        connection=True,
    ),
    _wrap(
        "tls-crypt",
        "FILE",
        "Encrypt and sign control packets with a shared key.",
        Effect(_fold_tls_crypt, _show_wrap(WrapMode.TLS_CRYPT)),
    ),
    _wrap(
        "tls-crypt-v2",
        "FILE [COOKIE]",
        "The same with a key for each client; a server with force-cookie keeps nothing of a "
        "client before it has proved its address.",
        Effect(_fold_tls_crypt_v2, _show_wrap(WrapMode.TLS_CRYPT_V2)),
    ),
    Option(
        "tls-crypt-v2-verify",
        "COMMAND",
        "A script that accepts or refuses a client by the metadata in its key.",
        _SECTION,
        side=Side.SERVER,
        effect=script("wrap.tls_crypt_v2_verify"),
    ),
    Option(
        "tls-crypt-v2-max-age",
        "DAYS",
        "Refuse client keys that were made longer ago.",
        _SECTION,
        side=Side.SERVER,
        effect=sets("wrap.tls_crypt_v2_max_age", integer(1)),
    ),
    _row(
        "auth",
        "DIGEST",
        "Digest of tls-auth (SHA1); data packets need none.",
        sets("wrap.auth", digest),
    ),
    _row(
        "tls-timeout",
        "SECONDS",
        "Wait before a control packet is sent again.",
        sets("control.tls_timeout", integer(1)),
    ),
    _row(
        "hand-window",
        "SECONDS",
        "A handshake must end within this time (60).",
        sets("control.hand_window", integer(1)),
    ),
    _row(
        "tran-window",
        "SECONDS",
        "How long an old key lives beside its successor (3600).",
        sets("control.tran_window", integer(1)),
    ),
    _row(
        "reneg-sec",
        "SECONDS [LEAST]",
        "Make new keys after this time (3600), or at random from LEAST on; 0 is never.",
        sets("control.reneg_sec", integer(0), integer(0), more=("reneg_sec_min",)),
    ),
    _row("reneg-bytes", "0", "Keys are not renewed after bytes: only 0.", Effect(_fold_no_count)),
    _row("reneg-pkts", "0", "Keys are not renewed after packets: only 0.", Effect(_fold_no_count)),
    _row(
        "max-packet-size",
        "BYTES",
        "Largest control packet (1250), 154 to 2048.",
        Effect(_fold_max_packet_size, _show_max_packet_size),
    ),
    _row(
        "push-peer-info",
        "",
        "Tell the other end our platform, versions, and the UV_ variables.",
        flag("control.push_peer_info"),
    ),
)
