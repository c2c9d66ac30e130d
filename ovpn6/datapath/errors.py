"""What becomes of errors: a counted drop, or a ``HostError``."""

from __future__ import annotations

import errno
import os

from ovpn6.model.errors import HostError

Counts = dict[str, int]
"""Drops by reason, shared by everything in one datapath."""


def count(counts: Counts, reason: str, number: int = 1) -> None:
    """``number`` drops more."""
    counts[reason] = counts.get(reason, 0) + number


def count_error(counts: Counts, what: str, error: OSError, number: int = 1) -> None:
    """``number`` drops more, by errno: ``send EMSGSIZE``."""
    count(counts, f"{what} {error_name(error)}", number)


def error_name(error: OSError) -> str:
    """``EMSGSIZE`` and the like; the number when it has no name, "?" without one."""
    if error.errno is None:
        return "?"
    return errno.errorcode.get(error.errno, str(error.errno))


def host_error(operation: str, error: OSError) -> HostError:
    """The same refusal in our words; asyncio's own wording of a reason is passed over."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return HostError(operation, reason, error.errno or 0)
