"""Many clients at once: handshakes a second, and a server's memory with them."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.figures import (
    CLIENT_COUNTS,
    HANDSHAKES,
    MEMORY_CLIENTS,
    MEMORY_FURTHER_CLIENT,
    Results,
)
from bench.net import Hosts
from bench.peers.openvpn import STOCK, OpenVPN
from ovpn6.lab.runners import Tunnel
from ovpn6.lab.waiting import wait_for

_LIMIT = 120.0


def storm(results: Results, program: OpenVPN, hosts: Hosts, clients: int) -> None:
    """One OpenVPN 2.6 client, then ``clients`` less one at once, of which the server's own log
    says when they are there."""
    with program.server(hosts) as server, ExitStack() as stack:
        stack.enter_context(STOCK.client(hosts, name="client-1"))
        _wait_connected(server, 1)
        one = server.process.memory_kib()
        started = time.monotonic()
        for number in range(2, clients + 1):
            stack.enter_context(STOCK.client(hosts, name=f"client-{number}"))
        _wait_connected(server, clients)
        seconds = time.monotonic() - started
        many = server.process.memory_kib()
    results.add(HANDSHAKES, program.name, (clients - 1) / seconds)
    results.add(MEMORY_CLIENTS[1], program.name, one / 1024)
    if clients in CLIENT_COUNTS:
        results.add(MEMORY_CLIENTS[clients], program.name, many / 1024)
    results.add(MEMORY_FURTHER_CLIENT, program.name, (many - one) / (clients - 1))


def _wait_connected(server: Tunnel, count: int) -> None:
    wait_for(
        lambda: server.log().count("Peer Connection Initiated") >= count,
        _LIMIT,
        f"{count} clients",
        [server.process],
    )
