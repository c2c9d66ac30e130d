"""Going to the background. The parent stays until the child is well begun, or has failed.

Source: ``daemon(7)``; OpenVPN ``init.c`` ``possibly_become_daemon``.
"""

from __future__ import annotations

import os
from pathlib import Path

from ovpn6.model.errors import HostError


class Background:
    """The child's end of the line to the waiting parent."""

    def __init__(self, descriptor: int, *, keep_output: bool) -> None:
        self._descriptor = descriptor
        self._keep_output = keep_output

    @property
    def waiting(self) -> bool:
        """The parent still waits, the terminal is still ours."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Let go of the terminal and let the parent exit with 0. Later calls do nothing."""
        if self._descriptor < 0:
            return
        if not self._keep_output:
            _to_null(1, 2)
        os.write(self._descriptor, b"\0")
        os.close(self._descriptor)
        self._descriptor = -1


def daemonize(*, keep_output: bool) -> Background:
    """Fork twice, leave the terminal. Returns in the grandchild only; the first process exits with
    0 upon :meth:`Background.release`, with 1 when the daemon died before.

    ``keep_output``: standard output and error already lead to a log file. Otherwise they stay
    usable for error messages until the release.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    _to_null(0)
    return Background(writer, keep_output=keep_output)


def write_pid(path: Path) -> None:
    """``--writepid``. Raises ``HostError``."""
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise HostError(f"writepid {path}", error.strerror or "", error.errno or 0) from None


def _to_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
