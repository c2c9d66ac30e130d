"""Names that say which process a lab belongs to, so that a dead lab's leftovers can be told.

A lab is named ``o6-PID-START``: the process that made it and that process's start time (clock
ticks since boot, base 36), which a later process with the same pid does not share.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ovpn6.lab.errors import LabError

PREFIX = "o6"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LAB = re.compile(rf"({PREFIX}-(\d+)-([0-9a-z]+))-\d+(?:-.*)?")


def lab_name(number: int) -> str:
    """The name of this process's lab ``number``."""
    pid = os.getpid()
    start = start_time(pid)
    if start is None:
        raise LabError("/proc does not show this process")
    return f"{PREFIX}-{pid}-{_base36(start)}-{number}"


def is_leftover(name: str) -> bool:
    """Whether ``name`` (a lab's, or of something in it) is of a lab whose process is gone."""
    match = _LAB.fullmatch(name)
    if match is None:
        return False
    start = start_time(int(match[2]))
    return start is None or _base36(start) != match[3]


def start_time(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None when there is none.

    A zombie counts as gone: it can clean nothing up.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name may hold blanks and parentheses: the fields go on after the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
