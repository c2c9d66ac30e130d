"""What a packet costs on mainline's module and on ours, counted by the kernel's tracepoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from vm.guest_kmod.oracle.scene import HERE, MAINLINE, OURS, Scene, scene, seal

from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

PACKETS = 200
SOURCE, DESTINATION = "fd00::2", "fd00::1"

_INSIDE = ip_packet(SOURCE, DESTINATION, bytes(100))
_TRACING = Path("/sys/kernel/tracing")
_ALLOCATIONS = ("kmem/kmalloc", "kmem/kmem_cache_alloc")
_LOOKUPS = ("fib6/fib6_table_lookup", "fib/fib_table_lookup")


@dataclass(frozen=True, slots=True)
class Cost:
    """For a packet: looks at the routing table for the inner source, allocations that the module
    itself asks for."""

    lookups: float
    allocations: float


@contextmanager
def _traced(events: tuple[str, ...]) -> Iterator[None]:
    enabled = [_TRACING / "events" / event / "enable" for event in events]
    (_TRACING / "trace").write_text("")
    (_TRACING / "buffer_size_kb").write_text("16384")
    # Names of processes are of no use here, and switch on tracing in the scheduler, whose code the
    # emulator then may see half written over (guest/steady.py).
    (_TRACING / "options/record-cmd").write_text("0")
    for path in enabled:
        path.write_text("1")
    (_TRACING / "tracing_on").write_text("1")
    try:
        yield
    finally:
        (_TRACING / "tracing_on").write_text("0")
        for path in enabled:
            path.write_text("0")


def _measure(name: str, work: Callable[[Scene], None]) -> Cost:
    with scene(name, many=True) as world:
        world.key(world.peer(2, vpn=IPv6Address(SOURCE)), key_pair(0))
        # With the first one the peer's binding learns an address of ours.
        world.far.sendto(seal("AES-256-GCM", 2, 1, _INSIDE), ("::1", HERE))
        world.came_out(1)
        with _traced((*_ALLOCATIONS, *_LOOKUPS)):
            work(world)
        lines = (_TRACING / "trace").read_text().splitlines()
    assert not any("LOST" in line for line in lines)
    lookups = [
        line
        for line in lines
        if re.search(r"fib6?_table_lookup: ", line) and f"-> {SOURCE}/" in line
    ]
    # Only a module's own callers are named with it; in brackets, the last thing of a symbol.
    allocations = [line for line in lines if "call_site=" in line and f"[{name}]" in line]
    return Cost(len(lookups) / PACKETS, len(allocations) / PACKETS)


def _receive(world: Scene) -> None:
    for number in range(2, PACKETS + 2):
        world.far.sendto(seal("AES-256-GCM", 2, number, _INSIDE), ("::1", HERE))
        world.came_out(1)


def _send(world: Scene) -> None:
    for _ in range(PACKETS):
        world.enter(ip_packet(DESTINATION, SOURCE, bytes(100)))
        world.sent(1)


def test_no_route_is_looked_up_for_a_packet_that_came_in() -> None:
    costs = {name: _measure(name, _receive) for name in (MAINLINE, OURS)}
    print(f"received, for a packet: {costs}")
    assert costs[OURS].lookups == 0
    assert costs[OURS].allocations <= 1
    # It shows that the tracepoints see what they are to see.
    assert costs[MAINLINE].lookups >= 2
    assert costs[MAINLINE].allocations == pytest.approx(1, abs=0.1)


def test_a_packet_that_leaves_costs_one_allocation() -> None:
    costs = {name: _measure(name, _send) for name in (MAINLINE, OURS)}
    print(f"sent, for a packet: {costs}")
    assert costs[OURS].allocations <= 1
    assert costs[MAINLINE].allocations == pytest.approx(1, abs=0.1)
