"""The reliability layer: control packets arrive once, in order, or are sent again. PURE.

Three small parts, one of each a negotiation: what we sent (:class:`SendWindow`), what we got
(:class:`ReceiveWindow`), what we owe an acknowledgement (:class:`AckQueue`). Source: OpenVPN
``reliable.c``: send window 6, receive window 12, first resend after ``--tls-timeout`` and
doubled each time, resend at once when three later packets were acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant, MessageId
from ovpn6.model.records import dataclass
from ovpn6.protocol.packets import Opcode

SEND_WINDOW = 6
RECEIVE_WINDOW = 12
LATER_ACKS_THAT_RESEND = 3
RECENT_ACKS = 8
REMEMBERED_ACKNOWLEDGED = 16


@dataclass(slots=True)
class Outgoing:
    """A packet that waits for its acknowledgement."""

    opcode: Opcode
    message_id: MessageId
    payload: bytes
    due: Instant
    timeout: float
    later_acks: int = 0


class SendWindow:
    """Packets sent and not yet acknowledged, at most six; more wait their turn outside."""

    def __init__(self, first_timeout: float, next_id: int = 0) -> None:
        self._first_timeout = first_timeout
        self._next_id = next_id
        self._waiting: list[Outgoing] = []

    @property
    def free(self) -> int:
        """How many packets may be queued now. The window spans ids, so a lost oldest packet holds
        back what is seven ids later, as the receiver's window needs."""
        oldest = self._waiting[0].message_id if self._waiting else self._next_id
        return SEND_WINDOW - (self._next_id - oldest)

    @property
    def empty(self) -> bool:
        """Everything queued has been acknowledged."""
        return not self._waiting

    @property
    def waiting(self) -> list[MessageId]:
        """The ids that are not acknowledged yet."""
        return [packet.message_id for packet in self._waiting]

    @property
    def acknowledged(self) -> list[MessageId]:
        """The newest ids below all that wait, at most :data:`REMEMBERED_ACKNOWLEDGED`, without 0,
        which is a reset."""
        oldest = self._waiting[0].message_id if self._waiting else self._next_id
        first = max(1, oldest - REMEMBERED_ACKNOWLEDGED)
        return [MessageId(one) for one in range(first, oldest)]

    def queue(self, opcode: Opcode, payload: bytes, now: Instant) -> None:
        """Take a packet under the next message id; it is due at once."""
        packet = Outgoing(opcode, MessageId(self._next_id), payload, now, self._first_timeout)
        self._waiting.append(packet)
        self._next_id += 1

    def acknowledge(self, acks: Iterable[MessageId]) -> bool:
        """Forget what was acknowledged; returns whether anything was."""
        acked = set(acks)
        hits = [packet.message_id for packet in self._waiting if packet.message_id in acked]
        if not hits:
            return False
        self._waiting = [packet for packet in self._waiting if packet.message_id not in acked]
        for packet in self._waiting:
            packet.later_acks += sum(1 for hit in hits if hit > packet.message_id)
        return True

    def take_due(self, now: Instant) -> list[Outgoing]:
        """Packets to put on the wire now, oldest first; each is scheduled for its next resend."""
        due = [
            packet
            for packet in self._waiting
            if packet.due <= now or packet.later_acks >= LATER_ACKS_THAT_RESEND
        ]
        for packet in due:
            packet.due = Instant(now + packet.timeout)
            packet.timeout *= 2
            packet.later_acks = 0
        return due

    def resend_all(self, now: Instant) -> None:
        """The peer has just begun to answer: everything is due now, at the first timeout."""
        for packet in self._waiting:
            packet.due = now
            packet.timeout = self._first_timeout

    def next_deadline(self) -> Instant | None:
        """When the next resend is due."""
        return min((packet.due for packet in self._waiting), default=None)


class ReceiveWindow:
    """Puts packets in order; holds at most twelve that came early."""

    def __init__(self, next_id: int = 0) -> None:
        self._next_id = next_id
        self._early: dict[int, bytes] = {}

    def accept(self, message_id: MessageId, payload: bytes) -> None:
        """Take a packet; a repeated one changes nothing (and is acknowledged all the same).

        Raises ``PeerError`` for an id past the window.
        """
        if message_id >= self._next_id + RECEIVE_WINDOW:
            raise PeerError("message id past the window")
        if message_id >= self._next_id:
            self._early.setdefault(message_id, payload)

    def take(self, below: int | None = None) -> list[tuple[MessageId, bytes]]:
        """Take what is in order now, with ``below`` only smaller ids. What is not taken keeps the
        window where it is, and so bounds what a peer can have us hold."""
        ready: list[tuple[MessageId, bytes]] = []
        while self._next_id in self._early and (below is None or self._next_id < below):
            ready.append((MessageId(self._next_id), self._early.pop(self._next_id)))
            self._next_id += 1
        return ready


class AckQueue:
    """Acknowledgements we owe, and the latest we gave: repeating those repairs lost ones."""

    def __init__(self) -> None:
        self._owed: list[MessageId] = []
        self._recent: list[MessageId] = []

    @property
    def owed(self) -> bool:
        """Whether the peer waits for an acknowledgement."""
        return bool(self._owed)

    def add(self, message_id: MessageId) -> None:
        """Owe one more; a peer cannot make the list longer than its window."""
        if message_id not in self._owed:
            self._owed.append(message_id)
            del self._owed[: -2 * RECEIVE_WINDOW]

    def take(self, limit: int) -> tuple[MessageId, ...]:
        """Up to ``limit`` ids for one packet: owed ones first, then recent ones again."""
        acks = self._owed[:limit]
        del self._owed[:limit]
        for ack in acks:
            if ack in self._recent:
                self._recent.remove(ack)
            self._recent.insert(0, ack)
        del self._recent[RECENT_ACKS:]
        again = [ack for ack in self._recent if ack not in acks]
        return tuple(acks + again[: limit - len(acks)])
