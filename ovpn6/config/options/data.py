"""Rows: the data channel: ciphers, replay, liveness, compression."""

from __future__ import annotations

from ovpn6.config.algorithms import data_cipher, data_ciphers, is_without_aead
from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import flag, joined, nothing, put, sets
from ovpn6.config.options.row import Effect, Option, Side
from ovpn6.config.schema import TunnelConfig
from ovpn6.config.values import integer, one_of
from ovpn6.model.errors import ConfigError
from ovpn6.model.specs import Keepalive

_SECTION = "Data channel"
_DAY = 86400
_LEAST_EPOCH_USAGE = 64
"""An epoch has more than one packet."""
_NO_COMPRESSION = "compression is not supported: it leaks what is encrypted"


def _fold_cipher(draft: Draft, directive: Directive) -> None:
    name = directive.args[0]
    if is_without_aead(name):
        draft.warn(
            f"cipher {name} is not used: data-ciphers decides, and only AEAD is supported; "
            "remove the line",
            directive.source,
        )
        return
    draft.role.cipher = data_cipher(name)


def _pushed_cipher(draft: Draft, directive: Directive) -> None:
    put(draft, "pushed", cipher=directive.args[0].upper())


def _fold_inactive(draft: Draft, directive: Directive, section: str) -> None:
    put(draft, section, inactive=integer(0)(directive.args[0]), inactive_bytes=0)
    if len(directive.args) > 1:
        put(draft, section, inactive_bytes=integer(0, 2**63 - 1)(directive.args[1]))


def _show_inactive(config: TunnelConfig) -> list[tuple[str, ...]]:
    data = config.data
    return [(str(data.inactive), str(data.inactive_bytes))] if data.inactive else []


def _fold_epoch_keys(draft: Draft, directive: Directive) -> None:
    if directive.args[0] == "no":
        put(draft, "data", epoch_keys=False, epoch_usage=None)
    else:
        usage = integer(_LEAST_EPOCH_USAGE, 2**36 - 1)(directive.args[0])
        put(draft, "data", epoch_keys=True, epoch_usage=usage)


def _show_epoch_keys(config: TunnelConfig) -> list[tuple[str, ...]]:
    data = config.data
    if not data.epoch_keys:
        return [("no",)]
    return [(str(data.epoch_usage),)] if data.epoch_usage is not None else []


def _fold_keepalive(draft: Draft, directive: Directive) -> None:
    interval, timeout = (integer(1, _DAY)(text) for text in directive.args)
    if timeout < 2 * interval:
        advice = "recommended is keepalive 10 60"
        message = f"the timeout {timeout} is less than twice the interval {interval}"
        raise ConfigError(message, advice=advice)
    draft.role.keepalive = (interval, timeout)


def _fold_ping(draft: Draft, directive: Directive) -> None:
    draft.role.ping = integer(0, _DAY)(directive.args[0])


def _fold_ping_restart(draft: Draft, directive: Directive) -> None:
    draft.role.ping_restart = integer(0, _DAY)(directive.args[0])


def _fold_ping_exit(draft: Draft, directive: Directive) -> None:
    draft.role.ping_exit = integer(0, _DAY)(directive.args[0])


def _peer_keepalive(draft: Draft, interval: int | None, timeout: int | None) -> None:
    old = draft.peer.keepalive or Keepalive()
    new = Keepalive(
        old.interval if interval is None else interval, old.timeout if timeout is None else timeout
    )
    put(draft, "peer", keepalive=new)


def _peer_ping(draft: Draft, directive: Directive) -> None:
    _peer_keepalive(draft, integer(0, _DAY)(directive.args[0]), None)


def _peer_ping_restart(draft: Draft, directive: Directive) -> None:
    _peer_keepalive(draft, None, integer(0, _DAY)(directive.args[0]))


def _show_ping(config: TunnelConfig) -> list[tuple[str, ...]]:
    interval = config.data.keepalive.interval
    return [(str(interval),)] if interval else []


def _show_ping_restart(config: TunnelConfig) -> list[tuple[str, ...]]:
    timeout = config.data.keepalive.timeout
    return [(str(timeout),)] if timeout and not config.data.ping_exit else []


