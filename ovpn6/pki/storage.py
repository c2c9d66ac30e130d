"""Files that hold secrets: created whole or not at all, never by accident over another."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovpn6.model.errors import ConfigError, HostError
from ovpn6.model.records import dataclass

PRIVATE = 0o600
PUBLIC = 0o644

_NAME = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_@.-]{0,63}")


def write_file(path: Path, content: str, *, mode: int = PRIVATE, force: bool = False) -> None:
    """Write ``content`` to ``path`` with exactly ``mode``, in one step.

    The text goes to a new file next to ``path`` first, so that a reader or a crash never sees half
    of it. Raises :class:`ConfigError` when ``path`` exists and ``force`` is not given, and
    :class:`HostError` when the host refuses.
    """
    scratch = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _put_in_place(scratch, path, force=force)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"write {path}", error.strerror or str(error), error.errno or 0) from error


def read_file(path: Path, advice: str = "") -> str:
    """The text of ``path``. Raises :class:`ConfigError` with ``advice`` when it is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", advice=advice) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def make_directory(path: Path, mode: int) -> None:
    """``path`` as a directory; an existing one keeps its mode."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"mkdir {path}", error.strerror or str(error), error.errno or 0) from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes that also ask out of ``directory`` meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_name(name: str) -> str:
    """``name`` when it can be a common name and a file name; raises :class:`ConfigError`."""
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} cannot name a certificate",
            advice="1 to 64 of letters, digits, '_', '@', '.', '-', the first no '.' or '-'",
        )
    return name


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one authority lies below ``root``."""

    root: Path

    @property
    def ca_certificate(self) -> Path:
        return self.root / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.private("ca")

    @property
    def tls_crypt(self) -> Path:
        return self.root / "tls-crypt.key"

    @property
    def tls_auth(self) -> Path:
        return self.root / "tls-auth.key"

    @property
    def tls_crypt_v2_server(self) -> Path:
        return self.root / "tls-crypt-v2-server.key"

    @property
    def crl(self) -> Path:
        return self.root / "crl.pem"

    @property
    def index(self) -> Path:
        return self.root / "index.json"

    def issued(self, name: str) -> Path:
        return self.root / "issued" / f"{name}.crt"

    def private(self, name: str) -> Path:
        return self.root / "private" / f"{name}.key"

    def tls_crypt_v2(self, name: str) -> Path:
        return self.root / "tls-crypt-v2" / f"{name}.key"

    def profile(self, name: str, suffix: str = "ovpn") -> Path:
        return self.root / "profiles" / f"{name}.{suffix}"

    def make(self) -> None:
        """The directories; those with secrets for the owner only."""
        make_directory(self.root, 0o755)
        make_directory(self.root / "issued", 0o755)
        for secret in ("private", "tls-crypt-v2", "profiles"):
            make_directory(self.root / secret, 0o700)


def _put_in_place(scratch: Path, path: Path, *, force: bool) -> None:
    if force:
        scratch.replace(path)
        return
    try:
        path.hardlink_to(scratch)
    except FileExistsError:
        raise ConfigError(f"{path} already exists", advice="--force replaces it") from None
