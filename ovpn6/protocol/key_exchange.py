"""The key-method-2 message: each end's randoms, options and credentials, as one TLS record. PURE.

Layout: u32 0, u8 2, key source (client: pre-master 48, randoms 2 x 32; server: randoms only), then
four strings (options, user name, password, peer-info), each a 16-bit length and bytes with NUL.
Source: OpenVPN ``ssl.c`` (key_method_2_write, key_method_2_read).
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.model.errors import PeerError
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.key_derivation import KeySource

PRE_MASTER_SIZE = 48
RANDOM_SIZE = 32
_KEY_METHOD = 2


@dataclass(frozen=True, slots=True)
class KeyMethod2:
    """One end's message. A server sends empty user name and password."""

    source: KeySource
    options: str
    username: str = ""
    password: SecretBytes = SecretBytes(b"")
    peer_info: str = ""

    def encode(self) -> bytes:
        """The record's plaintext."""
        return b"".join(
            (
                bytes(4),
                bytes((_KEY_METHOD,)),
                self.source.pre_master.reveal(),
                self.source.random1.reveal(),
                self.source.random2.reveal(),
                _encode_string(self.options.encode()),
                _encode_string(self.username.encode()),
                _encode_string(self.password.reveal()),
                _encode_string(self.peer_info.encode()),
            )
        )


def new_key_source(*, is_server: bool, entropy: Callable[[int], bytes]) -> KeySource:
    """Fresh randoms for our message."""
    return KeySource(
        pre_master=SecretBytes(b"" if is_server else entropy(PRE_MASTER_SIZE)),
        random1=SecretBytes(entropy(RANDOM_SIZE)),
        random2=SecretBytes(entropy(RANDOM_SIZE)),
    )


def decode_key_method_2(record: bytes, *, from_server: bool) -> KeyMethod2:
    """The peer's message. Old peers stop after the options or the password.

    Raises ``PeerError`` for another key method and for whatever is cut short.
    """
    if len(record) < 5 or record[:4] != bytes(4) or record[4] & 0x0F != _KEY_METHOD:
        raise PeerError("not a key method 2 message")
    reader = _Reader(record, 5)
    pre_master = b"" if from_server else reader.take(PRE_MASTER_SIZE)
    source = KeySource(
        SecretBytes(pre_master),
        SecretBytes(reader.take(RANDOM_SIZE)),
        SecretBytes(reader.take(RANDOM_SIZE)),
    )
    options = reader.string()
    username = reader.string()
    password = reader.string()
    peer_info = reader.string()
    return KeyMethod2(
        source,
        _text(options),
        _text(username),
        SecretBytes(password),
        _text(peer_info),
    )


class _Reader:
    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise PeerError("key method 2 message is cut short")
        piece = self._data[self._offset : end]
        self._offset = end
        return piece

    def string(self) -> bytes:
        if self._offset == len(self._data):
            return b""
        size = int.from_bytes(self.take(2), "big")
        return self.take(size).removesuffix(b"\0")


def _encode_string(value: bytes) -> bytes:
    if not value:
        return bytes(2)
    return (len(value) + 1).to_bytes(2, "big") + value + b"\0"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise PeerError("text that is not UTF-8 in a key method 2 message") from None
