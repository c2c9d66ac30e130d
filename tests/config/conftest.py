"""A directory with every file that configurations here name, and ways to load text in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ovpn6.config.load import load_config
from ovpn6.config.schema import TunnelConfig
from ovpn6.model.errors import ConfigErrors

FILES = ("ca.crt", "own.crt", "own.key", "shared.key", "crl.pem", "secret.txt", "dh.pem")

Load = Callable[..., TunnelConfig]
Fail = Callable[..., list[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, with FILES, a directory and a script."""
    for name in FILES:
        (tmp_path / name).write_text("content\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "clients").mkdir()
    (tmp_path / "script.sh").write_text("#!/bin/sh\n")
    (tmp_path / "script.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(place: Path) -> Load:
    """Load text as the file ``x.conf``, with further words of a command line."""

    def run(text: str, *words: str) -> TunnelConfig:
        (place / "x.conf").write_text(text)
        return load_config(["--config", "x.conf", *words])

    return run


@pytest.fixture
def fail(load: Load) -> Fail:
    """The errors that a text has, one line each."""

    def run(text: str, *words: str) -> list[str]:
        with pytest.raises(ConfigErrors) as caught:
            load(text, *words)
        return [str(error) for error in caught.value.errors]

    return run


SERVER = """\
dev tun
server-ipv6 2001:db8:8::/64
ca ca.crt
cert own.crt
key own.key
"""

CLIENT = """\
client
dev tun
remote 2001:db8::1
ca ca.crt
cert own.crt
key own.key
remote-cert-tls server
"""


@pytest.fixture
def server_text() -> str:
    """The least that a server needs: six lines, so what is appended begins at line 6."""
    return SERVER


@pytest.fixture
def client_text() -> str:
    """The least that a client needs: seven lines."""
    return CLIENT
