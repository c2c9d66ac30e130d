"""Control-packet protection outside of TLS: the interface, none at all, and tls-auth. PURE.

tls-crypt stands in ``tls_crypt.py``, the keys of tls-crypt-v2 in ``tls_crypt_v2.py``.

Source of tls-auth: OpenVPN ``ssl_pkt.c`` (``swap_hmac``), ``crypto.c`` (key directions). On the
wire: header (9), HMAC, replay id (8), body. The HMAC runs over replay id, header, body.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.names import Instant
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.protocol.replay import REPLAY_ID_SIZE, ReplayFilter, ReplaySender, decode_replay_id
from ovpn6.protocol.static_key import STATIC_KEY_SIZE, StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper


class Wrapper(Protocol):
    """Protects control packets. ``header`` is first byte + session id (9 bytes), ``body`` the rest
    of the plain packet (ack count on). One object serves both directions and both replay states."""

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds."""

    @property
    def static_key(self) -> StaticKey | None:
        """The key a dynamic tls-crypt key is mixed with; None without one."""

    def wrap(self, header: bytes, body: bytes, now: Instant) -> bytes:
        """The datagram to send. Takes the next replay id."""

    def unwrap(self, datagram: bytes, now: Instant) -> tuple[bytes, bytes]:
        """``(header, body)`` of an authentic, fresh datagram. Raises ``PeerError`` otherwise."""


@dataclass(frozen=True, slots=True)
class ClientWrapping:
    """What a client needs for one connection attempt.

    ``wrapped_client_key`` is the WKc of tls-crypt-v2, b"" otherwise.
    """

    wrapper: Wrapper
    wrapped_client_key: bytes = b""


class PlainWrapper:
    """No protection but TLS's own."""

    @property
    def overhead(self) -> int:
        """0."""
        return 0

    @property
    def static_key(self) -> StaticKey | None:
        """None."""
        return None

    def wrap(self, header: bytes, body: bytes, now: Instant) -> bytes:
        """Header, then body."""
        return header + body

    def unwrap(self, datagram: bytes, now: Instant) -> tuple[bytes, bytes]:
        """Raises ``PeerError`` only for less than a header."""
        if len(datagram) < HEADER_SIZE:
            raise PeerError("control packet shorter than its header")
        return datagram[:HEADER_SIZE], datagram[HEADER_SIZE:]


class TlsAuthWrapper:
    """An HMAC and a replay id around each control packet.

    ``direction`` is ``--key-direction``: 0 signs with slot 0 and verifies with slot 1, 1 the other
    way round, None uses slot 0 for both. ``digest`` is a name in :func:`tls_auth_digest`'s table.
    ``wall_offset`` + now is Unix time; ``strict_order`` is for TCP; ``first_id`` is the first
    replay id to send.
    """

    def __init__(
        self,
        key: StaticKey,
        direction: int | None,
        digest: str,
        *,
        wall_offset: float,
        strict_order: bool,
        first_id: int = 1,
    ) -> None:
        if direction not in _SLOTS:
            raise UsageError(f"key direction {direction}")
        send_slot, receive_slot = _SLOTS[direction]
        self._digest = tls_auth_digest(digest)
        self._size = hashlib.new(self._digest).digest_size
        self._key = key
        self._send_key = _hmac_key(key, send_slot, self._size)
        self._receive_key = _hmac_key(key, receive_slot, self._size)
        self._sender = ReplaySender(wall_offset=wall_offset, first_id=first_id)
        self._filter = ReplayFilter(strict_order=strict_order)

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds: the digest's size and 8."""
        return self._size + REPLAY_ID_SIZE

    @property
    def static_key(self) -> StaticKey | None:
        """The whole key file, whatever part of it the direction uses."""
        return self._key

    def wrap(self, header: bytes, body: bytes, now: Instant) -> bytes:
        """The datagram to send."""
        replay_id = self._sender.take(now).encode()
        return header + self._sign(self._send_key, replay_id + header + body) + replay_id + body

    def unwrap(self, datagram: bytes, now: Instant) -> tuple[bytes, bytes]:
        """``(header, body)``. Raises ``PeerError`` for a wrong HMAC or a replay."""
        replay_at = HEADER_SIZE + self._size
        body_at = replay_at + REPLAY_ID_SIZE
        if len(datagram) < body_at:
            raise PeerError("shorter than a tls-auth packet")
        header, body = datagram[:HEADER_SIZE], datagram[body_at:]
        replay_id = datagram[replay_at:body_at]
        expected = self._sign(self._receive_key, replay_id + header + body)
        if not hmac.compare_digest(datagram[HEADER_SIZE:replay_at], expected):
            raise PeerError("tls-auth authentication failed")
        self._filter.accept(decode_replay_id(replay_id), now)
        return header, body

    def _sign(self, key: SecretBytes, message: bytes) -> bytes:
        return hmac.digest(key.reveal(), message, self._digest)


def tls_auth_digest(name: str) -> str:
    """The ``hashlib`` name of an OpenSSL digest name, any case. Raises ``ConfigError``.

    OpenSSL has several names for some: ``SHA256``, ``SHA2-256`` and ``RSA-SHA256`` are one.
    """
    plain = name.upper().removeprefix("RSA-").replace("SHA2-", "SHA").replace("SHA-", "SHA")
    digest = _DIGESTS.get(plain.replace("/", "-"))
    if digest is None or digest not in hashlib.algorithms_available:
        raise ConfigError(
            f"digest {name} is not known", advice=f"known are {', '.join(sorted(_DIGESTS))}"
        )
    return digest


def dynamic_wrapper(
    exported: bytes,
    previous: StaticKey | None,
    *,
    is_server: bool,
    wall_offset: float,
    strict_order: bool,
) -> TlsCryptWrapper:
    """Dynamic tls-crypt: wraps every negotiation after the first.

    ``exported``: 256 bytes of the first negotiation under ``EKM_DYNAMIC_TLS_CRYPT_LABEL``.
    ``previous`` is the first wrapper's ``static_key``: the whole file of tls-auth (whatever its
    direction) or tls-crypt, the client's own key of tls-crypt-v2, None without protection. Both are
    laid out alike and are XORed byte for byte; directions are tls-crypt's by role, after tls-auth
    too. Replay ids begin anew at 1.
    Source: OpenVPN ``tls_crypt.c`` (``tls_session_generate_dynamic_tls_crypt_key``).
    """
    if len(exported) != STATIC_KEY_SIZE:
        raise UsageError(f"dynamic tls-crypt from {len(exported)} bytes")
    mixed = exported
    if previous is not None:
        pairs = zip(exported, previous.material.reveal(), strict=True)
        mixed = bytes(ours ^ theirs for ours, theirs in pairs)
    return TlsCryptWrapper(
        StaticKey(SecretBytes(mixed)),
        is_server=is_server,
        wall_offset=wall_offset,
        strict_order=strict_order,
    )


_SLOTS = {None: (0, 0), 0: (0, 1), 1: (1, 0)}
"""``--key-direction`` -> slots to send and to receive with."""

_DIGESTS = {
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA512-224": "sha512_224",
    "SHA512-256": "sha512_256",
    "SHA3-224": "sha3_224",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
    "BLAKE2B512": "blake2b",
    "BLAKE2S256": "blake2s",
    "RIPEMD160": "ripemd160",
}


def _hmac_key(key: StaticKey, slot: int, size: int) -> SecretBytes:
    return SecretBytes(key.slot(slot)[1].reveal()[:size])
