"""ovpn6 beside the machine's own OpenVPN, in one run: throughput, handshakes, memory.

    .venv/bin/python bench/tunnel.py [--runs 3] [--seconds 4] [--clients 100] [--json FILE]

Both are measured in turn in namespaces of their own, over an IPv6-only underlay, with the same
keys, cipher and tunnel MTU. Only the ratios mean something: both ends and the traffic share the
machine's cores. Exit code 1 when a figure misses what the project asks of it (the table ``ASKED``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from ovpn6.lab.capture import Capture
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.lab.runners import Ovpn6, StockOpenVPN, Tunnel
from ovpn6.lab.traffic import iperf3
from ovpn6.lab.waiting import wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import ClientProfile, RemoteLine, ServerProfile

CIPHER = "AES-256-GCM"
TUN_MTU = 1420
STORM_LIMIT = 120.0
TUNNELS_UP = 4
"""Times that a tunnel is brought up in each run: a few milliseconds need more than one look."""
SERVER_ADDRESS = "2001:db8:5::2"
CLIENT_ADDRESS = "2001:db8:5::1"


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the programs that are compared."""

    name: str
    runner: Callable[..., Tunnel]


OURS = Kind("ovpn6", Ovpn6)
STOCK = Kind("openvpn", StockOpenVPN)


@dataclass(frozen=True, slots=True)
class Asked:
    """A figure the project asks for: ours over the peer's, or ours alone in ``unit``."""

    figure: str
    bound: float
    at_least: bool
    unit: str = "x"


ASKED = (
    Asked("TCP single stream, IPv6 over IPv6", 1.3, at_least=True),
    Asked("handshakes a second, all clients at once", 0.7, at_least=True),
    Asked("tunnel-up time, first packet to ready", 3.0, at_least=False),
    Asked("memory with 1 client", 60.0, at_least=False, unit="MB"),
    Asked("memory of each further client", 100.0, at_least=False, unit="KB"),
)


@dataclass(frozen=True, slots=True)
class Wire:
    """Two hosts joined by a veth that has only IPv6, as when the peers were first measured."""

    client: Namespace
    server: Namespace


class Bench:
    """Measures one :class:`Kind` after the other on one network."""

    def __init__(self, authority: Authority, at: Wire, seconds: int) -> None:
        self._authority = authority
        self._wire = at
        self._seconds = seconds

    def throughput(self, kind: Kind) -> float:
        """Mbit/s of one TCP stream, IPv6 inside IPv6, client to server."""
        with self._server(kind) as server, self._client(kind) as client:
            client.wait_up()
            target = _inner_ipv6(server)
            return iperf3(
                client.namespace, server.namespace, target, seconds=self._seconds
            ).megabits

    def tunnel_up(self, kind: Kind) -> tuple[float, float]:
        """Seconds to ``Initialization Sequence Completed``: from the first packet on the wire, and
        from the start of the client's process."""
        with self._server(kind), Capture(self._wire.client, "any", "udp port 1194") as capture:
            started = time.time()
            with self._client(kind) as client:
                ready = _moment(lambda: "Initialization Sequence Completed" in client.log())
            first = capture.tshark("-T", "fields", "-e", "frame.time_epoch", "-c", "1")
        return ready - float(first.splitlines()[-1]), ready - started

    def storm(self, kind: Kind, clients: int) -> tuple[float, float, float]:
        """Handshakes a second with ``clients`` stock clients at once; the server's resident MB with
        one of them connected, and KB for each further one."""
        with self._server(kind) as server, ExitStack() as stack:
            stack.enter_context(self._client(STOCK, "bench-0"))
            wait_for(lambda: _connected(server) == 1, 30.0, "the first client")
            one = server.process.memory_kib()
            started = time.monotonic()
            for number in range(1, clients + 1):
                stack.enter_context(self._client(STOCK, f"bench-{number}"))
            wait_for(
                lambda: _connected(server) == clients + 1,
                STORM_LIMIT,
                f"{clients} clients at {kind.name}",
                [server.process],
            )
            seconds = time.monotonic() - started
            many = server.process.memory_kib()
        return clients / seconds, one / 1024, (many - one) / clients

    def _server(self, kind: Kind) -> _Running:
        text = self._authority.server_profile(
            "bench-server",
            ServerProfile(
                data_ciphers=(CIPHER,),
                extra=(
                    f"tun-mtu {TUN_MTU}",
                    "duplicate-cn",
                    "connect-freq-initial 5000 1",
                    "verb 3",
                ),
            ),
        )
        return _Running(kind, self._wire.server, text, "server")

    def _client(self, kind: Kind, name: str = "bench-client") -> _Running:
        remote = RemoteLine(str(SERVER_ADDRESS), 1194, "udp6")
        text = self._authority.profile(
            "bench-client",
            ClientProfile(
                remotes=(remote,), data_ciphers=(CIPHER,), extra=(f"tun-mtu {TUN_MTU}", "verb 3")
            ),
        )
        return _Running(kind, self._wire.client, text, name)


