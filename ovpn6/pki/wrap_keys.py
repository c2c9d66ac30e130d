"""Keys that protect control packets outside of TLS, as the texts that key files hold."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt_v2 import ClientKey, ServerKey, timestamp_metadata, user_metadata

AUTH_TOKEN_SIZE = 128

_AUTH_TOKEN_NAME = "OpenVPN auth-token server key"
_PEM_LINE = 64


def static_key() -> str:
    """A new key for ``tls-crypt``, ``tls-auth`` or ``secret``."""
    return StaticKey.generate(secrets.token_bytes).encode()


def tls_crypt_v2_server() -> str:
    """A new server key for ``tls-crypt-v2``."""
    return ServerKey.generate(secrets.token_bytes).encode()


def tls_crypt_v2_client(server_key: str, *, now: datetime, metadata: bytes | None = None) -> str:
    """A new client key wrapped by the server key whose file text is ``server_key``.

    The wrap carries ``metadata``, or the time ``now`` when there is none. Raises ``ConfigError``
    for a damaged server key or more than 733 bytes of metadata.
    """
    if metadata is None:
        described = timestamp_metadata(int(now.timestamp()))
    else:
        described = user_metadata(metadata)
    return ClientKey.generate(ServerKey.parse(server_key), described, secrets.token_bytes).encode()


def auth_token() -> str:
    """A new key for ``auth-gen-token-secret``."""
    encoded = base64.b64encode(secrets.token_bytes(AUTH_TOKEN_SIZE)).decode()
    lines = [encoded[start : start + _PEM_LINE] for start in range(0, len(encoded), _PEM_LINE)]
    return "\n".join(
        (f"-----BEGIN {_AUTH_TOKEN_NAME}-----", *lines, f"-----END {_AUTH_TOKEN_NAME}-----", "")
    )
