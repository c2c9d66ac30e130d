"""How many small datagrams arrive when as many as possible are sent."""

from __future__ import annotations

from bench.figures import UDP, Results
from bench.forms import Form
from bench.measure.iperf import Iperf3, datagrams_a_second
from bench.peers.program import Joined


def delivered(results: Results, name: str, joined: Joined, form: Form) -> None:
    """Of each size, IPv6 over IPv6. The sender uses whatever processor time it gets."""
    for size, figure in UDP.items():
        options = ("--udp", "--bitrate", "0", "--length", str(size))
        report = Iperf3(joined, 6, form.side_seconds, *options).report()
        results.add(figure, name, datagrams_a_second(report, size))
