"""The directory of journals: locked files in it, written at once or not at all.

Held by descriptor, so that it is found again after ``chroot``. A file that is locked (``flock``)
has a live owner: the kernel lets go of the lock however the process ends, so that, unlike a process
id, it can be trusted from other pid namespaces, and after the id was used again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ovpn6.model.errors import HostError

_USER_PREFIX = "user-"


class StateDirectory:
    """An open state directory; only its owner may write there."""

    def __init__(self, path: Path, owner: int | None = None, make: bool = True) -> None:
        """``owner`` is the user id that this process will change to: it gets a directory of its
        own inside ``path``. ``HostError`` when the directory cannot be made, or is not safe."""
        self.path = path if owner is None else path / f"{_USER_PREFIX}{owner}"
        try:
            if make:
                _make(path, self.path, owner)
            self._file = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _host_error(f"open {self.path}", error) from None
        try:
            _check_owner(self.path, os.fstat(self._file))
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no other instance is in here, and keep it out. Not to be nested; closing
        the directory ends it too."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def names(self, suffix: str) -> list[str]:
        """Of the files that end so, sorted."""
        return sorted(name for name in os.listdir(self._file) if name.endswith(suffix))

    def write_locked(self, name: str, text: bytes) -> int:
        """Put a new file, locked, in the place of ``name``; returns its descriptor, which keeps the
        lock. ``OSError`` leaves the old file."""
        temporary = f"{name}.new"
        self.delete(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(temporary, flags, 0o600, dir_fd=self._file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            view = memoryview(text)
            while view:
                view = view[os.write(file, view) :]
            # No fsync: this must outlive the process, and after a reboot it is void anyway.
            self.rename(temporary, name)
        except OSError:
            os.close(file)
            self.delete(temporary)
            raise
        return file

    def open_and_try_lock(self, name: str) -> tuple[int, bool] | None:
        """Open a file for reading; its descriptor, and whether we have its lock now.

        None when it went away meanwhile or is no plain file.
        """
        # Not to wait for the other end of a pipe that somebody put there.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            try:
                file = os.open(name, flags, dir_fd=self._file)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _host_error(f"open {self.path / name}", error) from None
            locked = False
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                return None
            if not locked or self._still_names(name, file):
                return file, locked
            os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Inside the directory."""
        os.rename(old, new, src_dir_fd=self._file, dst_dir_fd=self._file)

    def delete(self, name: str) -> None:
        """When it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._file)

    def _still_names(self, name: str, file: int) -> bool:
        try:
            named = os.stat(name, dir_fd=self._file, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))


def state_directories(path: Path) -> list[Path]:
    """The directory itself and those in it that belong to a user; empty when there is none."""
    if not path.is_dir():
        return []
    inside = [
        entry
        for entry in path.iterdir()
        if entry.name.startswith(_USER_PREFIX)
        and entry.name.removeprefix(_USER_PREFIX).isdecimal()
        and entry.is_dir()
        and not entry.is_symlink()
    ]
    return [path, *sorted(inside)]


def _make(common: Path, path: Path, owner: int | None) -> None:
    # Others may pass through to a directory of their own, but see nothing.
    common.mkdir(mode=0o711, parents=True, exist_ok=True)
    if owner is not None and not path.is_dir():
        path.mkdir(mode=0o700)
        os.chown(path, owner, -1)


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Whoever writes here has us undo things as root."""
    users = {0, os.geteuid()}
    if path.name.startswith(_USER_PREFIX):
        users = {int(path.name.removeprefix(_USER_PREFIX))}
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if status.st_uid not in users or others_write:
        raise HostError(f"use {path}", "other users may write there", errno.EPERM)


def _host_error(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
