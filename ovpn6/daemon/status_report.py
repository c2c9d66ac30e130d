"""Shows a running role: the status file every so often, and the log upon SIGUSR2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from ovpn6.config.schema import ProcessConfig
from ovpn6.daemon.logs import Logger
from ovpn6.daemon.status_facts import StatusFacts
from ovpn6.daemon.status_file import StatusFile, status_text
from ovpn6.model.errors import HostError
from ovpn6.model.names import Level, PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import PeerCounters
from ovpn6.roles.interface import Role


@dataclass(frozen=True, slots=True)
class Subject:
    """What is shown, and on which clock."""

    role: Role
    counters: Callable[[], Mapping[PeerId, PeerCounters]]
    fragments: Callable[[], Mapping[PeerId, int | None]]
    drops: Callable[[], Mapping[str, int]]
    wall_offset: float
    title: str


class StatusReporter:
    """Writes while it is started."""

    def __init__(
        self, subject: Subject, process: ProcessConfig, logger: Logger, file: StatusFile | None
    ) -> None:
        self._subject = subject
        self._process = process
        self._logger = logger
        self._file = file
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Write now, and again each ``status`` interval (0 is once at the end)."""
        if self._file is None:
            return
        self._write()
        if self._process.status_interval > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._process.status_interval, self.start)

    def stop(self) -> None:
        """Write a last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()

    def to_log(self) -> None:
        """The same text as log lines, then what was dropped and why."""
        for line in self._text().splitlines():
            self._logger.announce(line)
        counts = {**self._subject.role.status().counts, **self._subject.drops()}
        for reason, number in sorted(counts.items()):
            if number:
                self._logger.announce(f"dropped, {reason}: {number}")

    def _text(self) -> str:
        subject = self._subject
        facts = StatusFacts(
            role=subject.role.status(),
            counters=subject.counters(),
            unix_time=time.time(),
            wall_offset=subject.wall_offset,
            title=subject.title,
            fragments=subject.fragments(),
        )
        return status_text(facts, self._process.status_version)

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            self._file.write(self._text())
        except HostError as error:
            self._logger.stranger("status", Level.WARNING, str(error))
