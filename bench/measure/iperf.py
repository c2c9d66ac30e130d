"""iperf3 between the hosts of a tunnel, and what its report says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.peers.program import Joined
from ovpn6.lab.errors import LabError
from ovpn6.lab.process import Process

Report = Mapping[str, Any]
_GRACE = 30.0


class Iperf3:
    """A measurement under way from client to server: :meth:`report` waits for it."""

    def __init__(self, joined: Joined, version: int, seconds: int, *options: str) -> None:
        """``options`` as iperf3's client has them, such as ``--bidir``."""
        address = joined.inner[version]
        self._seconds = seconds
        self._server = joined.server.popen(
            ["iperf3", "--server", "--one-off", "--forceflush", "--bind", address], "iperf3-server"
        )
        self._server.wait_for_log("Server listening", limit=10)
        self._client: Process = joined.client.popen(
            ["iperf3", "--client", address, "--json", "--time", str(seconds), *options], "iperf3"
        )

    def report(self) -> Report:
        """What the client printed. Raises :class:`LabError` when it failed."""
        try:
            code = self._client.wait(self._seconds + _GRACE)
        finally:
            self._client.kill()
            self._server.stop()
        try:
            found: Report = json.loads(self._client.log())
        except ValueError:
            raise LabError(f"iperf3 gave no report\n{self._client.describe()}") from None
        if code or "error" in found:
            raise LabError(f"iperf3: {found.get('error', code)}")
        return found


def megabits(report: Report) -> float:
    """What arrived, Mbit/s: both directions together where there are two."""
    end = report["end"]
    sums = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
    return sum(float(each["bits_per_second"]) for each in sums) / 1e6


def gigabits_carried(report: Report) -> float:
    """How much arrived in all, Gbit."""
    return float(report["end"]["sum_received"]["bytes"]) * 8 / 1e9


def datagrams_a_second(report: Report, size: int) -> float:
    """What arrived of one UDP stream. Octets tell: of the last datagrams iperf3 does not know
    whether they were lost."""
    arrived = report["end"]["sum_received"]
    return int(arrived["bytes"]) / size / float(arrived["seconds"])
