"""Tests in network namespaces: they need root, and use OpenVPN as the machine has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovpn6.pki.authority import Authority

pytest_plugins = ["ovpn6.lab.pytest_plugin"]


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once a test is over its processes are killed: goodbyes that nobody checks take seconds."""
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    yield
    for process in lab.processes() if lab else ():
        if process.running:
            process.kill()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with the server ``gateway`` and the clients ``laptop`` and ``phone``.

    Shared: a test that revokes or renews makes its own.
    """
    made = Authority.create(tmp_path_factory.mktemp("authority") / "pki")
    made.issue_server("gateway")
    made.issue_client("laptop")
    made.issue_client("phone")
    return made
