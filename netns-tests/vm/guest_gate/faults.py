"""Allocations of the kernel that fail on order, below our module's code only.

What others allocate on the way to it and for this process does not fail. Source:
fault-injection.rst of the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_FAILSLAB = Path("/sys/kernel/debug/failslab")
_NO_LIMIT = f"{2**64 - 1:#x}"


@contextlib.contextmanager
def module_only(percent: int = 0) -> Iterator[None]:
    """Choose what may fail, and so many of a hundred do, in any thread and for any packet."""
    start, size = _code()
    _set(
        {
            "verbose": "0",
            "task-filter": "N",
            "cache-filter": "N",
            "ignore-gfp-wait": "N",
            "require-start": f"{start:#x}",
            "require-end": f"{start + size:#x}",
            "stacktrace-depth": "32",
            "times": "-1",
            "interval": "1",
            "probability": str(percent),
        }
    )
    try:
        yield
    finally:
        _set({"probability": "0", "require-start": "0", "require-end": _NO_LIMIT})


class Nth:
    """One allocation of what this thread asks of the kernel in the block fails.

    ``number`` from 1; past the last one nothing fails and ``happened`` is False. Nothing is
    allocated for the means themselves.
    """

    def __init__(self) -> None:
        self._file = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
        self.happened = False

    @contextlib.contextmanager
    def failing(self, number: int) -> Iterator[None]:
        os.pwrite(self._file, b"%d" % number, 0)
        try:
            yield
        finally:
            # It counts down, and at zero the allocation fails.
            self.happened = os.pread(self._file, 20, 0).strip() == b"0"
            os.pwrite(self._file, b"0", 0)

    def close(self) -> None:
        os.close(self._file)


def _code() -> tuple[int, int]:
    """Where the module is, and how large."""
    for line in Path("/proc/modules").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0] == "ovpn6":
            return int(words[5], 16), int(words[1])
    raise LookupError("our module is not loaded")


def _set(values: dict[str, str]) -> None:
    for name, value in values.items():
        (_FAILSLAB / name).write_text(value, encoding="ascii")
