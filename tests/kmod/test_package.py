"""The Debian package holds what DKMS needs to build the module."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kmod.pure_files import KMOD

VERSION = "1.2.3"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The package's files."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb: no package was made")
    subprocess.run(["sh", KMOD / "debian.sh", VERSION, tmp_path], check=True, capture_output=True)
    package = tmp_path / f"ovpn6-dkms_{VERSION}_all.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tmp_path / "files"], check=True)
    return tmp_path / "files"


def test_everything_that_is_compiled_is_in_the_package(unpacked: Path) -> None:
    sources = unpacked / f"usr/src/ovpn6-{VERSION}"
    for name in re.findall(r"src/(\w+)\.o", (KMOD / "Kbuild").read_text()):
        assert (sources / f"src/{name}.c").is_file(), name
    for place in ("src", "probe", "uapi"):
        there = {path.name for path in (sources / place).iterdir()}
        assert there == {path.name for path in (KMOD / place).glob("*.[ch]")}


def test_dkms_and_dpkg_are_told_the_same_version(unpacked: Path) -> None:
    sources = unpacked / f"usr/src/ovpn6-{VERSION}"
    assert f'PACKAGE_VERSION="{VERSION}"' in (sources / "dkms.conf").read_text()
    control = (unpacked / "DEBIAN/control").read_text()
    assert f"\nVersion: {VERSION}\n" in control
    assert "\nDepends: dkms\n" in control
    for script in ("postinst", "prerm"):
        assert f"{VERSION}" in (unpacked / "DEBIAN" / script).read_text()


def test_every_probe_is_asked_for() -> None:
    kbuild = (KMOD / "Kbuild").read_text()
    compat = (KMOD / "src/compat.h").read_text()
    names = {path.stem for path in (KMOD / "probe").glob("*.c")} - {"anything"}
    assert names
    for name in names:
        assert re.search(rf"\b{name}\b", kbuild), name
        assert f"OVPN6_HAVE_{name}" in compat or "newlink_params" in name
