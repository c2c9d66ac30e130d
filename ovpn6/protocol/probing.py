"""Probes of a path's size that every OpenVPN answers: acknowledged control packets, sent again with
padding. PURE.

A receiver drops what it has had and acknowledges it all the same, at once (OpenVPN ``ssl.c``,
``tls_pre_decrypt``; OpenVPN 3 ``protostack.hpp``). Its acknowledgement packet names the message id
it has just seen and repeats older ones, so only the newest id of a P_ACK_V1, which is sent for
nothing else, answers a probe. OpenVPN 2 and ovpn6 write it first, OpenVPN 3 (``relack.hpp``) last.

An acknowledgement names a message and no probe. So what it proves is the *smallest* probe by that
message that may still be answered, and a message that stands for an unanswered probe does not stand
for a larger one until :data:`LINGER` has passed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ovpn6.model.names import Instant, MessageId
from ovpn6.model.records import dataclass

LINGER = 5.0
"""Seconds in which an answer may still come."""
_MOST_FLYING = 8
"""Probes by one message that are remembered; with as many it is not used for another."""


class AckOrder:
    """Which end of a peer's acknowledgements is the newest: learned from what we waited for."""

    def __init__(self) -> None:
        self._newest_is_last: bool | None = None

    def learn(self, acks: Sequence[MessageId], expected: Collection[MessageId]) -> None:
        """``acks`` of one packet; ``expected`` are those that the peer had not given before."""
        if self._newest_is_last is not None or len(acks) < 2:
            return
        ends = [acks[0] in expected, acks[-1] in expected]
        if ends.count(True) == 1 == sum(1 for ack in acks if ack in expected):
            self._newest_is_last = ends[1]

    def newest(self, acks: Sequence[MessageId]) -> MessageId | None:
        """What the packet was sent for; None where that cannot be told."""
        if len(acks) == 1:
            return acks[0]
        if not acks or self._newest_is_last is None:
            return None
        return acks[-1 if self._newest_is_last else 0]


@dataclass(frozen=True, slots=True)
class _Flying:
    octets: int
    probe: int | None
    sent: Instant


class ProbeIds:
    """Which acknowledged message a probe repeats, and which probe an acknowledgement answers.

    One object for each negotiation. The message that the peer acknowledged last stands for none: a
    peer may name that one again.
    """

    def __init__(self) -> None:
        self._flying: dict[MessageId, list[_Flying]] = {}
        self._last_acknowledged: MessageId | None = None

    def choose(
        self, probe: int, octets: int, acknowledged: Iterable[MessageId], now: Instant
    ) -> MessageId | None:
        """The message to repeat for ``probe``, which is taken then; None when none is to spare.

        ``acknowledged``: those the peer has.
        """
        usable = [one for one in acknowledged if one != self._last_acknowledged]
        chosen = self._of_this_size(usable, octets, now) or self._unused(usable)
        if chosen is None:
            chosen = self._of_larger(usable, octets)
        if chosen is not None:
            self._flying.setdefault(chosen, []).append(_Flying(octets, probe, now))
        return chosen

    def answered(self, acks: Sequence[MessageId], order: AckOrder) -> int | None:
        """The probe that a packet of nothing but acknowledgements answers."""
        order.learn(acks, self._flying)
        newest = order.newest(acks)
        if newest is None:
            return None
        self._last_acknowledged = newest
        flying = self._flying.get(newest)
        if not flying:
            return None
        smallest = min(flying, key=lambda one: one.octets)
        flying.remove(smallest)
        return smallest.probe

    def forget(self) -> None:
        """Answers to what was sent so far answer nothing any more: it took another path."""
        self._flying = {
            message: [_Flying(0, None, one.sent) for one in flying]
            for message, flying in self._flying.items()
        }

    def _of_this_size(self, usable: list[MessageId], octets: int, now: Instant) -> MessageId | None:
        """A message that stands for this size alone, as when a probe is sent again."""
        for message, flying in tuple(self._flying.items()):
            flying[:] = [one for one in flying if now < one.sent + LINGER]
            if not flying:
                del self._flying[message]
        for message in usable:
            flying = self._flying.get(message, [])
            if flying and all(one.octets == octets for one in flying):
                return message if len(flying) < _MOST_FLYING else None
        return None

    def _unused(self, usable: list[MessageId]) -> MessageId | None:
        return next((message for message in usable if message not in self._flying), None)

    def _of_larger(self, usable: list[MessageId], octets: int) -> MessageId | None:
        """A message that stands only for larger probes: the fewest lose by being taken for this."""
        open_ones = [
            message
            for message in usable
            if all(one.octets >= octets for one in self._flying[message])
            and len(self._flying[message]) < _MOST_FLYING
        ]
        return min(open_ones, key=lambda message: len(self._flying[message]), default=None)
