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
_RACE = re.compile(r"\bBUG: KCSAN: ")
_OURS = "[ovpn6]"
"""After the name of a function of our module."""


def complaints(log: str) -> tuple[str, ...]:
    """The lines of a kernel log that fail a run, in order.

    Races count where our module has a part in them: the kernel itself has many that it knows of.
    """
    found = (line.strip() for line in log.splitlines() if _COMPLAINTS.search(line))
    return tuple(line for line in found if _OURS in line or not _RACE.search(line))
