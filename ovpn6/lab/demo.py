"""``make demo``: ovpn6 at both ends of a tunnel, then stock OpenVPN at one, in about half a minute.

Everything happens in network namespaces. Every fact shown is read from the programs' own output
or from the kernel; a step that does not do what it says ends the demo with exit code 1.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ovpn6.lab import process
from ovpn6.lab.demo_view import DemoView, Peer
from ovpn6.lab.errors import LabError
from ovpn6.lab.leftovers import NETNS, STATE
from ovpn6.lab.namespace import Device
from ovpn6.lab.network import Lab
from ovpn6.lab.runners import Ovpn6, StockOpenVPN, Tunnel, stock_binary
from ovpn6.lab.status import ClientRow
from ovpn6.lab.topologies import Star, star
from ovpn6.lab.traffic import Iperf, Throughput, ping
from ovpn6.lab.waiting import wait_for
from ovpn6.model.addresses import IPInterface
from ovpn6.model.errors import Ovpn6Error

MEASURED_SECONDS = 3
PINGS = 5

SERVER, OURS, STOCK = "gateway", "ovpn6-client", "stock-client"
"""The names in the certificates."""

_OVPN6 = (sys.executable, "-P", "-m", "ovpn6")
_PORT = "1194"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one client showed: seconds until its tunnel was up, ping times, throughput."""

    up: float
    milliseconds: dict[int, float]
    upload: Throughput
    download: Throughput


def main() -> int:
    """Run the demo; returns the exit code."""
    view = DemoView()
    begun = time.monotonic()
    name = ""
    try:
        with Lab() as lab:
            name = lab.name
            _show(lab, view)
        _check_clean(name)
    except Ovpn6Error as error:
        view.failed(str(error))
        return 1
    except KeyboardInterrupt:
        view.failed("interrupted; everything is cleaned up")
        return 130
    view.finished(time.monotonic() - begun)
    return 0


def _show(lab: Lab, view: DemoView) -> None:
    versions = {"ovpn6": _version(_OVPN6), "stock": _version([stock_binary()])}
    view.opening(versions["ovpn6"], versions["stock"])
    with view.step("network") as step:
        net = star(lab, 2)
        step.done("3 hosts and a router in namespaces; the network between them has only IPv6")
    view.topology(net, (OURS, STOCK), (versions["ovpn6"], versions["stock"], versions["ovpn6"]))

    with view.step("keys") as step:
        profiles = _make_profiles(lab, net, view)
        step.done("a CA, a server and two clients, each in one file with everything inside")

    with view.step("server") as step:
        begun = time.monotonic()
        server = Ovpn6(net.server, profiles[SERVER], name=SERVER)
        server.wait_up()
        inner = net.server.addresses(server.device().name)
        where = " and ".join(str(address.ip) for address in inner)
        step.done(f"{versions['ovpn6']} is up after {time.monotonic() - begun:.2f} s with {where}")

    peers = []
    runs = ((OURS, Ovpn6, "ovpn6"), (STOCK, StockOpenVPN, "stock"))
    for (name, runner, software), namespace in zip(runs, net.clients, strict=True):
        view.client(versions[software])
        begun = time.monotonic()
        with view.step("tunnel") as step:
            client: Tunnel = runner(namespace, profiles[name], name=name)
            client.wait_up()
            up = time.monotonic() - begun
            step.done(f"up {up:.2f} s after the start of the client")
        measured = _measure(net, client, inner, up, view)
        peers.append(_peer(name, versions[software], server, client, measured))
    view.peers(peers, _data_path(server), server.name)
    with view.step("clean-up") as step:
        for namespace in net.clients:
            for running in namespace.processes:
                running.stop()
        server.stop()
        lab.close()
        step.done("every process ended, every namespace and file removed")


def _make_profiles(lab: Lab, net: Star, view: DemoView) -> dict[str, Path]:
    """Runs ``ovpn6 pki`` as a user would; returns the complete configuration of each end."""
    directory = lab.directory / "pki"
    remote = ("--remote", str(net.server_address), _PORT, "--proto", "udp6")
    for words in (
        ("init",),
        ("server", SERVER),
        ("client", OURS),
        ("client", STOCK),
        ("profile", SERVER, "--server"),
        ("profile", OURS, *remote),
        ("profile", STOCK, *remote),
    ):
        view.command("ovpn6 pki", words)
        process.run([*_OVPN6, "pki", "--dir", str(directory), *words])
    profiles = directory / "profiles"
    return {
        SERVER: profiles / f"{SERVER}.conf",
        OURS: profiles / f"{OURS}.ovpn",
        STOCK: profiles / f"{STOCK}.ovpn",
    }


