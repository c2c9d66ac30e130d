"""The host's state is looked at after news, and not too often."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ovpn6.daemon.host_watch import PAUSE, SHARE, HostWatch
from ovpn6.model.errors import HostError
from ovpn6.netconf.memory import MemoryHost
from tests.datapath.kernel_fake import HandLoop


class Host(MemoryHost):
    """Its news come through a pipe; a look takes ``took`` seconds."""

    def __init__(self, loop: HandLoop) -> None:
        super().__init__()
        self.file, self.other_end = os.pipe()
        self.looks: list[float] = []
        self.took = 0.0
        self.refuses = False
        self._loop = loop

    def news(self) -> tuple[int, ...]:
        return (self.file,)

    def mend(self) -> None:
        self.looks.append(self._loop.now)
        self._loop.now += self.took
        if self.refuses:
            raise HostError("add route", "no")


class Rig:
    def __init__(self) -> None:
        self.loop = HandLoop()
        self.host = Host(self.loop)
        self.complaints: list[str] = []
        self.watch = HostWatch(self.loop, self.host, self.complaints.append)

    def changed(self) -> None:
        self.loop.readers[self.host.file]()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.watch.close()
    os.close(made.host.file)
    os.close(made.host.other_end)


def test_many_changes_in_a_second_are_one_look(rig: Rig) -> None:
    began = rig.loop.now
    rig.changed()
    # Until then nobody listens, so that a thousand more cost nothing.
    assert rig.loop.readers == {}
    rig.loop.pass_time(PAUSE)
    assert rig.host.looks == [began + PAUSE]
    rig.changed()
    rig.loop.pass_time(PAUSE)
    assert rig.host.looks == [began + PAUSE, began + 2 * PAUSE]


def test_nothing_is_looked_at_without_news(rig: Rig) -> None:
    rig.loop.pass_time(3600)
    assert rig.host.looks == []


def test_a_look_that_takes_long_is_taken_less_often(rig: Rig) -> None:
    rig.host.took = 0.5
    rig.changed()
    rig.loop.pass_time(PAUSE)
    rig.changed()
    rig.loop.pass_time(SHARE * 0.5 - 0.6)
    assert len(rig.host.looks) == 1
    rig.loop.pass_time(0.7)
    assert len(rig.host.looks) == 2


def test_a_refusal_is_told_and_the_next_news_are_heard(rig: Rig) -> None:
    rig.host.refuses = True
    rig.changed()
    rig.loop.pass_time(PAUSE)
    assert rig.complaints == ["mending the host's state: add route: no"]
    rig.changed()
    rig.loop.pass_time(PAUSE)
    assert len(rig.host.looks) == 2


def test_after_its_end_nothing_is_looked_at(rig: Rig) -> None:
    rig.changed()
    rig.watch.close()
    rig.watch.close()
    rig.loop.pass_time(3600)
    assert (rig.host.looks, rig.loop.readers) == ([], {})
