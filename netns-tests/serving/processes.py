"""What ``/proc`` says about a process, and processes that nobody's lab started."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from ovpn6.lab import wait_for

_CAPABILITIES = {0: "cap_chown", 12: "cap_net_admin", 13: "cap_net_raw", 21: "cap_sys_admin"}


def owner(pid: int) -> tuple[str, str]:
    """Effective user and group by name."""
    user, group = (int(_field(pid, name).split()[1]) for name in ("Uid", "Gid"))
    return pwd.getpwuid(user).pw_name, grp.getgrgid(group).gr_name


def capabilities(pid: int) -> set[str]:
    """Effective capabilities by name, those that matter here; others by number."""
    mask = int(_field(pid, "CapEff"), 16)
    return {_CAPABILITIES.get(bit, str(bit)) for bit in range(64) if mask >> bit & 1}


def processor_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started_outside(pid: int) -> Iterator[None]:
    """A daemon: it is killed if it is still there at the end."""
    start = _start(pid)
    assert start is not None
    try:
        yield
        wait_for(lambda: _start(pid) != start, 10, f"the end of process {pid}")
    finally:
        if _start(pid) == start:
            os.kill(pid, signal.SIGKILL)


def _start(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _field(pid: int, name: str) -> str:
    match = re.search(rf"^{name}:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]
