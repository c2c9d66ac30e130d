"""What a measurement knows of a program: how to get a tunnel between the hosts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.net import Hosts
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.process import Process


@dataclass(frozen=True, slots=True)
class Joined:
    """A tunnel that is up. ``inner``: the server's address in it by IP version; ``daemons``: the
    processes that carry its packets, of both ends."""

    client: Namespace
    server: Namespace
    inner: Mapping[int, str]
    daemons: tuple[Process, ...]


class Program(Protocol):
    """A candidate."""

    @property
    def name(self) -> str:
        """In tables."""

    def version(self) -> str:
        """Of the program, with what of it bears on the figures."""

    def joined(self, hosts: Hosts, outer: int) -> AbstractContextManager[Joined]:
        """A tunnel over IP version ``outer``, up; gone afterwards."""
