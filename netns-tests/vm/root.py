"""Programs of the root on this machine, in whichever network namespace they are started."""

from __future__ import annotations

from pathlib import Path

from vm.build import present_root

_OUR_PLACES = ("proc", "sys", "dev", "run", "tmp")
"""What a program of the root sees of this machine."""


def command_prefix(root: Path) -> tuple[str, ...]:
    """What to put before a command so that it runs in ``root``.

    The command becomes the process that is started. Its mounts are its own, and end with it.
    """
    mounts = [f"mount --rbind /{place} {root}/{place}" for place in _OUR_PLACES]
    script = " && ".join([*mounts, f'exec chroot {root} "$@"'])
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def why_missing() -> str:
    """Why there is no root to use, for a test that is skipped; empty when there is one."""
    return "" if present_root() else "the Debian root is not built: netns-tests/vm/vm build"
