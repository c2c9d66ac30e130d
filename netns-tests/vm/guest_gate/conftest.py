"""Storms and fuzzers: ``make gate`` runs them on the kernel with every check.

They run on other kernels with our module too, all but those that need the checks themselves;
without the module they are skipped.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import config
from vm.gate_kernel import GATE, RACES, name_of
from vm.kernel_log import complaints
from vm.root import in_guest

if in_guest():
    # Seconds for a process that pyroute2 starts. Two is little with every check on.
    config.default_communicate_timeout = 60

_HERE = Path(__file__).parent
_KERNELS = {"test_checks.py": GATE, "test_faults.py": GATE, "test_races.py": RACES}
"""Files that need a kernel of their own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the kernel cannot do."""
    release = Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii").strip()
    has_module = in_guest() and Path("/sys/module/ovpn6").is_dir()
    for item in items:
        if _HERE not in item.path.parents:
            continue
        wanted = _KERNELS.get(item.path.name, name_of(release))
        if not has_module or name_of(release) != wanted:
            reason = f"needs our module on the kernel {wanted or GATE}: make gate"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def the_kernel_is_content() -> Iterator[None]:
    """What the kernel complains about fails the test that it came up in."""
    before = len(_complaints())
    yield
    found = _complaints()[before:]
    assert not found, "\n".join(found)


def _complaints() -> tuple[str, ...]:
    done = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=True)
    return complaints(done.stdout)
