"""The order of measurements: the candidates take turns, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from vm.errors import VmError

from bench.figures import CPU_FLOOR, CROWDS, Crowd, Results
from bench.forms import Form
from bench.goals import Cast, Role
from bench.measure import crowd, floor, round_trip, tcp, udp
from bench.measure.storm import storm
from bench.net import Hosts
from bench.peers.bare import BareLink
from bench.peers.openvpn import STOCK, STOCK_27, OpenVPN
from bench.peers.ours import PYTHON, Ovpn6Path
from bench.peers.program import Joined, Program
from bench.peers.wireguard import WireGuardGo
from ovpn6.model.errors import Ovpn6Error

Measure = Callable[[Results, str, Joined, Form], None]

_IN_ONE_TUNNEL: tuple[tuple[str, Measure], ...] = (
    # Before anything has filled a queue.
    ("round trip, idle", round_trip.idle),
    ("TCP, one stream", tcp.single_stream),
    ("TCP, other shapes", tcp.other_shapes),
    ("UDP", udp.delivered),
    ("round trip, loaded", round_trip.loaded),
)
_FLOOR_MILLISECONDS = 300


@dataclass(frozen=True, slots=True)
class Field:
    """Who takes part. ``paths`` are ovpn6's, the fastest first."""

    paths: tuple[Ovpn6Path, ...]
    openvpns: tuple[OpenVPN, ...] = (STOCK, STOCK_27)
    wireguard: WireGuardGo = WireGuardGo()
    bare: BareLink = BareLink()

    @property
    def everyone(self) -> tuple[Program, ...]:
        """In the order of the columns."""
        return (*self.paths, *self.openvpns, self.wireguard, self.bare)

    @property
    def in_user_space(self) -> tuple[Ovpn6Path, ...]:
        """Our own without the kernel's."""
        return tuple(path for path in self.paths if not path.in_kernel)

    @property
    def fastest(self) -> Ovpn6Path:
        """Our fastest in user space."""
        return self.in_user_space[0]

    def cast(self) -> Cast:
        """Who has which part in what the project asks."""
        python = next((path.name for path in self.paths if path.name == PYTHON), None)
        return {
            Role.OURS: self.fastest.name,
            **({Role.FALLBACK: python} if python else {}),
            Role.OPENVPN_27: STOCK_27.name,
            Role.WIREGUARD: self.wireguard.name,
            Role.BARE: self.bare.name,
        }


Step = tuple[str, Callable[[], None]]
"""What it measures, and doing it."""


class Run:
    """One benchmark. What fails is noted and the rest goes on."""

    def __init__(self, hosts: Hosts, field: Field, form: Form, console: Console) -> None:
        self.results = Results()
        self._hosts = hosts
        self._field = field
        self._form = form
        self._console = console

    def everything(self) -> Results:
        """Measure it all."""
        for number in range(1, self._form.rounds + 1):
            self._do(f"round {number} of {self._form.rounds}", self._turns())
        for number in range(1, self._form.storms + 1):
            self._do(f"clients at once, {number} of {self._form.storms}", self._storms())
        self._do("once", self._single_looks())
        return self.results

    # --- what there is to do --------------------------------------------------------------------

    def _turns(self) -> Iterator[Step]:
        field = self._field
        for program in field.everyone:
            yield f"{program.name}, over IPv6", partial(self._over_ipv6, program)
        for program in field.everyone:
            yield f"{program.name}, over IPv4", partial(self._over_ipv4, program)
        for program in (field.fastest, STOCK_27, field.wireguard, field.bare):
            yield f"{program.name}, link offloads off", partial(self._without_offloads, program)
        yield "AEAD libraries alone", self._floor
        for wanted in CROWDS:
            what = f"{field.fastest.name}, {wanted.figure.name}"
            yield what, partial(self._crowd, field.fastest, wanted)

    def _storms(self) -> Iterator[Step]:
        for program in (*self._field.paths, *self._field.openvpns):
            yield (
                program.name,
                partial(storm, self.results, program, self._hosts, self._form.clients),
            )

    def _single_looks(self) -> Iterator[Step]:
        field, hosts = self._field, self._hosts
        for path in field.paths:
            yield f"{path.name}, memory", partial(crowd.memory, self.results, path, hosts)
        yield (
            f"{field.wireguard.name}, memory",
            partial(crowd.wireguard_memory, self.results, field.wireguard, hosts),
        )

    # --- doing it -------------------------------------------------------------------------------

    def _over_ipv6(self, program: Program) -> None:
        with program.joined(self._hosts, 6) as joined:
            self._do("", self._in_one_tunnel(program.name, joined))

    def _in_one_tunnel(self, name: str, joined: Joined) -> Iterator[Step]:
        for what, measure in _IN_ONE_TUNNEL:
            yield f"{name}, {what}", partial(measure, self.results, name, joined, self._form)
        if 4 in joined.inner:
            measure_ipv4 = partial(tcp.other_family, self.results, name, joined, self._form, 4, 6)
            yield f"{name}, TCP, IPv4 inside", measure_ipv4

    def _over_ipv4(self, program: Program) -> None:
        with program.joined(self._hosts, 4) as joined:
            for inner in joined.inner:
                tcp.other_family(self.results, program.name, joined, self._form, inner, 4)

    def _without_offloads(self, program: Program) -> None:
        with self._hosts.without_offloads(), program.joined(self._hosts, 6) as joined:
            tcp.without_offloads(self.results, program.name, joined, self._form)

    def _crowd(self, path: Ovpn6Path, wanted: Crowd) -> None:
        crowd.throughput(self.results, path, self._hosts, self._form, wanted)

    def _floor(self) -> None:
        """The machine's OpenVPN has OpenSSL, our path in Python what it is built on; a native one
        is compared with the fastest library there is."""
        costs = {
            library: floor.seconds_a_gigabit(cost)
            for library, cost in floor.cost_of_packet(_FLOOR_MILLISECONDS).items()
        }
        for library, cost in costs.items():
            self.results.add(CPU_FLOOR, library, cost)
        in_python = costs.pop(floor.PYTHON_LIBRARY)
        self.results.add(CPU_FLOOR, STOCK.name, costs[floor.OPENSSL])
        for path in self._field.in_user_space:
            own = in_python if path.name == PYTHON else min(costs.values())
            self.results.add(CPU_FLOOR, path.name, own)

    def _do(self, title: str, steps: Iterator[Step]) -> None:
        if title:
            self._console.print(title)
        for what, step in steps:
            started = time.monotonic()
            try:
                step()
                took = time.monotonic() - started
                self._console.print(f"  {what}: {took:.1f} s", markup=False, highlight=False)
            except (Ovpn6Error, VmError, OSError) as error:
                reason = str(error).partition("\n")[0]
                self.results.failures.append(f"{what}: {reason}")
                self._console.print(f"  failed: {error}", style="red", markup=False)
