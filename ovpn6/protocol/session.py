"""One session: a pair of session ids, and how its control packets are opened and built. PURE.

Holds the wrappers: the one the session began with, and the dynamic tls-crypt one that key ids above
0 use once it is enabled. Source: OpenVPN ``ssl_pkt.c`` (read_control_auth, write_control_auth),
``ssl.c`` (session id checks in tls_pre_decrypt).
"""

from __future__ import annotations

from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant, KeyId, MessageId, SessionId
from ovpn6.protocol.packets import (
    CARRY_CLIENT_KEY,
    CLIENT_RESETS,
    HEADER_SIZE,
    MAX_ACKS_IN_ACK,
    MAX_ACKS_IN_CONTROL,
    ControlPacket,
    Opcode,
    decode_control,
    decode_first_byte,
)
from ovpn6.protocol.reliability import AckQueue
from ovpn6.protocol.tls_crypt_v2 import split_client_key
from ovpn6.protocol.wrapping import Wrapper

_OUTER_HEADERS = 48
"""IPv6 and UDP: the control MTU bounds the outer packet, and IPv6 is the larger family."""
_BODY_OVERHEAD = 1 + 4 * MAX_ACKS_IN_CONTROL + 8 + 4
_SMALLEST_PAYLOAD = 16


class Session:
    """See the module. ``remote`` is None until the peer of an end that began has answered."""

    def __init__(
        self,
        local: SessionId,
        remote: SessionId | None,
        wrapper: Wrapper,
        wrapped_client_key: bytes,
        *,
        is_server: bool = False,
    ) -> None:
        self.local = local
        self.remote = remote
        self.wrapper = wrapper
        self.renegotiation_wrapper: Wrapper | None = None
        self._wrapped_client_key = wrapped_client_key
        self._is_server = is_server

    def open(self, datagram: bytes, now: Instant) -> ControlPacket:
        """The packet in a datagram of this session. Raises ``PeerError`` for any other."""
        if not datagram:
            raise PeerError("empty datagram")
        if self.remote is not None and datagram[1:HEADER_SIZE] != self.remote:
            # Before unwrapping: a key that clients share, or an old packet of another connection,
            # must not move this one's replay state.
            raise PeerError("packet of another session")
        opcode, key_id = decode_first_byte(datagram[0])
        if opcode in CARRY_CLIENT_KEY:
            datagram, _ = split_client_key(datagram)
        packet = decode_control(*self.wrapper_for(key_id).unwrap(datagram, now))
        self._check(packet)
        return packet

    def build(
        self,
        key_id: KeyId,
        acks: AckQueue,
        now: Instant,
        opcode: Opcode = Opcode.ACK_V1,
        message_id: MessageId | None = None,
        payload: bytes = b"",
    ) -> bytes:
        """The datagram of a packet, with as many acknowledgements as it may carry."""
        limit = MAX_ACKS_IN_ACK if opcode is Opcode.ACK_V1 else MAX_ACKS_IN_CONTROL
        # Before the peer's session id is known there is nothing to acknowledge.
        taken = acks.take(limit) if self.remote is not None else ()
        packet = ControlPacket(
            opcode=opcode,
            key_id=key_id,
            session_id=self.local,
            acks=taken,
            remote_session_id=self.remote if taken else None,
            message_id=message_id,
            payload=payload,
        )
        datagram = self.wrapper_for(key_id).wrap(packet.header(), packet.body(), now)
        return datagram + self._wrapped_client_key if opcode in CARRY_CLIENT_KEY else datagram

    def payload_limit(self, key_id: KeyId, control_mtu: int, *, with_client_key: bool) -> int:
        """Octets of TLS stream that one packet of an outer size of ``control_mtu`` carries."""
        overhead = _OUTER_HEADERS + HEADER_SIZE + _BODY_OVERHEAD
        overhead += self.wrapper_for(key_id).overhead
        if with_client_key:
            overhead += len(self._wrapped_client_key)
        return max(control_mtu - overhead, _SMALLEST_PAYLOAD)

    def smallest_control(self, key_id: KeyId) -> int:
        """Octets of a datagram that holds a control packet without acknowledgements or payload."""
        return self.smallest_ack(key_id) + 4

    def smallest_ack(self, key_id: KeyId) -> int:
        """The same of a packet without message id."""
        return HEADER_SIZE + self.wrapper_for(key_id).overhead + 1

    def wrapper_for(self, key_id: KeyId) -> Wrapper:
        """Which wrapper protects packets of a negotiation."""
        if key_id and self.renegotiation_wrapper is not None:
            return self.renegotiation_wrapper
        return self.wrapper

    def _check(self, packet: ControlPacket) -> None:
        if packet.acks and packet.remote_session_id != self.local:
            raise PeerError("acknowledgement for another session")
        if self.remote is None and not self._answers(packet):
            raise PeerError("not an answer to our reset")

    def _answers(self, packet: ControlPacket) -> bool:
        """A client's own reset may have left before it heard the server's."""
        if self._is_server:
            return packet.opcode in CLIENT_RESETS
        return packet.opcode is Opcode.CONTROL_HARD_RESET_SERVER_V2 and bool(packet.acks)
