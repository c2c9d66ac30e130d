"""``--genkey`` in the forms that OpenVPN takes."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from ovpn6.model.errors import ConfigError
from ovpn6.pki.genkey import Request, genkey, parse
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt_v2 import ClientKey, ServerKey, decode_metadata, unwrap_client_key


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("--genkey", Request("secret")),
        ("--genkey secret a.key", Request("secret", "a.key")),
        ("--genkey tls-auth a.key", Request("tls-auth", "a.key")),
        ("--genkey auth-token", Request("auth-token")),
        ("--genkey --secret a.key", Request("secret", "a.key")),
        ("--secret a.key --genkey", Request("secret", "a.key")),
        (
            "--tls-crypt-v2 s.key --genkey tls-crypt-v2-client c.key AAAA",
            Request("tls-crypt-v2-client", "c.key", "AAAA", "s.key"),
        ),
        ("--genkey secret a.key --force", Request("secret", "a.key", force=True)),
    ],
)
def test_every_form_of_the_call_is_understood(words: str, request_: Request) -> None:
    assert parse(words.split()) == request_


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--genkey rot13",
        "--genkey secret a b",
        "--genkey secret a b c",
        "--genkey tls-crypt-v2-client c.key",
        "--genkey tls-auth a.key --secret b.key",
        "--genkey --secret",
        "--genkey --tls-crypt-v2",
        "--genkey --genkey",
        "--genkey --remote x",
        "a.key --genkey",
    ],
)
def test_a_wrong_call_is_refused(words: str) -> None:
    with pytest.raises(ConfigError):
        parse(words.split())


@pytest.mark.parametrize("kind", ["secret", "tls-crypt", "tls-auth"])
def test_shared_keys_are_static_keys(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "shared.key"
    assert genkey(["--genkey", kind, str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(StaticKey.parse(path.read_text()).material) == 256


def test_without_a_file_the_key_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert genkey(["--genkey"]) == 0
    assert len(StaticKey.parse(capsys.readouterr().out).material) == 256


def test_two_keys_differ(capsys: pytest.CaptureFixture[str]) -> None:
    genkey(["--genkey"])
    first = capsys.readouterr().out
    genkey(["--genkey"])
    assert capsys.readouterr().out != first


def test_an_auth_token_key_is_128_bytes_in_pem(capsys: pytest.CaptureFixture[str]) -> None:
    genkey(["--genkey", "auth-token"])
    begin, *body, end = capsys.readouterr().out.splitlines()
    assert begin == "-----BEGIN OpenVPN auth-token server key-----"
    assert end == "-----END OpenVPN auth-token server key-----"
    assert len(base64.b64decode("".join(body), validate=True)) == 128
    assert max(map(len, body)) == 64


def test_a_client_key_carries_its_metadata_for_the_server(tmp_path: Path) -> None:
    server, client = tmp_path / "server.key", tmp_path / "client.key"
    assert genkey(["--genkey", "tls-crypt-v2-server", str(server)]) == 0
    words = ["--tls-crypt-v2", str(server), "--genkey", "tls-crypt-v2-client", str(client)]
    assert genkey([*words, base64.b64encode(b"laptop 7").decode()]) == 0
    key = ClientKey.parse(client.read_text())
    unwrapped, metadata = unwrap_client_key(ServerKey.parse(server.read_text()), key.wrapped)
    assert unwrapped == key.key
    assert decode_metadata(metadata) == (0, b"laptop 7")


def test_a_client_key_without_metadata_carries_the_time(tmp_path: Path) -> None:
    server, client = tmp_path / "server.key", tmp_path / "client.key"
    genkey(["--genkey", "tls-crypt-v2-server", str(server)])
    genkey(["--tls-crypt-v2", str(server), "--genkey", "tls-crypt-v2-client", str(client)])
    key = ClientKey.parse(client.read_text())
    _, metadata = unwrap_client_key(ServerKey.parse(server.read_text()), key.wrapped)
    kind, value = decode_metadata(metadata)
    assert (kind, len(value)) == (1, 8)
    # Later than 2020, before 2100: seconds, not milliseconds, in network order.
    assert 1_577_836_800 < int.from_bytes(value, "big") < 4_102_444_800


def test_an_existing_key_stays_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shared.key"
    path.write_text("precious")
    assert genkey(["--genkey", "secret", str(path)]) == 1
    assert path.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert genkey(["--genkey", "secret", str(path), "--force"]) == 0
    StaticKey.parse(path.read_text())


@pytest.mark.parametrize("metadata", ["not base64!", base64.b64encode(bytes(734)).decode()])
def test_impossible_metadata_is_refused(
    tmp_path: Path, metadata: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = tmp_path / "server.key"
    genkey(["--genkey", "tls-crypt-v2-server", str(server)])
    client = tmp_path / "client.key"
    words = ["--tls-crypt-v2", str(server), "--genkey", "tls-crypt-v2-client", str(client)]
    assert genkey([*words, metadata]) == 1
    assert "metadata" in capsys.readouterr().err
    assert not client.exists()
