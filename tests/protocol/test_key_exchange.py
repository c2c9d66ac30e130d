"""The key-method-2 message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.key_exchange import KeyMethod2, decode_key_method_2, new_key_source
from tests.protocol.sim import entropy_of

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@given(texts, texts, texts, texts, st.booleans())
def test_message_round_trips(
    options: str, username: str, password: str, peer_info: str, is_server: bool
) -> None:
    source = new_key_source(is_server=is_server, entropy=entropy_of(1))
    message = KeyMethod2(source, options, username, SecretBytes(password.encode()), peer_info)
    assert decode_key_method_2(message.encode(), from_server=is_server) == message


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_a_message_or_an_error_of_the_peer(data: bytes, from_server: bool) -> None:
    for record in (data, bytes(4) + b"\x02" + data):
        try:
            decode_key_method_2(record, from_server=from_server)
        except PeerError:
            continue


def test_every_cut_is_refused_or_read_as_an_older_peer() -> None:
    source = new_key_source(is_server=False, entropy=entropy_of(1))
    whole = KeyMethod2(source, "V4,dev-type tun", "u", SecretBytes(b"p"), "IV_VER=2\n").encode()
    old_peer_lengths = []
    for length in range(len(whole)):
        try:
            decode_key_method_2(whole[:length], from_server=False)
        except PeerError:
            continue
        old_peer_lengths.append(length)
    fixed = 5 + 48 + 64
    assert old_peer_lengths == [fixed, fixed + 18, fixed + 18 + 4, fixed + 18 + 8]


def test_key_method_1_is_refused() -> None:
    with pytest.raises(PeerError, match="key method 2"):
        decode_key_method_2(bytes(4) + b"\x01" + bytes(300), from_server=False)
