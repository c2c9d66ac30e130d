"""CONTRACT SKELETON, being implemented. Control-packet protection outside of TLS. PURE."""

from __future__ import annotations

from typing import Protocol

from ovpn6.model.names import Instant


class Wrapper(Protocol):
    """Protects control packets. ``header`` is first byte + session id (9 bytes), ``body`` the rest
    of the plain packet (ack count on). One object serves both directions and both replay states."""

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds."""

    def wrap(self, header: bytes, body: bytes, now: Instant) -> bytes:
        """The datagram to send. Takes the next replay id."""

    def unwrap(self, datagram: bytes, now: Instant) -> tuple[bytes, bytes]:
        """``(header, body)`` of an authentic, fresh datagram. Raises ``PeerError`` otherwise."""
