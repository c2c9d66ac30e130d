"""When things are due: one moment, the first of several, and a heap that forgets what was set anew.
PURE."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from ovpn6.model.names import Instant

K = TypeVar("K", bound=Hashable)


def is_due(moment: Instant | None, now: Instant) -> bool:
    """Whether the moment has come; None never does."""
    return moment is not None and now >= moment


def earliest(*moments: Instant | None) -> Instant | None:
    """The first of them, leaving those out that never come."""
    return min((moment for moment in moments if moment is not None), default=None)


class Deadlines(Generic[K]):
    """At most one deadline for each key; setting and taking cost O(log n)."""

    def __init__(self) -> None:
        self._current: dict[K, Instant] = {}
        self._heap: list[tuple[Instant, int, K]] = []
        self._count = 0

    def set(self, key: K, when: Instant | None) -> None:
        """Replace a key's deadline; None removes it."""
        if when is None:
            self._current.pop(key, None)
            return
        if self._current.get(key) == when:
            return
        self._current[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 4 * len(self._current) + 64:
            self._rebuild()

    def next(self) -> Instant | None:
        """The earliest deadline."""
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Instant) -> list[K]:
        """The keys whose time has come, earliest first; their deadlines are gone."""
        due: list[K] = []
        while (when := self.next()) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._current[key]
            due.append(key)
        return due

    def _rebuild(self) -> None:
        self._heap = [
            (when, count, key) for when, count, key in self._heap if self._current.get(key) == when
        ]
        heapq.heapify(self._heap)
