"""Signals of the process, kept from the first moment to the last: none is lost between lives."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from ovpn6.model.names import Signal

MEANINGS = {
    signal.SIGTERM: Signal.TERM,
    signal.SIGINT: Signal.INT,
    signal.SIGHUP: Signal.HUP,
    signal.SIGUSR1: Signal.USR1,
    signal.SIGUSR2: Signal.USR2,
}
ENDING = frozenset({Signal.TERM, Signal.INT})


class Signals:
    """Catches signals for whoever listens; those that nobody heard wait for the next listener."""

    def __init__(self) -> None:
        self._listener: Callable[[Signal], None] | None = None
        self._waiting: list[Signal] = []
        self.ending = asyncio.Event()
        """Set from the first SIGTERM or SIGINT on."""

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the process's signals over."""
        for number, meaning in MEANINGS.items():
            loop.add_signal_handler(number, self.caught, meaning)

    def caught(self, meaning: Signal) -> None:
        """A signal came."""
        if meaning in ENDING:
            self.ending.set()
        if self._listener is None:
            self._waiting.append(meaning)
        else:
            self._listener(meaning)

    def listen(self, listener: Callable[[Signal], None]) -> None:
        """Hear signals from now on, those that wait first."""
        self._listener = listener
        waiting, self._waiting = self._waiting, []
        for meaning in waiting:
            listener(meaning)

    def ignore(self) -> None:
        """Nobody listens."""
        self._listener = None
