"""``--genkey``: single keys, called as OpenVPN is."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ovpn6.model.errors import ConfigError, Ovpn6Error
from ovpn6.model.records import dataclass
from ovpn6.pki import storage, wrap_keys

_ADVICE = (
    "--genkey secret|tls-crypt|tls-auth|auth-token|tls-crypt-v2-server [FILE], or "
    "--tls-crypt-v2 SERVERKEY --genkey tls-crypt-v2-client [FILE [METADATA]]"
)

_SIMPLE: dict[str, Callable[[], str]] = {
    "secret": wrap_keys.static_key,
    "tls-crypt": wrap_keys.static_key,
    "tls-auth": wrap_keys.static_key,
    "auth-token": wrap_keys.auth_token,
    "tls-crypt-v2-server": wrap_keys.tls_crypt_v2_server,
}

_ARGUMENTS = {"--genkey": 3, "--secret": 1, "--tls-crypt-v2": 1, "--force": 0}
"""The options that may stand in the call, and the most words each takes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One key to make. ``file`` "" is the standard output."""

    kind: str
    file: str = ""
    metadata: str | None = None
    server_key: str = ""
    force: bool = False


def genkey(argv: Sequence[str]) -> int:
    """Make the key that ``argv`` (with its ``--genkey``) asks for; returns an exit code."""
    try:
        request = parse(argv)
        text = _make(request)
        if request.file:
            storage.write_file(Path(request.file), text, force=request.force)
        else:
            sys.stdout.write(text)
    except Ovpn6Error as error:
        print(f"ovpn6 --genkey: {error}", file=sys.stderr)
        return 1
    return 0


def parse(argv: Sequence[str]) -> Request:
    """What ``argv`` asks for. Raises :class:`ConfigError` for anything but a ``--genkey`` call."""
    given = _collect(argv)
    if "--genkey" not in given:
        raise ConfigError("no --genkey in the call", advice=_ADVICE)
    kind, file, metadata = (*given["--genkey"], *[None] * 3)[:3]
    kind = kind or "secret"
    if "--secret" in given:
        if kind != "secret" or file is not None:
            raise ConfigError("--secret FILE goes with a bare --genkey", advice=_ADVICE)
        file = given["--secret"][0]
    if kind not in _SIMPLE and kind != "tls-crypt-v2-client":
        raise ConfigError(f"{kind!r} is no kind of key", advice=_ADVICE)
    if metadata is not None and kind != "tls-crypt-v2-client":
        raise ConfigError(f"a {kind} key takes no metadata", advice=_ADVICE)
    if kind == "tls-crypt-v2-client" and "--tls-crypt-v2" not in given:
        raise ConfigError("a client key is wrapped by a server key", advice=_ADVICE)
    return Request(
        kind=kind,
        file=file or "",
        metadata=metadata,
        server_key=given.get("--tls-crypt-v2", [""])[0],
        force="--force" in given,
    )


def _collect(argv: Sequence[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    words: list[str] | None = None
    for word in argv:
        if word.startswith("--"):
            if word not in _ARGUMENTS:
                raise ConfigError(f"{word} does not go with --genkey", advice=_ADVICE)
            if word in given:
                raise ConfigError(f"{word} stands twice", advice=_ADVICE)
            words = given[word] = []
        elif words is None:
            raise ConfigError(f"unexpected {word!r}", advice=_ADVICE)
        else:
            words.append(word)
    for option, values in given.items():
        too_few = option in ("--secret", "--tls-crypt-v2") and not values
        if too_few or len(values) > _ARGUMENTS[option]:
            raise ConfigError(f"{option} has the wrong number of words", advice=_ADVICE)
    return given


def _make(request: Request) -> str:
    if request.kind in _SIMPLE:
        return _SIMPLE[request.kind]()
    server_key = storage.read_file(Path(request.server_key))
    metadata = None
    if request.metadata is not None:
        try:
            metadata = base64.b64decode(request.metadata, validate=True)
        except binascii.Error:
            raise ConfigError("the metadata is not base64") from None
    return wrap_keys.tls_crypt_v2_client(server_key, now=datetime.now(UTC), metadata=metadata)