class _Running:
    """A tunnel end from here to there; a server is waited for."""

    def __init__(self, kind: Kind, namespace: Namespace, config: str, name: str) -> None:
        self._kind, self._namespace, self._config, self._name = kind, namespace, config, name
        self._tunnel: Tunnel | None = None

    def __enter__(self) -> Tunnel:
        self._tunnel = self._kind.runner(self._namespace, self._config, name=self._name)
        if self._name == "server":
            self._tunnel.wait_up()
        return self._tunnel

    def __exit__(self, *exception: object) -> None:
        if self._tunnel is None:
            return
        if self._kind is STOCK:
            # A hundred polite goodbyes in turn, each up to a second, are not what is measured.
            self._tunnel.process.kill()
        else:
            self._tunnel.stop()


def measure(arguments: argparse.Namespace, console: Console) -> dict[str, dict[str, list[float]]]:
    """Every figure of both programs, in turn: figure to program to its runs."""
    figures: dict[str, dict[str, list[float]]] = {}

    def note(figure: str, kind: Kind, value: float) -> None:
        figures.setdefault(figure, {}).setdefault(kind.name, []).append(value)
        console.print(f"  {kind.name:8} {figure}: {value:.4g}")

    with Lab() as lab, TemporaryDirectory() as keys:
        authority = Authority.create(Path(keys))
        authority.issue_server("bench-server")
        authority.issue_client("bench-client")
        wire = Wire(lab.namespace("client"), lab.namespace("server"))
        lab.link(
            wire.client,
            wire.server,
            a_addresses=(f"{CLIENT_ADDRESS}/64",),
            b_addresses=(f"{SERVER_ADDRESS}/64",),
            offload=True,
        )
        bench = Bench(authority, wire, arguments.seconds)
        for _ in range(arguments.runs):
            for kind in (OURS, STOCK):
                note(ASKED[0].figure, kind, bench.throughput(kind))
            for kind in (OURS, STOCK) * TUNNELS_UP:
                first_packet, process = bench.tunnel_up(kind)
                note(ASKED[2].figure, kind, first_packet)
                note("tunnel-up time, process start to ready", kind, process)
        for kind in (OURS, STOCK):
            rate, one, further = bench.storm(kind, arguments.clients)
            note(ASKED[1].figure, kind, rate)
            note(ASKED[3].figure, kind, one)
            note(ASKED[4].figure, kind, further)
    return figures


def report(figures: dict[str, dict[str, list[float]]], console: Console) -> bool:
    """Print medians, ratios and what is asked; whether everything asked is reached."""
    asked = {row.figure: row for row in ASKED}
    table = Table("figure", "ovpn6", "openvpn", "ratio", "asked", "")
    reached = True
    for figure, runs in figures.items():
        ours, stock = (statistics.median(runs[kind.name]) for kind in (OURS, STOCK))
        row = asked.get(figure)
        verdict, bound = "", ""
        if row is not None:
            value = ours / stock if row.unit == "x" else ours
            good = value >= row.bound if row.at_least else value <= row.bound
            reached &= good
            verdict = "reached" if good else "missed"
            bound = f"{'>=' if row.at_least else '<='} {row.bound:g} {row.unit}"
        table.add_row(figure, f"{ours:.4g}", f"{stock:.4g}", f"{ours / stock:.2f}", bound, verdict)
    console.print(table)
    return reached


def main() -> int:
    """Measure, print, and say by the exit code whether what is asked is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each throughput run")
    parser.add_argument("--clients", type=int, default=100, help="at once in the handshake storm")
    parser.add_argument("--json", type=Path, help="write every run's figures here")
    arguments = parser.parse_args()
    console = Console()
    with TemporaryDirectory() as byte_code:
        # As installed: compiled once, not at each start.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = byte_code
        figures = measure(arguments, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if report(figures, console) else 1


def _moment(condition: Callable[[], bool], limit: float = 30.0) -> float:
    """When a condition became true, to a millisecond."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the tunnel did not come up")
        time.sleep(0.001)
    return time.time()


def _inner_ipv6(server: Tunnel) -> str:
    device = server.device()
    found = [a for a in server.namespace.addresses(device.name) if a.version == 6]
    return str(next(address.ip for address in found if not address.is_link_local))


def _connected(server: Tunnel) -> int:
    """Connected clients by the server's own log; the status file lags by a second."""
    return server.log().count("Peer Connection Initiated")


if __name__ == "__main__":
    sys.exit(main())
