"""Journal files: whole, private, locked by the living, and safe to read when they are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ovpn6.model.errors import HostError
from ovpn6.netconf.journal import LEFT_SUFFIX, SUFFIX, FileJournal, open_journal
from ovpn6.netconf.ledger import Ledger
from ovpn6.netconf.memory import MemoryHost, MemoryWorld
from ovpn6.netconf.recovery import recover
from ovpn6.netconf.state_directory import StateDirectory, state_directories
from tests.netconf.contract import ADDRESSES
from tests.netconf.test_ledger import example

INODE = 4026531840


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(state: Path) -> Iterator[FileJournal]:
    journal = FileJournal(state, "server/../1", INODE)
    yield journal
    journal.close()


@pytest.fixture
def directory(journal: FileJournal, state: Path) -> Iterator[StateDirectory]:
    directory = StateDirectory(state)
    yield directory
    directory.close()


def files(state: Path) -> list[str]:
    return sorted(path.name for path in state.iterdir())


def read(directory: StateDirectory) -> Ledger:
    (name,) = directory.names(SUFFIX)
    held = open_journal(directory, name)
    assert held is not None
    with held:
        return held.read().ledger


def test_a_journal_that_was_never_written_leaves_no_file(state: Path) -> None:
    FileJournal(state, "tun0", INODE).close()
    assert files(state) == []


def test_what_is_written_is_read_and_the_name_tells_whose_it_is(
    journal: FileJournal, directory: StateDirectory, state: Path
) -> None:
    journal.write(example())
    assert read(directory) == example()
    assert files(state) == [f"server_1.{INODE}.{os.getpid()}.json"]


def test_only_the_owner_may_read(journal: FileJournal, state: Path) -> None:
    journal.write(example())
    assert (state / files(state)[0]).stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o711


def test_a_second_write_takes_the_place_of_the_first(
    journal: FileJournal, directory: StateDirectory, state: Path
) -> None:
    journal.write(example())
    journal.write(replace(example(), device="tun9"))
    assert read(directory).device == "tun9"
    assert len(files(state)) == 1


def test_the_file_is_locked_after_each_write(
    journal: FileJournal, directory: StateDirectory
) -> None:
    for _ in range(2):
        journal.write(example())
        (name,) = directory.names(SUFFIX)
        held = open_journal(directory, name)
        assert held is not None
        with held:
            assert held.is_live


def test_a_kept_journal_is_dead_once_closed(
    journal: FileJournal, directory: StateDirectory
) -> None:
    journal.write(example())
    journal.close(keep=True)
    (name,) = directory.names(SUFFIX)
    held = open_journal(directory, name)
    assert held is not None
    with held:
        assert not held.is_live


def test_a_dead_journal_of_the_same_name_is_not_overwritten(state: Path) -> None:
    dead = FileJournal(state, "tun0", INODE)
    dead.write(replace(example(), device="dead"))
    dead.close(keep=True)
    journal = FileJournal(state, "tun0", INODE)
    journal.write(example())
    assert len(files(state)) == 2
    journal.close()
    assert len(files(state)) == 1


def test_the_others_are_those_that_live(state: Path) -> None:
    first, second, dead = (FileJournal(state, name, INODE) for name in ("a", "b", "c"))
    first.write(replace(example(), device="a"))
    second.write(replace(example(), device="b"))
    dead.write(replace(example(), device="c"))
    dead.close(keep=True)
    (state / "damaged.json").write_text("{")
    assert [ledger.device for ledger in first.others()] == ["b"]
    first.close()
    second.close()


def test_the_lock_goes_with_the_process(state: Path, directory: StateDirectory) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from ovpn6.netconf.journal import FileJournal;"
        "from tests.netconf.test_ledger import example;"
        "journal = FileJournal(Path(sys.argv[1]), 'child', 1); journal.write(example());"
        "print('ready', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        (name,) = directory.names(SUFFIX)
        for is_live in (True, False):
            held = open_journal(directory, name)
            assert held is not None
            with held:
                assert held.is_live is is_live
            child.send_signal(signal.SIGKILL)
            child.wait()


def test_a_directory_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(HostError, match="other users"):
        FileJournal(tmp_path, "tun0", INODE)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError) as caught:
        FileJournal(tmp_path / "file" / "state", "tun0", INODE)
    assert caught.value.errno


def test_a_user_gets_a_directory_of_its_own(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "state", "tun0", INODE, owner=os.getuid())
    journal.write(example())
    inside = tmp_path / "state" / f"user-{os.getuid()}"
    assert len(files(inside)) == 1
    assert state_directories(tmp_path / "state") == [tmp_path / "state", inside]
    journal.close()


# --- recovery, with a host in memory --------------------------------------------------------------


@pytest.fixture
def world() -> MemoryWorld:
    world = MemoryWorld()
    world.own.add_device("tun0")
    return world


def leave_behind(state: Path, world: MemoryWorld, **different: object) -> None:
    """A dead instance's journal over a host that has its address."""
    index = world.own.link("tun0")
    assert index is not None
    world.own.add_foreign_address(index.index, ADDRESSES[0])
    ledger = replace(
        example(),
        index=index.index,
        addresses=frozenset(ADDRESSES[:1]),
        routes=frozenset(),
        settings=(),
        **different,  # type: ignore[arg-type]
    )
    journal = FileJournal(state, "tun0", world.own.inode)
    journal.write(ledger)
    journal.close(keep=True)


