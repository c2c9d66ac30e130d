"""Journals: what a process that is killed leaves behind, written down before it is done.

One file for each instance, ``<instance>.<namespace inode>.<pid>.json`` in the state directory.
A live owner holds an exclusive ``flock`` on its file; the kernel lets go of it however the process
ends, so that, unlike a process id, it can be trusted from other pid namespaces and after the id
was used again. Each write makes a new file, locked before it takes the old one's name; a reader
that gets a lock makes sure that the name still means the file it locked.

The directory itself is locked while an instance looks at the others' claims and changes the host.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ovpn6.model.errors import HostError
from ovpn6.netconf.ledger import Ledger, decode, encode

_SUFFIX = ".json"
_USER_PREFIX = "user-"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class Journal(Protocol):
    """Where one instance keeps its ledger."""

    def exclusive(self) -> AbstractContextManager[None]:
        """While entered, no other instance changes the host or its journal."""

    def write(self, ledger: Ledger) -> None:
        """Keep it; survives the process. ``HostError`` when it cannot be kept."""

    def others(self) -> tuple[Ledger, ...]:
        """The ledgers of the other live instances, in whatever namespace."""

    def close(self, keep: bool = False) -> None:
        """Delete it, or leave it for the next start to undo."""


OpenJournal = Callable[[str, int], Journal]
"""Opens a journal for (instance, namespace inode)."""


@dataclass(frozen=True, slots=True)
class Record:
    """A journal's content: the ledger, and whose it was."""

    boot: str
    inode: int
    pid: int
    started: int
    """Field 22 of ``/proc/<pid>/stat``: with ``pid``, names the owner in log lines."""
    ledger: Ledger


class FileJournal:
    """The journal of this process. The file appears with the first :meth:`write`."""

    def __init__(
        self, state_dir: Path, instance: str, inode: int, owner: int | None = None
    ) -> None:
        """``owner`` is the user id that this process will change to, and then still writes as."""
        self._directory = state_dir if owner is None else state_dir / f"{_USER_PREFIX}{owner}"
        self._owner = owner
        self._inode = inode
        self._stem = f"{_UNSAFE.sub('_', instance)}.{inode}.{os.getpid()}"
        self._path: Path | None = None
        self._file = -1

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held for milliseconds; waits for whoever has it."""
        _make_state_dir(self._directory, self._owner)
        with locked_directory(self._directory):
            yield

    def write(self, ledger: Ledger) -> None:
        """A new file in the place of the old, complete or not at all."""
        path = self._path or self._free_path()
        text = json.dumps(
            {
                "boot": boot_id(),
                "inode": self._inode,
                "pid": os.getpid(),
                "started": _start_time(),
                "ledger": encode(ledger),
            }
        )
        try:
            new = _write_locked(path, text.encode())
        except OSError as error:
            raise _host_error(f"write {path}", error) from None
        self._release()
        self._path, self._file = path, new

    def others(self) -> tuple[Ledger, ...]:
        """Files that are damaged are left to ``recover``."""
        found = []
        for path in journal_paths(self._directory):
            if path == self._path:
                continue
            held = open_journal(path)
            if held is None:
                continue
            with held, suppress(ValueError):
                if held.is_live:
                    found.append(held.read().ledger)
        return tuple(found)

    def close(self, keep: bool = False) -> None:
        """Nothing is left of it unless ``keep``."""
        if self._path is not None and not keep:
            self._path.unlink(missing_ok=True)
        self._release()
        self._path = None

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _free_path(self) -> Path:
        # A file of this name is a dead process's whose id we got: it is recovered, not overwritten.
        path, number = self._directory / f"{self._stem}{_SUFFIX}", 1
        while path.exists():
            path, number = self._directory / f"{self._stem}.{number}{_SUFFIX}", number + 1
        return path


class HeldJournal:
    """Somebody's journal file, open; locked by us unless its owner lives."""

    def __init__(self, path: Path, file: int, is_live: bool) -> None:
        self.path = path
        self.is_live = is_live
        self._file = file

    def __enter__(self) -> HeldJournal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self) -> Record:
        """Its content; ``ValueError`` when damaged."""
        os.lseek(self._file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._file), "rb") as file:
            return _decode_record(file.read())

    def delete(self) -> None:
        """It was undone."""
        self.path.unlink(missing_ok=True)

    def move_aside(self) -> Path:
        """Keep a damaged file for the operator, out of the way; returns its new place."""
        return self.path.rename(self.path.with_suffix(".damaged"))


def open_journal(path: Path) -> HeldJournal | None:
    """Open one; None when it went away meanwhile."""
    while True:
        try:
            # Not to wait for the other end of a pipe that somebody put there.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _host_error(f"open {path}", error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_live = False
        except BlockingIOError:
            is_live = True
        if is_live or _still_names(path, file):
            return HeldJournal(path, file, is_live)
        os.close(file)


def state_dirs(state_dir: Path) -> list[Path]:
    """The directory itself and those inside that belong to a user; empty without a directory."""
    if not state_dir.is_dir():
        return []
    inside = [
        path
        for path in state_dir.iterdir()
        if path.name.startswith(_USER_PREFIX)
        and path.name.removeprefix(_USER_PREFIX).isdecimal()
        and path.is_dir()
        and not path.is_symlink()
    ]
    return [state_dir, *sorted(inside)]


def journal_paths(state_dir: Path) -> list[Path]:
    """Every journal there; empty without a directory."""
    with suppress(FileNotFoundError):
        return sorted(path for path in state_dir.iterdir() if path.suffix == _SUFFIX)
    return []


@contextmanager
def locked_directory(state_dir: Path) -> Iterator[None]:
    """Hold the state directory; ``HostError`` when it is not ours alone."""
    try:
        file = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _host_error(f"open {state_dir}", error) from None
    try:
        _check_owner(state_dir, os.fstat(file))
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def boot_id() -> str:
    """Differs after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _decode_record(text: bytes) -> Record:
    match json.loads(text):
        case {
            "boot": str(boot),
            "inode": int(inode),
            "pid": int(pid),
            "started": int(started),
            "ledger": ledger,
        }:
            return Record(boot, inode, pid, started, decode(ledger))
    raise ValueError("not a journal")


def _write_locked(path: Path, text: bytes) -> int:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(temporary, flags, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        view = memoryview(text)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
        os.rename(temporary, path)
    except OSError:
        os.close(file)
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return file


def _still_names(path: Path, file: int) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))


def _make_state_dir(directory: Path, owner: int | None) -> None:
    """One of a user's own is inside the common one, which others may enter but not read."""
    try:
        common = directory if owner is None else directory.parent
        if not directory.is_dir():
            common.mkdir(mode=0o711, parents=True, exist_ok=True)
        if owner is not None and not directory.is_dir():
            directory.mkdir(mode=0o700)
            os.chown(directory, owner, -1)
    except OSError as error:
        raise _host_error(f"make {directory}", error) from None


def _check_owner(directory: Path, status: os.stat_result) -> None:
    """Whoever writes here has us undo things as root."""
    users = {0, os.geteuid()}
    if directory.name.startswith(_USER_PREFIX):
        users = {int(directory.name.removeprefix(_USER_PREFIX))}
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if status.st_uid not in users or others_write:
        raise HostError(f"use {directory}", "other users may write there", errno.EPERM)


def _start_time() -> int:
    stat_line = Path("/proc/self/stat").read_text()
    return int(stat_line.rpartition(")")[2].split()[19])


def _host_error(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
