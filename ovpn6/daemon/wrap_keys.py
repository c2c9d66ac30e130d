"""Reads the keys of control-packet protection and makes what roles use.

Everything is read once, before the process may lose the right to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ovpn6.config.schema import FileRef, Remote, WrapConfig, WrapMode
from ovpn6.daemon.tls_context import read_bytes
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Transport
from ovpn6.model.records import dataclass
from ovpn6.protocol.acceptor import ServerWrapping
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from ovpn6.protocol.tls_crypt_v2 import ClientKey, ServerKey
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper, TlsAuthWrapper, tls_auth_digest

Key = TypeVar("Key")


def server_wrapping(wrap: WrapConfig) -> ServerWrapping:
    """What clients must prove before TLS. Raises ``ConfigError``."""
    keys: dict[WrapMode, Callable[[FileRef], ServerWrapping]] = {
        WrapMode.TLS_AUTH: lambda ref: ServerWrapping(
            tls_auth=_read(ref, WrapMode.TLS_AUTH, StaticKey.parse),
            digest=wrap.auth,
            direction=wrap.key_direction,
        ),
        WrapMode.TLS_CRYPT: lambda ref: ServerWrapping(
            tls_crypt=_read(ref, WrapMode.TLS_CRYPT, StaticKey.parse)
        ),
        WrapMode.TLS_CRYPT_V2: lambda ref: ServerWrapping(
            tls_crypt_v2=_read(ref, WrapMode.TLS_CRYPT_V2, ServerKey.parse),
            force_cookie=wrap.force_cookie,
            max_age=wrap.tls_crypt_v2_max_age,
        ),
    }
    if wrap.mode is WrapMode.NONE or wrap.key is None:
        return ServerWrapping()
    return keys[wrap.mode](wrap.key)


class ClientKeys:
    """The parsed keys of every remote; called with a remote for each connection attempt."""

    def __init__(
        self, wrap: WrapConfig, remotes: Iterable[Remote], *, wall_offset: float = 0.0
    ) -> None:
        self._digest = wrap.auth
        self._wall_offset = wall_offset
        self._choices = {remote: _choose(wrap, remote) for remote in remotes}
        self._keys: dict[FileRef, StaticKey | ClientKey] = {}
        for choice in self._choices.values():
            if choice.ref is not None and choice.ref not in self._keys:
                self._keys[choice.ref] = _PARSERS[choice.mode](choice.ref)
            if choice.mode is WrapMode.TLS_AUTH:
                tls_auth_digest(wrap.auth)

    def at(self, wall_offset: float) -> ClientKeys:
        """The same keys for another clock."""
        copy = object.__new__(ClientKeys)
        copy._digest, copy._wall_offset = self._digest, wall_offset
        copy._choices, copy._keys = self._choices, self._keys
        return copy

    def __call__(self, remote: Remote) -> ClientWrapping:
        choice = self._choices[remote]
        strict = remote.transport is Transport.TCP
        if choice.ref is None:
            return ClientWrapping(PlainWrapper())
        key = self._keys[choice.ref]
        if isinstance(key, ClientKey):
            return key.wrapping(wall_offset=self._wall_offset, strict_order=strict)
        if choice.mode is WrapMode.TLS_CRYPT:
            return ClientWrapping(
                TlsCryptWrapper(
                    key, is_server=False, wall_offset=self._wall_offset, strict_order=strict
                )
            )
        return ClientWrapping(
            TlsAuthWrapper(
                key,
                choice.direction,
                self._digest,
                wall_offset=self._wall_offset,
                strict_order=strict,
            )
        )


@dataclass(frozen=True, slots=True)
class _Choice:
    mode: WrapMode
    ref: FileRef | None
    direction: int | None


def _choose(wrap: WrapConfig, remote: Remote) -> _Choice:
    """A connection block's own key, else the one of the whole configuration."""
    own = (
        (WrapMode.TLS_AUTH, remote.tls_auth),
        (WrapMode.TLS_CRYPT, remote.tls_crypt),
        (WrapMode.TLS_CRYPT_V2, remote.tls_crypt_v2),
    )
    direction = wrap.key_direction if remote.key_direction is None else remote.key_direction
    for mode, ref in own:
        if ref is not None:
            return _Choice(mode, ref, direction)
    ref = wrap.key if wrap.mode is not WrapMode.NONE else None
    return _Choice(wrap.mode, ref, direction)


def _read(ref: FileRef, mode: WrapMode, parse: Callable[[str], Key]) -> Key:
    text = read_bytes(ref, mode.value).decode("utf-8", "replace")
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{mode.value}: {error.message}", ref.source, error.advice) from None


_PARSERS: dict[WrapMode, Callable[[FileRef], StaticKey | ClientKey]] = {
    WrapMode.TLS_AUTH: lambda ref: _read(ref, WrapMode.TLS_AUTH, StaticKey.parse),
    WrapMode.TLS_CRYPT: lambda ref: _read(ref, WrapMode.TLS_CRYPT, StaticKey.parse),
    WrapMode.TLS_CRYPT_V2: lambda ref: _read(ref, WrapMode.TLS_CRYPT_V2, ClientKey.parse),
}
