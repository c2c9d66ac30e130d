"""Data keys. The PRF answers were computed with OpenSSL 3's ``openssl kdf ... TLS1-PRF``."""

from __future__ import annotations

import pytest

from ovpn6.model.errors import UsageError
from ovpn6.model.names import KeyId, SessionId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat
from ovpn6.protocol.key_derivation import KeySource, key_block_from_prf, key_material, tls1_prf


@pytest.mark.parametrize(
    ("secret", "seed", "expected"),
    [
        pytest.param(
            bytes(range(19)),
            b"OpenVPN master secret" + bytes.fromhex("ffeeddccbbaa"),
            "872875a011d7a228e89e1073b1a461ba4b0f14c19afc78906e0bd827da37e832"
            "163502cd8d1041fc9efce69296c1234646e0f1962cd521cc5538dcf70a06e75f",
            id="odd-secret-64-bytes-out",
        ),
        pytest.param(
            bytes(range(5)),
            b"key expansion",
            "388b906e34f8e8f138eb53b315ecc5ec5ceeb210c61fb680efbb319b9ba97ce8"
            "e050064554503f9568bf8b6370485964",
            id="short-secret-48-bytes-out",
        ),
    ],
)
def test_prf_gives_what_openssl_gives(secret: bytes, seed: bytes, expected: str) -> None:
    assert tls1_prf(secret, seed, len(expected) // 2).hex() == expected


def test_client_sends_with_the_first_half_of_the_block_and_server_with_the_second() -> None:
    block = bytes(range(256))
    client = key_material(block, KeyId(0), "AES-256-GCM", is_server=False)
    server = key_material(block, KeyId(0), "AES-256-GCM", is_server=True)
    assert client.send_key.reveal() == bytes(range(32))
    assert client.send_iv.reveal() == bytes(range(64, 72))
    assert server.send_key.reveal() == bytes(range(128, 160))
    assert (server.receive_key, server.receive_iv) == (client.send_key, client.send_iv)


@pytest.mark.parametrize("cipher", ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"])
def test_the_epoch_format_starts_from_32_bytes_a_direction_and_no_iv(cipher: str) -> None:
    block = bytes(range(256))
    client, server = (
        key_material(block, KeyId(3), cipher, is_server=side, data_format=DataFormat.EPOCH)
        for side in (False, True)
    )
    assert client.data_format is server.data_format is DataFormat.EPOCH
    assert client.send_key.reveal() == server.receive_key.reveal() == bytes(range(32))
    assert client.receive_key.reveal() == server.send_key.reveal() == bytes(range(128, 160))
    assert {len(iv) for iv in (client.send_iv, client.receive_iv)} == {0}


def test_session_ids_and_every_random_enter_the_keys() -> None:
    def source(fill: int, *, server: bool) -> KeySource:
        return KeySource(
            SecretBytes(b"" if server else bytes([fill]) * 48),
            SecretBytes(bytes([fill + 1]) * 32),
            SecretBytes(bytes([fill + 2]) * 32),
        )

    sids = SessionId(b"client!!"), SessionId(b"server!!")
    base = key_block_from_prf(source(1, server=False), source(9, server=True), *sids)
    changed = [
        key_block_from_prf(source(2, server=False), source(9, server=True), *sids),
        key_block_from_prf(source(1, server=False), source(8, server=True), *sids),
        key_block_from_prf(source(1, server=False), source(9, server=True), *reversed(sids)),
    ]
    assert len(base) == 256
    assert len({base, *changed}) == 4


def test_unknown_cipher_is_our_own_mistake() -> None:
    with pytest.raises(UsageError):
        key_material(bytes(256), KeyId(0), "BF-CBC", is_server=True)
