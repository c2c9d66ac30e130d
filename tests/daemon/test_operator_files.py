"""client-config-dir, the pool file, and what a hostile name can reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.daemon.operator_files import PoolFile, read_client_config, safe_name
from ovpn6.model.errors import HostError
from ovpn6.model.flow import ReadClientConfig
from ovpn6.model.names import JobId


def text_for(directory: Path, name: str) -> str | None:
    return read_client_config(directory, ReadClientConfig(JobId(1), name)).text


def test_a_clients_own_file_comes_before_default(tmp_path: Path) -> None:
    assert text_for(tmp_path, "alice") is None
    (tmp_path / "DEFAULT").write_text("default")
    assert text_for(tmp_path, "alice") == "default"
    (tmp_path / "alice").write_text("own")
    assert text_for(tmp_path, "alice") == "own"


def test_the_answer_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("own")
    answer = read_client_config(tmp_path, ReadClientConfig(JobId(1), "alice"))
    assert answer.source == str(tmp_path / "alice")


@pytest.mark.parametrize("name", ["../secret", "..", ".", "", "/etc/passwd", "a/../../secret"])
def test_a_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    directory = tmp_path / "ccd"
    directory.mkdir()
    assert text_for(directory, name) is None


@given(st.text(max_size=300))
def test_a_safe_name_is_one_component(name: str) -> None:
    safe = safe_name(name)
    assert "/" not in safe
    assert "\0" not in safe
    assert safe not in (".", "..")
    assert len(os.fsencode(safe)) <= 255


def test_openvpns_replacement_of_slashes(tmp_path: Path) -> None:
    (tmp_path / "a_b").write_text("found")
    assert text_for(tmp_path, "a/b") == "found"


def test_a_directory_or_fifo_of_that_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    os.mkfifo(tmp_path / "bob")
    assert text_for(tmp_path, "alice") is None
    assert text_for(tmp_path, "bob") is None


def test_a_file_that_cannot_be_read_is_an_error_and_not_the_default(tmp_path: Path) -> None:
    (tmp_path / "DEFAULT").write_text("default")
    (tmp_path / "alice").symlink_to("alice")
    with pytest.raises(HostError):
        text_for(tmp_path, "alice")


def test_too_long_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("x" * 70_000)
    with pytest.raises(HostError, match="longer"):
        text_for(tmp_path, "alice")


def test_the_pool_file_keeps_what_was_saved_last(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    path.write_text("alice,10.8.0.2,\n")
    pool = PoolFile(path)
    assert pool.read() == "alice,10.8.0.2,\n"
    pool.save("bob,10.8.0.3,\n")
    pool.save("b\n")
    assert pool.read() == path.read_text() == "b\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["pool"]
    pool.close()


def test_the_pool_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Who has the old file open still sees all of it."""
    path = tmp_path / "pool"
    path.write_text("old\n")
    pool = PoolFile(path)
    with path.open() as reader:
        pool.save("new\n")
        assert reader.read() == "old\n"
    pool.close()


def test_the_pool_file_is_written_in_place_when_its_directory_is_gone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    pool = PoolFile(directory / "pool")
    pool.save("a long line\n")
    directory.rename(tmp_path / "elsewhere")
    pool.save("new\n")
    assert (tmp_path / "elsewhere" / "pool").read_text() == "new\n"
    pool.close()