def _measure(
    net: Star, client: Tunnel, inner: Sequence[IPInterface], up: float, view: DemoView
) -> Measured:
    """Ping the server's tunnel addresses, then measure TCP over the first of them."""
    milliseconds: dict[int, float] = {}
    with view.step("ping") as step:
        if {address.version for address in inner} != {6, 4}:
            raise LabError(f"the server's tunnel has {inner}, not one address of each family")
        for address in inner:
            result = ping(client.namespace, address.ip, count=PINGS)
            if not result.complete or result.milliseconds is None:
                raise LabError(
                    f"{result.received} of {result.sent} pings to {address.ip} were answered\n"
                    f"{client.process.describe()}"
                )
            milliseconds[address.version] = result.milliseconds
        times = ", ".join(f"IPv{version} {value:.2f} ms" for version, value in milliseconds.items())
        step.done(f"{times}; {PINGS} of {PINGS} answered over each family")
    upload, download = (
        _throughput(net, client, inner[0], view, reverse=reverse) for reverse in (False, True)
    )
    return Measured(up, milliseconds, upload, download)


def _throughput(
    net: Star, client: Tunnel, target: IPInterface, view: DemoView, *, reverse: bool
) -> Throughput:
    words = "download" if reverse else "upload"
    device = client.device()
    with view.measurement(words, MEASURED_SECONDS) as bar:
        begun = time.monotonic()
        running = Iperf(
            client.namespace, net.server, target.ip, seconds=MEASURED_SECONDS, reverse=reverse
        )

        def ended() -> bool:
            now = client.namespace.device(device.name)
            bar.advance(time.monotonic() - begun, _carried(now, reverse=reverse))
            return not running.running

        wait_for(ended, MEASURED_SECONDS + 30, f"the {words} measurement", [client.process])
        result = running.result()
        bar.done(f"{result.megabits:.0f} Mbit/s, one TCP stream over IPv6, {result.seconds:.0f} s")
    return result


def _peer(name: str, software: str, server: Tunnel, client: Tunnel, measured: Measured) -> Peer:
    """What server, client and kernel say about a connected client; they have to agree."""

    def listed() -> ClientRow | None:
        row = server.status().client(name)
        return row if row and row.ipv6 and row.cipher else None

    row = wait_for(listed, 10, f"{name} in the server's status file", [server.process])
    inner = {str(address.ip) for address in client.namespace.addresses(client.device().name)}
    if inner != {row.ipv6, row.ipv4}:
        raise LabError(f"{name} has {sorted(inner)}, the server thinks {row.ipv6}, {row.ipv4}")
    cipher = _logged(client, r"Data Channel: cipher '([^']+)'")
    if cipher != row.cipher:
        raise LabError(f"{name} uses {cipher}, the server thinks {row.cipher}")
    return Peer(
        name=name,
        software=software,
        outer=row.real_address,
        ipv6=row.ipv6,
        ipv4=row.ipv4,
        cipher=cipher,
        control=_logged(client, r"Control Channel: (TLSv[\d.]+)"),
        data_path=_data_path(client),
        up=measured.up,
        milliseconds=measured.milliseconds,
        upload=measured.upload.megabits,
        download=measured.download.megabits,
    )


def _data_path(tunnel: Tunnel) -> str:
    """Who moves its packets, by the kernel's word for its device."""
    device: Device = tunnel.device()
    where = "user space" if device.kind == "tun" else "kernel"
    return f"{where} ({device.name}, {device.kind})"


def _logged(tunnel: Tunnel, pattern: str) -> str:
    match = re.search(pattern, tunnel.log())
    if match is None:
        raise LabError(f"no {pattern!r} in the log\n{tunnel.process.describe()}")
    return match[1]


def _carried(device: Device, *, reverse: bool) -> int:
    return device.received_bytes if reverse else device.sent_bytes


def _version(command: Sequence[str]) -> str:
    """Name and version, the first two words that ``--version`` prints."""
    printed = process.run([*command, "--version"], check=False).stdout.split()
    if len(printed) < 2:
        raise LabError(f"{' '.join(command)} --version prints nothing")
    return " ".join(printed[:2])


def _check_clean(name: str) -> None:
    left = [path for path in (*_listing(NETNS), *_listing(STATE)) if path.name.startswith(name)]
    if left:
        raise LabError(f"left behind: {', '.join(str(path) for path in left)}")


def _listing(directory: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return list(directory.iterdir())
    return []


if __name__ == "__main__":
    sys.exit(main())
