"""What the project asks of the user-space data path, and whether a run reached it. Pure.

Ratios compare medians of one run on one machine. What was not measured is not reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from bench.figures import (
    CPU_FLOOR,
    CPU_USER,
    MEMORY_CLIENTS,
    MEMORY_FURTHER_PEER,
    ONE_OF_MANY,
    ONE_PEER,
    RTT_IDLE,
    SEVERAL_OF_MANY,
    TCP,
    TCP_OFF,
    UDP,
    Crowd,
    Figure,
    Results,
)


class Role(Enum):
    """A part in the comparison. Which candidate has it depends on the machine."""

    OURS = "Fastest data path of ovpn6 in user space"
    FALLBACK = "the one in Python"
    OPENVPN_27 = "OpenVPN 2.7"
    WIREGUARD = "wireguard-go"
    BARE = "the bare link"


Cast = Mapping[Role, str]
"""The candidate in each role; a role may be empty."""


class Verdict(Enum):
    """How a goal ended."""

    REACHED = "reached"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Term:
    """One number of a run."""

    figure: Figure
    role: Role


@dataclass(frozen=True, slots=True)
class Goal:
    """``value`` over ``beside``, or ``value`` alone, against ``bound`` in ``unit``."""

    text: str
    value: Term
    bound: float
    at_least: bool
    beside: Term | None = None
    unit: str = "x"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal and what the run gave; ``value`` None when a number of it is missing."""

    goal: Goal
    value: float | None
    verdict: Verdict


def _ratio(text: str, figure: Figure, beside: Role, least: float) -> Goal:
    return Goal(text, Term(figure, Role.OURS), least, True, Term(figure, beside))


def _of_one_peer(text: str, crowd: Crowd, least: float) -> Goal:
    one = Term(ONE_PEER.figure, Role.OURS)
    return Goal(text, Term(crowd.figure, Role.OURS), least, True, one)


_SINGLE = "TCP single stream, IPv6 over IPv6"

GOALS = (
    _ratio(f"{_SINGLE}, against OpenVPN 2.7", TCP, Role.OPENVPN_27, 15.0),
    _ratio(f"{_SINGLE}, against wireguard-go", TCP, Role.WIREGUARD, 3.0),
    _ratio(f"{_SINGLE}, against the bare link", TCP, Role.BARE, 0.6),
    _ratio("the same with link offloads off", TCP_OFF, Role.BARE, 0.85),
    _ratio("UDP 64-octet packets, against OpenVPN 2.7", UDP[64], Role.OPENVPN_27, 3.0),
    Goal(
        "user CPU of the daemons, against the AEAD library alone",
        Term(CPU_USER, Role.OURS),
        2.0,
        False,
        Term(CPU_FLOOR, Role.OURS),
    ),
    Goal(
        "round trip idle, 99%, against OpenVPN 2.7",
        Term(RTT_IDLE[1], Role.OURS),
        1.0,
        False,
        Term(RTT_IDLE[1], Role.OPENVPN_27),
    ),
    Goal(
        "memory of the whole daemon with 1 client",
        Term(MEMORY_CLIENTS[1], Role.OURS),
        64.0,
        False,
        unit="MB",
    ),
    Goal(
        "memory of each further peer in the data path",
        Term(MEMORY_FURTHER_PEER, Role.OURS),
        8.0,
        False,
        unit="KB",
    ),
    Goal(
        f"{_SINGLE}, data path in Python against OpenVPN 2.7",
        Term(TCP, Role.FALLBACK),
        2.0,
        True,
        Term(TCP, Role.OPENVPN_27),
    ),
    _of_one_peer("throughput with 1,000 peers, one active, against one peer", ONE_OF_MANY, 0.9),
    _of_one_peer("throughput with 1,000 peers, 64 active, against one peer", SEVERAL_OF_MANY, 0.7),
)


def evaluate(results: Results, cast: Cast, goals: Sequence[Goal] = GOALS) -> list[Outcome]:
    """Every goal's outcome, in order."""
    return [_outcome(goal, results, cast) for goal in goals]


def all_reached(outcomes: Sequence[Outcome]) -> bool:
    """Whether every goal was."""
    return all(outcome.verdict is Verdict.REACHED for outcome in outcomes)


def _outcome(goal: Goal, results: Results, cast: Cast) -> Outcome:
    value = _number(goal.value, results, cast)
    if goal.beside is not None:
        other = _number(goal.beside, results, cast)
        value = value / other if value is not None and other else None
    if value is None:
        return Outcome(goal, None, Verdict.NOT_MEASURED)
    good = value >= goal.bound if goal.at_least else value <= goal.bound
    return Outcome(goal, value, Verdict.REACHED if good else Verdict.MISSED)


def _number(term: Term, results: Results, cast: Cast) -> float | None:
    candidate = cast.get(term.role)
    return None if candidate is None else results.median(term.figure, candidate)
