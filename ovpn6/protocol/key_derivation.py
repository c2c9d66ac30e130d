"""Data keys from a finished negotiation: TLS exporter, or the PRF for peers without it. PURE.

Source: OpenVPN ``ssl.c`` (generate_key_expansion, key_ctx_update_implicit_iv), RFC 5705 for the
exporter, RFC 2246 section 5 for the PRF.
"""

from __future__ import annotations

import hmac

from ovpn6.model.ciphers import CIPHERS, IMPLICIT_IV_SIZE
from ovpn6.model.errors import UsageError
from ovpn6.model.names import KeyId, SessionId
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.protocol.epoch_keys import EPOCH_SECRET_SIZE

EKM_DATA_LABEL = "EXPORTER-OpenVPN-datakeys"
EKM_PEER_ID_LABEL = "EXPORTER-OpenVPN-p2p-peerid"
EKM_DYNAMIC_TLS_CRYPT_LABEL = "EXPORTER-OpenVPN-dynamic-tls-crypt"
KEY_BLOCK_SIZE = 256
"""Octets of a key block: (cipher 64, HMAC 64) of client to server, then of server to client."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """The random contribution of one end. ``pre_master`` has 48 bytes at a client, 0 at a server;
    the randoms have 32 bytes each."""

    pre_master: SecretBytes
    random1: SecretBytes
    random2: SecretBytes


def tls1_prf(secret: bytes, label_and_seed: bytes, size: int) -> bytes:
    """TLS 1.0's PRF: P_MD5 of the secret's first half XOR P_SHA1 of its second (RFC 2246 5)."""
    half = (len(secret) + 1) // 2
    md5 = _p_hash("md5", secret[:half], label_and_seed, size)
    sha1 = _p_hash("sha1", secret[len(secret) - half :], label_and_seed, size)
    return bytes(a ^ b for a, b in zip(md5, sha1, strict=True))


def key_block_from_prf(
    client: KeySource, server: KeySource, client_sid: SessionId, server_sid: SessionId
) -> bytes:
    """The 256-byte key block of two key-method-2 contributions."""
    master = tls1_prf(
        client.pre_master.reveal(),
        b"OpenVPN master secret" + client.random1.reveal() + server.random1.reveal(),
        48,
    )
    seed = client.random2.reveal() + server.random2.reveal() + client_sid + server_sid
    return tls1_prf(master, b"OpenVPN key expansion" + seed, KEY_BLOCK_SIZE)


def key_material(
    block: bytes,
    key_id: KeyId,
    cipher: str,
    *,
    is_server: bool,
    data_format: DataFormat = DataFormat.CLASSIC,
) -> KeyMaterial:
    """One end's view of a key block. Raises ``UsageError`` for a cipher not in CIPHERS.

    For the format EPOCH the first 32 bytes of each direction are the secret of epoch 1 (OpenVPN
    2.7 ``ssl.c``, init_epoch_keys).
    """
    row = CIPHERS.get(cipher)
    if row is None or len(block) != KEY_BLOCK_SIZE:
        raise UsageError(f"no data keys for cipher {cipher!r} from {len(block)} bytes")
    halves = (block[:128], block[128:])
    sending, receiving = reversed(halves) if is_server else halves
    is_epoch = data_format is DataFormat.EPOCH
    key_size = EPOCH_SECRET_SIZE if is_epoch else row.key_size
    iv = slice(64, 64 if is_epoch else 64 + IMPLICIT_IV_SIZE)
    return KeyMaterial(
        key_id=key_id,
        cipher=cipher,
        send_key=SecretBytes(sending[:key_size]),
        send_iv=SecretBytes(sending[iv]),
        receive_key=SecretBytes(receiving[:key_size]),
        receive_iv=SecretBytes(receiving[iv]),
        data_format=data_format,
    )


def _p_hash(digest: str, secret: bytes, seed: bytes, size: int) -> bytes:
    output = b""
    chain = seed
    while len(output) < size:
        chain = hmac.digest(secret, chain, digest)
        output += hmac.digest(secret, chain + seed, digest)
    return output[:size]
