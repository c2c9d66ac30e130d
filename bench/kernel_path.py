"""ovpn6 on the kernel's data path beside OpenVPN 2.7 with its offload and without, in one boot.

    netns-tests/vm/vm run --limit 1800 -- python3 bench/kernel_path.py [--runs 3] [--clients 50]

Needs a kernel with the ``ovpn`` module and OpenVPN 2.7: the guest of docs/vm.md. The candidates
take turns and medians are compared; in an emulator only ratios mean something. The directory of
results gets ``kernel_path.json``. Exit code 1 when a figure misses what the project asks of it
(the table ``ASKED``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from peer_table import PeerTable
from rich.console import Console
from sides import (
    OURS,
    Asked,
    Figures,
    Kind,
    Sides,
    connected,
    inner_ipv6,
    moment_up,
    note,
    report,
    two_sides,
)

from ovpn6.lab.runners import StockOpenVPN, Tunnel
from ovpn6.lab.traffic import iperf3
from ovpn6.lab.waiting import wait_for

OFFLOAD = Kind("openvpn offload", StockOpenVPN)
USER_SPACE = Kind("openvpn user space", StockOpenVPN, ("disable-dco",), killed=True)
RAW, BINDING = "raw netlink sends", "netlink binding"

THROUGHPUT = "TCP single stream, IPv6 over IPv6, Mbit/s"
CLIENT_START = "client's process start to tunnel up, s"
SERVER_START = "server's process start to ready, s"
PEERS = "a thousand peers added, s (by the median call)"
ONE_CLIENT = "memory with 1 client, MB"
FURTHER_CLIENT = "memory of each further client, KB"

ASKED = (
    Asked(THROUGHPUT, 1.0, at_least=True, beside=OFFLOAD.name),
    Asked(THROUGHPUT, 2.0, at_least=True, beside=USER_SPACE.name),
    Asked(CLIENT_START, 1.5, at_least=False, beside=OFFLOAD.name),
    Asked(PEERS, 2.0, at_least=False, beside=RAW),
    Asked(FURTHER_CLIENT, 100.0, at_least=False, unit="KB", beside=OFFLOAD.name),
)

MANY_PEERS = 1000
MANY_CLIENTS_LIMIT = 600.0
DEVICE_KINDS = {OURS.name: "ovpn", OFFLOAD.name: "ovpn", USER_SPACE.name: "tun"}


def throughput(sides: Sides, kind: Kind, seconds: int) -> float:
    """Mbit/s of one TCP stream, IPv6 inside IPv6, client to server."""
    with sides.run_server(kind) as server, sides.run_client(kind) as client:
        client.wait_up()
        for end in (server, client):
            assert end.device().kind == DEVICE_KINDS[kind.name], end.process.describe()
        target = inner_ipv6(server)
        return iperf3(client.namespace, server.namespace, target, seconds=seconds).megabits


def tunnel_up(sides: Sides, kind: Kind) -> tuple[float, float]:
    """Seconds from the start of the server's process until it is ready, and from the start of the
    client's process until its tunnel is up."""
    started = time.time()
    with sides.run_server(kind, wait=False) as server:
        server_took = moment_up(server) - started
        server.wait_up()
        started = time.time()
        with sides.run_client(kind) as client:
            client_took = moment_up(client) - started
    return server_took, client_took


def memory(sides: Sides, kind: Kind, clients: int) -> tuple[float, float]:
    """The server's resident MB with one stock client connected, and KB for each further one."""
    with sides.run_server(kind) as server, ExitStack() as stack:
        stack.enter_context(sides.run_client(USER_SPACE, "client-0"))
        _wait_connected(server, 1)
        one = server.process.memory_kib()
        for number in range(1, clients + 1):
            stack.enter_context(sides.run_client(USER_SPACE, f"client-{number}"))
        _wait_connected(server, clients + 1)
        many = server.process.memory_kib()
    return one / 1024, (many - one) / clients


def measure(arguments: argparse.Namespace, console: Console) -> Figures:
    """Every figure of every candidate, in turn."""
    figures: Figures = {}
    wanted = set(arguments.only.split(","))
    with two_sides() as sides:
        for kind in (OURS, OFFLOAD) if "start" in wanted else ():
            tunnel_up(sides, kind)  # files come into memory, byte code is made
        for run in range(arguments.runs):
            if "throughput" in wanted:
                kinds = (OURS, OFFLOAD, USER_SPACE)
                first = run % len(kinds)
                for kind in kinds[first:] + kinds[:first]:
                    speed = throughput(sides, kind, arguments.seconds)
                    note(figures, console, THROUGHPUT, kind.name, speed)
            if "start" in wanted:
                for kind in (OURS, OFFLOAD) * arguments.starts:
                    server, client = tunnel_up(sides, kind)
                    note(figures, console, SERVER_START, kind.name, server)
                    note(figures, console, CLIENT_START, kind.name, client)
        if "peers" in wanted:
            _measure_peers(sides, figures, console)
        if "memory" in wanted:
            for kind in (OURS, OFFLOAD):
                one, further = memory(sides, kind, arguments.clients)
                note(figures, console, ONE_CLIENT, kind.name, one)
                note(figures, console, FURTHER_CLIENT, kind.name, further)
    return figures


def main() -> int:
    """Measure, print, and say by the exit code whether what is asked is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each throughput run")
    parser.add_argument("--starts", type=int, default=3, help="tunnels brought up in each run")
    parser.add_argument("--clients", type=int, default=50, help="further ones, for the memory")
    parser.add_argument(
        "--only", default="throughput,start,peers,memory", help="which figures, with commas"
    )
    arguments = parser.parse_args()
    console = Console(width=120)
    # The first start compiles ours; the root's own modules are compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = measure(arguments, console)
    results = Path(os.environ.get("VM_RESULTS", "."))
    (results / "kernel_path.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if report(figures, ASKED, console) else 1


def _measure_peers(sides: Sides, figures: Figures, console: Console) -> None:
    table = PeerTable(sides.server, MANY_PEERS)
    for name, calls in zip((OURS.name, BINDING, RAW), table.measure(), strict=True):
        note(figures, console, PEERS, name, MANY_PEERS * statistics.median(calls))
    table.close()


def _wait_connected(server: Tunnel, clients: int) -> None:
    wait_for(
        lambda: connected(server) == clients,
        MANY_CLIENTS_LIMIT,
        f"{clients} clients at {server.name}",
        [server.process],
    )


if __name__ == "__main__":
    sys.exit(main())
