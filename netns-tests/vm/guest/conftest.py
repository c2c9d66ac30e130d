"""Tests that need the guest's kernel; elsewhere they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm.root import in_guest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless this is the guest."""
    if in_guest():
        return
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a kernel of its own: make vm-test"))
