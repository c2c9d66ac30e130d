"""How long a benchmark runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """``rounds``: how often the candidates take turns. ``seconds`` of the main TCP stream,
    ``side_seconds`` of every other stream; ``pings`` of one look at the round trip; ``clients``
    that connect at once, and how often all programs serve them (``storms``)."""

    name: str
    rounds: int
    seconds: int
    side_seconds: int
    pings: int
    clients: int
    storms: int


FORMS = {
    form.name: form
    for form in (
        Form("short", 3, 2, 1, 500, 100, 1),
        Form("long", 7, 5, 3, 3000, 100, 3),
        # Every step once, to see that it works; its figures mean nothing.
        Form("trial", 1, 1, 1, 100, 10, 1),
    )
}
