"""When one of two equal ends without ``remote`` opens its socket: at once, and after a pause. PURE.

In the place of :class:`~ovpn6.roles.client_dialer.Dialer`, with nothing to look up.
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.model.flow import Action, HostResolved
from ovpn6.model.names import Instant, Level
from ovpn6.roles.client_news import Ending, log


class Listener:
    """``listen`` opens the socket, ``pause`` is in seconds (``connect-retry``)."""

    def __init__(self, listen: Callable[[Instant], list[Action]], pause: int) -> None:
        self._listen = listen
        self._pause = pause
        self._due: Instant | None = None

    def attempt(self, now: Instant) -> list[Action]:
        """Open it now."""
        self._due = None
        return self._listen(now)

    def after(self, ending: Ending, now: Instant) -> list[Action]:
        """A session has ended."""
        self._due = Instant(now + self._pause)
        return [log(Level.INFO, f"Restart pause, {self._pause} second(s)")]

    def succeeded(self) -> None:
        """The tunnel is up."""

    def resolved(self, answer: HostResolved, now: Instant) -> list[Action]:
        """Nothing was looked up."""
        return []

    def hurry(self, now: Instant) -> list[Action]:
        """Cut a pause short."""
        return self.attempt(now) if self._due is not None else []

    def cancel(self) -> list[Action]:
        """Open nothing more until asked."""
        self._due = None
        return []

    def tick(self, now: Instant) -> list[Action]:
        """Do what is due."""
        return self.attempt(now) if self._due is not None and now >= self._due else []

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return self._due
