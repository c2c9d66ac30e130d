"""The wrappers: what stock sends opens, round trips, and everything mangled is refused."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.names import Instant
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.packets import Opcode, decode_control
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from ovpn6.protocol.wrapping import (
    ClientWrapping,
    PlainWrapper,
    TlsAuthWrapper,
    Wrapper,
    dynamic_wrapper,
    tls_auth_digest,
)

KEY = StaticKey(SecretBytes(bytes(range(256))))
OTHER_KEY = StaticKey(SecretBytes(bytes(range(255, -1, -1))))
NOW = Instant(50.0)
OFFSET = 0x6B0329A9 - 50.0
HEADER = b"\x20" + b"own-sid."


def tls_auth(
    direction: int | None,
    digest: str = "SHA1",
    *,
    key: StaticKey = KEY,
    strict_order: bool = False,
    first_id: int = 1,
) -> TlsAuthWrapper:
    return TlsAuthWrapper(
        key, direction, digest, wall_offset=OFFSET, strict_order=strict_order, first_id=first_id
    )


def tls_crypt(
    is_server: bool,
    *,
    key: StaticKey = KEY,
    strict_order: bool = False,
    first_id: int = 1,
) -> TlsCryptWrapper:
    return TlsCryptWrapper(
        key,
        is_server=is_server,
        wall_offset=OFFSET,
        strict_order=strict_order,
        first_id=first_id,
    )


def dynamic(previous: StaticKey | None, is_server: bool) -> TlsCryptWrapper:
    return dynamic_wrapper(
        b"\xba" * 256, previous, is_server=is_server, wall_offset=OFFSET, strict_order=False
    )


Pair = tuple[Wrapper, Wrapper]

PAIRS: dict[str, Callable[[], Pair]] = {
    "tls-auth": lambda: (tls_auth(None), tls_auth(None)),
    "tls-auth direction": lambda: (tls_auth(1), tls_auth(0)),
    "tls-auth SHA512": lambda: (tls_auth(0, "SHA512"), tls_auth(1, "sha512")),
    "tls-crypt": lambda: (tls_crypt(False), tls_crypt(True)),
    "dynamic": lambda: (dynamic(None, False), dynamic(None, True)),
    "dynamic after a key": lambda: (dynamic(KEY, False), dynamic(KEY, True)),
}
PROTECTED = pytest.mark.parametrize("name", PAIRS)


# --- what stock sends ---------------------------------------------------------------------------
# First packets recorded from Debian's openvpn 2.6.14 as client, key file = bytes 0 to 255, with
# --tls-auth FILE, --tls-auth FILE 1 --auth SHA512, --tls-auth FILE 0 --auth SHA256, --tls-crypt
# FILE, and a tls-crypt-v2 client key of the same bytes (its WKc cut off).

STOCK_RESETS: dict[str, tuple[Wrapper, str]] = {
    "none": (PlainWrapper(), "38880e275d6cd243660000000000"),
    "tls-auth": (
        tls_auth(None),
        "38a5b51531cc3cb99d6f109bd99ca31af3168b25d0849faac444e2e00f000000016b0329a90000000000",
    ),
    "tls-auth direction 1": (
        tls_auth(0, "SHA512"),
        "38a0deaaab3755b7ddeea6757f286b88d06b0fd9ed46bd17f3a4eceadd9b27792387257481d6930603505225"
        "e5d06c9a38d9b4c2bd395176979c624b182f7e2ee7114dc32a61502aa5000000016b0329a90000000000",
    ),
    "tls-auth direction 0": (
        tls_auth(1, "SHA256"),
        "38879514a21b69080f7b355a370386956ee318893b5301e7e5615f49b09d34fe0c34f0b0f0a382b758000000"
        "016b0329a90000000000",
    ),
    "tls-crypt": (
        tls_crypt(True),
        "389d0f2fda6d954ddb000000016b0329a972b35f2f6462309307e07a0c865c6c1519862fd914b47b6edaf3fe"
        "693fda08df209196932d",
    ),
    "tls-crypt-v2": (
        tls_crypt(True),
        "50c1f3c4ed684c19650f0000016b0329a94969a16b140a2a1268b6c9d35a06171fab194ab24c88e510eae966"
        "b78f5cfc80935ce1570e",
    ),
}


@pytest.mark.parametrize("name", STOCK_RESETS)
def test_the_first_packet_of_a_stock_client_opens(name: str) -> None:
    wrapper, datagram = STOCK_RESETS[name]
    header, body = wrapper.unwrap(bytes.fromhex(datagram), NOW)
    packet = decode_control(header, body)
    reset = (
        Opcode.CONTROL_HARD_RESET_CLIENT_V3
        if name == "tls-crypt-v2"
        else Opcode.CONTROL_HARD_RESET_CLIENT_V2
    )
    assert (packet.opcode, packet.key_id, packet.acks, packet.message_id) == (reset, 0, (), 0)
    assert packet.payload == b""


@pytest.mark.parametrize("name", [name for name in STOCK_RESETS if name != "none"])
def test_we_wrap_a_stock_client_s_packet_to_the_same_bytes(name: str) -> None:
    sealers = {
        "tls-auth": tls_auth(None),
        "tls-auth direction 1": tls_auth(1, "SHA512"),
        "tls-auth direction 0": tls_auth(0, "SHA256"),
        "tls-crypt": tls_crypt(False),
        "tls-crypt-v2": tls_crypt(False, first_id=0x0F000001),
    }
    datagram = bytes.fromhex(STOCK_RESETS[name][1])
    assert sealers[name].wrap(datagram[:9], bytes(5), NOW) == datagram


def test_dynamic_tls_crypt_matches_the_vector_of_openvpn() -> None:
    """``test_tls_crypt_secure_reneg_key`` of test_tls_crypt.c: a client, exporter bytes 0xba, time
    0, no header. An all-zero previous key changes nothing, another one does."""
    expected = bytes.fromhex(
        "0000000100000000e319277f1c8d6e6a7796a855337b9cfb56e1f13a870e6647"
        "dfa195c92c17a015ba4967a11d55ea1a06a7"
    )

    def wrapped(previous: StaticKey | None) -> bytes:
        wrapper = dynamic_wrapper(
            b"\xba" * 256, previous, is_server=False, wall_offset=0.0, strict_order=False
        )
        return wrapper.wrap(b"", b"1234567890", Instant(0.0))

    assert wrapped(None) == expected
    assert wrapped(StaticKey(SecretBytes(bytes(256)))) == expected
    other = wrapped(StaticKey(SecretBytes(b"\x42" * 256)))
    assert other[:8] == expected[:8]
    assert other[8:] != expected[8:]


# --- round trips --------------------------------------------------------------------------------


@PROTECTED
@given(
    header=st.binary(min_size=9, max_size=9), bodies=st.lists(st.binary(max_size=80), max_size=6)
)
def test_both_directions_round_trip(name: str, header: bytes, bodies: list[bytes]) -> None:
    client, server = PAIRS[name]()
    for body in bodies:
        for sender, receiver in ((client, server), (server, client)):
            datagram = sender.wrap(header, body, NOW)
            assert len(datagram) == len(header) + len(body) + sender.overhead
            assert datagram[:9] == header
            assert receiver.unwrap(datagram, NOW) == (header, body)


@given(header=st.binary(min_size=9, max_size=9), body=st.binary(max_size=80))
def test_plain_packets_are_header_and_body(header: bytes, body: bytes) -> None:
    wrapper = PlainWrapper()
    assert wrapper.overhead == 0
    assert wrapper.wrap(header, body, NOW) == header + body
    assert wrapper.unwrap(header + body, NOW) == (header, body)


def test_tls_crypt_hides_the_body() -> None:
    assert b"ClientHello" not in tls_crypt(False).wrap(HEADER, b"ClientHello", NOW)


def test_tls_auth_signs_replay_id_header_and_body_in_this_order() -> None:
    """A second implementation, from the wire format."""
    datagram = tls_auth(0, "SHA256").wrap(HEADER, b"body", NOW)
    replay_id = (1).to_bytes(4, "big") + int(OFFSET + NOW).to_bytes(4, "big")
    key = bytes(range(64, 96))
    tag = hmac.new(key, replay_id + HEADER + b"body", hashlib.sha256).digest()
    assert datagram == HEADER + tag + replay_id + b"body"


# --- what is refused ----------------------------------------------------------------------------


@PROTECTED
@given(data=st.data(), body=st.binary(max_size=40))
def test_a_flipped_bit_is_refused_and_the_original_still_opens(
    name: str, data: st.DataObject, body: bytes
) -> None:
    client, server = PAIRS[name]()
    datagram = client.wrap(HEADER, body, NOW)
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    mangled = bytearray(datagram)
    mangled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PeerError):
        server.unwrap(bytes(mangled), NOW)
    assert server.unwrap(datagram, NOW) == (HEADER, body)


@PROTECTED
@given(garbage=st.binary(max_size=200))
def test_any_bytes_are_refused(name: str, garbage: bytes) -> None:
    with pytest.raises(PeerError):
        PAIRS[name]()[1].unwrap(garbage, NOW)


@PROTECTED
def test_every_truncation_is_refused(name: str) -> None:
    client, server = PAIRS[name]()
    datagram = client.wrap(HEADER, b"body", NOW)
    for size in range(len(datagram)):
        with pytest.raises(PeerError):
            server.unwrap(datagram[:size], NOW)


@given(st.binary(max_size=8))
def test_plain_packets_need_a_header(garbage: bytes) -> None:
    with pytest.raises(PeerError):
        PlainWrapper().unwrap(garbage, NOW)


@PROTECTED
def test_a_replay_is_refused(name: str) -> None:
    client, server = PAIRS[name]()
    first, second = (client.wrap(HEADER, body, NOW) for body in (b"1", b"2"))
    assert server.unwrap(second, NOW)[1] == b"2"
    assert server.unwrap(first, NOW)[1] == b"1"
    for replay in (first, second):
        with pytest.raises(PeerError):
            server.unwrap(replay, NOW)


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (tls_auth(None, strict_order=True), tls_auth(None, strict_order=True)),
        (tls_crypt(False, strict_order=True), tls_crypt(True, strict_order=True)),
    ],
    ids=["tls-auth", "tls-crypt"],
)
def test_tcp_refuses_a_gap(client: Wrapper, server: Wrapper) -> None:
    first, second, third = (client.wrap(HEADER, body, NOW) for body in (b"1", b"2", b"3"))
    server.unwrap(first, NOW)
    with pytest.raises(PeerError):
        server.unwrap(third, NOW)
    server.unwrap(second, NOW)
    server.unwrap(third, NOW)


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (tls_auth(0), tls_auth(0)),
        (tls_auth(1), tls_auth(1)),
        (tls_auth(1), tls_auth(None)),
        (tls_auth(0, "SHA256"), tls_auth(1, "SHA224")),
        (tls_auth(None, key=OTHER_KEY), tls_auth(None)),
        (tls_crypt(False), tls_crypt(False)),
        (tls_crypt(True), tls_crypt(True)),
        (tls_crypt(False, key=OTHER_KEY), tls_crypt(True)),
        (tls_auth(None), tls_crypt(True)),
        (tls_crypt(False), tls_auth(None)),
        (dynamic(KEY, False), dynamic(OTHER_KEY, True)),
        (dynamic(KEY, False), dynamic(None, True)),
    ],
)
def test_ends_that_do_not_fit_refuse_each_other(client: Wrapper, server: Wrapper) -> None:
    with pytest.raises(PeerError):
        server.unwrap(client.wrap(HEADER, bytes(100), NOW), NOW)


def test_directions_of_tls_auth_use_the_hmac_keys_of_their_slots() -> None:
    """Direction None uses slot 0 both ways, so it opens what 0 sends, and 1 opens what it sends."""
    tls_auth(None).unwrap(tls_auth(0).wrap(HEADER, b"", NOW), NOW)
    tls_auth(1).unwrap(tls_auth(None).wrap(HEADER, b"", NOW), NOW)


# --- settings -----------------------------------------------------------------------------------


def test_static_keys_for_dynamic_tls_crypt_are_the_whole_files() -> None:
    assert PlainWrapper().static_key is None
    assert tls_auth(1).static_key == KEY
    assert tls_crypt(False).static_key == KEY


def test_overhead_is_digest_and_replay_id() -> None:
    assert (tls_auth(None).overhead, tls_auth(None, "SHA512").overhead) == (28, 72)
    assert tls_crypt(True).overhead == 40


@pytest.mark.parametrize(
    ("name", "size"),
    [("SHA1", 20), ("sha-256", 32), ("SHA2-512/256", 32), ("RSA-SHA384", 48), ("BLAKE2b512", 64)],
)
def test_digests_go_by_openssl_names(name: str, size: int) -> None:
    assert hashlib.new(tls_auth_digest(name)).digest_size == size


@pytest.mark.parametrize("name", ["none", "", "SHA257", "SHAKE128"])
def test_unknown_digests_are_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError):
        tls_auth(None, name)


def test_our_own_mistakes_are_usage_errors() -> None:
    with pytest.raises(UsageError):
        tls_auth(2)
    with pytest.raises(UsageError):
        dynamic_wrapper(bytes(255), None, is_server=True, wall_offset=0.0, strict_order=False)


def test_a_client_without_tls_crypt_v2_has_no_wrapped_key() -> None:
    assert ClientWrapping(PlainWrapper()).wrapped_client_key == b""


@PROTECTED
def test_no_key_shows_in_a_repr(name: str) -> None:
    for wrapper in PAIRS[name]():
        assert "\\x" not in repr(wrapper)
        assert "0001" not in repr(wrapper)
