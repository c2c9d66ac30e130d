"""Labs as pytest fixtures. In a ``conftest.py``: ``pytest_plugins = ["ovpn6.lab.pytest_plugin"]``.

Tests that use them need root and are skipped without it. When one fails, the ends of the logs of
its lab's processes stand in the report.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from ovpn6.lab.narrow import Narrow, narrow
from ovpn6.lab.network import Lab
from ovpn6.lab.topologies import Line, Underlay, line

_LAB = pytest.StashKey[Lab]()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """An empty lab, removed after the test."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with Lab() as made:
        request.node.stash[_LAB] = made
        yield made


@pytest.fixture
def ipv6_line(lab: Lab) -> Line:
    """Client, router and server over an underlay that has only IPv6."""
    return line(lab, Underlay.IPV6)


@pytest.fixture
def ipv4_line(lab: Lab) -> Line:
    """Client, router and server over an underlay that has only IPv4."""
    return line(lab, Underlay.IPV4)


@pytest.fixture
def dual_line(lab: Lab) -> Line:
    """Client, router and server over an underlay with both families."""
    return line(lab, Underlay.DUAL)


@pytest.fixture
def ipv6_narrow(lab: Lab) -> Narrow:
    """Two routers around a link that can be made narrow; the outer network has only IPv6."""
    return narrow(lab, Underlay.IPV6)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the logs of a failed test's lab, while the lab is still there."""
    report = yield
    if report.when == "call" and report.failed and _LAB in item.stash:
        report.sections.append(("lab logs", item.stash[_LAB].describe()))
    return report
