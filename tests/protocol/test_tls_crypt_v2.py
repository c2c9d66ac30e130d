"""tls-crypt-v2 keys: stock's files, wrapping, metadata and age."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.names import Instant
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.replay import decode_replay_id
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt_v2 import (
    MAX_METADATA_SIZE,
    ClientKey,
    ServerKey,
    check_age,
    decode_metadata,
    decode_timestamp,
    split_client_key,
    timestamp_metadata,
    unwrap_client_key,
    user_metadata,
    wrap_client_key,
)

SERVER_KEY = ServerKey(SecretBytes(bytes(range(128))))
OTHER_SERVER_KEY = ServerKey(SecretBytes(bytes(128)))
CLIENT_KEY = bytes(range(256))
WKC = wrap_client_key(SERVER_KEY, CLIENT_KEY, timestamp_metadata(0))
DAY = 86400


def counting(size: int) -> bytes:
    """The predictable randomness of OpenVPN's unit tests."""
    return bytes(index % 256 for index in range(size))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- against stock ------------------------------------------------------------------------------


def test_files_match_the_vectors_of_openvpn() -> None:
    """SHA-256 of the three key files in OpenVPN's tests/unit_tests/openvpn/test_tls_crypt.c."""
    server_key = ServerKey.generate(counting)
    stamped = ClientKey.generate(server_key, timestamp_metadata(0), counting)
    chosen = ClientKey.generate(server_key, user_metadata(base64.b64decode("AABBCCDD")), counting)
    assert [digest(key.encode()) for key in (server_key, stamped, chosen)] == [
        "10dde0c003441640d74a354de033de0848871f961d972a5b25321f4f28eed143",
        "57b1e507bb8a1d3d3f01db254b1cb7b7e33a90f3b722d2eba9ea0a42f996a283",
        "f574aab140526d1c48ada6c2174cebd0b5338087bd310ccc65114190e485e221",
    ]


def test_files_of_stock_openvpn_are_read_and_written_alike(tmp_path: Path) -> None:
    openvpn = shutil.which("openvpn", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if openvpn is None:
        pytest.skip("openvpn is not installed")

    def genkey(kind: str, *arguments: str | Path) -> str:
        path = tmp_path / kind
        command = [openvpn, *arguments, "--genkey", kind, path]
        subprocess.run(command, check=True, capture_output=True)
        return path.read_text()

    server_text = genkey("tls-crypt-v2-server")
    server_key = ServerKey.parse(server_text)
    assert server_key.encode() == server_text
    client_text = genkey("tls-crypt-v2-client", "--tls-crypt-v2", tmp_path / "tls-crypt-v2-server")
    client_key = ClientKey.parse(client_text)
    assert client_key.encode() == client_text
    unwrapped, metadata = unwrap_client_key(server_key, client_key.wrapped)
    assert unwrapped == client_key.key
    assert decode_timestamp(metadata) > 1_700_000_000


def test_a_wrapped_key_follows_the_specification() -> None:
    """A second implementation, from doc/tls-crypt-v2.txt."""
    plaintext = CLIENT_KEY + b"\0metadata"
    length = (32 + len(plaintext) + 2).to_bytes(2, "big")
    tag = hmac.new(bytes(range(64, 96)), length + plaintext, hashlib.sha256).digest()
    stream = Cipher(AES(bytes(range(32))), CTR(tag[:16])).encryptor().update(plaintext)
    wrapped = wrap_client_key(SERVER_KEY, CLIENT_KEY, user_metadata(b"metadata"))
    assert wrapped == tag + stream + length


# --- wrapping -----------------------------------------------------------------------------------


@given(
    client_key=st.binary(min_size=256, max_size=256),
    metadata=st.binary(max_size=MAX_METADATA_SIZE),
)
def test_a_client_key_survives_wrapping(client_key: bytes, metadata: bytes) -> None:
    wkc = wrap_client_key(SERVER_KEY, client_key, metadata)
    assert unwrap_client_key(SERVER_KEY, wkc) == (StaticKey(SecretBytes(client_key)), metadata)


def test_metadata_may_fill_1024_bytes_and_no_more() -> None:
    assert len(wrap_client_key(SERVER_KEY, CLIENT_KEY, bytes(734))) == 1024
    with pytest.raises(ConfigError, match="735 bytes"):
        wrap_client_key(SERVER_KEY, CLIENT_KEY, bytes(735))


def test_a_client_key_of_another_size_is_our_mistake() -> None:
    with pytest.raises(UsageError):
        wrap_client_key(SERVER_KEY, CLIENT_KEY[:-1], b"")


def test_another_server_cannot_unwrap() -> None:
    with pytest.raises(PeerError):
        unwrap_client_key(OTHER_SERVER_KEY, WKC)


@given(st.integers(0, 8 * len(WKC) - 1))
def test_a_flipped_bit_spoils_a_wrapped_key(bit: int) -> None:
    mangled = bytearray(WKC)
    mangled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PeerError):
        unwrap_client_key(SERVER_KEY, bytes(mangled))


@given(st.binary(max_size=1100))
def test_any_bytes_are_no_wrapped_key(garbage: bytes) -> None:
    framed = garbage[:-2] + len(garbage).to_bytes(2, "big") if len(garbage) > 1 else garbage
    for candidate in (garbage, framed):
        with pytest.raises(PeerError):
            unwrap_client_key(SERVER_KEY, candidate)


