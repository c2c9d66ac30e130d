"""Tokens in place of passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import ConfigError, Source
from ovpn6.model.secrets import SecretBytes
from ovpn6.roles.auth_token import (
    EXPIRED,
    PREFIX,
    TokenAuthority,
    TokenRejected,
    TokenSession,
    is_token,
    parse_key,
)

KEY = SecretBytes(bytes(range(32)))
AUTHORITY = TokenAuthority(KEY, lifetime=1000, renewal=100)
SESSION = TokenSession(b"twelve bytes", 5000)
PEM = "-----BEGIN {0}-----\n{1}\n-----END {0}-----\n"


def test_token_has_the_layout_of_openvpn() -> None:
    token = AUTHORITY.issue("alice", SESSION, 5010).reveal()
    data = b"twelve bytes" + (5000).to_bytes(8, "big") + (5010).to_bytes(8, "big")
    tag = hmac.new(bytes(range(32)), b"alice" + data, hashlib.sha256).digest()
    assert token == b"SESS_ID_AT_" + base64.b64encode(data + tag)
    assert len(token) == 11 + 80


def test_token_is_good_for_its_user_and_session() -> None:
    token = AUTHORITY.issue("alice", SESSION, 5010)
    assert is_token(token)
    assert AUTHORITY.check("alice", token, 5020) == SESSION
    assert AUTHORITY.check("alice", token, 5020, SESSION) == SESSION


def test_token_of_another_user_is_refused() -> None:
    with pytest.raises(TokenRejected) as caught:
        AUTHORITY.check("bob", AUTHORITY.issue("alice", SESSION, 5010), 5020)
    assert caught.value.client_reason == ""


def test_token_of_another_key_is_refused() -> None:
    token = replace(AUTHORITY, key=SecretBytes(bytes(32))).issue("alice", SESSION, 5010)
    with pytest.raises(TokenRejected):
        AUTHORITY.check("alice", token, 5020)


def test_token_of_another_session_is_refused() -> None:
    other = TokenSession(b"another one!", 5000)
    with pytest.raises(TokenRejected):
        AUTHORITY.check("alice", AUTHORITY.issue("alice", SESSION, 5010), 5020, other)


@pytest.mark.parametrize(
    ("issued", "wall", "why"),
    [
        (5010, 5210, "two renewals are over"),
        (5990, 6001, "the login is over"),
        (5010, 5009, "from the future"),
        (4990, 5000, "older than its session"),
    ],
)
def test_token_expires(issued: int, wall: int, why: str) -> None:
    with pytest.raises(TokenRejected) as caught:
        AUTHORITY.check("alice", AUTHORITY.issue("alice", SESSION, issued), wall)
    assert caught.value.client_reason == EXPIRED, why


def test_token_is_good_up_to_the_last_second() -> None:
    assert AUTHORITY.check("alice", AUTHORITY.issue("alice", SESSION, 5010), 5209)
    assert AUTHORITY.check("alice", AUTHORITY.issue("alice", SESSION, 5990), 6000)


def test_without_limits_a_token_lasts() -> None:
    endless = TokenAuthority(KEY, lifetime=0, renewal=0)
    assert endless.check("alice", endless.issue("alice", SESSION, 5010), 10**9)


@given(st.binary(max_size=120))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TokenRejected):
        AUTHORITY.check("alice", SecretBytes(PREFIX + data), 5020)


@given(st.integers(0, 79))
def test_a_changed_character_is_refused(position: int) -> None:
    token = bytearray(AUTHORITY.issue("alice", SESSION, 5010).reveal())
    token[11 + position] = ord("A") if token[11 + position] != ord("A") else ord("B")
    with pytest.raises(TokenRejected):
        AUTHORITY.check("alice", SecretBytes(bytes(token)), 5020)


def test_key_file_is_read_and_its_hmac_half_used() -> None:
    body = base64.encodebytes(bytes(64) + bytes(range(64))).decode()
    assert parse_key(PEM.format("OpenVPN auth-token server key", body)) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        PEM.format("OpenVPN tls-crypt-v2 server key", base64.b64encode(bytes(128)).decode()),
        PEM.format("OpenVPN auth-token server key", base64.b64encode(bytes(100)).decode()),
        PEM.format("OpenVPN auth-token server key", "!!!"),
        "-----BEGIN OpenVPN auth-token server key-----\nAAAA",
    ],
)
def test_other_files_are_refused_with_their_place(text: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.conf:7"):
        parse_key(text, Source("server.conf", 7))


def test_token_does_not_print() -> None:
    token = AUTHORITY.issue("alice", SESSION, 5010)
    assert "SESS" not in repr(token)
    assert "secret" in repr(AUTHORITY)
