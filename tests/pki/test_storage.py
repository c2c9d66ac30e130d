"""Files are written whole, with their mode, and never over another by accident."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ovpn6.model.errors import ConfigError, HostError
from ovpn6.pki.storage import read_file, write_file


@pytest.mark.parametrize("wanted", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, wanted: int, umask: int) -> None:
    path = tmp_path / "file"
    before = os.umask(umask)
    try:
        write_file(path, "text", mode=wanted)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == wanted


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ConfigError, match="--force"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_force_replaces_a_file_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    write_file(path, "new", force=True)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(ConfigError):
        write_file(tmp_path / "link", "secret")
    write_file(tmp_path / "link", "secret", force=True)
    assert not target.exists()


def test_a_missing_directory_is_the_hosts_refusal(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        write_file(tmp_path / "missing" / "file", "text")


def test_a_missing_file_comes_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do this first"):
        read_file(tmp_path / "missing", "do this first")
