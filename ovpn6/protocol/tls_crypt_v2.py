"""Keys of tls-crypt-v2: each client has its own, which the server needs not remember. PURE.

Source: OpenVPN ``doc/tls-crypt-v2.txt``, ``tls_crypt.c``. A client key is 256 bytes ``Kc``, used as
in tls-crypt, and the same ``Kc`` wrapped for the server:

    WKc = T (32) | AES-256-CTR(Ke, first half of T, Kc | metadata) | length of WKc (2)
    T   = HMAC-SHA256(Ka, length | Kc | metadata)

``Ke`` and ``Ka`` are the two halves of the server key. The client sends WKc in clear behind the
wrapped packet of opcodes 10 and 11.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.protocol.static_key import HALF_SLOT_SIZE, SLOT_SIZE, STATIC_KEY_SIZE, StaticKey
from ovpn6.protocol.tls_crypt import OVERHEAD, TAG_SIZE, SivKey, TlsCryptWrapper
from ovpn6.protocol.wrapping import ClientWrapping

LENGTH_SIZE = 2
MIN_WKC_SIZE = TAG_SIZE + STATIC_KEY_SIZE + LENGTH_SIZE
MAX_WKC_SIZE = 1024
MAX_METADATA_SIZE = MAX_WKC_SIZE - MIN_WKC_SIZE
"""734, with the type byte."""

METADATA_USER = 0
METADATA_TIMESTAMP = 1

EARLY_NEGOTIATION_FIRST_ID = 0x0F000001
"""First replay counter of a client that can send its WKc a second time."""

_SERVER_LABEL = "OpenVPN tls-crypt-v2 server key"
_CLIENT_LABEL = "OpenVPN tls-crypt-v2 client key"
_SECONDS_A_DAY = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class ServerKey:
    """128 bytes that unwrap every client's key."""

    material: SecretBytes

    def __post_init__(self) -> None:
        if len(self.material) != SLOT_SIZE:
            raise UsageError(f"a tls-crypt-v2 server key has {SLOT_SIZE} bytes")

    @classmethod
    def parse(cls, text: str) -> ServerKey:
        """The key in a file of ``--genkey tls-crypt-v2-server``. Raises ``ConfigError``."""
        material = _decode_pem(_SERVER_LABEL, text)
        if len(material) != SLOT_SIZE:
            raise ConfigError(f"{_SERVER_LABEL} has {len(material)} bytes, {SLOT_SIZE} are needed")
        return cls(SecretBytes(material))

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> ServerKey:
        """A new key from ``entropy(128)``."""
        return cls(SecretBytes(entropy(SLOT_SIZE)))

    def encode(self) -> str:
        """The text of a key file, as stock writes it."""
        return _encode_pem(_SERVER_LABEL, self.material.reveal())


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client's own key and the same key wrapped for its server."""

    key: StaticKey
    wrapped: bytes
    """WKc: 290 to 1024 bytes, not secret."""

    @classmethod
    def parse(cls, text: str) -> ClientKey:
        """The key in a file of ``--genkey tls-crypt-v2-client``. Raises ``ConfigError``."""
        material = _decode_pem(_CLIENT_LABEL, text)
        wrapped = material[STATIC_KEY_SIZE:]
        if not MIN_WKC_SIZE <= len(wrapped) <= MAX_WKC_SIZE:
            raise ConfigError(f"{_CLIENT_LABEL} has {len(material)} bytes")
        if int.from_bytes(wrapped[-LENGTH_SIZE:], "big") != len(wrapped):
            raise ConfigError(f"{_CLIENT_LABEL} has a wrapped key of the wrong length")
        return cls(StaticKey(SecretBytes(material[:STATIC_KEY_SIZE])), wrapped)

    @classmethod
    def generate(
        cls, server_key: ServerKey, metadata: bytes, entropy: Callable[[int], bytes]
    ) -> ClientKey:
        """A new client key; ``metadata`` as :func:`user_metadata`, :func:`timestamp_metadata`."""
        key = StaticKey.generate(entropy)
        return cls(key, wrap_client_key(server_key, key.material.reveal(), metadata))

    def encode(self) -> str:
        """The text of a key file, as stock writes it."""
        return _encode_pem(_CLIENT_LABEL, self.key.material.reveal() + self.wrapped)

    def wrapping(self, *, wall_offset: float, strict_order: bool) -> ClientWrapping:
        """For one connection attempt; its first replay id offers early negotiation."""
        wrapper = TlsCryptWrapper(
            self.key,
            is_server=False,
            wall_offset=wall_offset,
            strict_order=strict_order,
            first_id=EARLY_NEGOTIATION_FIRST_ID,
        )
        return ClientWrapping(wrapper, self.wrapped)


