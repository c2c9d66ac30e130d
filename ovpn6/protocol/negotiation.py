"""One TLS handshake and key exchange under one key id, over the reliability layer. PURE.

    state         entered when
    RESETTING     created; resets are exchanged
    HANDSHAKING   our own reset is acknowledged: TLS may speak
    EXCHANGED     both key-method-2 messages are through
    ACKNOWLEDGED  and the peer has acknowledged all we sent
    FAILED        TLS failed, or the hand window closed first

A client sends its key-method-2 message first and the server answers. Source: OpenVPN wire protocol,
"Key exchange"; OpenVPN ``ssl.c`` (tls_process_state). Knows nothing of wrapping and session ids.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant, KeyId, MessageId
from ovpn6.model.records import dataclass
from ovpn6.protocol.key_derivation import KeySource
from ovpn6.protocol.key_exchange import KeyMethod2, decode_key_method_2, new_key_source
from ovpn6.protocol.packets import Opcode
from ovpn6.protocol.reliability import AckQueue, Outgoing, ReceiveWindow, SendWindow
from ovpn6.protocol.tls import TlsEngine, TlsFailed

HARD_RESETS = frozenset(
    {
        Opcode.CONTROL_HARD_RESET_CLIENT_V2,
        Opcode.CONTROL_HARD_RESET_CLIENT_V3,
        Opcode.CONTROL_HARD_RESET_SERVER_V2,
    }
)
MOST_UNSENT = 1024 * 1024
"""Octets that may wait for a peer to acknowledge what was sent before; a push of 8,192 routes is a
quarter of it."""
_TLV_EARLY_NEGOTIATION = 1
_FLAG_RESEND_CLIENT_KEY = 1


class State(Enum):
    """Where a negotiation stands."""

    RESETTING = "resetting"
    HANDSHAKING = "handshaking"
    EXCHANGED = "exchanged"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


class Trigger(Enum):
    """What moves it on."""

    RESET_ACKED = "our reset was acknowledged"
    KEYS_EXCHANGED = "both key exchange messages are through"
    ALL_ACKED = "everything we sent was acknowledged"
    FAILURE = "TLS failed or time is up"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.RESETTING, Trigger.RESET_ACKED): State.HANDSHAKING,
    (State.HANDSHAKING, Trigger.KEYS_EXCHANGED): State.EXCHANGED,
    (State.EXCHANGED, Trigger.ALL_ACKED): State.ACKNOWLEDGED,
    (State.RESETTING, Trigger.FAILURE): State.FAILED,
    (State.HANDSHAKING, Trigger.FAILURE): State.FAILED,
    (State.EXCHANGED, Trigger.FAILURE): State.FAILED,
    (State.ACKNOWLEDGED, Trigger.FAILURE): State.FAILED,
}
"""A trigger without a row here leaves the state as it is."""


def next_state(state: State, trigger: Trigger) -> State:
    """One step of the table."""
    return TRANSITIONS.get((state, trigger), state)


@dataclass(frozen=True, slots=True)
class NegotiationPlan:
    """What makes one negotiation differ from the next. ``first_id`` is the message id both ends go
    on with: 1 where a stateless exchange has used up the resets. ``payload_limit`` in bytes;
    ``payload_limit_with_key`` holds while the wrapped client key rides along."""

    key_id: KeyId
    is_server: bool
    reset: Opcode | None
    first_id: int
    deadline: Instant
    tls_timeout: float
    payload_limit: int
    payload_limit_with_key: int = 0


class Negotiation:
    """See the module."""

    def __init__(
        self,
        plan: NegotiationPlan,
        tls: TlsEngine,
        own: Callable[[KeySource], KeyMethod2],
        entropy: Callable[[int], bytes],
        now: Instant,
    ) -> None:
        self.plan = plan
        self.tls = tls
        self.state = State.RESETTING
        self.failure = ""
        self.own_source = new_key_source(is_server=plan.is_server, entropy=entropy)
        self.peer_message: KeyMethod2 | None = None
        self.told = State.RESETTING
        """The state that the connection last reported."""
        self.messages: list[str] = []
        """Control texts that have arrived, oldest first; the connection takes them."""
        self.established_at: Instant | None = None
        self.retires_at: Instant | None = None
        """Set when a newer negotiation replaced this one."""
        self._own_message = own
        self._sent_own = False
        self._send = SendWindow(plan.tls_timeout, plan.first_id)
        self._receive = ReceiveWindow(plan.first_id)
        self._acks = AckQueue()
        self._arrived = b""
        self._unsent = b""
        self._resend_client_key = False
        self._peer_resets = True
        # A peer whose reset we answered without state has been heard already: a burst at its first
        # acknowledgement would send the flight behind it twice.
        self._heard = plan.reset is None
        self._queued: list[str] = []
        if plan.reset is not None:
            self._send.queue(plan.reset, b"", now)
        else:
            self._advance(Trigger.RESET_ACKED, now)

    # --- input ---------------------------------------------------------------------------------

    def acknowledge(self, acks: tuple[MessageId, ...], now: Instant) -> None:
        """The peer has these."""
        if not self._send.acknowledge(acks):
            return
        if not self._heard:
            self._heard = True
            self._send.resend_all(now)
        if self.state is State.RESETTING and self._send.empty:
            self._advance(Trigger.RESET_ACKED, now)
        self._settle(now)

    def receive(self, opcode: Opcode, message_id: MessageId, payload: bytes, now: Instant) -> None:
        """A control packet with a message id. Raises ``PeerError`` when it is out of the window."""
        if opcode in HARD_RESETS and message_id != 0:
            raise PeerError("hard reset with a message id")
        self._receive.accept(message_id, payload)
        self._acks.add(message_id)
        if message_id == 0 and opcode is Opcode.CONTROL_V1:
            # OpenVPN 3 answers a server's soft reset with its first flight, without one of its own.
            self._peer_resets = self.plan.reset is not Opcode.CONTROL_SOFT_RESET_V1
        if self.state is State.RESETTING:
            self._take_in_order(below=1)
        self._pump(now)

    def peer_appeared(self, now: Instant) -> None:
        """The peer's own reset has come before it acknowledged ours: send ours again with it."""
        if not self._heard:
            self._heard = True
            self._send.resend_all(now)

    def write(self, text: str, now: Instant) -> None:
        """Queue a control text, sent as one TLS record with its NUL once keys are exchanged."""
        self._queued.append(text)
        self._pump(now)

    def fail(self, reason: str, now: Instant) -> None:
        """Give it up."""
        self.failure = self.failure or reason
        self._advance(Trigger.FAILURE, now)

    # --- output --------------------------------------------------------------------------------

    @property
    def acks(self) -> AckQueue:
        """Acknowledgements for the connection to put into packets."""
        return self._acks

    def take_due(self, now: Instant) -> list[Outgoing]:
        """Packets for the wire now."""
        self._fill_window(now)
        return self._send.take_due(now)

    def next_deadline(self) -> Instant | None:
        """The next resend, or the end of the hand window."""
        deadlines = [self._send.next_deadline(), self.retires_at]
        if self.unfinished:
            deadlines.append(self.plan.deadline)
        return min((moment for moment in deadlines if moment is not None), default=None)

    @property
    def waiting(self) -> list[MessageId]:
        """Message ids of packets that we sent and the peer has not acknowledged."""
        return self._send.waiting

    @property
    def acknowledged(self) -> list[MessageId]:
        """Message ids of packets that we sent and the peer has, but of resets."""
        return self._send.acknowledged

    @property
    def unfinished(self) -> bool:
        """The hand window still runs."""
        return self.state in (State.RESETTING, State.HANDSHAKING, State.EXCHANGED)

    @property
    def established(self) -> bool:
        """Keys can be derived and messages sent."""
        return self.state in (State.EXCHANGED, State.ACKNOWLEDGED)

    # --- inside --------------------------------------------------------------------------------

    def _advance(self, trigger: Trigger, now: Instant) -> None:
        before = self.state
        self.state = next_state(before, trigger)
        if self.state is before:
            return
        if self.state is State.HANDSHAKING:
            self._unless_failed(self.tls.start, now)
            self._pump(now)
        elif self.state is State.EXCHANGED:
            self.established_at = now

    def _unless_failed(self, step: Callable[[], None], now: Instant) -> None:
        if self.state is State.FAILED:
            return
        try:
            step()
        except TlsFailed as error:
            self._unsent += self.tls.outgoing()  # the alert
            self.fail(str(error), now)

    def _pump(self, now: Instant) -> None:
        if self.state is State.RESETTING:
            return
        self._take_in_order()
        if self.state is State.FAILED:
            self._arrived = b""  # nobody reads it, and the peer may send for an hour
            return
        self._unless_failed(lambda: self._converse(now), now)
        self._unsent += self.tls.outgoing()
        if len(self._unsent) > MOST_UNSENT:
            self._unsent = b""
            self.fail("the peer acknowledges nothing", now)
        self._fill_window(now)
        self._settle(now)

    def _take_in_order(self, below: int | None = None) -> None:
        for message_id, data in self._receive.take(below):
            if message_id == 0 and self._peer_resets:
                self._read_reset(data)
            else:
                self._arrived += data

    def _settle(self, now: Instant) -> None:
        if self._send.empty and not self._unsent and not self._queued:
            self._advance(Trigger.ALL_ACKED, now)

    def _converse(self, now: Instant) -> None:
        if self._arrived:
            arrived, self._arrived = self._arrived, b""
            self.tls.feed(arrived)
        if not self.tls.established:
            return
        if not self.plan.is_server and not self._sent_own:
            self._send_own()
        for record in self.tls.records():
            self._read_record(record, now)
        while self.established and self._queued:
            self.tls.write(self._queued.pop(0).encode() + b"\0")

    def _read_record(self, record: bytes, now: Instant) -> None:
        if self.peer_message is not None:
            self.messages.extend(_texts(record))
            return
        try:
            self.peer_message = decode_key_method_2(record, from_server=not self.plan.is_server)
        except PeerError as error:
            raise TlsFailed(str(error)) from error
        if self.plan.is_server:
            self._send_own()
        self._advance(Trigger.KEYS_EXCHANGED, now)

    def _send_own(self) -> None:
        self._sent_own = True
        self.tls.write(self._own_message(self.own_source).encode())

    def _read_reset(self, payload: bytes) -> None:
        """Early negotiation in a server's hard reset: type, length, value (tls-crypt-v2.txt)."""
        while len(payload) >= 4:
            kind = int.from_bytes(payload[:2], "big")
            value = payload[4 : 4 + int.from_bytes(payload[2:4], "big")]
            if kind == _TLV_EARLY_NEGOTIATION and len(value) == 2:
                flags = int.from_bytes(value, "big")
                self._resend_client_key = bool(flags & _FLAG_RESEND_CLIENT_KEY)
            payload = payload[4 + int.from_bytes(payload[2:4], "big") :]

    def _fill_window(self, now: Instant) -> None:
        while self._unsent and self._send.free > 0:
            limit = (
                self.plan.payload_limit_with_key
                if self._resend_client_key
                else self.plan.payload_limit
            )
            piece, self._unsent = self._unsent[:limit], self._unsent[limit:]
            self._queue_packet(piece, now)

    def _queue_packet(self, payload: bytes, now: Instant) -> None:
        opcode = Opcode.CONTROL_WKC_V1 if self._resend_client_key else Opcode.CONTROL_V1
        self._resend_client_key = False
        self._send.queue(opcode, payload, now)


def _texts(record: bytes) -> list[str]:
    """The texts of a record, each ended by NUL; unprintable characters become ``_``."""
    texts = []
    for piece in record.split(b"\0"):
        text = piece.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            texts.append("".join(c if c.isprintable() else "_" for c in text))
    return texts
