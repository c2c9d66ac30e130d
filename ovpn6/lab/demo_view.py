"""What the demo shows: with colour and motion on a terminal, as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from ovpn6.lab.namespace import Namespace
from ovpn6.lab.topologies import Star

_LABEL_WIDTH = 10
_MEGABIT = 1e6


@dataclass(frozen=True, slots=True)
class Peer:
    """One client as the closing table shows it. ``up`` in seconds, throughput in Mbit/s."""

    name: str
    software: str
    outer: str
    ipv6: str
    ipv4: str
    cipher: str
    control: str
    data_path: str
    up: float
    milliseconds: dict[int, float]
    upload: float
    download: float


class Step:
    """A step under way: :meth:`done` says what came of it."""

    def __init__(self) -> None:
        self.result = ""

    def done(self, result: str) -> None:
        """What to print when the step is over."""
        self.result = result


class Measurement(Step):
    """A measurement under way, with a bar that shows its rate."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        super().__init__()
        self._progress = progress
        self._task = task
        self._last: tuple[float, int] | None = None

    def advance(self, seconds: float, carried: int) -> None:
        """``carried`` bytes went through the tunnel's device after ``seconds``."""
        if self._last is None:
            self._last = (seconds, carried)
            return
        before, carried_before = self._last
        if seconds - before < 0.25:
            return
        rate = (carried - carried_before) * 8 / (seconds - before) / _MEGABIT
        self._progress.update(self._task, completed=seconds, rate=f"{rate:6.0f} Mbit/s")
        self._last = (seconds, carried)


class DemoView:
    """Everything the demo prints."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            # A log file has no width: tables take what they need.
            self._console.width = max(self._console.width, 120)

    def opening(self, ours: str, stock: str) -> None:
        """The first lines."""
        self._console.print()
        self._console.print(
            f"[bold]{escape(ours)}[/bold]  a dual-stack tunnel over a network that has only IPv6"
        )
        self._console.print(f"then the same server with a stock {escape(stock)} client\n")

    def topology(self, net: Star, names: Sequence[str], software: Sequence[str]) -> None:
        """The drawing, with the addresses that the namespaces really have."""
        hosts = [f"{name}, {program}" for name, program in zip(names, software, strict=False)]
        outer = [_outer(namespace) for namespace in net.clients]
        width = max(len(host) for host in hosts)
        gateway = f"── router ── gateway, {software[-1]}"
        lines = (
            f"{hosts[0] + ' ':─<{width + 2}}─┐",
            f"{outer[0]:<{width + 2}} │",
            f"{'':<{width + 2}} ├{gateway}",
            f"{hosts[1] + ' ':─<{width + 2}}─┘{'':<12} {net.server_address}",
            f"{outer[1]}",
        )
        for line in lines:
            self._console.print(f"    [cyan]{escape(line)}")
        self._console.print()

    def command(self, program: str, words: Sequence[str]) -> None:
        """A command that the reader could have typed."""
        self._console.print(f"  [dim]$ {escape(' '.join((program, *words)))}")

    def client(self, software: str) -> None:
        """A new client's part begins."""
        self._console.print(f"\n[bold]{escape(software)} as the client")

    @contextmanager
    def step(self, label: str) -> Iterator[Step]:
        """A step; a spinner turns until it is over. A failing one prints no result."""
        step = Step()
        if self._console.is_terminal:
            with self._console.status(f"{label} ..."):
                yield step
        else:
            yield step
        self._result(label, step)

    @contextmanager
    def measurement(self, label: str, seconds: int) -> Iterator[Measurement]:
        """A measurement of about ``seconds``; its bar vanishes in favour of the result."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[rate]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with progress:
            task = progress.add_task(label, total=seconds, rate="")
            measurement = Measurement(progress, task)
            yield measurement
        self._result(label, measurement)

    def peers(self, peers: Sequence[Peer], server_data_path: str, server: str) -> None:
        """The closing table: a column a client."""
        table = Table(title=f"the clients of {server}", title_justify="left", title_style="bold")
        table.add_column("")
        for peer in peers:
            table.add_column(escape(peer.name))
        rows: list[tuple[str, list[str]]] = [
            ("software", [peer.software for peer in peers]),
            ("outer address", [peer.outer for peer in peers]),
            ("tunnel IPv6", [peer.ipv6 for peer in peers]),
            ("tunnel IPv4", [peer.ipv4 for peer in peers]),
            ("control channel", [peer.control for peer in peers]),
            ("data cipher", [peer.cipher for peer in peers]),
            ("data path, client", [peer.data_path for peer in peers]),
            ("data path, server", [server_data_path for _ in peers]),
            ("tunnel up after", [f"{peer.up:.2f} s" for peer in peers]),
            ("ping IPv6, IPv4", [_times(peer) for peer in peers]),
            ("up, down", [f"{peer.upload:.0f}, {peer.download:.0f} Mbit/s" for peer in peers]),
        ]
        for label, values in rows:
            table.add_row(label, *(escape(value) for value in values))
        self._console.print()
        self._console.print(table)

    def failed(self, text: str) -> None:
        """The demo did not work; ``text`` says why, with the logs."""
        Console(stderr=True, highlight=False).print(
            f"\n[bold red]The demo failed.[/bold red] {escape(text)}", soft_wrap=True
        )

    def finished(self, seconds: float) -> None:
        """The last lines."""
        self._console.print(f"\n[green]Done[/green] in {seconds:.0f} s. Next: README.md\n")

    def _result(self, label: str, step: Step) -> None:
        mark = "[green]✓[/green]" if self._console.encoding.startswith("utf") else "+"
        self._console.print(f"{mark} {label:<{_LABEL_WIDTH}}{escape(step.result)}")


def _outer(namespace: Namespace) -> str:
    return str(next(a.ip for a in namespace.addresses() if not a.ip.is_loopback))


def _times(peer: Peer) -> str:
    return ", ".join(f"{value:.2f}" for value in peer.milliseconds.values()) + " ms"
