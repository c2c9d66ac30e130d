"""Where our module answers otherwise than mainline's of Linux 7.3, and why. What is not in this
table must be the same, octet by octet; an entry that nothing needs fails too."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from vm.guest_kmod.oracle.raw import Answer

from ovpn6.datapath.ovpn_netlink.messages import Command


@dataclass(frozen=True, slots=True)
class Case:
    """A request: a good one with one attribute changed, or left out where ``value`` is None."""

    command: Command
    attribute: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Difference:
    """``applies``: to a case with mainline's answer and ours."""

    name: str
    reason: str
    applies: Callable[[Case, Answer, Answer], bool]


_SCOPE, _FIRST_COUNTER, _LAST_COUNTER = 4, 16, 23
_KEY_ID, _CIPHER = 3, 4


def _is_scope_of_a_global_address(case: Case, theirs: Answer, ours: Answer) -> bool:
    of_peer = case.command in (Command.PEER_NEW, Command.PEER_SET)
    return of_peer and case.attribute == _SCOPE and theirs.error == ours.error == 0


def _is_counter_of_odd_length(case: Case, theirs: Answer, ours: Answer) -> bool:
    is_counter = _FIRST_COUNTER <= case.attribute <= _LAST_COUNTER
    refused = (theirs.error, ours.error) == (errno.EINVAL, errno.ERANGE)
    return case.command is Command.PEER_GET and is_counter and refused


def _is_said_of_a_key_that_is_asked_for(case: Case, theirs: Answer, ours: Answer) -> bool:
    refused = theirs.error in (errno.EINVAL, errno.ERANGE) and ours.error == errno.EINVAL
    asked = case.command is Command.KEY_GET and case.attribute in (_KEY_ID, _CIPHER)
    return asked and refused and ours.place is not None


DIFFERENCES = (
    Difference(
        "scope of a global address",
        "it has none: ours heeds and tells a scope of link-local addresses only. Mainline keeps "
        "it and sends by that interface alone",
        _is_scope_of_a_global_address,
    ),
    Difference(
        "a counter of odd length in a question",
        "refused by both; the kind of number that mainline's policy names is younger than 6.1",
        _is_counter_of_odd_length,
    ),
    Difference(
        "more than peer and slot in a question for a key",
        "refused by both; ours by its policy, so that the attribute is named",
        _is_said_of_a_key_that_is_asked_for,
    ),
)
