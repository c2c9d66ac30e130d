"""The store of a benchmark's values, and its statistics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import ALL_FIGURES, RTT_IDLE, TCP, UDP, Results, percentile

VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)


def test_the_median_of_several_runs_is_what_counts() -> None:
    results = Results()
    for value in (3.0, 900.0, 4.0):
        results.add(TCP, "a", value)
    assert results.median(TCP, "a") == 4.0
    assert results.spread(TCP, "a") == (3.0, 900.0)


def test_what_was_not_measured_has_no_median() -> None:
    results = Results()
    results.add(TCP, "a", 1.0)
    assert results.median(TCP, "b") is None
    assert results.median(UDP[64], "a") is None


def test_figures_come_in_the_order_asked_for() -> None:
    results = Results()
    results.add(UDP[64], "a", 1.0)
    results.add(TCP, "a", 1.0)
    assert results.in_order(ALL_FIGURES) == [TCP, UDP[64]]


def test_no_two_figures_are_the_same() -> None:
    assert len(set(ALL_FIGURES)) == len(ALL_FIGURES)
    assert RTT_IDLE[0] != RTT_IDLE[1]


def test_percentiles_are_values_that_were_measured() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert percentile(hundred, 0.5) == 50.0
    assert percentile(hundred, 0.99) == 99.0
    assert percentile(hundred, 1.0) == 100.0
    assert percentile([7.0], 0.01) == 7.0


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(VALUES, st.floats(0, 1))
def test_as_many_values_as_the_share_says_do_not_exceed_a_percentile(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
