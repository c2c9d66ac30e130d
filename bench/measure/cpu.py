"""Processor time of processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ovpn6.lab.process import Process

_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Places in /proc/PID/stat after the name in parentheses (proc(5))."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds in user space and in the kernel, of all threads."""

    user: float = 0.0
    system: float = 0.0

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user + other.user, self.system + other.system)

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user - other.user, self.system - other.system)

    @classmethod
    def of(cls, processes: Iterable[Process]) -> Self:
        """Used so far by all of them together."""
        texts = [Path(f"/proc/{process.pid}/stat").read_text() for process in processes]
        spent = [parse_stat(text) for text in texts]
        return cls(sum(time.user for time in spent), sum(time.system for time in spent))


def parse_stat(text: str) -> CpuTime:
    """From /proc/PID/stat, whose process may have any name."""
    fields = text.rpartition(")")[2].split()
    return CpuTime(int(fields[_USER]) / _TICKS, int(fields[_SYSTEM]) / _TICKS)
