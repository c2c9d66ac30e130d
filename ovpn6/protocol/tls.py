"""What the protocol needs of a TLS library. PURE: bytes in, bytes out; no socket.

``ovpn6/daemon/tls_openssl.py`` implements it over pyOpenSSL's memory BIOs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ovpn6.model.errors import PeerError
from ovpn6.model.identity import PeerIdentity


class TlsFailed(PeerError):
    """The handshake or a record failed; an alert may still stand in ``outgoing``."""


class TlsEngine(Protocol):
    """One TLS connection over the reliable byte stream of the control channel."""

    def start(self) -> None:
        """Begin the handshake (a client's first flight appears in ``outgoing``)."""

    def feed(self, ciphertext: bytes) -> None:
        """Bytes from the peer, in order; drives the handshake. Raises ``TlsFailed``."""

    def outgoing(self) -> bytes:
        """Take all ciphertext that waits to be sent; b"" when there is none."""

    def records(self) -> list[bytes]:
        """Take all plaintext that has arrived, one item a TLS record. Raises ``TlsFailed``."""

    def write(self, plaintext: bytes) -> None:
        """Send one record of at most 16,384 bytes. Only once ``established``."""

    @property
    def established(self) -> bool:
        """The handshake is complete and the peer's certificate is accepted."""

    def export(self, label: str, length: int) -> bytes:
        """Keying material without context (RFC 5705; RFC 8446 7.5)."""

    @property
    def identity(self) -> PeerIdentity:
        """Who the peer proved to be; empty before ``established``."""


TlsFactory = Callable[[], TlsEngine]
"""Makes the engine of one negotiation; whether client or server is the factory's affair."""
