"""Tokens that a server hands out in place of a password (``auth-gen-token``). PURE.

Format and rules: OpenVPN ``auth_token.c``. A token is ``SESS_ID_AT_`` and the base64 of session id
(12 bytes), time of the first token and of this one (8 bytes each, Unix, big endian), and
HMAC-SHA256 over user name and all of that.
"""

from __future__ import annotations

import base64
import binascii
import hmac

from ovpn6.model.errors import ConfigError, PeerError, Source
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes

PREFIX = b"SESS_ID_AT_"
SESSION_ID_SIZE = 12
KEY_SIZE = 32
EXPIRED = "SESSION: token expired"
"""What a client is told, so that it asks its user for the password again."""

_DATA_SIZE = SESSION_ID_SIZE + 16
_TOKEN_SIZE = _DATA_SIZE + 32
_PEM_NAME = "OpenVPN auth-token server key"
_KEY_FILE_SIZE = 128
_KEY_OFFSET = 64
"""A key file holds a cipher key and an HMAC key, 64 bytes each; only the second is used."""


class TokenRejected(PeerError):
    """The token does not hold; ``client_reason`` is what the client may know."""

    def __init__(self, message: str, client_reason: str = "") -> None:
        self.client_reason = client_reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TokenSession:
    """What all tokens of one login share. ``started``: Unix time of the first."""

    session_id: bytes
    started: int

    def __str__(self) -> str:
        """As scripts see it in ``session_id``."""
        return base64.b64encode(self.session_id).decode()


@dataclass(frozen=True, slots=True)
class TokenAuthority:
    """Issues and checks tokens.

    ``key``: ``KEY_SIZE`` bytes. ``lifetime``: seconds a login lasts, 0 for ever. ``renewal``:
    seconds after which a client gets a new token; one is good for twice as long, 0 for ever.
    """

    key: SecretBytes
    lifetime: int
    renewal: int

    def issue(self, username: str, session: TokenSession, wall: int) -> SecretBytes:
        """The token text for a user, at Unix time ``wall``."""
        data = (
            session.session_id
            + session.started.to_bytes(8, "big")
            + max(wall, 0).to_bytes(8, "big")
        )
        return SecretBytes(PREFIX + base64.b64encode(data + self._tag(username, data)))

    def check(
        self, username: str, token: SecretBytes, wall: int, expected: TokenSession | None = None
    ) -> TokenSession:
        """The session that a token continues, ``expected`` when one is known.

        Raises :class:`TokenRejected`.
        """
        try:
            decoded = base64.b64decode(token.reveal().removeprefix(PREFIX), validate=True)
        except binascii.Error:
            raise TokenRejected("auth-token is not base64") from None
        if len(decoded) != _TOKEN_SIZE:
            raise TokenRejected("auth-token has a wrong size")
        data, tag = decoded[:_DATA_SIZE], decoded[_DATA_SIZE:]
        if not hmac.compare_digest(tag, self._tag(username, data)):
            raise TokenRejected("auth-token is not ours or not this user's")
        session = TokenSession(
            data[:SESSION_ID_SIZE], int.from_bytes(data[SESSION_ID_SIZE:-8], "big")
        )
        if expected is not None and not hmac.compare_digest(
            expected.session_id, session.session_id
        ):
            raise TokenRejected("auth-token of another session")
        issued = int.from_bytes(data[-8:], "big")
        if self._is_expired(session.started, issued, wall):
            raise TokenRejected("auth-token has expired", EXPIRED)
        return session

    def _is_expired(self, started: int, issued: int, wall: int) -> bool:
        if issued < started or wall < issued:
            return True
        if self.renewal and wall >= issued + 2 * self.renewal:
            return True
        return bool(self.lifetime) and wall > started + self.lifetime

    def _tag(self, username: str, data: bytes) -> bytes:
        return hmac.digest(self.key.reveal(), username.encode() + data, "sha256")


def is_token(password: SecretBytes) -> bool:
    """Whether a password has the form of a token."""
    return password.reveal().startswith(PREFIX)


def parse_key(text: str, source: Source | None = None) -> SecretBytes:
    """The key in an ``auth-gen-token-secret`` file. Raises ``ConfigError``."""
    begin, end = f"-----BEGIN {_PEM_NAME}-----", f"-----END {_PEM_NAME}-----"
    _, found, rest = text.partition(begin)
    body, closed, _ = rest.partition(end)
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raw = b""
    if not found or not closed or len(raw) < _KEY_FILE_SIZE:
        raise ConfigError(
            "not an auth-token server key", source, "make one with --genkey auth-token FILE"
        )
    return SecretBytes(raw[_KEY_OFFSET : _KEY_OFFSET + KEY_SIZE])
