"""tls-crypt: control packets encrypted and authenticated with a shared key. PURE.

Source: OpenVPN ``tls_crypt.c``, ``tls_crypt.h``. On the wire: header (9), replay id (8), tag (32),
ciphertext. The tag is HMAC-SHA256 over header, replay id and plaintext; its first 16 bytes are the
IV of AES-256-CTR, so no two different packets share a key stream.

The server seals with slot 0 and the client with slot 1; the data channel has it the other way.
tls-crypt-v2 and dynamic tls-crypt differ only in where the key comes from.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.protocol.replay import REPLAY_ID_SIZE, ReplayFilter, ReplaySender, decode_replay_id
from ovpn6.protocol.static_key import StaticKey

TAG_SIZE = 32
IV_SIZE = 16
KEY_SIZE = 32
OVERHEAD = REPLAY_ID_SIZE + TAG_SIZE

_TAG_AT = HEADER_SIZE + REPLAY_ID_SIZE
_CIPHERTEXT_AT = _TAG_AT + TAG_SIZE


class TlsCryptWrapper:
    """The ``Wrapper`` of tls-crypt, tls-crypt-v2 and dynamic tls-crypt.

    ``wall_offset`` + now is Unix time; ``strict_order`` is for TCP; ``first_id`` is the first
    replay id to send.
    """

    def __init__(
        self,
        key: StaticKey,
        *,
        is_server: bool,
        wall_offset: float,
        strict_order: bool,
        first_id: int = 1,
    ) -> None:
        self._key = key
        self._seal_key = SivKey(*_slot_bytes(key, 0 if is_server else 1))
        self._open_key = SivKey(*_slot_bytes(key, 1 if is_server else 0))
        self._sender = ReplaySender(wall_offset=wall_offset, first_id=first_id)
        self._filter = ReplayFilter(strict_order=strict_order)

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds: 40."""
        return OVERHEAD

    @property
    def static_key(self) -> StaticKey | None:
        """The whole key, which a dynamic tls-crypt key is mixed with."""
        return self._key

    def wrap(self, header: bytes, body: bytes, now: Instant) -> bytes:
        """The datagram to send, without any wrapped client key."""
        clear = header + self._sender.take(now).encode()
        tag, ciphertext = self._seal_key.seal(clear, body)
        return clear + tag + ciphertext

    def unwrap(self, datagram: bytes, now: Instant) -> tuple[bytes, bytes]:
        """``(header, body)``; the wrapped client key of op 10 and 11 must be cut off before."""
        if len(datagram) < _CIPHERTEXT_AT:
            raise PeerError("shorter than a tls-crypt packet")
        body = self._open_key.open(
            datagram[:_TAG_AT], datagram[_TAG_AT:_CIPHERTEXT_AT], datagram[_CIPHERTEXT_AT:]
        )
        self._filter.accept(decode_replay_id(datagram[HEADER_SIZE:_TAG_AT]), now)
        return datagram[:HEADER_SIZE], body


class SivKey:
    """The SIV construction under tls-crypt: HMAC-SHA256 tag, whose first half is the CTR's IV."""

    __slots__ = ("_algorithm", "_hmac_key")

    def __init__(self, cipher_key: bytes, hmac_key: bytes) -> None:
        self._algorithm = AES(cipher_key[:KEY_SIZE])
        self._hmac_key = hmac_key[:KEY_SIZE]

    def seal(self, clear: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """``(tag, ciphertext)``; ``clear`` is authenticated only."""
        tag = hmac.digest(self._hmac_key, clear + plaintext, "sha256")
        return tag, self._apply_key_stream(tag, plaintext)

    def open(self, clear: bytes, tag: bytes, ciphertext: bytes) -> bytes:
        """The plaintext. Raises ``PeerError`` when the tag is not the one of this key."""
        plaintext = self._apply_key_stream(tag, ciphertext)
        expected = hmac.digest(self._hmac_key, clear + plaintext, "sha256")
        if not hmac.compare_digest(tag, expected):
            raise PeerError("tls-crypt authentication failed")
        return plaintext

    def _apply_key_stream(self, tag: bytes, data: bytes) -> bytes:
        context = Cipher(self._algorithm, CTR(tag[:IV_SIZE])).encryptor()
        return context.update(data) + context.finalize()


def _slot_bytes(key: StaticKey, index: int) -> tuple[bytes, bytes]:
    cipher_key, hmac_key = key.slot(index)
    return cipher_key.reveal(), hmac_key.reveal()
