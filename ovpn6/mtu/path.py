"""The path MTU toward one peer over one path: datagram packetisation layer discovery. PURE.

Starts at a size that every path carries, rises only by an acknowledged probe, and falls when a size
that was confirmed is no longer answered. A Packet Too Big that was validated is a hint: it lets the
size fall and names the next one to probe. One that was not lets the size in use be confirmed at
once. Sources: RFC 8899 sections 5.1 to 5.3 and 4.6; RFC 8201.

The timers are those of RFC 8899; probes of several sizes are sent at once, and smaller ones as soon
as one of them is answered, so that a search takes a few round trips whatever does not pass.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from ovpn6.model.errors import UsageError
from ovpn6.model.names import Instant
from ovpn6.model.records import dataclass
from ovpn6.mtu.candidates import next_sizes, sizes_between
from ovpn6.mtu.overhead import IPV6_MINIMUM
from ovpn6.mtu.timing import Timing

_REMEMBERED = 64
"""Probes whose late answer still counts."""
_HINT_PAUSE = 1.0
"""Seconds from a hint that anybody may have sent to the next that is looked at."""


_USUAL = Timing()


class Why(Enum):
    """What a path MTU was learned from."""

    BASE = "base"
    PROBE = "probe"
    PACKET_TOO_BIG = "packet too big"
    BLACK_HOLE = "black hole"
    INTERFACE = "the interface's own"
    SILENCE = "silence"
    """Neither the size in use nor the base size is answered any more."""


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send an outer packet of ``size`` octets that the peer answers; ``probe`` names the answer."""

    probe: int
    size: int


