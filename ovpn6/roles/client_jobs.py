"""Slow actions of a client and what is to happen when their answers come. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ovpn6.model.flow import Action, CancelJob
from ovpn6.model.names import Instant, JobId

Answer = TypeVar("Answer")


class JobIds:
    """Numbers for all jobs of a role."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> JobId:
        """A number never given before."""
        self._last += 1
        return JobId(self._last)


class Jobs(Generic[Answer]):
    """Jobs of one kind under way. An answer to a job that was cancelled is nobody's."""

    def __init__(self, ids: JobIds) -> None:
        self._ids = ids
        self._waiting: dict[JobId, Callable[[Answer, Instant], list[Action]]] = {}

    def begin(self, then: Callable[[Answer, Instant], list[Action]]) -> JobId:
        """A new job; ``then`` is called with its answer."""
        job = self._ids.new()
        self._waiting[job] = then
        return job

    def finish(self, job: JobId, answer: Answer, now: Instant) -> list[Action]:
        """The answer has come."""
        then = self._waiting.pop(job, None)
        return then(answer, now) if then is not None else []

    def cancel(self) -> list[Action]:
        """Wait for none of them any more."""
        jobs = tuple(self._waiting)
        self._waiting.clear()
        return [CancelJob(job) for job in jobs]
