"""Is the network namespace that holds our device still the one of its name?

A namespace lives as long as somebody has a socket in it, and we have: ``ip netns delete`` takes
only its name away. Then nobody can reach the tunnel any more, and nothing else would tell us.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ovpn6.model.errors import HostError

DIRECTORY = Path("/run/netns")
INTERVAL = 1.0
"""Seconds between looks."""


class NamespaceWatch:
    """Looks from its construction until it is closed, or has told. ``reason``: what it told."""

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        lost: Callable[[str], None],
        directory: Path = DIRECTORY,
    ) -> None:
        """``lost`` gets the reason, once. The directory is looked up now, for ``--chroot``.

        Raises ``HostError`` when there is no such namespace.
        """
        self._name = name
        self._loop = loop
        self._lost = lost
        self.reason = ""
        try:
            self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _host_error(name, error) from None
        try:
            self._known = self._look()
        except OSError as error:
            os.close(self._directory)
            raise _host_error(name, error) from None
        self._timer: asyncio.TimerHandle | None = loop.call_later(INTERVAL, self._tick)

    def close(self) -> None:
        """May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _tick(self) -> None:
        self._timer = None
        try:
            if self._look() != self._known:
                self.reason = f"network namespace {self._name} was removed and made anew"
        except FileNotFoundError:
            self.reason = f"network namespace {self._name} was removed"
        except OSError:
            # Nothing is known to be wrong with it.
            pass
        if self.reason:
            self.close()
            self._lost(self.reason)
        else:
            self._timer = self._loop.call_later(INTERVAL, self._tick)

    def _look(self) -> tuple[int, int]:
        found = os.stat(self._name, dir_fd=self._directory)
        return found.st_dev, found.st_ino


def _host_error(name: str, error: OSError) -> HostError:
    operation = f"look at network namespace {name}"
    return HostError(operation, error.strerror or "", error.errno or 0)
