"""Rows: packet sizes, and how the MTU of a path is found out."""

from __future__ import annotations

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.options.effects import put, sets
from ovpn6.config.options.row import Effect, Option
from ovpn6.config.schema import Mssfix, MtuConfig, TunnelConfig
from ovpn6.config.values import integer, one_of
from ovpn6.model.errors import ConfigError

_SECTION = "Packet sizes"
_LARGEST = 65535
_LEAST_TIMER = 0.01


def mssfix_words(mssfix: Mssfix | None) -> tuple[str, ...]:
    """The directive's words; none stand for the default."""
    if mssfix is None:
        return ()
    return (str(mssfix.octets), mssfix.how) if mssfix.how else (str(mssfix.octets),)


def _fold_mssfix(draft: Draft, directive: Directive) -> None:
    words = directive.args
    if not words:
        draft.link.mssfix = None
        return
    how = one_of("mtu", "fixed")(words[1]) if len(words) > 1 else ""
    octets = integer(0, _LARGEST)(words[0])
    if octets and octets < _SMALLEST_BOUND:
        raise ConfigError(
            f"{octets} leaves no room for a packet", advice=f"{_SMALLEST_BOUND} or more, or 0"
        )
    draft.link.mssfix = Mssfix(octets, how)


def _show_mssfix(config: TunnelConfig) -> list[tuple[str, ...]]:
    return [mssfix_words(config.mtu.mssfix)] if config.mtu.mssfix is not None else []


def _fold_mtu_disc(draft: Draft, directive: Directive) -> None:
    draft.link.mtu_disc = one_of("maybe", "yes", "no")(directive.args[0])


def _show_mtu_disc(config: TunnelConfig) -> list[tuple[str, ...]]:
    how = config.mtu.mtu_disc
    return [(how,)] if how != MtuConfig().mtu_disc else []


def _fold_timers(draft: Draft, directive: Directive) -> None:
    probe, confirm, raise_ = (_seconds(text) for text in directive.args)
    put(draft, "mtu", probe=probe, confirm=confirm, raise_=raise_)


def _show_timers(config: TunnelConfig) -> list[tuple[str, ...]]:
    mtu, usual = config.mtu, MtuConfig()
    times = (mtu.probe, mtu.confirm, mtu.raise_)
    if times == (usual.probe, usual.confirm, usual.raise_):
        return []
    return [tuple(f"{seconds:g}" for seconds in times)]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_TIMER <= seconds <= 86400:
        raise ConfigError(f"{text!r} is not a number of seconds", advice="between 0.01 and 86400")
    return seconds


_SMALLEST_BOUND = 256

ROWS: tuple[Option, ...] = (
    Option(
        "mssfix",
        "[BYTES] [HOW]",
        "TCP inside the tunnel always gets segments that fit the path. This is an upper bound "
        "besides: of the UDP payload, with `mtu` of the whole outer packet, with `fixed` of the "
        "inner packet. 0 leaves TCP's segments alone.",
        _SECTION,
        effect=Effect(_fold_mssfix, _show_mssfix),
        connection=True,
    ),
    Option(
        "mtu-disc",
        "HOW",
        "`maybe`, the default, finds out the MTU of the path to each UDP peer by probes and fits "
        "packets to it. `yes` too, but never fragments outer packets, so that on a path too "
        "narrow for it inner IPv6 of 1280 bytes is lost. `no` probes nothing and takes every "
        "path for wide enough.",
        _SECTION,
        effect=Effect(_fold_mtu_disc, _show_mtu_disc),
        connection=True,
    ),
    Option(
        "path-mtu-base",
        "BYTES",
        "The outer packet that every path is believed to carry, where probing begins (1280 over "
        "IPv6 and never less, 1200 over IPv4). A directive of ovpn6 alone.",
        _SECTION,
        effect=sets("mtu.base", integer(576, _LARGEST)),
    ),
    Option(
        "path-mtu-max",
        "BYTES",
        "The largest outer packet; larger ones are neither probed nor sent. Without it tun-mtu "
        "decides. A directive of ovpn6 alone.",
        _SECTION,
        effect=sets("mtu.largest", integer(1280, _LARGEST)),
    ),
    Option(
        "path-mtu-timers",
        "PROBE CONFIRM RAISE",
        "Seconds: until an unanswered probe is sent again (1), between confirmations of the size "
        "in use (10), until a larger size is tried again (600). Shorter ones are for tests. A "
        "directive of ovpn6 alone.",
        _SECTION,
        effect=Effect(_fold_timers, _show_timers),
    ),
)
