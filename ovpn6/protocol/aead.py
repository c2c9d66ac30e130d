"""The AEAD of a data-channel cipher, and what stands in for it when a key is gone. PURE."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import UsageError
from ovpn6.model.secrets import SecretBytes


def new_aead(cipher: str, key: SecretBytes) -> AESGCM | ChaCha20Poly1305:
    """Ready to use. Raises ``UsageError`` for a cipher not in CIPHERS or a key of another size."""
    row = CIPHERS.get(cipher)
    if row is None:
        raise UsageError(f"no data cipher is called {cipher}")
    if len(key) != row.key_size:
        raise UsageError(f"{cipher} takes a key of {row.key_size} bytes, not {len(key)}")
    if cipher == "CHACHA20-POLY1305":
        return ChaCha20Poly1305(key.reveal())
    return AESGCM(key.reveal())


def refuse(*_: object) -> bytes:
    """In place of a wiped key's ``decrypt`` or ``encrypt``: nothing is ever authentic."""
    raise InvalidTag
