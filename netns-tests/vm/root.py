"""Programs of the root in whichever network namespace they are started, on this machine or in the
guest, whose root it is."""

from __future__ import annotations

import os
from pathlib import Path

from vm.build import present_root
from vm.errors import VmError

_OUR_PLACES = ("proc", "sys", "dev", "run", "tmp")
"""What a program of the root sees of this machine."""


def command_prefix(root: Path) -> tuple[str, ...]:
    """What to put before a command so that it runs in ``root``.

    The command becomes the process that is started. Its mounts are its own, and end with it.
    """
    mounts = [f"mount --rbind /{place} {root}/{place}" for place in _OUR_PLACES]
    script = " && ".join([*mounts, f'exec chroot {root} "$@"'])
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def program_prefix() -> tuple[str, ...]:
    """What to put before a program of the root, here. Raises :class:`VmError` without a root."""
    if in_guest():
        return ()
    root = present_root()
    if root is None:
        raise VmError(why_missing())
    return command_prefix(root)


def in_guest() -> bool:
    """Whether this is a virtual machine of this package."""
    return bool(os.environ.get("OVPN6_VM"))


def why_missing() -> str:
    """Why there is no root to use, for a test that is skipped; empty when there is one."""
    return (
        ""
        if in_guest() or present_root()
        else "the Debian root is not built: netns-tests/vm/vm build"
    )
