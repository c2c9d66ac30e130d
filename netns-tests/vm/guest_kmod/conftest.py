"""Tests of our own module in the guest: ``vm run --kmod -- sh netns-tests/vm/guest_kmod/suite.sh``.
Elsewhere they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyroute2 import config
from vm.root import in_guest

if in_guest():
    # Seconds for a process that pyroute2 starts. Two is little on a debug kernel.
    config.default_communicate_timeout = 60

_HERE = Path(__file__).parent
_ORACLE = _HERE / "oracle"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless the module is there, alone or beside mainline's."""
    ours, theirs = (
        in_guest() and Path(f"/sys/module/{name}").is_dir() for name in ("ovpn6", "ovpn")
    )
    for item in items:
        if _ORACLE in item.path.parents:
            if not (ours and theirs):
                reason = "needs our module and mainline's: vm run --kmod, oracle.sh"
                item.add_marker(pytest.mark.skip(reason=reason))
        elif _HERE in item.path.parents and not ours:
            item.add_marker(pytest.mark.skip(reason="needs our module: vm run --kmod"))
