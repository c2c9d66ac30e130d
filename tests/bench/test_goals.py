"""What the project asks, against figures of a run."""

from __future__ import annotations

import pytest

from bench.figures import ALL_FIGURES, CPU_FLOOR, CPU_USER, MEMORY_CLIENTS, TCP, Results
from bench.goals import GOALS, Goal, Role, Term, Verdict, all_reached, evaluate

CAST = {
    Role.OURS: "ovpn6 native",
    Role.FALLBACK: "ovpn6 Python",
    Role.OPENVPN_27: "OpenVPN 2.7",
    Role.WIREGUARD: "wireguard-go",
    Role.BARE: "bare link",
}
TWICE = Goal("twice", Term(TCP, Role.OURS), 2.0, True, Term(TCP, Role.OPENVPN_27))


def measured(ours: float, other: float) -> Results:
    results = Results()
    results.add(TCP, "ovpn6 native", ours)
    results.add(TCP, "OpenVPN 2.7", other)
    return results


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(200.0, Verdict.REACHED), (201.0, Verdict.REACHED), (199.9, Verdict.MISSED)],
)
def test_a_ratio_is_reached_from_its_bound_on(ours: float, verdict: Verdict) -> None:
    (outcome,) = evaluate(measured(ours, 100.0), CAST, [TWICE])
    assert outcome.verdict is verdict
    assert outcome.value == ours / 100.0


def test_a_bound_from_above_is_reached_up_to_it() -> None:
    goal = Goal("cpu", Term(CPU_USER, Role.OURS), 2.0, False, Term(CPU_FLOOR, Role.OURS))
    for spent, verdict in ((0.2, Verdict.REACHED), (0.21, Verdict.MISSED)):
        results = Results()
        results.add(CPU_USER, "ovpn6 native", spent)
        results.add(CPU_FLOOR, "ovpn6 native", 0.1)
        assert evaluate(results, CAST, [goal])[0].verdict is verdict


def test_a_goal_without_another_candidate_is_in_its_own_unit() -> None:
    goal = Goal("memory", Term(MEMORY_CLIENTS[1], Role.OURS), 64.0, False, unit="MB")
    results = Results()
    results.add(MEMORY_CLIENTS[1], "ovpn6 native", 63.0)
    (outcome,) = evaluate(results, CAST, [goal])
    assert (outcome.value, outcome.verdict) == (63.0, Verdict.REACHED)


@pytest.mark.parametrize("missing", ["ovpn6 native", "OpenVPN 2.7"])
def test_what_was_not_measured_is_not_reached(missing: str) -> None:
    results = measured(200.0, 100.0)
    del results.runs[TCP][missing]
    outcomes = evaluate(results, CAST, [TWICE])
    assert outcomes[0].verdict is Verdict.NOT_MEASURED
    assert not all_reached(outcomes)


def test_a_part_that_nobody_has_is_not_measured() -> None:
    cast = {role: name for role, name in CAST.items() if role is not Role.OPENVPN_27}
    assert evaluate(measured(200.0, 100.0), cast, [TWICE])[0].verdict is Verdict.NOT_MEASURED


def test_a_run_in_which_nothing_arrived_elsewhere_proves_nothing() -> None:
    assert evaluate(measured(200.0, 0.0), CAST, [TWICE])[0].verdict is Verdict.NOT_MEASURED


def test_one_missed_goal_is_enough_to_fail() -> None:
    thrice = Goal("thrice", TWICE.value, 3.0, True, TWICE.beside)
    outcomes = evaluate(measured(250.0, 100.0), CAST, [TWICE, thrice])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.REACHED, Verdict.MISSED]
    assert not all_reached(outcomes)
    assert all_reached(outcomes[:1])


def test_every_goal_is_about_figures_that_are_measured() -> None:
    terms = [term for goal in GOALS for term in (goal.value, goal.beside) if term]
    assert {term.figure for term in terms} <= set(ALL_FIGURES)
    assert all(goal.bound > 0 for goal in GOALS)