def wrap_client_key(server_key: ServerKey, client_key: bytes, metadata: bytes) -> bytes:
    """WKc of a 256-byte client key. Raises ``ConfigError`` for more than 734 bytes of metadata."""
    if len(client_key) != STATIC_KEY_SIZE:
        raise UsageError(f"a client key has {STATIC_KEY_SIZE} bytes, not {len(client_key)}")
    if len(metadata) > MAX_METADATA_SIZE:
        raise ConfigError(
            f"tls-crypt-v2 metadata of {len(metadata)} bytes",
            advice=f"at most {MAX_METADATA_SIZE} with the type byte",
        )
    length = (MIN_WKC_SIZE + len(metadata)).to_bytes(LENGTH_SIZE, "big")
    tag, ciphertext = _siv_key(server_key).seal(length, client_key + metadata)
    return tag + ciphertext + length


def unwrap_client_key(server_key: ServerKey, wkc: bytes) -> tuple[StaticKey, bytes]:
    """``(client key, metadata)``; the metadata begins with its type and may be empty.

    Raises ``PeerError`` for a wrong size, and for a key of another server.
    """
    length = wkc[-LENGTH_SIZE:]
    if not MIN_WKC_SIZE <= len(wkc) <= MAX_WKC_SIZE or int.from_bytes(length, "big") != len(wkc):
        raise PeerError("wrapped client key of a wrong length")
    plaintext = _siv_key(server_key).open(length, wkc[:TAG_SIZE], wkc[TAG_SIZE:-LENGTH_SIZE])
    key = StaticKey(SecretBytes(plaintext[:STATIC_KEY_SIZE]))
    return key, plaintext[STATIC_KEY_SIZE:]


def split_client_key(datagram: bytes) -> tuple[bytes, bytes]:
    """``(wrapped packet, WKc)`` of a datagram of opcode 10 or 11.

    Raises ``PeerError`` unless the length in the last two bytes is possible and leaves a packet.
    """
    size = int.from_bytes(datagram[-LENGTH_SIZE:], "big")
    if not MIN_WKC_SIZE <= size <= MAX_WKC_SIZE:
        raise PeerError("no wrapped client key behind the packet")
    packet_size = len(datagram) - size
    if packet_size < HEADER_SIZE + OVERHEAD:
        raise PeerError("wrapped client key longer than the datagram allows")
    return datagram[:packet_size], datagram[packet_size:]


def user_metadata(data: bytes) -> bytes:
    """Metadata of type 0; ``data`` is free, at most 733 bytes."""
    return bytes((METADATA_USER,)) + data


def timestamp_metadata(unix_time: int) -> bytes:
    """Metadata of type 1: when the key was made. Stock's default."""
    return bytes((METADATA_TIMESTAMP,)) + unix_time.to_bytes(8, "big", signed=True)


def decode_metadata(metadata: bytes) -> tuple[int, bytes]:
    """``(type, value)``, what a ``tls-crypt-v2-verify`` script is told. Raises ``PeerError`` when
    there is none."""
    if not metadata:
        raise PeerError("client key without metadata")
    return metadata[0], metadata[1:]


def decode_timestamp(metadata: bytes) -> int:
    """Unix time in metadata of type 1; ``PeerError`` for another type or a short value."""
    kind, value = decode_metadata(metadata)
    if kind != METADATA_TIMESTAMP or len(value) < 8:
        raise PeerError("client key without a timestamp")
    return int.from_bytes(value[:8], "big", signed=True)


def check_age(metadata: bytes, max_days: int, unix_time: float) -> None:
    """``tls-crypt-v2-max-age``: raises ``PeerError`` for a key made more than ``max_days`` before
    ``unix_time``, or without a timestamp."""
    if unix_time - decode_timestamp(metadata) > max_days * _SECONDS_A_DAY:
        raise PeerError(f"client key older than {max_days} days")


def _siv_key(server_key: ServerKey) -> SivKey:
    material = server_key.material.reveal()
    return SivKey(material[:HALF_SLOT_SIZE], material[HALF_SLOT_SIZE:])


def _decode_pem(label: str, text: str) -> bytes:
    begin, end = f"-----BEGIN {label}-----", f"-----END {label}-----"
    lines = [line.strip() for line in text.splitlines()]
    if begin not in lines:
        raise ConfigError(f"no {label}", advice=f"it begins with {begin}")
    body = lines[lines.index(begin) + 1 :]
    if end not in body:
        raise ConfigError(f"{label} is cut off", advice=f"it ends with {end}")
    try:
        return base64.b64decode("".join(body[: body.index(end)]), validate=True)
    except ValueError:
        raise ConfigError(f"{label} is not base64") from None


def _encode_pem(label: str, data: bytes) -> str:
    digits = base64.b64encode(data).decode("ascii")
    rows = "".join(f"{digits[row : row + 64]}\n" for row in range(0, len(digits), 64))
    return f"-----BEGIN {label}-----\n{rows}-----END {label}-----\n"
