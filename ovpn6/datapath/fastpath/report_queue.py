"""What the native worker tells, taken out of its queue on the daemon's event loop and told in turn.

A report that waits may be of something that is gone by then, and is for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ovpn6.datapath.fastpath._fastpath import Worker
from ovpn6.datapath.fastpath.reports import Happened, happened
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import LinkId

MOST_WAITING = 4096
"""Reports taken from the worker's queue before their turn."""


class ReportQueue:
    """``streams``: the other ends of connections, which have no address in a report."""

    def __init__(
        self, worker: Worker, loop: asyncio.AbstractEventLoop, tell: Callable[[Happened], None]
    ) -> None:
        self.streams: dict[LinkId, Endpoint] = {}
        self._worker = worker
        self._loop = loop
        self._tell = tell
        self._waiting: list[Happened] = []
        self._closed = False
        loop.add_reader(worker.fileno(), self._take)

    def forget(self, over: Callable[[Happened], bool]) -> None:
        """What was told of something that is gone is for nobody."""
        before = -1
        while before < len(self._waiting) < MOST_WAITING:
            before = len(self._waiting)
            self._fetch()
        self._waiting = [one for one in self._waiting if not over(one)]
        if self._waiting:
            self._loop.call_soon(self._take)

    def close(self) -> None:
        """Nothing is told any more, also of what waits."""
        self._loop.remove_reader(self._worker.fileno())
        self._closed = True

    def _take(self) -> None:
        if self._closed:
            return
        self._fetch()
        waiting, self._waiting = self._waiting, []
        while waiting and not self._closed:
            one = waiting.pop(0)
            # What a report makes the role do may end others that wait.
            self._waiting = waiting
            self._tell(one)
            waiting = self._waiting

    def _fetch(self) -> None:
        raw = self._worker.reports()
        self._waiting.extend(happened(one, self.streams) for one in raw)
