"""What benchmarks of whole tunnels share: two hosts, the programs beside each other, the verdict.

The hosts are joined by a veth that has only IPv6. Every program gets the same keys, cipher and
tunnel MTU. Only ratios mean something: both ends and the traffic share the machine's processors.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.lab.runners import Ovpn6, StockOpenVPN, Tunnel
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import ClientProfile, RemoteLine, ServerProfile

CIPHER = "AES-256-GCM"
TUN_MTU = 1420
_UP = "Initialization Sequence Completed"
SERVER_ADDRESS = "2001:db8:5::2"
CLIENT_ADDRESS = "2001:db8:5::1"
_UP_LIMIT = 180.0
"""Seconds: the first start may compile everything, on an emulated processor."""

Figures = dict[str, dict[str, list[float]]]
"""Figure to candidate to its runs."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the programs that are compared.

    ``extra``: lines of configuration for both ends. ``killed``: it leaves nothing behind when it is
    not ended politely; a hundred goodbyes in turn, each up to a second, are not what is measured.
    """

    name: str
    runner: Callable[..., Tunnel]
    extra: tuple[str, ...] = ()
    killed: bool = False


OURS = Kind("ovpn6", Ovpn6)
STOCK = Kind("openvpn", StockOpenVPN, killed=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A figure the project asks for: ours over another's, or ours alone in ``unit``."""

    figure: str
    bound: float
    at_least: bool
    unit: str = "x"
    beside: str = STOCK.name


class Sides:
    """The two hosts, and the ends that run there."""

    def __init__(self, client: Namespace, server: Namespace, authority: Authority) -> None:
        self.client = client
        self.server = server
        self._authority = authority

    @contextmanager
    def run_server(self, kind: Kind, *, wait: bool = True) -> Iterator[Tunnel]:
        """A server from here to there, ready with ``wait``, else just started. It takes any number
        of clients of one name."""
        extra = (
            *(f"tun-mtu {TUN_MTU}", "duplicate-cn", "connect-freq-initial 5000 1", "verb 3"),
            *kind.extra,
        )
        profile = ServerProfile(data_ciphers=(CIPHER,), extra=extra)
        text = self._authority.server_profile("bench-server", profile)
        tunnel = kind.runner(self.server, text, name="server")
        try:
            if wait:
                tunnel.wait_up()
            yield tunnel
        finally:
            _end(kind, tunnel)

    @contextmanager
    def run_client(self, kind: Kind, name: str = "client") -> Iterator[Tunnel]:
        """A client from here to there, just started."""
        profile = ClientProfile(
            remotes=(RemoteLine(SERVER_ADDRESS, 1194, "udp6"),),
            data_ciphers=(CIPHER,),
            extra=(f"tun-mtu {TUN_MTU}", "verb 3", *kind.extra),
        )
        text = self._authority.profile("bench-client", profile)
        tunnel = kind.runner(self.client, text, name=name)
        try:
            yield tunnel
        finally:
            _end(kind, tunnel)


@contextmanager
def two_sides() -> Iterator[Sides]:
    """A lab with both hosts, and keys."""
    with Lab() as lab, TemporaryDirectory() as keys:
        authority = Authority.create(Path(keys))
        authority.issue_server("bench-server")
        authority.issue_client("bench-client")
        client, server = lab.namespace("client"), lab.namespace("server")
        lab.link(
            client,
            server,
            a_addresses=(f"{CLIENT_ADDRESS}/64",),
            b_addresses=(f"{SERVER_ADDRESS}/64",),
            offload=True,
        )
        yield Sides(client, server, authority)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Byte code as an installation has it: compiled at the first start, not at each."""
    with TemporaryDirectory() as byte_code:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = byte_code
        yield


def moment_up(tunnel: Tunnel) -> float:
    """When it said that it is up, to a millisecond."""
    end = time.monotonic() + _UP_LIMIT
    while _UP not in tunnel.log():
        if time.monotonic() > end:
            raise TimeoutError(f"the tunnel does not come up\n{tunnel.process.describe()}")
        time.sleep(0.001)
    return time.time()


def inner_ipv6(end: Tunnel) -> str:
    """Its own address in the tunnel."""
    device = end.device()
    found = [a for a in end.namespace.addresses(device.name) if a.version == 6]
    return str(next(address.ip for address in found if not address.is_link_local))


def connected(server: Tunnel) -> int:
    """Connected clients by the server's own log; the status file lags by a second."""
    return server.log().count("Peer Connection Initiated")


def note(figures: Figures, console: Console, figure: str, name: str, value: float) -> None:
    """Keep and print one run's figure."""
    figures.setdefault(figure, {}).setdefault(name, []).append(value)
    console.print(f"  {name:20} {figure}: {value:.4g}")


def report(figures: Figures, asked: tuple[Asked, ...], console: Console) -> bool:
    """Print medians, ratios and what is asked; whether everything asked is reached.

    A ratio is the median of those of runs that were made in turn: what else the machine does
    changes from minute to minute.
    """
    table = Table("figure", OURS.name, "beside", "its", "ratio", "asked", "")
    reached = True
    for figure, runs in figures.items():
        own = runs[OURS.name]
        ours = statistics.median(own)
        for name, its in runs.items():
            if name == OURS.name:
                continue
            ratio = statistics.median([a / b for a, b in zip(own, its, strict=True)])
            found = [row for row in asked if row.figure == figure and row.beside == name]
            row = found[0] if found else None
            bound = verdict = ""
            if row is not None:
                value = ratio if row.unit == "x" else ours
                good = value >= row.bound if row.at_least else value <= row.bound
                reached &= good
                verdict = "reached" if good else "missed"
                bound = f"{'>=' if row.at_least else '<='} {row.bound:g} {row.unit}"
            shown = [f"{number:.4g}" for number in (statistics.median(its), ratio)]
            table.add_row(figure, f"{ours:.4g}", name, *shown, bound, verdict)
    console.print(table)
    return reached


def _end(kind: Kind, tunnel: Tunnel) -> None:
    if kind.killed:
        tunnel.process.kill()
    else:
        tunnel.stop()
