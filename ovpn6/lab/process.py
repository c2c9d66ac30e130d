"""Processes of a lab: their log in a file, their end by their own pid, never outliving the lab."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovpn6.lab.errors import LabError
from ovpn6.lab.waiting import PATIENCE, wait_for

STOP_LIMIT = 10.0
"""Seconds between a polite end and SIGKILL."""

_TAIL_LINES = 25


class Process:
    """A running program. Its output, both streams, is in the file ``log_path``."""

    def __init__(
        self,
        argv: Sequence[str],
        log_path: Path,
        *,
        name: str = "",
        netns: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts ``argv``, in the network namespace ``netns`` when one is given.

        ``environment`` is added to ours. The kernel kills the program when the thread that
        started it ends, however that happens.
        """
        self.name = name or Path(argv[0]).name
        self.log_path = log_path
        with log_path.open("wb") as log:
            self._popen = subprocess.Popen(
                [*_guard(netns), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id. The helpers that start it become it."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, minus the signal that ended it, None while it runs."""
        return self._popen.poll()

    def log(self) -> str:
        """Everything it printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, pattern: str, limit: float = 20.0, *, after: int = 0) -> re.Match[str]:
        """The first match of ``pattern`` (lines on their own) in the log from position ``after``.

        Raises :class:`~ovpn6.lab.errors.LabError` when the limit passes or the process ends.
        """
        regex = re.compile(pattern, re.MULTILINE)
        what = f"{pattern!r} in the log of {self.name}"
        return wait_for(lambda: regex.search(self.log(), after), limit, what, [self])

    def wait(self, limit: float) -> int:
        """Wait for its own end; the exit code."""
        try:
            return self._popen.wait(limit * PATIENCE)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} does not end\n{self.describe()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        self._popen.send_signal(number)

    def stop(self, limit: float = STOP_LIMIT) -> int:
        """End it: SIGTERM, after ``limit`` seconds SIGKILL. Returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(limit * PATIENCE)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it by SIGKILL: it cannot clean up. Returns the exit code."""
        self.signal(signal.SIGKILL)
        return self._popen.wait()

    def memory_kib(self) -> int:
        """Resident memory in KiB."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        except FileNotFoundError:
            status = ""
        match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        if match is None:
            raise LabError(f"{self.name} has no memory any more\n{self.describe()}")
        return int(match[1])

    def describe(self) -> str:
        """Its name, state and the end of its log."""
        state = "runs" if self.running else f"ended with {self.exit_code}"
        tail = "\n".join(f"    {line}" for line in self.log().splitlines()[-_TAIL_LINES:])
        return f"--- {self.name} ({state}), {self.log_path}\n{tail}"


def run(
    argv: Sequence[str],
    *,
    netns: Path | None = None,
    check: bool = True,
    limit: float = 30.0,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` to its end, in ``netns`` when given.

    Raises :class:`LabError` past ``limit`` seconds, and with ``check`` for an exit code but 0.
    """
    command = " ".join(argv)
    try:
        done = subprocess.run(
            [*_guard(netns), *argv],
            capture_output=True,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            text=True,
            errors="replace",
            timeout=limit * PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{command}: not done within {limit:g} s") from None
    if check and done.returncode:
        raise LabError(f"{command}: exit code {done.returncode}\n{done.stderr}{done.stdout}")
    return done


def _guard(netns: Path | None) -> list[str]:
    """What to put before a command: it dies with us, and sees the network of ``netns``."""
    guard = ["setpriv", "--pdeathsig", "KILL", "--"]
    return [*guard, "nsenter", f"--net={netns}", "--"] if netns else guard
