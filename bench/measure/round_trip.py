"""Round trips through a tunnel, idle and beside a TCP stream."""

from __future__ import annotations

import math
import re

from bench.figures import RTT_IDLE, RTT_LOADED, Figure, Results, percentile
from bench.forms import Form
from bench.measure.iperf import Iperf3
from bench.peers.program import Joined
from ovpn6.lab.errors import LabError

_INTERVAL = 0.002
_TIME = re.compile(r" time=([\d.]+) ms")
_SHARES = (0.5, 0.99)
_LEAST_ANSWERED = 0.9


def idle(results: Results, name: str, joined: Joined, form: Form) -> None:
    """Nothing else is in the tunnel."""
    _note(results, RTT_IDLE, name, _ping(joined, form.pings))


def loaded(results: Results, name: str, joined: Joined, form: Form) -> None:
    """Beside one TCP stream, IPv6 over IPv6, all the time."""
    seconds = math.ceil(form.pings * _INTERVAL) + 1
    stream = Iperf3(joined, 6, seconds)
    try:
        times = _ping(joined, form.pings)
    finally:
        stream.report()
    _note(results, RTT_LOADED, name, times)


def parse_times(text: str) -> list[float]:
    """Milliseconds of each answer that ping printed."""
    return [float(match[1]) for match in _TIME.finditer(text)]


def _ping(joined: Joined, count: int) -> list[float]:
    done = joined.client.run(
        [
            *("ping", "-6", "-n", "-c", str(count), "-i", str(_INTERVAL), "-W", "1"),
            joined.inner[6],
        ],
        check=False,
        limit=30 + count,
    )
    times = parse_times(done.stdout)
    # A lost answer is an endless one; percentiles of the rest would flatter.
    if len(times) < count * _LEAST_ANSWERED:
        raise LabError(f"only {len(times)} of {count} pings were answered")
    return times


def _note(results: Results, figures: tuple[Figure, Figure], name: str, times: list[float]) -> None:
    for figure, share in zip(figures, _SHARES, strict=True):
        results.add(figure, name, percentile(times, share))
