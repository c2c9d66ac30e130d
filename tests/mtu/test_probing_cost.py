"""What probing costs while nothing changes."""

from __future__ import annotations

import pytest

from ovpn6.model.names import Instant
from ovpn6.mtu.path import Action, PathMtu, SendProbe

HOUR = 3600.0
ANSWER = 48 + 100
"""Octets of an outer packet with an acknowledgement in any wrap."""
LINK = 10e6
"""Bits a second."""
SHARE = 0.001


def hour(path: int, ceiling: int) -> float:
    """Octets both ways in an hour over a path that stays as it is, from the first probe on."""
    machine = PathMtu(ceiling)
    now = Instant(0.0)
    octets = 0.0

    def send(actions: list[Action]) -> None:
        nonlocal octets
        for action in actions:
            if isinstance(action, SendProbe):
                octets += action.size
                if action.size <= path:
                    octets += ANSWER
                    send(machine.answered(action.probe, now))

    send(machine.begin(now))
    while machine.deadline is not None and machine.deadline < HOUR:
        now = machine.deadline
        send(machine.due(now))
    assert machine.size > path - 16
    return octets


@pytest.mark.parametrize(
    ("path", "ceiling"), [(1500, 1500), (1492, 1500), (1400, 1500), (1280, 1500), (9000, 9000)]
)
def test_an_idle_hour_costs_less_than_a_thousandth_of_a_slow_link(path: int, ceiling: int) -> None:
    assert hour(path, ceiling) * 8 / HOUR < LINK * SHARE
