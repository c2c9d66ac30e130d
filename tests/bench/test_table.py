"""Results as pages and as JSON."""

from __future__ import annotations

import json

import pytest

from bench.figures import RTT_IDLE, TCP, UDP, Results
from bench.forms import FORMS
from bench.goals import Goal, Role, Term, evaluate
from bench.table import About, as_json, markdown, number, others

CAST = {Role.OURS: "ovpn6 Python", Role.BARE: "bare link"}
VERSIONS = {"ovpn6 Python": "0.1.0", "bare link": "veth"}
ABOUT = About(FORMS["short"], {"cores": "2", "kernel": "Linux 6.18"}, VERSIONS, CAST)
GOALS = (Goal("against the link", Term(TCP, Role.OURS), 0.5, True, Term(TCP, Role.BARE)),)


def results() -> Results:
    made = Results()
    for value in (400.0, 600.0, 500.0):
        made.add(TCP, "ovpn6 Python", value)
    made.add(TCP, "bare link", 2000.0)
    made.add(UDP[64], "bare link", 261_000.0)
    made.failures.append("OpenVPN 2.7, over IPv6: no root")
    return made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((None, "-"), (0.0, "0"), (0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100")),
        *((17_840.4, "17,840"), (261_000.0, "261,000")),
    ],
)
def test_numbers_have_three_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text


def page() -> str:
    outcomes = evaluate(results(), CAST, GOALS)
    return markdown(results(), outcomes, ABOUT)


def test_the_page_has_medians_in_a_column_a_candidate() -> None:
    assert "| | unit | ovpn6 Python | bare link |" in page().replace("|  |", "| |")
    assert "| one stream, IPv6 over IPv6 | Mbit/s | 500 | 2,000 |" in page()
    assert "| 64 octets of payload | packets/s | - | 261,000 |" in page()


def test_the_page_says_what_was_missed() -> None:
    assert "| against the link | at least 0.5 x | 0.25 x | missed |" in page()


def test_the_page_describes_the_machine_and_what_failed() -> None:
    assert "| kernel | Linux 6.18 |" in page()
    assert "- OpenVPN 2.7, over IPv6: no root" in page()
    assert "the one in Python: not there" in page()


def test_who_has_no_column_is_named_below() -> None:
    made = results()
    made.add(TCP, "a library", 7.0)
    assert others(made, TCP, tuple(VERSIONS)) == ["one stream, IPv6 over IPv6, Mbit/s: a library 7"]
    assert others(made, UDP[64], tuple(VERSIONS)) == []


def test_a_section_without_values_is_left_out() -> None:
    assert "## TCP" in page()
    assert f"## {RTT_IDLE[0].section}" not in page()


def test_the_json_has_every_run() -> None:
    outcomes = evaluate(results(), CAST, GOALS)
    whole = json.loads(json.dumps(as_json(results(), outcomes, ABOUT)))
    assert whole["form"] == "short"
    assert whole["figures"][0]["runs"]["ovpn6 Python"] == [400.0, 600.0, 500.0]
    assert whole["figures"][0]["medians"] == {"ovpn6 Python": 500.0, "bare link": 2000.0}
    assert whole["asked"][0]["verdict"] == "missed"
    assert whole["not measured"] == ["OpenVPN 2.7, over IPv6: no root"]
