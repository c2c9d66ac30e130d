"""Our kernel module beside mainline's, or where there is none beside no module, in one boot.

    netns-tests/vm/vm run --kmod --limit 2400 -- python3 bench/kernel_module.py [--rounds 20]
    netns-tests/vm/vm run --kmod --limit 2400 --kernel 6.12 -- python3 bench/kernel_module.py

Where the kernel has ``ovpn`` both modules are loaded and ovpn6 uses each. Where it has none (6.1,
6.12) OpenVPN 2.7 uses ours, which stands in for the kernel's own, and does without. Tunnels of all
candidates are up throughout and take turns: ratios of streams that follow each other are what
counts, in an emulator more than anywhere. The directory of results gets ``kernel_module.json``.
Exit code 1 when a figure misses what the project asks of it (the table ``ASKED``).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from rich.console import Console
from sides import OURS, Asked, Figures, Kind, inner_ipv6, note, report, two_sides

from ovpn6.datapath.kernel_open import open_kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.lab.process import run
from ovpn6.lab.runners import Ovpn6, StockOpenVPN, Tunnel
from ovpn6.lab.traffic import iperf3
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive

# What is ours is named alike everywhere: here it is the module.
OUR_MODULE = Kind(OURS.name, Ovpn6, ("kernel-module ovpn6",))
MAINLINE = Kind("ovpn", Ovpn6, ("kernel-module ovpn",))
WITH_OURS = Kind(OURS.name, StockOpenVPN)
WITHOUT = Kind("openvpn in user space", StockOpenVPN, ("disable-dco",))
DEVICE_KINDS = {OUR_MODULE: "ovpn6", MAINLINE: "ovpn", WITH_OURS: "ovpn", WITHOUT: "tun"}

BESIDE_MAINLINE = "TCP single stream, IPv6 in IPv6, Mbit/s"
BESIDE_NONE = "OpenVPN 2.7, the same stream, Mbit/s"
DELETION = "a device with 300 peers deleted, s"

ASKED = (
    Asked(BESIDE_MAINLINE, 1.0, at_least=True, beside=MAINLINE.name),
    Asked(BESIDE_NONE, 2.0, at_least=True, beside=WITHOUT.name),
    Asked(DELETION, 0.1, at_least=False, beside=MAINLINE.name),
)

MANY_PEERS = 300
_REMOTE = Endpoint(IPv6Address("2001:db8::1"), 5000)
_INNER = int(IPv6Address("fd00::"))
_ROUTE_PROTOCOL = 54


@dataclass(frozen=True, slots=True)
class Candidate:
    """A running tunnel."""

    kind: Kind
    server: Tunnel
    client: Tunnel
    target: str

    def megabits(self, seconds: int) -> float:
        """Of one stream, client to server."""
        ends = self.client.namespace, self.server.namespace
        return iperf3(*ends, self.target, seconds=seconds).megabits


def start(kind: Kind, stack: ExitStack) -> Candidate:
    """A tunnel of its own on a line of its own."""
    sides = stack.enter_context(two_sides())
    server = stack.enter_context(sides.run_server(kind))
    client = stack.enter_context(sides.run_client(kind))
    client.wait_up()
    for end in (server, client):
        assert end.device().kind == DEVICE_KINDS[kind], end.process.describe()
    return Candidate(kind, server, client, inner_ipv6(server))


def measure_streams(
    figure: str, kinds: tuple[Kind, ...], arguments: argparse.Namespace, console: Console
) -> Figures:
    """Each candidate once a round, each first in turn."""
    figures: Figures = {}
    with ExitStack() as stack:
        candidates = [start(kind, stack) for kind in kinds]
        for one in candidates:
            one.megabits(1)
        for number in range(arguments.rounds):
            first = number % len(candidates)
            for one in candidates[first:] + candidates[:first]:
                note(figures, console, figure, one.kind.name, one.megabits(arguments.seconds))
    return figures


def measure_deletion(arguments: argparse.Namespace, console: Console) -> Figures:
    """Seconds until a device and its peers are gone for whoever asked for it."""
    figures: Figures = {}
    for _ in range(arguments.deletions):
        for name in (OUR_MODULE.name, MAINLINE.name):
            note(figures, console, DELETION, name, _deletion(name))
    return figures


def _deletion(name: str) -> float:
    spec = DeviceSpec("many")
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as outer,
        closing(
            open_kernel(spec, many_peers=True, route_protocol=_ROUTE_PROTOCOL, name=name)
        ) as it,
    ):
        outer.bind(("::", 0))
        for number in range(MANY_PEERS):
            inner = IPv6Address(_INNER + number)
            order = PeerOrder(PeerId(number), _REMOTE, vpn_ipv6=inner, keepalive=Keepalive(10, 60))
            it.peers.new_peer(order, outer.fileno())
        began = time.perf_counter()
        it.device.remove()
        return time.perf_counter() - began


def main() -> int:
    """Measure, print, and say by the exit code whether what is asked is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2, help="of each stream")
    parser.add_argument("--deletions", type=int, default=3)
    arguments = parser.parse_args()
    console = Console(width=120)
    has_mainline = run(["modprobe", "ovpn"], check=False).returncode == 0
    run(["modprobe", "-a", "udp_tunnel", "ip6_udp_tunnel"])
    # The processor's own AES, which udev loads elsewhere.
    run(["modprobe", "aesni_intel"], check=False)
    module = f"{os.environ['VM_RESULTS']}/ovpn6.ko"
    run(["insmod", module, f"compat={int(not has_mainline)}"])
    if has_mainline:
        figures = measure_deletion(arguments, console)
        kinds = (OUR_MODULE, MAINLINE)
        figures |= measure_streams(BESIDE_MAINLINE, kinds, arguments, console)
    else:
        figures = measure_streams(BESIDE_NONE, (WITH_OURS, WITHOUT), arguments, console)
    results = Path(os.environ["VM_RESULTS"], "kernel_module.json")
    results.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if report(figures, ASKED, console) else 1


if __name__ == "__main__":
    sys.exit(main())
