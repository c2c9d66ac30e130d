"""Tunnel ends in namespaces: ovpn6, and OpenVPN as Debian ships it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ovpn6.lab.errors import LabError
from ovpn6.lab.namespace import Device, Namespace
from ovpn6.lab.process import Process
from ovpn6.lab.status import ServerStatus, parse_status
from ovpn6.lab.waiting import wait_for

UP = r"Initialization Sequence Completed"
UP_LIMIT = 30.0

_STATUS_INTERVAL = "1"


class Tunnel:
    """One end of a tunnel, running. Its device is the one tunnel device of the namespace."""

    def __init__(
        self, namespace: Namespace, command: Sequence[str], config: str | Path, name: str
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.directory = namespace.work_directory(name)
        """Its own directory, where it runs: relative paths of its configuration start here."""
        self.config_path = self.directory / "tunnel.conf"
        self.config_path.write_text(config if isinstance(config, str) else config.read_text())
        self.config_path.chmod(0o600)
        self.status_path = self.directory / "status"
        self._command = (
            *command,
            *("--cd", str(self.directory)),
            *("--config", str(self.config_path)),
            *("--status", str(self.status_path), _STATUS_INTERVAL),
            *("--status-version", "2"),
        )
        self.process = self._start()

    def wait_up(self, limit: float = UP_LIMIT) -> None:
        """Until it says that the tunnel is up, and its addresses can be used. Raises
        :class:`LabError` with its log."""
        self.process.wait_for_log(UP, limit)
        wait_for(self._usable, limit, f"addresses of {self.name}", [self.process])

    def restart(self) -> None:
        """End it politely and start it again."""
        self.process.stop()
        self.process = self._start()

    def stop(self) -> int:
        """End it; the exit code."""
        return self.process.stop()

    def log(self) -> str:
        """What it printed since its (last) start."""
        return self.process.log()

    def device(self, limit: float = 10.0) -> Device:
        """Its tunnel interface."""

        def find() -> Device | None:
            return next(iter(self.namespace.tunnels()), None)

        return wait_for(find, limit, f"a tunnel device of {self.name}", [self.process])

    def status(self) -> ServerStatus:
        """A server's status file as it is now; empty before the first one."""
        try:
            return parse_status(self.status_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ServerStatus("", (), ())

    def _usable(self) -> bool:
        return not any(self.namespace.tentative(device.name) for device in self.namespace.tunnels())

    def _start(self) -> Process:
        return self.namespace.popen(self._command, self.name)


class Ovpn6(Tunnel):
    """``ovpn6 --config`` with this interpreter."""

    def __init__(
        self,
        namespace: Namespace,
        config: str | Path,
        *,
        name: str = "ovpn6",
        arguments: Sequence[str] = (),
    ) -> None:
        """``config`` is the text, or the path of a file with it; ``arguments`` come first."""
        command = [sys.executable, "-P", "-m", "ovpn6", *arguments]
        super().__init__(namespace, command, config, name)


class StockOpenVPN(Tunnel):
    """The machine's own ``openvpn --config``."""

    def __init__(
        self,
        namespace: Namespace,
        config: str | Path,
        *,
        name: str = "openvpn",
        arguments: Sequence[str] = (),
    ) -> None:
        """``config`` is the text, or the path of a file with it; ``arguments`` come first."""
        super().__init__(namespace, [stock_binary(), *arguments], config, name)


def stock_binary() -> str:
    """Where ``openvpn`` is; raises :class:`LabError` on a machine without it."""
    found = shutil.which("openvpn") or shutil.which("openvpn", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise LabError("openvpn is not installed")
    return found
