"""Mends the host's state when somebody else has deleted a part of it.

Routes only: the packet filter's tables are ours alone. The kernel tells of every change; at most
once a second it is asked what is there, and less often where that takes long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ovpn6.model.errors import HostError
from ovpn6.netconf.interface import HostState

PAUSE = 1.0
"""Seconds from the first change to a look."""
SHARE = 20
"""A look is not repeated for so many times as long as it took."""


class HostWatch:
    """From its construction to :meth:`close`, which comes before the host's state is closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: HostState,
        complain: Callable[[str], None],
    ) -> None:
        """``complain`` gets the reason when mending fails. Raises ``HostError``."""
        self._loop = loop
        self._host = host
        self._complain = complain
        self._files = host.news()
        self._timer: asyncio.TimerHandle | None = None
        self._took = 0.0
        self._listen()

    def close(self) -> None:
        """May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deafen()
        self._files = ()

    def _listen(self) -> None:
        for file in self._files:
            self._loop.add_reader(file, self._changed)

    def _deafen(self) -> None:
        for file in self._files:
            self._loop.remove_reader(file)

    def _changed(self) -> None:
        self._deafen()
        self._timer = self._loop.call_later(max(PAUSE, SHARE * self._took), self._look)

    def _look(self) -> None:
        self._timer = None
        began = self._loop.time()
        try:
            self._host.mend()
        except HostError as error:
            self._complain(f"mending the host's state: {error}")
        self._took = self._loop.time() - began
        self._listen()
