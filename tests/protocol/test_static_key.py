"""Static key files: stock's own and broken ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import ConfigError, UsageError
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.static_key import StaticKey

KEY = StaticKey(SecretBytes(bytes(range(256))))


@given(st.binary(min_size=256, max_size=256))
def test_a_key_survives_its_file(material: bytes) -> None:
    key = StaticKey(SecretBytes(material))
    assert StaticKey.parse(key.encode()) == key


def test_a_file_has_sixteen_lines_of_sixteen_bytes_between_markers() -> None:
    lines = KEY.encode().splitlines()
    assert lines[:4] == [
        "#",
        "# 2048 bit OpenVPN static key",
        "#",
        "-----BEGIN OpenVPN Static key V1-----",
    ]
    assert lines[4] == "000102030405060708090a0b0c0d0e0f"
    assert lines[19] == "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    assert lines[20:] == ["-----END OpenVPN Static key V1-----"]


def test_slots_are_cipher_and_hmac_halves_of_128_bytes() -> None:
    assert [[part.reveal() for part in KEY.slot(index)] for index in (0, 1)] == [
        [bytes(range(64)), bytes(range(64, 128))],
        [bytes(range(128, 192)), bytes(range(192, 256))],
    ]
    with pytest.raises(UsageError):
        KEY.slot(2)


def test_blanks_case_and_windows_line_ends_do_not_matter() -> None:
    text = KEY.encode().upper().replace("OPENVPN STATIC KEY", "OpenVPN Static key")
    assert StaticKey.parse("a comment\r\n" + text.replace("\n", " \r\n")) == KEY


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no OpenVPN static key"),
        ("-----BEGIN OpenVPN Static key V1-----\n00ff\n", "cut off"),
        (KEY.encode().replace("00010203", "0001020g"), "hexadecimal"),
        (KEY.encode().replace("00010203", "0x010203"), "hexadecimal"),
        (KEY.encode().replace("00010203", "010203"), "2040 bits"),
        (KEY.encode().replace("00010203", "0000010203"), "2056 bits"),
    ],
)
def test_a_broken_file_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        StaticKey.parse(text)


@given(st.text())
def test_any_text_gives_a_key_or_a_config_error(text: str) -> None:
    wrapped = f"-----BEGIN OpenVPN Static key V1-----\n{text}\n-----END OpenVPN Static key V1-----"
    for candidate in (text, wrapped):
        with pytest.raises(ConfigError):
            StaticKey.parse(candidate)


def test_key_material_is_not_in_repr_or_errors() -> None:
    assert "0001" not in repr(KEY)
    with pytest.raises(ConfigError) as caught:
        StaticKey.parse(KEY.encode().replace("-----END", ""))
    assert "0001" not in str(caught.value)


def test_a_new_key_is_all_of_256_bytes_of_entropy() -> None:
    assert StaticKey.generate(lambda size: bytes(range(size))) == KEY


def test_a_file_of_stock_openvpn_is_read_and_written_alike(tmp_path: Path) -> None:
    openvpn = shutil.which("openvpn", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if openvpn is None:
        pytest.skip("openvpn is not installed")
    path = tmp_path / "static.key"
    subprocess.run([openvpn, "--genkey", "secret", path], check=True, capture_output=True)
    text = path.read_text()
    assert StaticKey.parse(text).encode() == text
