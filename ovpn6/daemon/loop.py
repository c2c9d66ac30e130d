"""The heart: takes inputs one at a time, lets the role step, has its actions carried out.

One consumer, so nothing here needs a lock. The clock is the event loop's, monotonic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from ovpn6.daemon.inbox import Inbox
from ovpn6.model.errors import bug_text
from ovpn6.model.flow import (
    Action,
    ControlReceived,
    Finish,
    FloatConflict,
    Input,
    KeyConfirmed,
    KeyWornOut,
    LinkAccepted,
    LinkClosed,
    PacketTooBig,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
    Tick,
)
from ovpn6.model.names import Instant
from ovpn6.roles.interface import Role

BATCH = 64
"""Inputs taken before sockets and timers get their turn."""
STUCK_PAUSE = 0.01
"""Seconds to wait when a tick did not move the deadline."""


OF_REMOTE_ENDS = (
    ControlReceived,
    FloatConflict,
    KeyConfirmed,
    KeyWornOut,
    LinkAccepted,
    LinkClosed,
    PacketTooBig,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
)
"""Inputs that remote ends cause: a bug that one of them finds must not end the daemon. (A session's
own time is the role's affair: a tick is about all of them.)"""


class Executes(Protocol):
    """What carries out a role's actions, in order."""

    def execute(self, actions: Iterable[Action]) -> Finish | None:
        """Do them; the ``Finish`` among them, which is the last thing done."""


Complaint = Callable[[str, str], None]
"""Takes a text for the log, and who caused it."""


class RoleLoop:
    """Runs one life of a role, from ``Started`` to ``Finish``."""

    def __init__(
        self,
        role: Role,
        executor: Executes,
        inbox: Inbox,
        clock: Callable[[], float],
        complain: Complaint,
    ) -> None:
        self._role = role
        self._executor = executor
        self._inbox = inbox
        self._clock = clock
        self._complain = complain
        self._handled: Input | None = None

    @property
    def serving(self) -> str:
        """Where the input being handled came from, for log lines; "" for ourselves."""
        return _who(self._handled) if self._handled is not None else ""

    async def run(self) -> Finish:
        """Return when the role is done. The first input must wait in the inbox."""
        while True:
            finish = await self._tick()
            taken = 0
            while finish is None and taken < BATCH:
                happened = self._inbox.take()
                if happened is None:
                    break
                taken += 1
                finish = self._step(happened)
            if finish is not None:
                return finish
            if taken == BATCH:
                await asyncio.sleep(0)
            else:
                await self._inbox.wait(self._role.next_deadline())

    async def _tick(self) -> Finish | None:
        """Let the role do what is due."""
        deadline = self._role.next_deadline()
        if deadline is None or deadline > self._clock():
            return None
        finish = self._step(Tick())
        if finish is None and self._role.next_deadline() == deadline:
            await asyncio.sleep(STUCK_PAUSE)
        return finish

    def _step(self, happened: Input) -> Finish | None:
        now = Instant(self._clock())
        if not isinstance(happened, OF_REMOTE_ENDS):
            return self._executor.execute(self._role.step(happened, now))
        self._handled = happened
        try:
            actions = self._role.step(happened, now)
        except Exception as error:  # A remote end must not be able to end the daemon.
            dropped = type(happened).__name__
            self._complain(f"{bug_text(error)}; {dropped} was dropped", self.serving)
            return None
        finally:
            self._handled = None
        return self._executor.execute(actions)


def _who(happened: Input) -> str:
    """Whom an input is about, for log lines."""
    match happened:
        case ControlReceived() | PeerFloated() | FloatConflict() | PacketTooBig():
            return str(happened.path)
        case LinkAccepted():
            return str(happened.remote)
        case LinkClosed():
            return f"link {happened.link}"
        case _:
            return f"peer {getattr(happened, 'peer', '?')}"
