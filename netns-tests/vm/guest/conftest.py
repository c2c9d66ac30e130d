"""Tests that need the guest's kernel; elsewhere they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vm.guest.steady import hold_sockets
from vm.root import in_guest

_HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def steady_code() -> Iterator[None]:
    """For tests that are run without ``suite.sh``, which sees to all of it."""
    sockets = hold_sockets() if in_guest() else []
    yield
    for one in sockets:
        one.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless this is the guest."""
    if in_guest():
        return
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a kernel of its own: make vm-test"))
