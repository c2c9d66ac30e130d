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
_RCU = "suspicious RCU usage"
_NFTABLES = re.compile(r"\bnet/netfilter/\S+ RCU-list traversed in non-reader section")
"""nftables of 6.12 walks lists under its mutex without saying so (PROVE_RCU_LIST)."""
_LINES_TO_PLACE = 3
"""From the complaint to its place in the source."""


def complaints(log: str) -> tuple[str, ...]:
    """The lines of a kernel log that fail a run, in order.

    Not the kernel's own: races in which our module has no part, and how nftables walks its lists.
    """
    lines = log.splitlines()
    found = (number for number, line in enumerate(lines) if _COMPLAINTS.search(line))
    return tuple(lines[number].strip() for number in found if not _is_known(lines, number))


def _is_known(lines: list[str], number: int) -> bool:
    line = lines[number]
    if _RACE.search(line):
        return _OURS not in line
    following = lines[number + 1 : number + 1 + _LINES_TO_PLACE]
    return _RCU in line and any(_NFTABLES.search(place) for place in following)
