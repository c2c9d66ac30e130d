"""Tests of our own module in the guest: ``vm run --kmod -- sh netns-tests/vm/guest_kmod/suite.sh``.
Elsewhere they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm.root import in_guest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless the module is there."""
    if in_guest() and Path("/sys/module/ovpn6").is_dir():
        return
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs our module: vm run --kmod"))
