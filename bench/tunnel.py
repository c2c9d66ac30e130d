"""ovpn6 beside the machine's own OpenVPN, in one run: throughput, handshakes, memory.

    .venv/bin/python bench/tunnel.py [--runs 3] [--seconds 4] [--clients 100] [--json FILE]

Both are measured in turn in namespaces of their own, over an IPv6-only underlay, with the same
keys, cipher and tunnel MTU. Only the ratios mean something: both ends and the traffic share the
machine's cores. Exit code 1 when a figure misses what the project asks of it (the table ``ASKED``).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from sides import (
    OURS,
    STOCK,
    Asked,
    Figures,
    Kind,
    Sides,
    compiled_once,
    connected,
    inner_ipv6,
    moment_up,
    note,
    report,
    two_sides,
)

from ovpn6.lab.capture import Capture
from ovpn6.lab.traffic import iperf3
from ovpn6.lab.waiting import wait_for

STORM_LIMIT = 120.0
TUNNELS_UP = 4
"""Times that a tunnel is brought up in each run: a few milliseconds need more than one look."""

THROUGHPUT = "TCP single stream, IPv6 over IPv6"
HANDSHAKES = "handshakes a second, all clients at once"
FIRST_PACKET = "tunnel-up time, first packet to ready"
PROCESS_START = "tunnel-up time, process start to ready"
ONE_CLIENT = "memory with 1 client"
FURTHER_CLIENT = "memory of each further client"

ASKED = (
    Asked(THROUGHPUT, 1.3, at_least=True),
    Asked(HANDSHAKES, 0.7, at_least=True),
    Asked(FIRST_PACKET, 3.0, at_least=False),
    Asked(ONE_CLIENT, 60.0, at_least=False, unit="MB"),
    Asked(FURTHER_CLIENT, 100.0, at_least=False, unit="KB"),
)


def throughput(sides: Sides, kind: Kind, seconds: int) -> float:
    """Mbit/s of one TCP stream, IPv6 inside IPv6, client to server."""
    with sides.run_server(kind) as server, sides.run_client(kind) as client:
        client.wait_up()
        target = inner_ipv6(server)
        return iperf3(client.namespace, server.namespace, target, seconds=seconds).megabits


def tunnel_up(sides: Sides, kind: Kind) -> tuple[float, float]:
    """Seconds to ``Initialization Sequence Completed``: from the first packet on the wire, and
    from the start of the client's process."""
    with sides.run_server(kind), Capture(sides.client, "any", "udp port 1194") as capture:
        started = time.time()
        with sides.run_client(kind) as client:
            ready = moment_up(client)
        first = capture.tshark("-T", "fields", "-e", "frame.time_epoch", "-c", "1")
    return ready - float(first.splitlines()[-1]), ready - started


def storm(sides: Sides, kind: Kind, clients: int) -> tuple[float, float, float]:
    """Handshakes a second with ``clients`` stock clients at once; the server's resident MB with
    one of them connected, and KB for each further one."""
    with sides.run_server(kind) as server, ExitStack() as stack:
        stack.enter_context(sides.run_client(STOCK, "client-0"))
        wait_for(lambda: connected(server) == 1, 30.0, "the first client")
        one = server.process.memory_kib()
        started = time.monotonic()
        for number in range(1, clients + 1):
            stack.enter_context(sides.run_client(STOCK, f"client-{number}"))
        wait_for(
            lambda: connected(server) == clients + 1,
            STORM_LIMIT,
            f"{clients} clients at {kind.name}",
            [server.process],
        )
        seconds = time.monotonic() - started
        many = server.process.memory_kib()
    return clients / seconds, one / 1024, (many - one) / clients


def measure(arguments: argparse.Namespace, console: Console) -> Figures:
    """Every figure of both programs, in turn."""
    figures: Figures = {}
    with two_sides() as sides:
        for _ in range(arguments.runs):
            for kind in (OURS, STOCK):
                speed = throughput(sides, kind, arguments.seconds)
                note(figures, console, THROUGHPUT, kind.name, speed)
            for kind in (OURS, STOCK) * TUNNELS_UP:
                first_packet, process = tunnel_up(sides, kind)
                note(figures, console, FIRST_PACKET, kind.name, first_packet)
                note(figures, console, PROCESS_START, kind.name, process)
        for kind in (OURS, STOCK):
            rate, one, further = storm(sides, kind, arguments.clients)
            note(figures, console, HANDSHAKES, kind.name, rate)
            note(figures, console, ONE_CLIENT, kind.name, one)
            note(figures, console, FURTHER_CLIENT, kind.name, further)
    return figures


def main() -> int:
    """Measure, print, and say by the exit code whether what is asked is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each throughput run")
    parser.add_argument("--clients", type=int, default=100, help="at once in the handshake storm")
    parser.add_argument("--json", type=Path, help="write every run's figures here")
    arguments = parser.parse_args()
    console = Console()
    with compiled_once():
        figures = measure(arguments, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if report(figures, ASKED, console) else 1


if __name__ == "__main__":
    sys.exit(main())
