"""What people and programs read."""

from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from ovpn6.doctor import report
from ovpn6.doctor.facts import Facts
from ovpn6.doctor.judge import judge
from tests.doctor.test_judge import HOLE, INNER, WELL, of


def test_the_json_has_the_facts_and_the_findings() -> None:
    facts = of(HOLE)
    document = json.loads(report.to_json(facts, judge(facts)))
    assert document["healthy"] is False
    assert document["findings"][0]["code"] == "black-hole"
    (path,) = document["paths"]
    assert (path["target"], path["largest"], path["lost"]) == ("2001:db8:5::2", 1400, 1401)
    assert path["hole"] == {"reached": "2001:db8:90::1", "beyond": "2001:db8:90::2"}


def test_a_healthy_host_is_said_to_be_so() -> None:
    assert json.loads(report.to_json(WELL, ()))["healthy"] is True
    text = _page(WELL)
    assert "healthy" in text
    assert str(INNER.target) in text


def test_the_page_has_a_row_a_path_and_each_finding_with_its_advice() -> None:
    facts = of(HOLE)
    text = _page(facts)
    for words in ("1400", "vanishes behind 2001:db8:90::1", "problem", judge(facts)[0].advice):
        assert words in text
    assert "healthy" not in text


def _page(facts: Facts) -> str:
    written = StringIO()
    report.show(facts, judge(facts), Console(file=written, width=200))
    return written.getvalue()
