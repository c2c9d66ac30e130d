"""A thread of its own for each network namespace.

It alone enters another network namespace, nothing else of the process does: sockets are opened
there, and ``/proc/sys/net`` shows the namespace of the thread that looks. The caller waits for the
answer.

Capabilities belong to a thread as well, and ``setuid`` takes them from each thread that did not ask
to keep them. The worker keeps CAP_NET_ADMIN and what changing the user takes (glibc does that in
each thread), from its start; after the process changed its user (``--user``) it makes
CAP_NET_ADMIN alone effective again. Paths are looked up at the start, for
``--chroot``. The thread does not survive ``fork``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ovpn6.model.errors import HostError, UsageError

NETNS_DIR = Path("/run/netns")
"""Where ``ip netns`` names namespaces."""

_SYSCTL = "/proc/sys"
_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_PR_SET_KEEPCAPS = 8
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_NET_ADMIN = 1 << 12
_CAP_SETGID = 1 << 6
_CAP_SETUID = 1 << 7
_HEADER = struct.Struct("=Ii")
_DATA = struct.Struct("=6I")

T = TypeVar("T")


class NamespaceWorker:
    """Runs functions in one network namespace, one at a time."""

    def __init__(self, name: str = "") -> None:
        """``name`` as in ``ip netns``, "" is the process's own. ``HostError`` ENOENT without it."""
        self._process = os.getpid()
        self._user = os.geteuid()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netconf")
        self._sysctl = -1
        try:
            self._pool.submit(_enter, name).result()
            self.inode: int = self._pool.submit(_inode).result()
            self.cookie: int = self._pool.submit(_cookie).result()
            self._sysctl = os.open(_SYSCTL, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._pool.submit(_keep_capabilities, _TO_CHANGE_USER).result()
        except OSError as error:
            self.close()
            raise _system_error("look at the network namespace", error) from None
        except HostError:
            self.close()
            raise

    def run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call it in the worker and wait; what it raises is raised here."""
        self.refuse_child()
        if os.geteuid() != self._user:
            self._user = os.geteuid()
            self._pool.submit(_keep_capabilities, _CAP_NET_ADMIN).result()
        return self._pool.submit(function, *arguments, **named).result()

    def refuse_child(self) -> None:
        """``UsageError`` in a process forked off the one that opened this."""
        if os.getpid() != self._process:
            raise UsageError("host state was opened before a fork")

    def setting_names(self, directory: str) -> tuple[str, ...]:
        """What ``/proc/sys/<directory>`` holds, sorted; empty when there is none."""
        return self.run(self._setting_names, directory)

    def read_setting(self, name: str) -> str | None:
        """``/proc/sys/<name>``; None when there is none."""
        return self.run(self._read_setting, name)

    def write_setting(self, name: str, value: str) -> None:
        """No error when there is none (any more)."""
        self.run(self._write_setting, name, value)

    def close(self) -> None:
        """May be called twice."""
        self._pool.shutdown()
        if self._sysctl >= 0:
            os.close(self._sysctl)
            self._sysctl = -1

    # --- in the worker ---------------------------------------------------------------------------

    def _setting_names(self, directory: str) -> tuple[str, ...]:
        try:
            file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._sysctl)
        except FileNotFoundError:
            return ()
        try:
            return tuple(sorted(os.listdir(file)))
        finally:
            os.close(file)

    def _read_setting(self, name: str) -> str | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._sysctl)
        except FileNotFoundError:
            return None
        try:
            return os.read(file, 4096).decode().strip()
        except OSError as error:
            raise _system_error(f"read {name}", error) from None
        finally:
            os.close(file)

    def _write_setting(self, name: str, value: str) -> None:
        operation = f"set {name} to {value}"
        try:
            file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._sysctl)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _system_error(operation, error) from None
        try:
            os.write(file, value.encode())
        except OSError as error:
            raise _system_error(operation, error) from None
        finally:
            os.close(file)


def _enter(name: str) -> None:
    if not name:
        return
    operation = f"open network namespace {name}"
    if "/" in name or name.startswith("."):
        raise HostError(operation, "not a name of a network namespace", errno.EINVAL)
    try:
        file = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _system_error(operation, error) from None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(file, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise HostError(f"enter network namespace {name}", os.strerror(code), code)
    finally:
        os.close(file)


def _inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def _cookie() -> int:
    """0 on kernels before 5.14."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        cookie: int
        (cookie,) = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))
        return cookie
    return 0


_TO_CHANGE_USER = _CAP_NET_ADMIN | _CAP_SETGID | _CAP_SETUID
"""glibc changes the user in each thread, and aborts when one of them may not."""


def _keep_capabilities(mask: int) -> None:
    """Without privileges this changes nothing, and the kernel refuses later what it must."""
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    header = _HEADER.pack(_CAPABILITY_VERSION_3, 0)
    library.capset(header, _DATA.pack(mask, mask, 0, 0, 0, 0))


def _system_error(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
