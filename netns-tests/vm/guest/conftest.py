"""Tests that need the guest's kernel; elsewhere they are skipped."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from vm.root import in_guest

_HERE = Path(__file__).parent
SO_TIMESTAMP = 29


@pytest.fixture(scope="session", autouse=True)
def stamped_packets() -> Iterator[None]:
    """The kernel stamps packets as long as one socket wants it, and rewrites its own code when that
    begins and ends: with each ping, each tcpdump. On two emulated processors such a change is now
    and then seen half done by the other one, and the guest dies (int3 in netif_rx_internal)."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wanting:
        if in_guest():
            wanting.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this directory unless this is the guest."""
    if in_guest():
        return
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a kernel of its own: make vm-test"))
