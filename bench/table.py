"""Results as tables: for a terminal, and as text for ``docs/bench/``. Pure but for the console."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.figures import ALL_FIGURES, Figure, Results
from bench.forms import Form
from bench.goals import Cast, Outcome, Role, Verdict

_STYLES = {Verdict.REACHED: "green", Verdict.MISSED: "red", Verdict.NOT_MEASURED: "yellow"}
_GOAL_HEADS = ("asked", "bound", "found", "")

_WORDS = 2

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class About:
    """Where results come from: ``machine`` described, ``versions`` by candidate in the order of
    the columns."""

    form: Form
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    cast: Cast


def print_results(
    console: Console, results: Results, candidates: Sequence[str], outcomes: Sequence[Outcome]
) -> None:
    """Medians of every figure, a column a candidate; then what was asked."""
    shown = Table("figure", "unit")
    for candidate in candidates:
        shown.add_column(candidate, justify="right")
    section, notes = "", []
    for figure in results.in_order(ALL_FIGURES):
        if figure.section != section:
            section = figure.section
            shown.add_section()
            shown.add_row(f"[bold]{section}")
        shown.add_row(*_figure_row(results, figure, candidates))
        notes += others(results, figure, candidates)
    console.print(shown)
    for note in notes:
        console.print(note, highlight=False)
    goals = Table(*_GOAL_HEADS, title="against what the project asks")
    for outcome in outcomes:
        *words, verdict = _goal_row(outcome)
        goals.add_row(*words, f"[{_STYLES[outcome.verdict]}]{verdict}")
    console.print(goals)
    for failure in results.failures:
        console.print(f"not measured: {failure}", style="yellow", markup=False)


def markdown(results: Results, outcomes: Sequence[Outcome], about: About) -> str:
    """The same as a page, with the machine and the candidates."""
    candidates = tuple(about.versions)
    form = about.form
    parts = [
        f"# Benchmark, {form.name} form",
        f"Written by `make bench FORM={form.name}`: medians of {_rounds(form.rounds)}. Both ends "
        "and the traffic share the machine's processors, so only ratios mean something. "
        "[performance.md](../performance.md) says how each figure is measured.",
        _lines(("asked", "at least / at most", "found", ""), map(_goal_row, outcomes)),
        "; ".join(_role_words(role, about.cast) for role in (Role.OURS, Role.FALLBACK)) + ".",
        f"![The chief figures as bars]({form.name}.svg)",
    ]
    section: list[Row] = []
    figures = results.in_order(ALL_FIGURES)
    notes: list[str] = []
    for figure, following in zip(figures, [*figures[1:], None], strict=True):
        section.append(_figure_row(results, figure, candidates))
        notes += others(results, figure, candidates)
        if following is None or following.section != figure.section:
            parts += [f"## {figure.section}", _lines(("", "unit", *candidates), section), *notes]
            section, notes = [], []
    parts += ["## The candidates", _lines(("", "version"), about.versions.items())]
    parts += ["## The machine", _lines(("", ""), about.machine.items())]
    if results.failures:
        parts += ["## Not measured", "\n".join(f"- {text}" for text in results.failures)]
    return "\n\n".join(parts) + "\n"


def others(results: Results, figure: Figure, candidates: Sequence[str]) -> list[str]:
    """A line about those who have no column, such as libraries."""
    names = [name for name in results.runs[figure] if name not in candidates]
    values = ", ".join(f"{name} {number(results.median(figure, name))}" for name in names)
    return [f"{figure.name}, {figure.unit}: {values}"] if names else []


def number(value: float | None) -> str:
    """Three digits that count, more only before the point."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} interleaved rounds"


def _figure_row(results: Results, figure: Figure, candidates: Sequence[str]) -> Row:
    medians = (number(results.median(figure, candidate)) for candidate in candidates)
    return (figure.name, figure.unit, *medians)


def _goal_row(outcome: Outcome) -> Row:
    goal = outcome.goal
    sign = "at least" if goal.at_least else "at most"
    found = "-" if outcome.value is None else f"{number(outcome.value)} {goal.unit}"
    return (goal.text, f"{sign} {goal.bound:g} {goal.unit}", found, outcome.verdict.value)


def _role_words(role: Role, cast: Cast) -> str:
    return f"{role.value}: {cast.get(role, 'not there')}"


def _lines(heads: Row, rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, with words in the first columns and numbers after them."""
    rule = ("---" if column < _WORDS else "---:" for column, _ in enumerate(heads))
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def as_json(results: Results, outcomes: Sequence[Outcome], about: About) -> dict[str, object]:
    """Everything, every run's value included."""
    return {
        "form": about.form.name,
        "machine": dict(about.machine),
        "candidates": dict(about.versions),
        "asked": [
            {
                "text": outcome.goal.text,
                "bound": outcome.goal.bound,
                "at least": outcome.goal.at_least,
                "unit": outcome.goal.unit,
                "found": outcome.value,
                "verdict": outcome.verdict.value,
            }
            for outcome in outcomes
        ],
        "figures": [
            {
                "section": figure.section,
                "name": figure.name,
                "unit": figure.unit,
                "medians": {name: statistics.median(values) for name, values in runs.items()},
                "runs": runs,
            }
            for figure, runs in results.runs.items()
        ],
        "not measured": results.failures,
    }
