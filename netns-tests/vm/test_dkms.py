"""The Debian package of our module: dpkg installs it, DKMS builds it, and it goes without a trace.

In the Debian that builds the module (``vm kmod``), for the kernels whose headers are there.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import kmod
from vm.root import command_prefix, in_guest

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


@pytest.fixture
def inside() -> Callable[[str], str]:
    """Runs a shell's words there; what they print when they succeed."""
    root = None if in_guest() else kmod.present_build_root()
    if root is None:
        pytest.skip("the Debian that builds the module is not there: netns-tests/vm/vm kmod")

    def execute(words: str) -> str:
        command = [*command_prefix(root), "sh", "-c", words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return execute


def test_dpkg_installs_the_package_and_dkms_builds_it(
    inside: Callable[[str], str], tmp_path: Path
) -> None:
    subprocess.run(["sh", kmod.SOURCES / "debian.sh", "0.0.1", tmp_path], check=True)
    root = kmod.present_build_root()
    assert root is not None
    shutil.copy(tmp_path / "ovpn6-dkms_0.0.1_all.deb", root / "build/ovpn6-dkms.deb")
    try:
        inside("dpkg --install /build/ovpn6-dkms.deb")
        kernels = inside("cd /lib/modules && ls -d */build").split()
        lines = inside("dkms status ovpn6").splitlines()
        assert len(lines) == len(kernels) > 0
        assert all(line.endswith(": installed") for line in lines), lines
        assert inside("find /lib/modules/ -name 'ovpn6.ko*'")
    finally:
        inside("dpkg --purge ovpn6-dkms")
    assert inside("dkms status ovpn6; find /lib/modules/ -name 'ovpn6.ko*'") == ""
