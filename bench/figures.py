"""What is measured, and the store of every run's value. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity. ``section`` groups figures in tables and plots."""

    section: str
    name: str
    unit: str


@dataclass(slots=True)
class Results:
    """Values by figure and candidate, in the order in which they first came. ``failures`` says in
    words what could not be measured."""

    runs: dict[Figure, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, figure: Figure, candidate: str, value: float) -> None:
        """One run's value."""
        self.runs.setdefault(figure, {}).setdefault(candidate, []).append(value)

    def median(self, figure: Figure, candidate: str) -> float | None:
        """Of the runs; None when there was none."""
        values = self.runs.get(figure, {}).get(candidate)
        return statistics.median(values) if values else None

    def spread(self, figure: Figure, candidate: str) -> tuple[float, float]:
        """The smallest and the largest run. Raises ``KeyError`` when there was none."""
        values = self.runs[figure][candidate]
        return min(values), max(values)

    def in_order(self, figures: Iterable[Figure]) -> list[Figure]:
        """Those of ``figures`` that were measured."""
        return [figure for figure in figures if figure in self.runs]


def percentile(values: Sequence[float], share: float) -> float:
    """By the nearest rank: the smallest value that ``share`` (0 to 1) of all do not exceed. Raises
    ``ValueError`` for no values."""
    if not values:
        raise ValueError("no values have no percentile")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


# --- the figures --------------------------------------------------------------------------------


def _peers(count: int) -> str:
    return "1 peer" if count == 1 else f"{count:,} peers"


_TCP, _OFF = "TCP", "link offloads off"
_UDP, _RTT = "UDP delivered", "round trip"
_CPU, _MEMORY = "CPU of the daemons, both ends", "memory"
_SHAKE, _MANY = "handshakes", "many peers, data paths alone"


def tcp_single(inner: int, outer: int) -> Figure:
    """One stream of IP version ``inner`` over ``outer``."""
    return Figure(_TCP, f"one stream, IPv{inner} over IPv{outer}", "Mbit/s")


TCP = tcp_single(6, 6)
TCP_PARALLEL = Figure(_TCP, "four streams, IPv6 over IPv6", "Mbit/s")
TCP_BOTH_WAYS = Figure(_TCP, "a stream each way, sum, IPv6 over IPv6", "Mbit/s")
TCP_OFF = Figure(_OFF, "one stream, IPv6 over IPv6", "Mbit/s")

UDP_SIZES = (64, 256, 1300)
UDP = {size: Figure(_UDP, f"{size} octets of payload", "packets/s") for size in UDP_SIZES}

RTT_IDLE = (Figure(_RTT, "idle, median", "ms"), Figure(_RTT, "idle, 99%", "ms"))
RTT_LOADED = (
    Figure(_RTT, "beside a TCP stream, median", "ms"),
    Figure(_RTT, "beside a TCP stream, 99%", "ms"),
)

CPU_USER = Figure(_CPU, "user", "s/Gbit")
CPU_SYSTEM = Figure(_CPU, "system", "s/Gbit")
CPU_FLOOR = Figure(_CPU, "user time of its AEAD library alone", "s/Gbit")

HANDSHAKES = Figure(_SHAKE, "all clients at once", "a second")
CLIENT_COUNTS = (1, 100)
MEMORY_CLIENTS = {
    count: Figure(_MEMORY, f"server with {count} connected", "MB") for count in CLIENT_COUNTS
}
PEER_COUNTS = (1, 100, 1000, 10_000)
MEMORY_PEERS = {
    count: Figure(_MEMORY, f"{_peers(count)} configured", "MB") for count in PEER_COUNTS
}
MEMORY_FURTHER_CLIENT = Figure(_MEMORY, "each further client connected", "KB")
MEMORY_FURTHER_PEER = Figure(_MEMORY, "each further peer configured", "KB")


@dataclass(frozen=True, slots=True)
class Crowd:
    """Peers configured, how many of them are active, TCP streams through these together."""

    peers: int
    active: int
    streams: int

    @property
    def figure(self) -> Figure:
        """The sum of its streams."""
        there = f"{_peers(self.peers)}, {self.active} active, "
        streams = "1 stream" if self.streams == 1 else f"{self.streams} streams"
        return Figure(_MANY, f"TCP, {there}{streams}", "Mbit/s")


ONE_PEER = Crowd(1, 1, 1)
ONE_OF_MANY = Crowd(1000, 1, 1)
SEVERAL_OF_MANY = Crowd(1000, 64, 64)
# As many streams without as many peers tell which of both costs.
CROWDS = (ONE_PEER, Crowd(1, 1, 64), ONE_OF_MANY, SEVERAL_OF_MANY)

ALL_FIGURES = (
    *(tcp_single(inner, outer) for outer in (6, 4) for inner in (6, 4)),
    *(TCP_PARALLEL, TCP_BOTH_WAYS, TCP_OFF),
    *UDP.values(),
    *(*RTT_IDLE, *RTT_LOADED),
    *(CPU_USER, CPU_SYSTEM, CPU_FLOOR),
    HANDSHAKES,
    *(*MEMORY_CLIENTS.values(), MEMORY_FURTHER_CLIENT),
    *(*MEMORY_PEERS.values(), MEMORY_FURTHER_PEER),
    *(crowd.figure for crowd in CROWDS),
)
"""In the order of the report."""
