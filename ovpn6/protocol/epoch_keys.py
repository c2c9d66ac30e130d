"""Epoch keys: a secret for each epoch; the next one and the epoch's data key come from it. PURE.

    E_1                         32 bytes of the negotiation's key block, one secret a direction
    E_n+1   = expand(E_n, "datakey upd", 32)
    key_n   = expand(E_n, "data_key", key size of the cipher)
    iv_n    = expand(E_n, "data_iv", 12)

``expand`` is HKDF-Expand-Label of TLS 1.3 (RFC 8446 section 7.1) with SHA-256, an empty context,
and "ovpn " where TLS says "tls13 ". An earlier secret cannot be computed from a later one.

Source: draft-openvpntech-openvpn-wire-protocol, "Epoch key generation"; OpenVPN 2.7
``crypto_epoch.c``.
"""

from __future__ import annotations

import hmac

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import UsageError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes

EPOCH_SECRET_SIZE = 32
NONCE_SIZE = 12
FIRST_EPOCH = 1
LAST_EPOCH = 0xFFFF
SHA256_SIZE = 32


@dataclass(frozen=True, slots=True)
class EpochDataKey:
    """What seals one epoch's packets: a key of the cipher's size and an ``iv`` of 12 bytes."""

    epoch: int
    key: SecretBytes
    iv: SecretBytes


@dataclass(frozen=True, slots=True)
class EpochSecret:
    """E_n of one direction. ``epoch`` is 1 to 65535, ``secret`` 32 bytes."""

    epoch: int
    secret: SecretBytes

    def __post_init__(self) -> None:
        if not FIRST_EPOCH <= self.epoch <= LAST_EPOCH:
            raise UsageError(f"there is no epoch {self.epoch}")
        if len(self.secret) != EPOCH_SECRET_SIZE:
            raise UsageError(f"an epoch's secret has {EPOCH_SECRET_SIZE} bytes")

    def following(self) -> EpochSecret:
        """E_n+1. Raises ``UsageError`` after the last epoch."""
        secret = expand_label(self.secret, b"datakey upd", EPOCH_SECRET_SIZE)
        return EpochSecret(self.epoch + 1, secret)

    def data_key(self, cipher: str) -> EpochDataKey:
        """The epoch's data key. Raises ``UsageError`` for a cipher not in CIPHERS."""
        row = CIPHERS.get(cipher)
        if row is None:
            raise UsageError(f"no data cipher is called {cipher}")
        return EpochDataKey(
            self.epoch,
            expand_label(self.secret, b"data_key", row.key_size),
            expand_label(self.secret, b"data_iv", NONCE_SIZE),
        )


def expand_label(secret: SecretBytes, label: bytes, size: int) -> SecretBytes:
    """OVPN-Expand-Label with an empty context: ``size`` 1 to 32 bytes, ``label`` 1 to 250 bytes.

    Nothing longer is needed, so the expansion is its first block.
    """
    if not 1 <= len(label) <= 250 or not 1 <= size <= SHA256_SIZE:
        raise UsageError(f"{size} bytes for a label of {len(label)} bytes")
    label = b"ovpn " + label
    info = size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0"
    return SecretBytes(hmac.digest(secret.reveal(), info + b"\1", "sha256")[:size])
