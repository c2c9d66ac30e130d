"""Files of the operator that change while a server runs: client-config-dir and the pool.

A client's name comes from its certificate or from what it typed, so it never chooses a path.
Source: OpenVPN ``platform.c`` ``platform_gen_path``,
``multi.c`` ``multi_client_connect_source_ccd``.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from ovpn6.model.errors import HostError
from ovpn6.model.flow import ClientConfigRead, ReadClientConfig

DEFAULT_NAME = "DEFAULT"
MAX_CLIENT_CONFIG = 65_536
MAX_POOL = 16 * 1024 * 1024


def read_client_config(directory: Path, order: ReadClientConfig) -> ClientConfigRead:
    """The file of a common name, else DEFAULT, else no text. Raises ``HostError`` when there is a
    file that cannot be read: a client must not lose its restrictions that way."""
    for name in (safe_name(order.common_name), DEFAULT_NAME):
        path = directory / name if name else None
        text = _read_regular(path) if path else None
        if text is not None:
            return ClientConfigRead(order.job, str(path), text)
    return ClientConfigRead(order.job, str(directory), None)


def safe_name(common_name: str) -> str:
    """The file name for a client; "" when there can be none."""
    name = "".join("_" if char == "/" or not char.isprintable() else char for char in common_name)
    return "" if name in ("", ".", "..") or len(os.fsencode(name)) > 255 else name


class PoolFile:
    """``ifconfig-pool-persist``: replaced as a whole; in place once the directory may no longer be
    written (``user``, ``chroot``)."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _host_error(path, error) from None

    def read(self) -> str:
        """What was saved last."""
        return os.pread(self._descriptor, MAX_POOL, 0).decode("utf-8", "replace")

    def save(self, text: str) -> None:
        """Replace the content. Raises ``HostError``."""
        data = text.encode()
        try:
            if not self._replace(data):
                os.pwrite(self._descriptor, data, 0)
                os.ftruncate(self._descriptor, len(data))
        except OSError as error:
            raise _host_error(self._path, error) from None

    def close(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _replace(self, data: bytes) -> bool:
        """Write beside the file and rename; False when the directory does not allow it."""
        try:
            descriptor, name = tempfile.mkstemp(".tmp", f".{self._path.name}.", self._path.parent)
        except OSError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
            fresh = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        os.close(self._descriptor)
        self._descriptor = fresh
        return True


def _read_regular(path: Path) -> str | None:
    """The text of a regular file, None when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _host_error(path, error) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = os.read(descriptor, MAX_CLIENT_CONFIG + 1)
    except OSError as error:
        raise _host_error(path, error) from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_CLIENT_CONFIG:
        raise HostError(f"read {path}", f"longer than {MAX_CLIENT_CONFIG} bytes")
    return data.decode("utf-8", "replace")


def _host_error(path: Path, error: OSError) -> HostError:
    return HostError(str(path), error.strerror or type(error).__name__, error.errno or 0)
