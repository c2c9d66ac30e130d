"""Files that stay open through restarts: a change of user or root does not close them."""

from __future__ import annotations

from pathlib import Path

from ovpn6.config.schema import TunnelConfig
from ovpn6.daemon.logs import Logger
from ovpn6.daemon.operator_files import PoolFile
from ovpn6.daemon.status_file import StatusFile
from ovpn6.model.errors import HostError
from ovpn6.model.names import Level


class KeptFiles:
    """The pool's persistence file and the status file, None where there is none."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._pool_path: Path | None = None
        self._status_path: Path | None = None
        self.pool: PoolFile | None = None
        self.status: StatusFile | None = None

    def open(self, config: TunnelConfig) -> None:
        """Open what a configuration names; a file that is open already stays as it is.

        Raises ``HostError`` for the pool's. Without a status file the tunnel works as well, so it
        is only warned of, as in OpenVPN.
        """
        server = config.server
        path = server.ifconfig_pool_persist if server is not None else None
        if path != self._pool_path:
            self._close_pool()
            self.pool = PoolFile(path) if path is not None else None
            self._pool_path = path
        if config.process.status != self._status_path:
            self._close_status()
            self.status = self._open_status(config.process.status)
            self._status_path = config.process.status

    def close(self) -> None:
        """Close both."""
        self._close_pool()
        self._close_status()

    def _open_status(self, path: Path | None) -> StatusFile | None:
        if path is None:
            return None
        try:
            return StatusFile(path)
        except HostError as error:
            self._logger.log(Level.WARNING, f"Note: cannot open {path} for WRITE: {error}")
            return None

    def _close_pool(self) -> None:
        if self.pool is not None:
            self.pool.close()
        self.pool, self._pool_path = None, None

    def _close_status(self) -> None:
        if self.status is not None:
            self.status.close()
        self.status, self._status_path = None, None
