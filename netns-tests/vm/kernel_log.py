"""What a kernel's log must not have: lines that say that the kernel itself went wrong."""

from __future__ import annotations

import re

_COMPLAINTS = re.compile(
    r"""
      \bWARNING:\ | \bBUG:\ | \bkernel\ BUG\ at | \bOops\b | \bKernel\ panic
    | \bgeneral\ protection\ fault | \bdouble\ fault | \bUBSAN: | \bKASAN: | \bKCSAN:
    | \bpossible\ (?:circular|recursive)\ locking | \binconsistent\ lock\ state
    | \bsuspicious\ RCU\ usage | \bsleeping\ function\ called
    | \brefcount_t: | \bunregister_netdevice:\ waiting | \bkmemleak: .* \bnew\ suspected
    | \bINFO:\ task\ .*\ blocked | \bself-detected\ stall | \bdetected\ stalls
    | \bOut\ of\ memory: | \bobject_is_on_stack | \bODEBUG:
    """,
    re.VERBOSE,
)


def complaints(log: str) -> tuple[str, ...]:
    """The lines of a kernel log that fail a run, in order."""
    return tuple(line.strip() for line in log.splitlines() if _COMPLAINTS.search(line))
