"""Our example files load; those of OpenVPN load, or name exactly what they cannot have."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ovpn6.config.lexer import parse_text
from ovpn6.config.load import load_config
from ovpn6.config.schema import Mode, TunnelConfig
from ovpn6.model.errors import ConfigErrors
from ovpn6.model.names import Family, Transport

CONFIGS = Path(__file__).parents[2] / "configs"
EXAMPLES = sorted(path.name for path in CONFIGS.glob("*.conf"))
SAMPLES = Path("/usr/share/doc/openvpn/examples/sample-config-files")

MODES = {"server": Mode.SERVER, "client": Mode.CLIENT, "point": Mode.POINT_TO_POINT}
"""By the first word of the file's name."""

FILES = frozenset(
    ("ca", "cert", "key", "dh", "crl-verify", "tls-auth", "tls-crypt", "tls-crypt-v2", "askpass")
)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for a copy of an example."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _load_with_files(path: Path, into: Path) -> TunnelConfig:
    """Load a copy, having made the files it names."""
    shutil.copy(path, into)
    for directive in parse_text(path.read_text(), path.name):
        if directive.name in FILES and directive.args and directive.args[0] != "none":
            file = into / directive.args[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("content\n")
            file.chmod(0o600)
    return load_config(["--config", path.name])


def test_there_are_examples() -> None:
    assert {"server.conf", "client.conf", "server-ipv6-only.conf"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads_without_a_warning(name: str, example: Path) -> None:
    config = _load_with_files(CONFIGS / name, example)
    assert config.warnings == ()
    assert config.host.tun_mtu == 1420
    assert config.mode is MODES[name.partition("-")[0].removesuffix(".conf")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_names_only_files_that_the_pki_makes(name: str) -> None:
    made = re.compile(
        r"pki/(ca\.crt|crl\.pem|tls-crypt\.key|tls-crypt-v2-server\.key"
        r"|issued/(server|client)\.crt|private/(server|client)\.key)"
    )
    for directive in parse_text((CONFIGS / name).read_text(), name):
        if directive.name in FILES and directive.args != ("none",):
            assert made.fullmatch(directive.args[0])


def test_ipv6_only_example_has_no_ipv4(example: Path) -> None:
    config = _load_with_files(CONFIGS / "server-ipv6-only.conf", example)
    assert config.server is not None
    assert config.server.server is None
    assert config.sockets.ipv6_only
    assert [each.version for each in config.host.ifconfig] == [6]


def test_dual_example_has_a_socket_for_each_family_and_transport(example: Path) -> None:
    config = _load_with_files(CONFIGS / "server-dual.conf", example)
    assert config.server is not None
    assert {(each.transport, each.family) for each in config.server.listens} == {
        (transport, family) for transport in Transport for family in (Family.IPV6, Family.IPV4)
    }


EXPECTED: dict[str, frozenset[str]] = {
    # the directory of Debian's package has no /var/log/openvpn unless openvpn once ran
    "client.conf": frozenset(),
    "server.conf": frozenset({"status", "ifconfig-pool-persist"}),
    "loopback-client": frozenset({"dev"}),
    "loopback-server": frozenset({"dev"}),
}
"""What each public sample cannot have, by the beginning of the error."""


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_public_sample_loads_or_names_what_is_not_supported(name: str, example: Path) -> None:
    if not (SAMPLES / name).exists():
        pytest.skip(f"{SAMPLES / name} is not installed")
    try:
        config = _load_with_files(SAMPLES / name, example)
    except ConfigErrors as errors:
        for error in errors.errors:
            assert error.source is not None
            assert error.source.line > 0
            assert error.message.startswith(tuple(EXPECTED[name])), str(error)
    else:
        assert name in ("client.conf", "server.conf")
        assert config.mode is (Mode.CLIENT if name == "client.conf" else Mode.SERVER)
