"""The lab: namespaces and the links between them, all gone when it ends.

    with Lab() as lab:
        client, server = lab.namespace("client"), lab.namespace("server")
        lab.link(client, server, ["2001:db8::1/64"], ["2001:db8::2/64"])
        client.run(["ping", "-c1", "2001:db8::2"])

Needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and writes only below ``/run``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface
from types import TracebackType
from typing import Self

from ovpn6.lab.errors import LabError
from ovpn6.lab.identity import lab_name
from ovpn6.lab.leftovers import STATE, remove_leftovers
from ovpn6.lab.namespace import AddressText, Namespace
from ovpn6.lab.process import Process
from ovpn6.model.errors import UsageError

MAX_DEVICE_NAME = 15

_OFFLOADS = ("tso", "gso", "gro", "tx", "rx")

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a link."""

    namespace: Namespace
    name: str

    def __str__(self) -> str:
        return f"{self.namespace.name}:{self.name}"


class Lab:
    """A context manager that owns namespaces, processes and a directory.

    On entry it removes what labs of dead processes left. Processes of the lab die with the thread
    that started them.
    """

    def __init__(self) -> None:
        self.name = lab_name(next(_numbers))
        self.directory = STATE / self.name
        """For configurations, logs and captures; removed at the end."""
        self.namespaces: dict[str, Namespace] = {}

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("a lab needs root: it makes network namespaces")
        remove_leftovers()
        self.directory.mkdir(mode=0o700, parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End and remove everything."""
        # All are told to end before any is waited for.
        for process in self.processes():
            if process.running:
                process.signal(signal.SIGTERM)
        with ExitStack() as removals:
            removals.callback(shutil.rmtree, self.directory, ignore_errors=True)
            # Runs backwards, whatever fails: what was built last uses what was built first.
            for namespace in self.namespaces.values():
                removals.callback(namespace.remove)
        self.namespaces.clear()

    def namespace(self, name: str) -> Namespace:
        """A new namespace with loopback up; ``name`` is unique in the lab."""
        if name in self.namespaces:
            raise UsageError(f"the lab has a namespace {name!r}")
        made = Namespace(name, f"{self.name}-{name}", self.directory)
        self.namespaces[name] = made
        return made

    def router(self, name: str) -> Namespace:
        """A new namespace that forwards both families."""
        made = self.namespace(name)
        made.forward()
        return made

    def link(
        self,
        a: Namespace,
        b: Namespace,
        a_addresses: Iterable[AddressText] = (),
        b_addresses: Iterable[AddressText] = (),
        *,
        mtu: int = 1500,
        offload: bool = False,
    ) -> tuple[Interface, Interface]:
        """A cable (veth pair) between two namespaces, up, with addresses (``2001:db8::1/64``).

        The ends are named ``to-NAME`` after the other side. Without ``offload`` packets on it have
        the sizes that a real wire would see; with it the kernel may pass giants along.
        """
        a_end = Interface(a, _device_name(a, f"to-{b.name}"))
        b_end = Interface(b, _device_name(b, f"to-{a.name}"))
        a.add_veth(a_end.name, b, b_end.name)
        for end, addresses in ((a_end, a_addresses), (b_end, b_addresses)):
            self._dress(end, addresses, mtu, offload=offload)
        return a_end, b_end

    def bridge(self, namespace: Namespace, name: str, ports: Sequence[Interface]) -> Interface:
        """A switch in ``namespace`` over interfaces that are there."""
        if any(port.namespace is not namespace for port in ports):
            raise UsageError("a bridge joins interfaces of its own namespace")
        namespace.add_bridge(name, [port.name for port in ports])
        return Interface(namespace, name)

    def processes(self) -> tuple[Process, ...]:
        """Every process that was started in the lab and not forgotten."""
        return tuple(
            process for namespace in self.namespaces.values() for process in namespace.processes
        )

    def describe(self) -> str:
        """The end of every log: what to read when something failed."""
        return "\n".join(process.describe() for process in self.processes())

    def _dress(
        self, end: Interface, addresses: Iterable[AddressText], mtu: int, *, offload: bool
    ) -> None:
        namespace = end.namespace
        if not offload:
            settings = [word for feature in _OFFLOADS for word in (feature, "off")]
            namespace.run(["ethtool", "-K", end.name, *settings])
        namespace.set_up(end.name, mtu=mtu)
        ordered = sorted((ip_interface(str(address)) for address in addresses), key=_ipv6_first)
        for address in ordered:
            namespace.add_address(end.name, address)


def _ipv6_first(address: object) -> int:
    return -ip_interface(str(address)).version


def _device_name(namespace: Namespace, wanted: str) -> str:
    """``wanted``, cut and numbered so that the kernel takes it and nothing else has it."""
    taken = namespace.devices()
    for number in itertools.count(1):
        ending = "" if number == 1 else f".{number}"
        name = wanted[: MAX_DEVICE_NAME - len(ending)] + ending
        if name not in taken:
            return name
    raise UsageError("unreachable: names are numbered without end")
