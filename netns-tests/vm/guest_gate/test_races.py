"""The check that the kernel ``races`` is for is on; what it finds fails the run by the log."""

from __future__ import annotations

import subprocess
from itertools import takewhile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def test_races_are_watched() -> None:
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "kcsan: selftest: " in said
    lines = Path("/sys/kernel/debug/kcsan").read_text(encoding="ascii").splitlines()
    state = {
        name: int(value) for name, value in (line.split(":")[:2] for line in takewhile(bool, lines))
    }
    print(state)
    assert state["enabled"] == 1
    assert state["setup_watchpoints"] > 1000
