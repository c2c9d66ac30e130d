"""Control packets: opcodes and the layout under any wrapping. PURE; knows no keys and no state.

Source: OpenVPN wire protocol, "Packet format"; OpenVPN ``ssl_pkt.h``, ``reliable.c``. A control
packet is ``header`` (opcode and key id, own session id: 9 bytes) and ``body`` (ack count, acked
ids, the peer's session id when there are acks, message id unless it is a pure ACK, payload).
"""

from __future__ import annotations

from enum import IntEnum

from ovpn6.model.errors import PeerError
from ovpn6.model.names import KeyId, MessageId, SessionId
from ovpn6.model.records import dataclass

HEADER_SIZE = 9
MAX_ACKS_PARSED = 8
MAX_ACKS_IN_CONTROL = 4
MAX_ACKS_IN_ACK = 8


class Opcode(IntEnum):
    """The upper five bits of a packet's first byte."""

    CONTROL_SOFT_RESET_V1 = 3
    CONTROL_V1 = 4
    ACK_V1 = 5
    DATA_V1 = 6
    CONTROL_HARD_RESET_CLIENT_V2 = 7
    CONTROL_HARD_RESET_SERVER_V2 = 8
    DATA_V2 = 9
    CONTROL_HARD_RESET_CLIENT_V3 = 10
    CONTROL_WKC_V1 = 11


DATA_OPCODES = frozenset({Opcode.DATA_V1, Opcode.DATA_V2})
CLIENT_RESETS = frozenset(
    {Opcode.CONTROL_HARD_RESET_CLIENT_V2, Opcode.CONTROL_HARD_RESET_CLIENT_V3}
)
CARRY_CLIENT_KEY = frozenset({Opcode.CONTROL_HARD_RESET_CLIENT_V3, Opcode.CONTROL_WKC_V1})
"""Opcodes with a wrapped client key in clear behind the wrapped packet."""


def encode_first_byte(opcode: Opcode, key_id: KeyId) -> int:
    """Opcode in the upper five bits, key id in the lower three."""
    return opcode << 3 | key_id


def decode_first_byte(value: int) -> tuple[Opcode, KeyId]:
    """Raises ``PeerError`` for an opcode that is dead or was never defined."""
    try:
        return Opcode(value >> 3), KeyId(value & 7)
    except ValueError:
        raise PeerError(f"unknown opcode {value >> 3}") from None


@dataclass(frozen=True, slots=True)
class ControlPacket:
    """One control packet in clear.

    ``remote_session_id`` is on the wire only when ``acks`` is not empty; ``message_id`` is None for
    ACK_V1 and only then. What follows the acks of an ACK_V1 is nothing to OpenVPN; see
    ``numbered_probes.py``.
    """

    opcode: Opcode
    key_id: KeyId
    session_id: SessionId
    acks: tuple[MessageId, ...] = ()
    remote_session_id: SessionId | None = None
    message_id: MessageId | None = None
    payload: bytes = b""

    def header(self) -> bytes:
        """The nine bytes that wrapping leaves in clear."""
        return bytes((encode_first_byte(self.opcode, self.key_id),)) + self.session_id

    def body(self) -> bytes:
        """What follows the header before wrapping."""
        parts = [bytes((len(self.acks),))]
        parts += [ack.to_bytes(4, "big") for ack in self.acks]
        if self.acks:
            parts.append(self.remote_session_id or bytes(8))
        if self.message_id is not None:
            parts.append(self.message_id.to_bytes(4, "big"))
        parts.append(self.payload)
        return b"".join(parts)


def decode_control(header: bytes, body: bytes) -> ControlPacket:
    """The packet behind an unwrapped ``header`` and ``body``.

    Raises ``PeerError`` for data opcodes, more than eight acks, and whatever is too short.
    """
    if len(header) != HEADER_SIZE:
        raise PeerError("control packet shorter than its header")
    opcode, key_id = decode_first_byte(header[0])
    if opcode in DATA_OPCODES:
        raise PeerError("a data packet is not a control packet")
    if not body:
        raise PeerError("control packet without ack count")
    count = body[0]
    if count > MAX_ACKS_PARSED:
        raise PeerError("more than eight acks in one packet")
    offset = 1 + 4 * count
    remote: SessionId | None = None
    if count:
        if len(body) < offset + 8:
            raise PeerError("control packet ends inside its acks")
        remote = SessionId(body[offset : offset + 8])
    acks = tuple(MessageId(int.from_bytes(body[i : i + 4], "big")) for i in range(1, offset, 4))
    offset += 8 if count else 0
    if opcode is Opcode.ACK_V1:
        payload = body[offset:]
        return ControlPacket(opcode, key_id, SessionId(header[1:]), acks, remote, payload=payload)
    if len(body) < offset + 4:
        raise PeerError("control packet ends inside its message id")
    message_id = MessageId(int.from_bytes(body[offset : offset + 4], "big"))
    return ControlPacket(
        opcode, key_id, SessionId(header[1:]), acks, remote, message_id, body[offset + 4 :]
    )
