"""Traffic between namespaces: pings, intact transfers, throughput."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from math import ceil
from pathlib import Path

from ovpn6.lab.errors import LabError
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.process import Process
from ovpn6.lab.waiting import PATIENCE, wait_for
from ovpn6.model.addresses import IPAddress

Address = IPAddress | str

_EXCHANGE = str(Path(__file__).with_name("exchange.py"))
_PING_TOTALS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_PING_TIMES = re.compile(r"= [\d.]+/([\d.]+)/")


@dataclass(frozen=True, slots=True)
class PingResult:
    """How many echo requests went out and came back, and their mean time in milliseconds."""

    sent: int
    received: int
    milliseconds: float | None

    @property
    def complete(self) -> bool:
        """Every request was answered."""
        return self.sent == self.received


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a TCP stream carried, measured by its receiver."""

    bits_per_second: float
    seconds: float
    retransmits: int

    @property
    def megabits(self) -> float:
        """Mbit/s."""
        return self.bits_per_second / 1e6


def ping(
    source: Namespace,
    address: Address,
    *,
    count: int = 3,
    interval: float = 0.0,
    size: int = 56,
    wait: int = 1,
) -> PingResult:
    """Ping ``address``, ``count`` times; waits ``wait`` seconds for the last answer.

    All at once, or with ``interval`` seconds in between. After a first answer iputils waits for
    the last one only twice as long as for the slowest, or one interval, whatever ``-W`` says, and
    a busy machine is slower than that at times. So all go out ahead of an interval of ``wait``.
    """
    version = ip_address(str(address)).version
    wait = ceil(wait * PATIENCE)
    pace = ["-i", str(interval)] if interval else ["-l", str(count), "-i", str(wait)]
    done = source.run(
        [
            *("ping", f"-{version}", "-n", "-q", "-c", str(count), *pace),
            *("-s", str(size), "-W", str(wait), str(address)),
        ],
        check=False,
        limit=30 + count * (interval + wait),
    )
    totals = _PING_TOTALS.search(done.stdout)
    if totals is None:
        # "Network is unreachable" and the like: nothing went out.
        return PingResult(count, 0, None)
    times = _PING_TIMES.search(done.stdout)
    return PingResult(int(totals[1]), int(totals[2]), float(times[1]) if times else None)


def wait_reachable(source: Namespace, address: Address, limit: float = 10.0) -> None:
    """Until ``address`` answers a ping."""
    wait_for(
        lambda: ping(source, address, count=1).complete,
        limit,
        f"{address} reachable from {source.name}",
    )


def transfer(
    source: Namespace,
    destination: Namespace,
    address: Address,
    count: int = 1_000_000,
    *,
    limit: float = 60.0,
) -> bool:
    """``count`` random bytes each way at the same time over TCP; whether both arrived intact.

    ``address`` belongs to ``destination``. Raises :class:`LabError` when the stream breaks or
    takes longer than ``limit`` seconds.
    """
    listener = _exchange(destination, "listen", address, "0", count)
    port = listener.wait_for_log(r"^listening (\d+)$", limit=10)[1]
    caller = _exchange(source, "connect", address, port, count)
    for end in (caller, listener):
        if end.wait(limit):
            raise LabError(
                f"transfer to {address} broke\n{caller.describe()}\n{listener.describe()}"
            )
    there = _digest(caller, "sent") == _digest(listener, "received")
    back = _digest(listener, "sent") == _digest(caller, "received")
    complete = all(_received(end) == count for end in (caller, listener))
    return there and back and complete


class Iperf:
    """A running TCP measurement: :meth:`result` waits for it."""

    def __init__(
        self,
        source: Namespace,
        destination: Namespace,
        address: Address,
        *,
        seconds: int = 5,
        reverse: bool = False,
        streams: int = 1,
    ) -> None:
        """Data flows from ``source`` to ``destination``'s ``address``; back when ``reverse``."""
        self._seconds = seconds
        self._server = destination.popen(
            ["iperf3", "--server", "--one-off", "--forceflush", "--bind", str(address)], "iperf3"
        )
        self._server.wait_for_log("Server listening", limit=10)
        self._client = source.popen(
            [
                *("iperf3", "--client", str(address), "--json", "--time", str(seconds)),
                *("--parallel", str(streams), *(["--reverse"] if reverse else [])),
            ],
            "iperf3",
        )

    @property
    def running(self) -> bool:
        """Whether the measurement goes on."""
        return self._client.running

    def result(self) -> Throughput:
        """The measurement. Raises :class:`LabError` when it failed."""
        code = self._client.wait(self._seconds + 30)
        self._server.stop()
        try:
            report = json.loads(self._client.log())
        except ValueError:
            raise LabError(f"iperf3 gave no report\n{self._client.describe()}") from None
        if code or "error" in report:
            raise LabError(f"iperf3: {report.get('error', code)}\n{self._server.describe()}")
        received, sent = report["end"]["sum_received"], report["end"]["sum_sent"]
        return Throughput(
            bits_per_second=float(received["bits_per_second"]),
            seconds=float(received["seconds"]),
            retransmits=int(sent.get("retransmits", 0)),
        )


def iperf3(
    source: Namespace,
    destination: Namespace,
    address: Address,
    *,
    seconds: int = 5,
    reverse: bool = False,
    streams: int = 1,
) -> Throughput:
    """Throughput of TCP, start to end; see :class:`Iperf`."""
    measurement = Iperf(
        source, destination, address, seconds=seconds, reverse=reverse, streams=streams
    )
    return measurement.result()


def _exchange(namespace: Namespace, part: str, address: Address, port: str, count: int) -> Process:
    command = [sys.executable, "-I", "-S", _EXCHANGE, part, str(address), port, str(count)]
    return namespace.popen(command, f"exchange-{part}")


def _digest(end: Process, direction: str) -> str:
    return end.wait_for_log(rf"^{direction} ([0-9a-f]{{64}})", limit=1)[1]


def _received(end: Process) -> int:
    return int(end.wait_for_log(r"^received [0-9a-f]{64} (\d+)$", limit=1)[1])