def _show_ping_exit(config: TunnelConfig) -> list[tuple[str, ...]]:
    timeout = config.data.keepalive.timeout
    return [(str(timeout),)] if timeout and config.data.ping_exit else []


def _fold_comp_lzo(draft: Draft, directive: Directive) -> None:
    how = directive.args[0] if directive.args else "adaptive"
    if one_of("no", "yes", "adaptive")(how) != "no":
        raise ConfigError(_NO_COMPRESSION, advice="use `compress migrate` on a server, or remove")
    put(draft, "data", comp_stub=True, comp_stub_v2=False)


def _fold_compress(draft: Draft, directive: Directive) -> None:
    how = directive.args[0] if directive.args else "stub"
    one_of("stub", "stub-v2", "migrate", "lzo", "lz4", "lz4-v2")(how)
    if how == "migrate":
        put(draft, "data", compress_migrate=True)
    elif how == "stub-v2":
        put(draft, "data", comp_stub=False, comp_stub_v2=True)
    elif how == "stub":
        message = "this framing of uncompressed packets is not supported"
        raise ConfigError(message, advice="remove the line on both ends")
    else:
        raise ConfigError(_NO_COMPRESSION, advice="remove the line on both ends")


def _fold_allow_compression(draft: Draft, directive: Directive) -> None:
    if one_of("no", "asym", "yes")(directive.args[0]) == "yes":
        raise ConfigError(_NO_COMPRESSION, advice="write allow-compression no, or remove the line")


def _show_compress(config: TunnelConfig) -> list[tuple[str, ...]]:
    words = {"migrate": config.data.compress_migrate, "stub-v2": config.data.comp_stub_v2}
    return [(word,) for word, given in words.items() if given]


