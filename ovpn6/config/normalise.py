"""A finished configuration as directive lines, from the same rows that read it."""

from __future__ import annotations

from collections.abc import Iterator

from ovpn6.config.lexer import join_words
from ovpn6.config.options import OPTIONS
from ovpn6.config.options.effects import INLINE_MARK, shown_ref
from ovpn6.config.options.link import remote_words
from ovpn6.config.options.mtu import mssfix_words
from ovpn6.config.schema import MtuConfig, Remote, TunnelConfig

_FIRST = ("mode", "tls-server", "tls-client", "client")


def normalised(config: TunnelConfig) -> str:
    """Canonical directive lines; see :func:`ovpn6.config.load.normalised`."""
    lines: list[str] = []
    names = [name for name in OPTIONS if name not in _FIRST]
    for name in (*_FIRST, *names):
        option = OPTIONS[name]
        if option.effect is not None and not option.alias_of:
            for words in option.effect.show(config):
                lines.extend(_line(name, words))
        if name == "client" and config.client is not None:
            for remote in config.client.remotes:
                lines.extend(_remote(config, remote))
    return "\n".join(lines) + "\n"


def _line(name: str, words: tuple[str, ...]) -> Iterator[str]:
    if words and words[0] == INLINE_MARK:
        yield from (f"<{name}>", INLINE_MARK, f"</{name}>")
        return
    yield join_words((name, *words))


def _remote(config: TunnelConfig, remote: Remote) -> Iterator[str]:
    """A block for each remote: what a plain line leaves to the outside stands in it."""
    both = config.point_to_point
    side = "server" if both is not None and both.tcp_server else "client"
    yield "<connection>"
    yield join_words(("remote", *remote_words(remote, side)))
    if remote.local_address:
        yield join_words(("local", remote.local_address, str(remote.local_port)))
    elif both is not None and _has_nobind(config):
        yield "nobind"
    elif remote.local_port or both is not None:
        yield join_words(("lport", str(remote.local_port)))
    yield f"connect-timeout {remote.connect_timeout}"
    yield f"explicit-exit-notify {remote.explicit_exit_notify}"
    if remote.mssfix is not None:
        yield join_words(("mssfix", *mssfix_words(remote.mssfix)))
    if remote.mtu_disc != MtuConfig().mtu_disc:
        yield f"mtu-disc {remote.mtu_disc}"
    keys = (
        ("tls-auth", remote.tls_auth),
        ("tls-crypt", remote.tls_crypt),
        ("tls-crypt-v2", remote.tls_crypt_v2),
    )
    for name, reference in keys:
        if reference is not None:
            yield from _line(name, (shown_ref(reference),))
    if remote.key_direction is not None:
        yield f"key-direction {remote.key_direction}"
    yield "</connection>"


def _has_nobind(config: TunnelConfig) -> bool:
    return config.client is not None and config.client.nobind
