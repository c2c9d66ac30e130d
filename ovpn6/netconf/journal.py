"""Journals: what a process that is killed leaves behind, written down before it is done.

One file for each instance, ``<instance>.<namespace inode>.<pid>.json``, locked while its owner
lives. The directory is locked while an instance looks at the others' claims and changes the host.
What a dead owner left in a namespace that nobody has started in since is set aside under the suffix
``.left``, so that however many of them there are, only a start in that namespace reads them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.records import dataclass, replace
from ovpn6.netconf.ledger import Ledger, decode, decode_route, encode, encode_route
from ovpn6.netconf.plan import KernelRoute
from ovpn6.netconf.state_directory import StateDirectory

SUFFIX = ".json"
LEFT_SUFFIX = ".left"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class Journal(Protocol):
    """Where one instance keeps its ledger."""

    def exclusive(self) -> AbstractContextManager[None]:
        """While entered, no other instance changes the host or its journal."""

    def write(self, ledger: Ledger) -> None:
        """Keep it; survives the process. ``HostError`` when it cannot be kept."""

    def add(self, route: KernelRoute) -> None:
        """One route more than was written; costs the same however long the ledger is."""

    def drop(self, route: KernelRoute) -> None:
        """One less."""

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
    """Field 22 of ``/proc/<pid>/stat``: with ``pid``, names the owner to a reader."""
    ledger: Ledger


class FileJournal:
    """The journal of this process. The file appears with the first :meth:`write`."""

    def __init__(
        self, state_dir: Path, instance: str, inode: int, owner: int | None = None
    ) -> None:
        """``owner`` as in :class:`StateDirectory`. ``HostError`` from there."""
        self._directory = StateDirectory(state_dir, owner)
        self._identity = {
            "boot": boot_id(),
            "inode": inode,
            "pid": os.getpid(),
            "started": _start_time(),
        }
        self._stem = f"{_UNSAFE.sub('_', instance)}.{inode}.{os.getpid()}"
        self._name = ""
        self._file = -1

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held for milliseconds."""
        with self._directory.exclusive():
            yield

    def write(self, ledger: Ledger) -> None:
        """A new file in the place of the old."""
        name = self._name or self._free_name()
        text = json.dumps(self._identity | {"ledger": encode(ledger)})
        try:
            new = self._directory.write_locked(name, f"{text}\n".encode())
        except OSError as error:
            operation = f"write {self._directory.path / name}"
            raise HostError(operation, error.strerror or "", error.errno or 0) from None
        self._release()
        self._name, self._file = name, new

    def add(self, route: KernelRoute) -> None:
        """A line behind what was written."""
        self._note("+", route)

    def drop(self, route: KernelRoute) -> None:
        """A line as well."""
        self._note("-", route)

    def others(self) -> tuple[Ledger, ...]:
        """Files that are damaged, or another user's, are left to ``recover``."""
        found = []
        for name in self._directory.names(SUFFIX):
            if name == self._name:
                continue
            with suppress(ValueError, HostError):
                held = open_journal(self._directory, name)
                if held is None:
                    continue
                with held:
                    if held.is_live:
                        found.append(held.read().ledger)
        return tuple(found)

    def close(self, keep: bool = False) -> None:
        """One that cannot be deleted says too much, which does no harm."""
        if self._name and not keep:
            with suppress(OSError):
                self._directory.delete(self._name)
        self._release()
        self._name = ""
        self._directory.close()

    def _note(self, sign: str, route: KernelRoute) -> None:
        if self._file < 0:
            raise UsageError("a line behind nothing")
        text = json.dumps([sign, encode_route(route)])
        try:
            os.write(self._file, f"{text}\n".encode())
        except OSError as error:
            operation = f"write {self._directory.path / self._name}"
            raise HostError(operation, error.strerror or "", error.errno or 0) from None

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _free_name(self) -> str:
        # A file of this name is a dead process's whose id we got: it is recovered, not overwritten.
        suffixes = (SUFFIX, LEFT_SUFFIX)
        taken = {n.removesuffix(s) for s in suffixes for n in self._directory.names(s)}
        stem, number = self._stem, 1
        while stem in taken:
            stem, number = f"{self._stem}.{number}", number + 1
        return f"{stem}{SUFFIX}"


class HeldJournal:
    """Somebody's journal file, open; locked by us unless its owner lives."""

    def __init__(self, directory: StateDirectory, name: str, file: int, is_live: bool) -> None:
        self.is_live = is_live
        self._directory = directory
        self._name = name
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
        self._directory.delete(self._name)

    def set_aside(self) -> None:
        """Leave it to a start in its own namespace; the name stays but for the suffix."""
        self._directory.rename(self._name, self._name.removesuffix(SUFFIX) + LEFT_SUFFIX)

    def move_aside(self) -> Path:
        """Keep a damaged file for the operator, out of the way; returns its new place."""
        aside = f"{self._name}.damaged"
        self._directory.rename(self._name, aside)
        return self._directory.path / aside


def open_journal(directory: StateDirectory, name: str) -> HeldJournal | None:
    """Open one; None when it went away meanwhile."""
    opened = directory.open_and_try_lock(name)
    if opened is None:
        return None
    file, locked = opened
    return HeldJournal(directory, name, file, is_live=not locked)


def left_in(name: str, inode: int) -> bool:
    """Whether a name with :data:`LEFT_SUFFIX` is of a namespace with this inode."""
    return name.split(".")[1:2] == [str(inode)]


def boot_id() -> str:
    """Differs after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _decode_record(text: bytes) -> Record:
    # Of a line that is not finished, nothing was done.
    whole, *lines = text.split(b"\n")
    try:
        value = json.loads(whole)
    except RecursionError:
        raise ValueError("not a journal") from None
    match value:
        case {
            "boot": str(boot),
            "inode": int(inode),
            "pid": int(pid),
            "started": int(started),
            "ledger": ledger,
        }:
            return Record(boot, inode, pid, started, _amended(decode(ledger), lines[:-1]))
    raise ValueError("not a journal")


def _amended(ledger: Ledger, lines: Iterable[bytes]) -> Ledger:
    routes = set(ledger.routes)
    for line in lines:
        match json.loads(line):
            case ["+", route]:
                routes.add(decode_route(route))
            case ["-", route]:
                routes.discard(decode_route(route))
            case _:
                raise ValueError("not a line of a journal")
    return replace(ledger, routes=frozenset(routes))


def _start_time() -> int:
    stat_line = Path("/proc/self/stat").read_text()
    return int(stat_line.rpartition(")")[2].split()[19])
