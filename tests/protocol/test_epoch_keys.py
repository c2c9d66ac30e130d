"""Epoch secrets and data keys. The answers are those of OpenVPN's own unit tests: 2.7.6
``test_crypto.c`` (the label), OpenVPN 3 ``test_crypto.cpp`` (AES-192-GCM data key)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import UsageError
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.epoch_keys import LAST_EPOCH, EpochSecret, expand_label

SECRET = SecretBytes(
    bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
)


def test_a_label_expands_as_openvpn_expands_it() -> None:
    expected = "185eaa1c7f228ab8eb29773214d92046"
    assert expand_label(SECRET, b"unit test", 16).reveal().hex() == expected


def test_the_size_enters_the_answer() -> None:
    short, long = (expand_label(SECRET, b"unit test", size).reveal() for size in (16, 27))
    assert len(long) == 27
    assert long[:16] != short


def test_a_data_key_is_the_one_openvpn_3_derives() -> None:
    key = EpochSecret(1, SecretBytes(bytes([19, 12]) + bytes(30))).data_key("AES-192-GCM")
    assert key.key.reveal().hex() == "ed8533db1c28ace418e9006ab29c17417d60ebe6cd90bf0a"
    assert key.iv.reveal().hex() == "86890aabf032cb59f4cfa34e"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_keys_have_the_sizes_of_the_cipher(cipher: str) -> None:
    key = EpochSecret(7, SECRET).data_key(cipher)
    assert (key.epoch, len(key.key), len(key.iv)) == (7, CIPHERS[cipher].key_size, 12)


def test_every_epoch_has_a_secret_of_its_own() -> None:
    secrets = [EpochSecret(1, SECRET)]
    for _ in range(5):
        secrets.append(secrets[-1].following())
    assert [secret.epoch for secret in secrets] == [1, 2, 3, 4, 5, 6]
    assert len({secret.secret.reveal() for secret in secrets}) == 6


def test_no_epoch_follows_the_last() -> None:
    with pytest.raises(UsageError):
        EpochSecret(LAST_EPOCH, SECRET).following()


@pytest.mark.parametrize(("epoch", "size"), [(0, 32), (LAST_EPOCH + 1, 32), (1, 31), (1, 64)])
def test_what_is_no_secret_of_an_epoch_is_refused(epoch: int, size: int) -> None:
    with pytest.raises(UsageError):
        EpochSecret(epoch, SecretBytes(bytes(size)))


@pytest.mark.parametrize(("label", "size"), [(b"", 16), (b"x" * 251, 16), (b"x", 0), (b"x", 33)])
def test_a_label_has_1_to_250_bytes_and_gives_at_most_32(label: bytes, size: int) -> None:
    with pytest.raises(UsageError):
        expand_label(SECRET, label, size)


@given(
    secret=st.binary(min_size=32, max_size=32),
    label=st.binary(min_size=1, max_size=250),
    size=st.integers(1, 32),
)
def test_it_is_hkdf_expand_of_rfc_5869(secret: bytes, label: bytes, size: int) -> None:
    info = size.to_bytes(2, "big") + bytes((5 + len(label),)) + b"ovpn " + label + b"\0"
    expected = HKDFExpand(SHA256(), size, info).derive(secret)
    assert expand_label(SecretBytes(secret), label, size).reveal() == expected


def test_an_unknown_cipher_is_refused() -> None:
    with pytest.raises(UsageError):
        EpochSecret(1, SECRET).data_key("BF-CBC")


def test_secrets_do_not_print() -> None:
    secret = EpochSecret(1, SecretBytes(b"A" * 32))
    assert "AAAA" not in repr(secret) + repr(secret.data_key("AES-256-GCM"))
