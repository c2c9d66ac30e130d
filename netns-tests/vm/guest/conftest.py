"""Tests that need the guest's kernel; elsewhere they are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm.guest.steady import hold_sockets
from vm.root import in_guest

_HERE = Path(__file__).parent
LONG = "OVPN6_VM_FORM"
"""In the environment: ``long`` for every row, which is an hour."""


@pytest.fixture(scope="session", autouse=True)
def steady_code() -> Iterator[None]:
    """For tests that are run without ``suite.sh``, which sees to all of it."""
    sockets = hold_sockets() if in_guest() else []
    yield
    for one in sockets:
        one.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless this is the guest, and in its short form some rows."""
    elsewhere = pytest.mark.skip(reason="needs a kernel of its own: make vm-test")
    left_out = pytest.mark.skip(reason="not in the short form: make vm-test FORM=long")
    is_short = os.environ.get(LONG) != "long"
    for item in items:
        if _HERE not in item.path.parents:
            continue
        if not in_guest():
            item.add_marker(elsewhere)
        elif is_short and item.get_closest_marker("long"):
            item.add_marker(left_out)
