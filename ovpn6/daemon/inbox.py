"""The one queue of inputs: bounded against strangers, lossless for everything else."""

from __future__ import annotations

import asyncio
from collections import deque

from ovpn6.model.flow import ControlReceived, Input
from ovpn6.model.names import Instant

MAX_CONTROL = 4096
"""Control datagrams that may wait; more are dropped, as a full socket buffer would. A peer sends
them again."""


class Inbox:
    """Filled from callbacks of the event loop, emptied by one consumer."""

    def __init__(self) -> None:
        self._waiting: deque[Input] = deque()
        self._control = 0
        self._arrived = asyncio.Event()
        self.dropped = 0
        """Control datagrams dropped because too many waited."""

    def put(self, happened: Input) -> None:
        """Add an input."""
        if isinstance(happened, ControlReceived):
            if self._control >= MAX_CONTROL:
                self.dropped += 1
                return
            self._control += 1
        self._waiting.append(happened)
        self._arrived.set()

    def take(self) -> Input | None:
        """The oldest input, None when there is none."""
        if not self._waiting:
            return None
        happened = self._waiting.popleft()
        if isinstance(happened, ControlReceived):
            self._control -= 1
        return happened

    def clear(self) -> None:
        """Forget all: the role they were for is gone."""
        self._waiting.clear()
        self._control = 0

    async def wait(self, deadline: Instant | None) -> None:
        """Return when there is an input, or when the deadline (on the loop's clock) has come."""
        if self._waiting:
            return
        self._arrived.clear()
        if deadline is None:
            await self._arrived.wait()
            return
        timer = asyncio.get_running_loop().call_at(deadline, self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            timer.cancel()
