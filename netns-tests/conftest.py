"""Tests in network namespaces: they need root, and use OpenVPN as the machine has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovpn6.datapath.choose import MODULES, probe_kernel
from ovpn6.datapath.fastpath import unavailable
from ovpn6.datapath.offload.switch import VARIABLE
from ovpn6.lab import Lab
from ovpn6.pki.authority import Authority

CHOSEN = "data path: "

pytest_plugins = ["ovpn6.lab.pytest_plugin"]


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once a test is over its processes are killed: goodbyes that nobody checks take seconds."""
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    yield
    for process in lab.processes() if lab else ():
        if process.running:
            process.kill()


@pytest.fixture(params=["chosen", "python"])
def data_path(
    request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A module that asks for it runs twice: with the data path that is chosen on this host, the
    native worker where the kernel has no module, and with the one in Python."""
    in_kernel = any(not probe_kernel(name) for name in MODULES)
    in_python = request.param == "python"
    if in_python and in_kernel:
        pytest.skip("a kernel module carries data on this host")
    if not in_python and not in_kernel and unavailable(()):
        pytest.skip(unavailable(()))
    monkeypatch.setenv(VARIABLE, "native" if in_python else "")
    yield
    ours = [one.log() for one in lab.processes() if one.name.endswith("-ours")]
    said = [line for log in ours for line in log.splitlines() if CHOSEN in line]
    expected = f"{CHOSEN}user space ({'Python' if in_python else 'native'}): "
    assert bool(said) == bool(ours)
    assert in_kernel or all(expected in line for line in said), said


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
