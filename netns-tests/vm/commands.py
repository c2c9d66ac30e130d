"""Programs of the host that build things."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vm.errors import VmError

_TAIL_LINES = 15


def run(
    argv: Sequence[str | Path],
    what: str,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end; what it printed on stdout.

    Raises :class:`VmError` that says what was being done, with the end of what it printed.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise VmError(f"{what}: {command[0]} is missing; run: sh .ci/packages vm") from None
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL_LINES:])
        raise VmError(f"{what} failed with exit code {done.returncode}: {command[0]} said\n{tail}")
    return done.stdout


def fetch(
    argv: Sequence[str | Path],
    what: str,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Like :func:`run`, for what downloads: the error says how to try again."""
    try:
        return run(argv, what, directory=directory, environment=environment)
    except VmError as error:
        raise VmError(
            f"{error}\nTo try again: netns-tests/vm/vm build (what is complete is kept)"
        ) from None