# --- behind a packet ----------------------------------------------------------------------------


@given(packet=st.binary(min_size=49, max_size=400), metadata=st.binary(max_size=60))
def test_a_wrapped_key_is_split_off_its_packet(packet: bytes, metadata: bytes) -> None:
    wkc = wrap_client_key(SERVER_KEY, CLIENT_KEY, metadata)
    assert split_client_key(packet + wkc) == (packet, wkc)


@given(st.binary(max_size=500))
def test_any_bytes_are_split_or_refused(garbage: bytes) -> None:
    try:
        packet, wkc = split_client_key(garbage)
    except PeerError:
        return
    assert packet + wkc == garbage
    assert len(packet) >= 49
    assert 290 <= len(wkc) == int.from_bytes(wkc[-2:], "big")


@pytest.mark.parametrize(
    ("size", "claimed"),
    [(0, 0), (1, 0), (500, 0), (500, 289), (500, 452), (500, 500), (500, 501), (2000, 1025)],
)
def test_an_impossible_length_is_refused_before_use(size: int, claimed: int) -> None:
    datagram = (bytes(max(0, size - 2)) + claimed.to_bytes(2, "big"))[:size]
    with pytest.raises(PeerError):
        split_client_key(datagram)


def test_the_longest_key_leaves_the_shortest_packet() -> None:
    packet, wkc = split_client_key(bytes(498) + (451).to_bytes(2, "big"))
    assert (len(packet), len(wkc)) == (49, 451)


# --- metadata -----------------------------------------------------------------------------------


@given(st.integers(-(2**63), 2**63 - 1))
def test_timestamps_round_trip(unix_time: int) -> None:
    metadata = timestamp_metadata(unix_time)
    assert len(metadata) == 9
    assert decode_metadata(metadata)[0] == 1
    assert decode_timestamp(metadata) == unix_time


@given(st.binary(max_size=733))
def test_user_metadata_round_trips(data: bytes) -> None:
    assert decode_metadata(user_metadata(data)) == (0, data)


@pytest.mark.parametrize("metadata", [b"", b"\x01", b"\x01" + bytes(7), user_metadata(bytes(8))])
def test_a_key_without_a_timestamp_has_no_age(metadata: bytes) -> None:
    with pytest.raises(PeerError):
        check_age(metadata, 1000, 0.0)


def test_a_key_ages_by_days_to_the_second() -> None:
    made = 1_700_000_000
    metadata = timestamp_metadata(made)
    check_age(metadata, 2, made + 2 * DAY)
    check_age(metadata, 2, made - 5)
    with pytest.raises(PeerError, match="older than 2 days"):
        check_age(metadata, 2, made + 2 * DAY + 1)


# --- files --------------------------------------------------------------------------------------


@given(st.binary(min_size=128, max_size=128))
def test_a_server_key_survives_its_file(material: bytes) -> None:
    key = ServerKey(SecretBytes(material))
    assert ServerKey.parse(key.encode()) == key


@given(st.binary(max_size=40))
def test_a_client_key_survives_its_file(metadata: bytes) -> None:
    key = ClientKey.generate(SERVER_KEY, metadata, counting)
    assert ClientKey.parse(key.encode().replace("\n", "\r\n")) == key


SERVER_TEXT = SERVER_KEY.encode()
CLIENT_TEXT = ClientKey.generate(SERVER_KEY, b"", counting).encode()


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (ServerKey, CLIENT_TEXT, "no OpenVPN tls-crypt-v2 server key"),
        (ClientKey, SERVER_TEXT, "no OpenVPN tls-crypt-v2 client key"),
        (ServerKey, SERVER_TEXT.partition("-----END")[0], "cut off"),
        (ServerKey, SERVER_TEXT.replace("AAEC", "A*EC"), "base64"),
        (ServerKey, SERVER_TEXT.replace("AAEC", ""), "125 bytes"),
        (ClientKey, CLIENT_TEXT.replace("AAEC", ""), "bytes|length"),
        (ClientKey, SERVER_TEXT.replace("server", "client"), "128 bytes"),
    ],
)
def test_a_broken_file_says_what_is_wrong(
    kind: type[ServerKey] | type[ClientKey], text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        kind.parse(text)


@given(st.text())
def test_any_text_gives_a_key_or_a_config_error(text: str) -> None:
    label = "OpenVPN tls-crypt-v2 server key"
    with pytest.raises(ConfigError):
        ServerKey.parse(f"-----BEGIN {label}-----\n{text}\n-----END {label}-----")


def test_keys_do_not_print() -> None:
    client_key = ClientKey.generate(SERVER_KEY, b"", counting)
    assert "AAEC" not in repr(SERVER_KEY)
    assert "\\x01\\x02\\x03" not in repr(SERVER_KEY) + repr(client_key.key)


def test_a_client_s_first_packet_offers_early_negotiation() -> None:
    key = ClientKey.generate(SERVER_KEY, b"", counting)
    wrapping = key.wrapping(wall_offset=1000.0, strict_order=False)
    datagram = wrapping.wrapper.wrap(b"\x50" + bytes(8), bytes(5), Instant(0.0))
    assert decode_replay_id(datagram[9:17]).counter == 0x0F000001
    assert wrapping.wrapped_client_key == key.wrapped