def _show_comp_lzo(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [("no",)] if config.data.comp_stub else []


def _pushed_comp_lzo(draft: Draft, directive: Directive) -> None:
    how = directive.args[0] if directive.args else "adaptive"
    put(draft, "pushed", compression="stub" if how == "no" else "lzo")


def _pushed_compress(draft: Draft, directive: Directive) -> None:
    how = directive.args[0] if directive.args else "stub"
    put(draft, "pushed", compression="stub-swap" if how == "stub" else how)


def _row(name: str, usage: str, text: str, effect: Effect) -> Option:
    return Option(name, usage, text, _SECTION, effect=effect)


_CIPHERS_TEXT = (
    "Ciphers in order of preference, separated by colons; DEFAULT is AES-256-GCM:AES-128-GCM:"
    "CHACHA20-POLY1305, and ?NAME is left out where it is not supported."
)

ROWS: tuple[Option, ...] = (
    _row("data-ciphers", "LIST", _CIPHERS_TEXT, joined("data.ciphers", data_ciphers)),
    Option(
        "ncp-ciphers",
        "LIST",
        "The old name of data-ciphers.",
        _SECTION,
        effect=joined("data.ciphers", data_ciphers),
        alias_of="data-ciphers",
    ),
    _row(
        "data-ciphers-fallback",
        "CIPHER",
        "The cipher for peers that cannot negotiate one.",
        sets("data.cipher_fallback", data_cipher),
    ),
    Option(
        "cipher",
        "CIPHER",
        "The cipher of the time before negotiation; data-ciphers decides, and this is the "
        "fallback unless data-ciphers-fallback names one.",
        _SECTION,
        effect=Effect(_fold_cipher),
        pushed=_pushed_cipher,
    ),
    _row(
        "replay-window",
        "PACKETS [SECONDS]",
        "How far packets may come out of order (64 packets, 15 seconds).",
        sets("data.replay_window", integer(0, 65536), integer(0, 600), more=("replay_time",)),
    ),
    _row(
        "mute-replay-warnings",
        "",
        "Do not log replayed packets.",
        flag("data.mute_replay_warnings"),
    ),
    _row(
        "passtos",
        "",
        "Copy the DSCP of inner packets to outer ones, IPv4 and IPv6. Who watches the network "
        "then sees which kind of packet each is.",
        flag("data.passtos"),
    ),
    _row(
        "epoch-keys",
        "HOW",
        "`no` keeps the older format of data packets with peers that have epoch keys. A number "
        "begins an epoch after so many packets and blocks of 16 bytes, for tests: the loss of "
        "four epochs in a row ends the connection. Otherwise the cipher's safe limit decides. A "
        "directive of ovpn6 alone.",
        Effect(_fold_epoch_keys, _show_epoch_keys),
    ),
    _row(
        "keepalive",
        "INTERVAL TIMEOUT",
        "Ping after INTERVAL seconds of silence, restart after TIMEOUT. A server pushes both, and "
        "waits twice as long itself.",
        Effect(_fold_keepalive),
    ),
    Option(
        "ping",
        "SECONDS",
        "Send a ping when nothing was sent for this time.",
        _SECTION,
        effect=Effect(_fold_ping, _show_ping),
        pushed=sets("pushed.ping", integer(0, _DAY)).fold,
        peer=_peer_ping,
    ),
    Option(
        "ping-restart",
        "SECONDS",
        "Restart, or drop the client, when nothing was received for this time.",
        _SECTION,
        effect=Effect(_fold_ping_restart, _show_ping_restart),
        pushed=sets("pushed.ping_restart", integer(0, _DAY)).fold,
        peer=_peer_ping_restart,
    ),
    Option(
        "ping-exit",
        "SECONDS",
        "Exit when nothing was received for this time.",
        _SECTION,
        effect=Effect(_fold_ping_exit, _show_ping_exit),
        pushed=sets("pushed.ping_exit", integer(0, _DAY)).fold,
    ),
    Option(
        "inactive",
        "SECONDS [BYTES]",
        "Exit, or drop the client, when fewer than BYTES moved in this time.",
        _SECTION,
        effect=Effect(lambda draft, each: _fold_inactive(draft, each, "data"), _show_inactive),
        pushed=lambda draft, each: _fold_inactive(draft, each, "pushed"),
        peer=lambda draft, each: _fold_inactive(draft, each, "peer"),
    ),
    Option(
        "session-timeout",
        "SECONDS",
        "End a connection after this time.",
        _SECTION,
        effect=sets("data.session_timeout", integer(0)),
        pushed=sets("pushed.session_timeout", integer(0)).fold,
    ),
    _row(
        "float",
        "",
        "The other end may change its address; servers always permit it.",
        flag("data.float"),
    ),
    Option(
        "comp-lzo",
        "[no]",
        "`no` puts one byte before each packet, for peers that expect it; nothing is compressed.",
        _SECTION,
        effect=Effect(_fold_comp_lzo, _show_comp_lzo),
        pushed=_pushed_comp_lzo,
    ),
    Option(
        "compress",
        "[HOW]",
        "migrate or stub-v2: a server tells clients that ask for compression to leave it.",
        _SECTION,
        effect=Effect(_fold_compress, _show_compress),
        pushed=_pushed_compress,
    ),
    _row(
        "allow-compression",
        "WHETHER",
        "no and asym are what is done anyway: nothing is ever compressed.",
        Effect(_fold_allow_compression),
    ),
    _row(
        "disable-dco",
        "",
        "Keep data packets out of the kernel's modules.",
        flag("data.disable_dco"),
    ),
    _row(
        "workers",
        "N",
        "Among how many workers the native data path divides the clients, 1 to 16; by default a "
        "server has one for every two processors, and whatever has one peer has one. Without the "
        "right to load a BPF program there is one. A directive of ovpn6 alone.",
        sets("data.workers", integer(1, 16)),
    ),
    _row(
        "kernel-module",
        "NAME",
        "Which kernel module is tried: ovpn6, ours, and ovpn after it (default); or ovpn, Linux' "
        "own, alone. A directive of ovpn6 alone.",
        sets("data.kernel_module", one_of("ovpn", "ovpn6")),
    ),
    Option(
        "client-to-client",
        "",
        "Clients reach each other; the kernel forwards, so its firewall sees it.",
        "Server",
        side=Side.SERVER,
        effect=flag("server.client_to_client"),
    ),
    _row("tun-ipv6", "", "IPv6 in the tunnel, which is always on.", nothing()),
)
