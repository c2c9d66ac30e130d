"""ovpn6 on each data path that this machine has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata

from bench.net import Hosts
from bench.peers.openvpn import OpenVPN
from bench.peers.ways import WAYS, Way
from ovpn6.lab.errors import LabError
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.runners import Tunnel

PYTHON = "ovpn6 Python"
_CHOSEN = r"data path: ([^:]+): "


@dataclass(frozen=True, slots=True)
class Ovpn6Path(OpenVPN):
    """A candidate. ``way`` is a key of ``WAYS``, ``path`` the data path that it gives here."""

    way: str = "default"
    path: str = ""
    end_client: Callable[[Tunnel], object] = Tunnel.stop
    """What a killed one leaves on the host, the next one would have to put in order."""

    @property
    def in_kernel(self) -> bool:
        """Whether the kernel's module carries its packets."""
        return self.path.startswith("kernel")

    @contextmanager
    def server(self, hosts: Hosts, outer: int = 6) -> Iterator[Tunnel]:
        """See :class:`OpenVPN`. Raises :class:`LabError` when it is on another data path now."""
        # No super(): slots make another class of this one.
        with OpenVPN.server(self, hosts, outer) as server:
            self.check(_path_of(server))
            yield server

    def check(self, path: str) -> None:
        """Raises :class:`LabError` unless this is the data path. Programs are built meanwhile."""
        if self.path not in ("", path):
            raise LabError(f"{self.name} has the data path {path}")

    def version(self) -> str:
        return f"{metadata.version('ovpn6')}, {self.path}"


def data_paths(hosts: Hosts) -> tuple[Ovpn6Path, ...]:
    """What ovpn6 itself says that it uses, for each way to ask."""
    found: dict[str, Ovpn6Path] = {}
    for key, way in WAYS.items():
        asked = Ovpn6Path("ovpn6", _runner(way), _command, way.lines, way=key)
        with asked.server(hosts) as server:
            path = _path_of(server)
        found.setdefault(path, replace(asked, name=f"ovpn6 {short_name(path)}", path=path))
    return tuple(found.values())


def short_name(path: str) -> str:
    """``Python`` for ``user space (Python)``, ``kernel`` for ``kernel (ovpn)``."""
    where, _, what = path.partition(" (")
    return what.rstrip(")") if where == "user space" and what else where


def _path_of(server: Tunnel) -> str:
    return server.process.wait_for_log(_CHOSEN, limit=1)[1]


def _runner(way: Way) -> Callable[..., Tunnel]:
    settings = [f"{name}={value}" for name, value in way.environment.items()]

    def run(namespace: Namespace, config: str, *, name: str) -> Tunnel:
        return Tunnel(namespace, ["env", *settings, *_command()], config, name)

    return run


def _command() -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "ovpn6")
