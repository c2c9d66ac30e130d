"""The command line: exit codes and messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovpn6 import __version__
from ovpn6.cli import main


def test_no_argument_prints_the_usage_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert capsys.readouterr().out.startswith("Usage: ovpn6 --config FILE")


def test_help_is_made_from_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--server-ipv6" in text
    assert "ovpn6 pki" in text


def test_version_names_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"ovpn6 {__version__} ")
    assert "OpenSSL" in second
    assert "cryptography" in second


@pytest.mark.parametrize("flag", ["--show-ciphers", "--show-digests", "--show-tls"])
def test_lists_of_algorithms(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {
        "--show-ciphers": "AES-256-GCM",
        "--show-digests": "SHA256",
        "--show-tls": "TLS_AES_256_GCM_SHA384",
    }
    assert main([flag]) == 0
    assert wanted[flag] in capsys.readouterr().out


def test_errors_look_as_openvpns_and_come_all_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.conf"
    path.write_text("client\nno-such-directive\nverb loud\n")
    for words in (["--config", str(path)], [str(path)], ["check", str(path)]):
        assert main(words) == 1
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith(f"Options error: {path}:2: ") for line in lines)
        assert any(line.startswith(f"Options error: {path}:3: ") for line in lines)
        assert lines[-1] == "Use --help for more information."


def test_a_missing_configuration_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "/nonexistent/a.conf"]) == 1
    assert "/nonexistent/a.conf" in capsys.readouterr().err


def test_check_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    assert "ovpn6 check FILE" in capsys.readouterr().err


def test_the_programs_of_the_pki_are_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pki", "--dir", str(tmp_path / "pki"), "init"]) == 0
    assert (tmp_path / "pki" / "ca.crt").exists()
    assert main(["--genkey", "secret"]) == 0
    assert "OpenVPN Static key V1" in capsys.readouterr().out


def profile(tmp_path: Path) -> Path:
    """A server's configuration made by our own commands."""
    directory = str(tmp_path / "pki")
    for words in (["init"], ["server", "gw"], ["profile", "gw", "--server"]):
        assert main(["pki", "--dir", directory, *words]) == 0
    return tmp_path / "pki" / "profiles" / "gw.conf"


def test_check_prints_what_it_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = profile(tmp_path)
    capsys.readouterr()
    assert main(["check", str(path), "--verb", "5"]) == 0
    out = capsys.readouterr().out
    assert "verb 5" in out
    assert "PRIVATE KEY" not in out


def test_a_key_that_is_none_ends_the_daemon_with_one(tmp_path: Path) -> None:
    path = profile(tmp_path)
    key = tmp_path / "bad.key"
    key.write_text("not a key\n")
    text = path.read_text()
    begin, end = text.index("<key>"), text.index("</key>") + len("</key>\n")
    path.write_text(f"{text[:begin]}key {key}\n{text[end:]}")
    done = subprocess.run(
        [sys.executable, "-m", "ovpn6", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "key: no private key in PEM form" in done.stdout
    assert "Exiting due to fatal error" in done.stdout


def test_a_device_command_without_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rmtun"]) == 1
    assert "--dev NAME" in capsys.readouterr().err