def test_recovery_undoes_and_deletes_and_says_so(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    (line,) = recover(state, world.open_namespace)
    assert "tun0" in line
    assert world.own.addresses(1) == frozenset()
    assert files(state) == []
    assert recover(state, world.open_namespace) == []


def test_recovery_tells_where_a_dead_instances_device_was(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    leave_behind(state, world, netns="blue")
    leave_behind(state, world, netns="elsewhere", underlay_namespace=2)
    living = FileJournal(state, "tun9", INODE)
    living.write(replace(example(), netns="living"))
    told: list[str] = []
    recover(state, world.open_namespace, told.append)
    assert sorted(told) == ["", "blue"]
    living.close()


def test_recovery_of_nothing_is_nothing(tmp_path: Path, world: MemoryWorld) -> None:
    assert recover(tmp_path / "none", world.open_namespace) == []


def test_a_damaged_journal_is_moved_aside(state: Path, world: MemoryWorld) -> None:
    FileJournal(state, "tun0", INODE).close()
    for content in (b"", b"\xff\x00", b"{}", b'{"boot": 1}', b"[" * 100_000):
        (state / "bad.json").write_bytes(content)
        (line,) = recover(state, world.open_namespace)
        assert "bad.json.damaged" in line
        assert files(state) == ["bad.json.damaged"]


def test_half_a_journal_is_swept_away(state: Path, world: MemoryWorld) -> None:
    FileJournal(state, "tun0", INODE).close()
    (state / "tun0.1.1.json.new").write_text('{"boot"')
    assert recover(state, world.open_namespace) == []
    assert files(state) == []


def test_a_journal_of_another_namespace_waits_for_its_own(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world, underlay_namespace=2)
    journal = json.loads((state / files(state)[0]).read_text())
    journal["inode"] = 99
    (state / files(state)[0]).write_text(json.dumps(journal))
    assert recover(state, world.open_namespace) == []
    assert len(files(state)) == 1
    assert world.own.addresses(1) == set(ADDRESSES[:1])


def test_a_journal_set_aside_by_a_start_elsewhere_is_undone_at_home(
    state: Path, world: MemoryWorld
) -> None:
    leave_behind(state, world)
    elsewhere = MemoryWorld()
    elsewhere.own.identity = 2
    for _ in range(2):
        assert recover(state, elsewhere.open_namespace) == []
        assert [name.endswith(LEFT_SUFFIX) for name in files(state)] == [True]
    (line,) = recover(state, world.open_namespace)
    assert "tun0" in line
    assert world.own.addresses(1) == frozenset()
    assert files(state) == []


def test_a_journal_set_aside_is_not_overwritten(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    elsewhere = MemoryWorld()
    elsewhere.own.identity = 2
    recover(state, elsewhere.open_namespace)
    leave_behind(state, world)
    recover(state, elsewhere.open_namespace)
    assert len(files(state)) == 2


def test_a_journal_of_a_namespace_whose_inode_we_got_is_deleted(
    state: Path, world: MemoryWorld
) -> None:
    leave_behind(state, world, underlay_namespace=2)
    assert recover(state, world.open_namespace) == []
    assert files(state) == []
    assert world.own.addresses(1) == set(ADDRESSES[:1])


def test_a_journal_of_an_earlier_boot_is_deleted(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    journal = json.loads((state / files(state)[0]).read_text())
    journal["boot"] = "earlier"
    (state / files(state)[0]).write_text(json.dumps(journal))
    assert recover(state, world.open_namespace) == []
    assert files(state) == []
    assert world.own.addresses(1) == set(ADDRESSES[:1])


def test_a_device_made_anew_since_is_not_touched(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    world.own.remove_device("tun0")
    again = world.own.add_device("tun0")
    world.own.add_foreign_address(again, ADDRESSES[0])
    recover(state, world.open_namespace)
    assert world.own.addresses(again) == set(ADDRESSES[:1])


def test_what_cannot_be_undone_is_told_and_tried_again(state: Path, world: MemoryWorld) -> None:
    leave_behind(state, world)
    world.own.refuse["remove address"] = 1
    (line,) = recover(state, world.open_namespace)
    assert "remove address" in line
    world.own.refuse.clear()
    recover(state, world.open_namespace)
    assert world.own.addresses(1) == frozenset()


def test_a_pipe_in_the_directory_does_not_block(state: Path, world: MemoryWorld) -> None:
    FileJournal(state, "tun0", INODE).close()
    os.mkfifo(state / "pipe.json")
    assert recover(state, world.open_namespace) == []


def test_a_host_in_memory_brings_a_world_of_its_own() -> None:
    host = MemoryHost()
    host.world.own.add_device("tun0")
    host.open("tun0", "", "")
    host.close()
