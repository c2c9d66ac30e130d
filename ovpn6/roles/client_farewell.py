"""The last seconds of a client: ``explicit-exit-notify``. PURE.

In the control channel (``cc-exit``) the message is sent once and repeated by the reliability layer;
in the data channel, where nothing is acknowledged, once a second. Either way the client waits as
many seconds as the option says. Source: OpenVPN ``sig.c`` (process_explicit_exit_notification_*).
"""

from __future__ import annotations

from typing import Protocol

from ovpn6.model.flow import Finish
from ovpn6.model.names import Instant
from ovpn6.roles.client_news import Ending, Step
from ovpn6.roles.client_plan import Tunnel

INTERVAL = 1.0


class Leaving(Protocol):
    """A session that can say goodbye."""

    @property
    def tunnel(self) -> Tunnel | None:
        """None before there is one."""

    def goodbye(self, now: Instant) -> list[Step]:
        """Say it once."""


class Farewell:
    """``session`` None: nobody to tell. ``finish`` is what comes after; ``is_over`` is set when
    that has begun."""

    def __init__(self, session: Leaving | None, finish: Finish, now: Instant) -> None:
        tunnel = session.tunnel if session is not None else None
        self.finish = finish
        self.is_over = False
        self._session = session
        self._seconds = tunnel.exit_notify if tunnel is not None else 0
        self._in_control = tunnel.control_exit if tunnel is not None else False
        self._until = Instant(now + self._seconds)
        self._next = now
        self._said = False

    @property
    def is_long(self) -> bool:
        """There is somebody to tell."""
        return self._seconds > 0

    def tick(self, now: Instant) -> list[Step]:
        """Say it (again), or be done."""
        if self.is_over or self._session is None or now < self._next:
            return []
        if now >= self._until:
            return [Ending("exit-with-notification")]
        self._next = Instant(min(now + INTERVAL, self._until))
        if self._in_control and self._said:
            return []
        self._said = True
        return self._session.goodbye(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return self._next if self.is_long and not self.is_over else None
