"""TCP through a tunnel: how fast, and how much processor time that takes."""

from __future__ import annotations

from bench.figures import (
    CPU_SYSTEM,
    CPU_USER,
    TCP,
    TCP_BOTH_WAYS,
    TCP_OFF,
    TCP_PARALLEL,
    Results,
    tcp_single,
)
from bench.forms import Form
from bench.measure.cpu import CpuTime
from bench.measure.iperf import Iperf3, gigabits_carried, megabits
from bench.peers.program import Joined


def single_stream(results: Results, name: str, joined: Joined, form: Form) -> None:
    """IPv6 over IPv6, with the daemons' processor time for each Gbit of payload."""
    before = CpuTime.of(joined.daemons)
    report = Iperf3(joined, 6, form.seconds).report()
    spent = CpuTime.of(joined.daemons) - before
    results.add(TCP, name, megabits(report))
    if joined.daemons:
        carried = gigabits_carried(report)
        results.add(CPU_USER, name, spent.user / carried)
        results.add(CPU_SYSTEM, name, spent.system / carried)


def other_shapes(results: Results, name: str, joined: Joined, form: Form) -> None:
    """Several streams, and one each way."""
    shapes = {
        TCP_PARALLEL: ("--parallel", "4"),
        TCP_BOTH_WAYS: ("--bidir",),
    }
    for figure, options in shapes.items():
        report = Iperf3(joined, 6, form.side_seconds, *options).report()
        results.add(figure, name, megabits(report))


def other_family(
    results: Results, name: str, joined: Joined, form: Form, inner: int, outer: int
) -> None:
    """One stream of IP version ``inner`` through a tunnel over ``outer``."""
    report = Iperf3(joined, inner, form.side_seconds).report()
    results.add(tcp_single(inner, outer), name, megabits(report))


def without_offloads(results: Results, name: str, joined: Joined, form: Form) -> None:
    """One stream, IPv6 over IPv6; the caller has switched the link's offloads off."""
    results.add(TCP_OFF, name, megabits(Iperf3(joined, 6, form.side_seconds).report()))
