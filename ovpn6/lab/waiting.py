"""Waiting for a condition, with a limit and an explanation. Nothing in a lab just sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from ovpn6.lab.errors import LabError, LabTimeout

POLL_INTERVAL = 0.02
"""Seconds between two looks at a condition."""
PATIENCE = float(os.environ.get("OVPN6_LAB_PATIENCE", "1"))
"""What limits are multiplied by: more than 1 on a machine that is slow, as an emulated one is."""

T = TypeVar("T")


class Watched(Protocol):
    """A process whose end makes waiting pointless."""

    @property
    def running(self) -> bool: ...

    def describe(self) -> str:
        """Its name, state and the end of its log, for an error message."""


def wait_for(
    condition: Callable[[], T | None],
    limit: float,
    what: str,
    watch: Iterable[Watched] = (),
) -> T:
    """The first true value of ``condition``, asked for again until ``limit`` seconds are over
    (times ``OVPN6_LAB_PATIENCE`` of the environment).

    Raises :class:`LabTimeout` that names ``what``, or :class:`LabError` at once when one of
    ``watch`` has ended; both show the logs of ``watch``.
    """
    watched = tuple(watch)
    limit *= PATIENCE
    deadline = time.monotonic() + limit
    while True:
        # Looked at first: a process may do what we wait for and then end.
        ended = [process for process in watched if not process.running]
        value = condition()
        if value:
            return value
        if ended:
            raise LabError(_explain(f"{what}: cannot happen any more", watched))
        if time.monotonic() >= deadline:
            raise LabTimeout(_explain(f"{what}: not within {limit:g} s", watched))
        time.sleep(POLL_INTERVAL)


def _explain(summary: str, watched: tuple[Watched, ...]) -> str:
    return "\n".join((summary, *(process.describe() for process in watched)))
