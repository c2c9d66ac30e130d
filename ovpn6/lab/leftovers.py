"""Removing what labs leave behind: namespaces, the processes in them, directories."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from pyroute2 import netns as pyroute2_netns

from ovpn6.lab.errors import LabError
from ovpn6.lab.identity import is_leftover
from ovpn6.lab.waiting import wait_for

NETNS = Path("/run/netns")
STATE = Path("/run/ovpn6-lab")

_KILL_LIMIT = 5.0


def remove_leftovers() -> tuple[str, ...]:
    """Remove what labs of dead processes left; returns the names of what was removed.

    Labs of running processes are not touched, nor is anything that is not a lab's.
    """
    removed = []
    for name in _names(NETNS):
        if is_leftover(name):
            remove_namespace(name)
            removed.append(name)
    for name in _names(STATE):
        if is_leftover(name):
            shutil.rmtree(STATE / name, ignore_errors=True)
            removed.append(name)
    return tuple(removed)


def remove_namespace(name: str) -> None:
    """End every process that lives in the namespace, then take its name away."""
    _end_inhabitants(name)
    # Another lab that starts may be removing the same leftover.
    with contextlib.suppress(FileNotFoundError):
        pyroute2_netns.remove(name)


def inhabitants(name: str) -> tuple[int, ...]:
    """Pids of the processes in the namespace, without our own."""
    try:
        wanted = (NETNS / name).stat()
    except FileNotFoundError:
        return ()
    return tuple(
        int(entry)
        for entry in _names(Path("/proc"))
        if entry.isdigit() and int(entry) != os.getpid() and _lives_in(entry, wanted)
    )


def _end_inhabitants(name: str) -> None:
    def gone() -> bool:
        pids = inhabitants(name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    with contextlib.suppress(LabError):
        # One that cannot die (in the kernel for good) must not keep the rest from going.
        wait_for(gone, _KILL_LIMIT, f"end of the processes in {name}")


def _lives_in(pid: str, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