@dataclass(frozen=True, slots=True)
class SizeChanged:
    """The path MTU is ``size`` now; or it is the base size, and nothing larger passes."""

    size: int
    why: Why


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The peer answers no probe, not even of the base size; said once for each path."""


Action = SendProbe | SizeChanged | Unanswered


class Phase(Enum):
    """RFC 8899 section 5.2."""

    BASE = "base"
    """The base size is being confirmed."""
    SEARCHING = "searching"
    COMPLETE = "complete"
    ERROR = "error"
    """Nothing is answered; the base size is used unconfirmed."""


@dataclass(frozen=True, slots=True)
class Report:
    """For status: the size, since when and from what, and the probes so far."""

    size: int
    why: Why
    since: Instant
    phase: Phase
    sent: int
    lost: int


@dataclass(slots=True)
class _Trial:
    """One size under test."""

    attempts: int
    due: Instant
    unsent: bool = False
    """The last attempt could not be made: that says nothing of the path."""


@dataclass(slots=True)
class _Confirmation:
    """The size in use under test; ``base_answered`` tells a black hole from a dead path."""

    trial: _Trial
    base_answered: bool = False


@dataclass(slots=True)
class _Counts:
    next_probe: int = 0
    sent: int = 0
    lost: int = 0
    flying: dict[int, int] = field(default_factory=dict)
    """Size by probe, the newest :data:`_REMEMBERED`."""


class PathMtu:
    """One path's machine. Every method returns what is to be done, in order.

    ``deadline`` is when :meth:`due` wants to be called next; calling it earlier does no harm.
    """

    def __init__(self, ceiling: int, timing: Timing = _USUAL, base: int = IPV6_MINIMUM) -> None:
        """``ceiling``: the largest size worth probing, octets. ``UsageError`` below ``base``."""
        if ceiling < base:
            raise UsageError(f"path MTU ceiling {ceiling} below base {base}")
        self._timing = timing
        self._base = base
        self._ceiling = ceiling
        self._size = base
        self._why = Why.BASE
        self._since = Instant(0.0)
        self._phase = Phase.BASE
        self._fails: int | None = None
        self._search: dict[int, _Trial] = {}
        self._confirmation: _Confirmation | None = None
        self._confirm_at: Instant | None = None
        self._raise_at: Instant | None = None
        self._hinted_at: Instant | None = None
        self._hinted = 0
        self._told = False
        self._counts = _Counts()

    @property
    def size(self) -> int:
        """The path MTU in use, octets."""
        return self._size

    @property
    def deadline(self) -> Instant | None:
        """When something is due."""
        times = [trial.due for trial in self._search.values()]
        if self._confirmation is not None:
            times.append(self._confirmation.trial.due)
        times += [when for when in (self._confirm_at, self._raise_at) if when is not None]
        return min(times, default=None)

    def report(self) -> Report:
        """For status."""
        counts = self._counts
        return Report(self._size, self._why, self._since, self._phase, counts.sent, counts.lost)

    @property
    def ceiling(self) -> int:
        """The largest size worth probing, octets."""
        return self._ceiling

    @property
    def may_grow(self) -> bool:
        """Whether a probe is on its way that is larger than the path MTU in use."""
        return any(size > self._size for size in self._counts.flying.values())

    def begin(self, now: Instant) -> list[Action]:
        """The path is there: confirm the base size, and try the largest, which most paths carry."""
        self._since = now
        return self._confirm_base(now)

    def answered(self, probe: int, now: Instant) -> list[Action]:
        """The peer's answer to a probe; one that is not known, or was answered, counts nothing."""
        size = self._counts.flying.pop(probe, None)
        if size is None:
            return []
        confirmation = self._confirmation
        if confirmation is not None:
            if size >= self._size:
                self._confirmed(now)
            elif size == self._base:
                confirmation.base_answered = True
        self._search.pop(size, None)
        first = self._phase in (Phase.BASE, Phase.ERROR)
        if first:
            self._told = False
            self._raise_at = None
            self._phase = Phase.SEARCHING
            self._search.pop(self._base, None)
            self._confirmed(now)
        risen = self._rise(size, now)
        closing_in = self._close_in(now) if first or risen else []
        return [*risen, *closing_in, *self._search_on(now)]

    def unsent(self, probe: int, now: Instant) -> None:
        """A probe could not be sent now: it is tried again soon."""
        size = self._counts.flying.pop(probe, None)
        if size is None:
            return
        self._counts.sent -= 1
        trials = [self._search.get(size)]
        if self._confirmation is not None and size == self._size:
            trials.append(self._confirmation.trial)
        for trial in trials:
            if trial is not None and trial.attempts and not trial.unsent:
                trial.attempts -= 1
                trial.unsent = True
                trial.due = _after(now, self._timing.probe / 4)

    def too_long(self, probe: int, now: Instant) -> list[Action]:
        """A probe is longer than the outgoing interface takes: its size is lost at once."""
        size = self._counts.flying.pop(probe, None)
        if size is None or size < self._size:
            return []
        self._counts.lost += 1
        if size == self._base:
            return self._give_up(now) if self._phase is Phase.BASE else []
        actions: list[Action] = []
        if size == self._size:
            actions += self._fall(Why.INTERFACE, now)
        return [*actions, *self._failed(size, now)]

    def too_big(self, size: int, now: Instant) -> list[Action]:
        """A validated Packet Too Big: ``size`` octets would have passed.

        Ignored below the base size, and when no packet so long was sent (RFC 8899 section 4.6.2).
        """
        largest = max([self._size, *self._search])
        if not self._base <= size < largest:
            return []
        self._search = {s: t for s, t in self._search.items() if s <= size}
        actions: list[Action] = []
        if size < self._size:
            actions += self._fall(Why.PACKET_TOO_BIG, now)
        self._fails = size + 1
        self._raise_at = _after(now, self._timing.raise_)
        if size > self._size and size not in self._search:
            self._phase = Phase.SEARCHING
            self._search = {}
            actions += self._try(size, now)
        else:
            actions += self._search_on(now)
        return actions

    def hint(self, size: int, now: Instant) -> list[Action]:
        """A Packet Too Big that anybody may have sent: the size in use is confirmed at once, and
        ``size`` is probed beside it. One in :data:`_HINT_PAUSE` is looked at."""
        if not self._base <= size < self._size:
            return []
        if self._hinted_at is not None and now < self._hinted_at + _HINT_PAUSE:
            return []
        self._hinted_at, self._hinted = now, size
        actions = self._begin_confirmation(now) if self._confirmation is None else []
        return [*actions, self._probe(size)]

    def due(self, now: Instant) -> list[Action]:
        """Whatever time has brought."""
        actions = self._confirm_due(now)
        for size, trial in sorted(self._search.items(), reverse=True):
            if trial.due <= now and size in self._search:
                actions += self._retry(size, trial, now)
        if self._raise_at is not None and self._raise_at <= now:
            actions += self._raise(now)
        return actions

    # --- the base size ---------------------------------------------------------------------------

    def _confirm_base(self, now: Instant) -> list[Action]:
        self._phase = Phase.BASE
        self._confirm_at = self._raise_at = self._confirmation = None
        self._search = {}
        # The larger one first: so an answer to the base size says something of the other.
        sizes = [self._base] if self._fails is not None else [self._ceiling, self._base]
        return [action for size in dict.fromkeys(sizes) for action in self._try(size, now)]

    def _give_up(self, now: Instant) -> list[Action]:
        self._phase = Phase.ERROR
        self._search = {}
        self._fails = None
        self._raise_at = _after(now, self._timing.confirmation)
        if self._told:
            return []
        self._told = True
        return [Unanswered()]

    # --- the search ------------------------------------------------------------------------------

    def _rise(self, size: int, now: Instant) -> list[Action]:
        if size <= self._size:
            return []
        self._size, self._why, self._since = size, Why.PROBE, now
        self._search = {s: t for s, t in self._search.items() if s > size}
        self._hinted = 0
        if self._fails is not None and self._fails <= size:
            self._fails = None
        self._confirmed(now)
        return [SizeChanged(size, Why.PROBE)]

    def _close_in(self, now: Instant) -> list[Action]:
        """What is still under test is perhaps too large: try what lies below it."""
        if not self._search:
            return []
        sizes = sizes_between(self._size, min(self._search), self._ceiling)
        return [action for size in sizes for action in self._try(size, now)]

    def _search_on(self, now: Instant) -> list[Action]:
        """When no size is under test: the next ones, or the end of the search."""
        if self._search or self._phase is Phase.COMPLETE:
            return []
        sizes = next_sizes(self._size, self._fails, self._ceiling)
        if sizes:
            self._phase = Phase.SEARCHING
            return [action for size in sizes for action in self._try(size, now)]
        self._phase = Phase.COMPLETE
        if self._size < self._ceiling and self._raise_at is None:
            self._raise_at = _after(now, self._timing.raise_)
        if self._why is not Why.BASE:
            return []
        self._why, self._since = Why.PROBE, now
        return [SizeChanged(self._size, Why.PROBE)]

    def _retry(self, size: int, trial: _Trial, now: Instant) -> list[Action]:
        self._counts.lost += not trial.unsent
        if trial.attempts < self._timing.max_probes:
            return self._try(size, now)
        if self._phase in (Phase.BASE, Phase.ERROR):
            return self._give_up(now)
        return self._failed(size, now)

    def _failed(self, size: int, now: Instant) -> list[Action]:
        self._fails = min(size, self._fails or size)
        self._search = {s: t for s, t in self._search.items() if s < size}
        return self._search_on(now)

    def _raise(self, now: Instant) -> list[Action]:
        self._raise_at = None
        if self._phase is Phase.ERROR:
            return self._confirm_base(now)
        self._fails = None
        self._phase = Phase.SEARCHING
        return self._search_on(now)

    # --- confirmation ----------------------------------------------------------------------------

    def _confirmed(self, now: Instant) -> None:
        self._confirmation = None
        self._confirm_at = _after(now, self._timing.confirmation)

    def _confirm_due(self, now: Instant) -> list[Action]:
        if self._confirm_at is not None and self._confirm_at <= now:
            return self._begin_confirmation(now)
        confirmation = self._confirmation
        if confirmation is None or confirmation.trial.due > now:
            return []
        self._counts.lost += not confirmation.trial.unsent
        if confirmation.trial.attempts < self._timing.max_probes:
            confirmation.trial.attempts += 1
            confirmation.trial.unsent = False
            confirmation.trial.due = _after(now, self._timing.probe)
            return [self._probe(self._size), *self._small_probe()]
        failed, base_answered = self._size, confirmation.base_answered
        if failed == self._base:
            return self._confirm_base(now)
        actions = self._fall(Why.BLACK_HOLE if base_answered else Why.SILENCE, now)
        if not base_answered:
            return [*actions, *self._confirm_base(now)]
        self._fails = failed
        hinted, self._hinted = self._hinted, 0
        if self._base < hinted < failed:
            actions += self._try(hinted, now)
        return [*actions, *self._search_on(now)]

    def _begin_confirmation(self, now: Instant) -> list[Action]:
        self._confirm_at = None
        self._confirmation = _Confirmation(_Trial(1, _after(now, self._timing.probe)))
        return [self._probe(self._size)]

    def _small_probe(self) -> list[Action]:
        return [self._probe(self._base)] if self._size > self._base else []

    def _fall(self, why: Why, now: Instant) -> list[Action]:
        """To the base size; what is under way proves nothing any more."""
        self._size, self._why, self._since = self._base, why, now
        self._phase = Phase.SEARCHING
        self._search = {}
        self._fails = self._raise_at = None
        self._counts.flying.clear()
        self._confirmed(now)
        return [SizeChanged(self._base, why)]

    # --- probes ----------------------------------------------------------------------------------

    def _try(self, size: int, now: Instant) -> list[Action]:
        trial = self._search.setdefault(size, _Trial(0, now))
        trial.attempts += 1
        trial.unsent = False
        trial.due = _after(now, self._timing.probe)
        return [self._probe(size)]

    def _probe(self, size: int) -> SendProbe:
        counts = self._counts
        counts.next_probe += 1
        counts.sent += 1
        counts.flying[counts.next_probe] = size
        if len(counts.flying) > _REMEMBERED:
            del counts.flying[next(iter(counts.flying))]
        return SendProbe(counts.next_probe, size)


def _after(now: Instant, seconds: float) -> Instant:
    return Instant(now + seconds)
