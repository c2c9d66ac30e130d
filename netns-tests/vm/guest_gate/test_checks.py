"""The checks that the gate relies on are on. That they fail a run is ``make gate``'s first step."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

_DEBUG = Path("/sys/kernel/debug")


def test_memory_is_watched() -> None:
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "KernelAddressSanitizer initialized" in said
    assert (_DEBUG / "kmemleak").exists()


def test_locks_are_watched() -> None:
    state = Path("/proc/lockdep_stats").read_text(encoding="ascii")
    (line,) = (line for line in state.splitlines() if "debug_locks" in line)
    assert line.split()[-1] == "1"


def test_allocations_can_fail() -> None:
    assert (_DEBUG / "failslab/require-start").exists()
    assert Path("/proc/self/fail-nth").exists()


def test_objects_are_watched() -> None:
    assert (_DEBUG / "debug_objects/stats").exists()
