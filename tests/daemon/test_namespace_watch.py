"""Names of network namespaces that go, or come to mean another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ovpn6.daemon.namespace_watch import INTERVAL, NamespaceWatch
from ovpn6.model.errors import HostError
from tests.datapath.kernel_fake import HandLoop


@dataclass
class Watched:
    """A namespace ``blue`` by its file, and what is told of it."""

    directory: Path
    loop: HandLoop = field(default_factory=HandLoop)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = self.directory / "blue"
        self.file.touch()
        self.watch = NamespaceWatch("blue", self.loop, self.told.append, self.directory)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.watch.close()


def test_as_long_as_it_is_there_nothing_is_told(watched: Watched) -> None:
    watched.loop.pass_time(60 * INTERVAL)
    assert watched.told == []
    assert watched.watch.reason == ""


def test_a_removed_one_is_told_once(watched: Watched) -> None:
    watched.file.unlink()
    watched.loop.pass_time(60 * INTERVAL)
    assert watched.told == ["network namespace blue was removed"]
    assert watched.watch.reason == watched.told[0]


def test_another_of_the_same_name_is_told_once(watched: Watched) -> None:
    # The old file stays, as a namespace does that has our sockets in it.
    os.rename(watched.file, watched.directory / "old")
    watched.file.touch()
    watched.loop.pass_time(60 * INTERVAL)
    assert watched.told == ["network namespace blue was removed and made anew"]


def test_a_closed_one_tells_nothing(watched: Watched) -> None:
    watched.watch.close()
    watched.file.unlink()
    watched.loop.pass_time(60 * INTERVAL)
    assert watched.told == []


def test_one_that_does_not_exist_cannot_be_watched(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(HostError, match="look at network namespace blue"):
            NamespaceWatch("blue", HandLoop(), str, directory)
    assert len(os.listdir("/proc/self/fd")) == before
