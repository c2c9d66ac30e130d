"""Steady streams of numbered packets through a tunnel, both ways, that tell what was lost."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from interop.ends import INNER, Ends
from ovpn6.lab import Namespace, Process, ping

RATE = 100
"""Packets a second, each way."""

_COUNTER = str(Path(__file__).with_name("counter.py"))
_PORT = "7777"


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction. ``longest_gap``: seconds between two arrivals."""

    sent: int
    received: int
    again: int
    longest_gap: float

    @property
    def lost(self) -> int:
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class Result:
    """What a stream carried."""

    to_server: Flow
    to_client: Flow

    @property
    def lost(self) -> int:
        """Packets lost, both ways together."""
        return self.to_server.lost + self.to_client.lost


class Stream:
    """A running stream between the inner addresses of a tunnel; a context manager."""

    def __init__(self, ends: Ends, family: int = 6, rate: int = RATE) -> None:
        self._ends = ends
        index = (6, 4).index(family)
        self._server_address = INNER[index]
        self._client_address = ends.inner_addresses()[index]
        self._client = _counter(ends.net.client, self._client_address, self._server_address, rate)
        self._server = _counter(ends.net.server, self._server_address, self._client_address, rate)

    def __enter__(self) -> Self:
        for end in (self._client, self._server):
            end.wait_for_log("^ready$", limit=10)
        for end in (self._client, self._server):
            end.signal(signal.SIGUSR1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for end in (self._client, self._server):
            end.stop()

    def result(self) -> Result:
        """End the stream, once everything on the way has arrived."""
        for end in (self._client, self._server):
            end.signal(signal.SIGUSR2)
        sent_by_client, sent_by_server = (
            int(end.wait_for_log(r"^sent (\d+)$", limit=10)[1])
            for end in (self._client, self._server)
        )
        # Packets stay in order on the way: when these are through, so are the stream's.
        ping(self._ends.net.client, self._server_address, count=2)
        ping(self._ends.net.server, self._client_address, count=2)
        for end in (self._client, self._server):
            end.stop()
        return Result(
            to_server=_flow(sent_by_client, self._server),
            to_client=_flow(sent_by_server, self._client),
        )


def _counter(namespace: Namespace, own: str, peer: str, rate: int) -> Process:
    command = [sys.executable, "-I", "-S", _COUNTER, own, _PORT, peer, _PORT, str(rate)]
    return namespace.popen(command, "counter")


def _flow(sent: int, receiver: Process) -> Flow:
    words = receiver.log().splitlines()[-1].split()
    assert words[0] == "received", receiver.describe()
    return Flow(sent, int(words[1]), int(words[2]), float(words[3]))
