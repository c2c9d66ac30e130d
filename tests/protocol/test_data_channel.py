"""The data channel against packets that stock OpenVPN sent, and its own rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId, PacketId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Framing, KeyMaterial
from ovpn6.protocol.data_channel import (
    OCC_EXIT,
    OVERHEAD,
    PING,
    AuthenticationFailed,
    Compressed,
    KeyExhausted,
    ReceiveKey,
    Replayed,
    ReplayWindow,
    SendKey,
    UsageLimits,
    frame,
    unframe,
    usage,
    usage_limits,
)


def material(
    cipher: str = "AES-256-GCM", key_id: int = 0, send: int = 1, receive: int = 1
) -> KeyMaterial:
    """Keys filled with one byte each; equal ``send`` and ``receive`` make a loop."""
    size = CIPHERS[cipher].key_size
    return KeyMaterial(
        KeyId(key_id),
        cipher,
        SecretBytes(bytes([send]) * size),
        SecretBytes(bytes([send]) * 8),
        SecretBytes(bytes([receive]) * size),
        SecretBytes(bytes([receive]) * 8),
    )


def from_hex(cipher: str, key: str, iv: str) -> KeyMaterial:
    secret, implicit = SecretBytes(bytes.fromhex(key)), SecretBytes(bytes.fromhex(iv))
    return KeyMaterial(KeyId(0), cipher, secret, implicit, secret, implicit)


# Sent by OpenVPN 2.6.14 (Debian 12) to another one over UDP: throw-away keys from its log at
# --verb 11, packets from a capture. The payload is a ping each time.
STOCK = [
    (
        "AES-256-GCM",
        "f242d672a0c0fe7c0c42cf47530be9b4b8f1bdfb7e7c7b591d299894fb54f072",
        "17400e879a3f66d3",
        0x9890A8,
        {
            1: "489890a800000001abb7b0c343a5e85f4da1f294d679ebe3e80a59b6d36b8bd58e0a79c9a7cf8e77",
            4: "489890a800000004476d86e821807b115106adc4684167cda43a36bb708e63853210f06dd1bfbc57",
        },
    ),
    (
        "CHACHA20-POLY1305",
        "7cbd5c7aadd7d2d69ebb1d3552f0b8ff52e93122e6a9a81a6066438ae340d1ac",
        "e05c9b4b8cb74f85",
        0x1D57B8,
        {
            1: "481d57b8000000015a766ccd6a508a879c170a91bfb67044f317212423504f0de3debd4906a84cf9",
            5: "481d57b800000005fd2d99f9a92a6a683e7fb451135bb4ec0bfc1a71a9a6c7462c1952a0ecc53f3e",
        },
    ),
]


@pytest.mark.parametrize(("cipher", "key", "iv", "peer", "packets"), STOCK)
def test_a_packet_that_stock_sent_opens(
    cipher: str, key: str, iv: str, peer: int, packets: dict[int, str]
) -> None:
    opener = ReceiveKey(from_hex(cipher, key, iv))
    for text in packets.values():
        assert opener.open(bytes.fromhex(text)) == PING


@pytest.mark.parametrize(("cipher", "key", "iv", "peer", "packets"), STOCK)
def test_we_seal_what_stock_sealed_to_the_bit(
    cipher: str, key: str, iv: str, peer: int, packets: dict[int, str]
) -> None:
    sealer = SendKey(from_hex(cipher, key, iv), peer)
    sent = {number: sealer.seal(PING).hex() for number in range(1, max(packets) + 1)}
    assert {number: sent[number] for number in packets} == packets


def test_the_library_gives_the_answer_of_rfc_8439() -> None:
    # Section 2.8.2.
    sealed = ChaCha20Poly1305(bytes(range(0x80, 0xA0))).encrypt(
        bytes.fromhex("070000004041424344454647"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it.",
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
    )
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


def test_the_library_gives_the_answer_of_the_gcm_paper() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test case 4 (AES-128).
    sealed = AESGCM(bytes.fromhex("feffe9928665731c6d6a8f9467308308")).encrypt(
        bytes.fromhex("cafebabefacedbaddecaf888"),
        bytes.fromhex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    assert sealed[-16:].hex() == "5bc94fbc3221a5db94fae95ae7121a47"
    assert sealed[:16].hex() == "42831ec2217774244b7221b784d0d49c"


# --- seal and open ------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", CIPHERS)
@given(payload=st.binary(min_size=1, max_size=200), send_id=st.integers(0, 0xFFFFFF))
def test_what_is_sealed_opens(cipher: str, payload: bytes, send_id: int) -> None:
    datagram = SendKey(material(cipher, key_id=5), send_id).seal(payload)
    assert len(datagram) == len(payload) + OVERHEAD
    assert datagram[0] == 9 << 3 | 5
    assert int.from_bytes(datagram[1:4], "big") == send_id
    assert ReceiveKey(material(cipher, key_id=5)).open(datagram) == payload


def test_packet_ids_count_from_one() -> None:
    sealer = SendKey(material(), 7)
    ids = [int.from_bytes(sealer.seal(b"x")[4:8], "big") for _ in range(3)]
    assert ids == [1, 2, 3]


@given(position=st.integers(0, 8 * (OVERHEAD + 20) - 1))
def test_one_flipped_bit_anywhere_is_refused(position: int) -> None:
    datagram = bytearray(SendKey(material(), 7).seal(bytes(20)))
    datagram[position // 8] ^= 1 << position % 8
    opener = ReceiveKey(material())
    with pytest.raises(AuthenticationFailed):
        opener.open(bytes(datagram))
    assert (opener.failures, opener.packets, opener.replay.highest) == (1, 0, 0)


@given(datagram=st.binary(max_size=64))
def test_any_bytes_give_a_peer_error(datagram: bytes) -> None:
    with pytest.raises(PeerError):
        ReceiveKey(material()).open(datagram)


def test_a_packet_without_payload_is_refused() -> None:
    empty = SendKey(material(), 7).seal(b"")
    with pytest.raises(PeerError):
        ReceiveKey(material()).open(empty)


def test_a_packet_of_our_own_direction_does_not_open() -> None:
    ours = material(send=1, receive=2)
    with pytest.raises(AuthenticationFailed):
        ReceiveKey(ours).open(SendKey(ours, 7).seal(b"reflected"))


def test_a_repeated_packet_is_a_replay_and_counts_once() -> None:
    sealer, opener = SendKey(material(), 7), ReceiveKey(material())
    datagram = sealer.seal(b"once")
    opener.open(datagram)
    with pytest.raises(Replayed):
        opener.open(datagram)
    assert (opener.packets, opener.octets, opener.failures) == (1, 4, 0)


def test_packet_id_zero_is_never_accepted() -> None:
    header = bytes((0x48, 0, 0, 7)) + bytes(4)
    key, iv = bytes([1]) * 32, bytes([1]) * 8
    sealed = AESGCM(key).encrypt(bytes(4) + iv, b"zero", header)
    with pytest.raises(Replayed):
        ReceiveKey(material()).open(header + sealed[-16:] + sealed[:-16])


def test_wrong_sizes_of_keys_are_our_own_fault() -> None:
    short = replace(material(), send_key=SecretBytes(bytes(31)))
    with pytest.raises(UsageError):
        SendKey(short, 7)
    with pytest.raises(UsageError):
        SendKey(replace(material(), cipher="BF-CBC"), 7)
    with pytest.raises(UsageError):
        SendKey(replace(material(), send_iv=SecretBytes(bytes(12))), 7)
    with pytest.raises(UsageError):
        SendKey(material(), 1 << 24)


def test_keys_do_not_print() -> None:
    secret = material(send=0x41, receive=0x41)
    text = repr(SendKey(secret, 7)) + repr(ReceiveKey(secret))
    assert "AAAA" not in text
    assert "4141" not in text


def test_a_wiped_key_neither_seals_nor_opens() -> None:
    sealer, opener = SendKey(material(), 7), ReceiveKey(material())
    datagram = sealer.seal(b"before")
    sealer.wipe()
    opener.wipe()
    with pytest.raises(KeyExhausted):
        sealer.seal(b"after")
    with pytest.raises(AuthenticationFailed):
        opener.open(datagram)


# --- usage limits -------------------------------------------------------------------------------


def test_gcm_wants_a_new_key_at_seven_eighths_of_two_to_the_36() -> None:
    limits = usage_limits("AES-128-GCM")
    assert limits.usage == 2**36 - 1
    assert limits.wanted_at == (2**36 - 1) // 8 * 7


def test_chacha_has_no_usage_limit() -> None:
    assert usage_limits("CHACHA20-POLY1305").wanted_at is None


@given(sizes=st.lists(st.integers(1, 2000), max_size=30))
def test_usage_is_never_counted_too_low(sizes: list[int]) -> None:
    exact = sum(-(-size // 16) for size in sizes) + len(sizes)
    assert exact <= usage(sum(sizes), len(sizes)) <= exact + len(sizes)


def test_both_directions_wear_a_key_out() -> None:
    limits = UsageLimits(usage=80)
    sealer = SendKey(material(), 7, limits)
    opener = ReceiveKey(material(), limits=limits)
    worn = []
    for _ in range(30):
        opener.open(sealer.seal(bytes(16)))
        worn.append((sealer.worn_out, opener.worn_out))
    assert worn[0] == (False, False)
    assert worn[-1] == (True, True)


def test_half_the_allowed_failures_ask_for_a_key_and_all_of_them_end_it() -> None:
    opener = ReceiveKey(material(), limits=UsageLimits(failures=4))
    good = SendKey(material(), 7).seal(b"good")
    outcomes = []
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            opener.open(bytes(40))
        outcomes.append(opener.worn_out)
    assert outcomes == [False, False, True, True, True]
    with pytest.raises(AuthenticationFailed):
        opener.open(good)


def test_a_key_ends_with_its_packet_ids() -> None:
    sealer = SendKey(material(), 7)
    assert not sealer.worn_out
    sealer.packet_id = PacketId(0xFEFFFFFF)
    sealer.seal(b"x")
    assert sealer.worn_out
    sealer.packet_id = PacketId(0xFFFFFFFE)
    assert sealer.seal(b"last")[4:8] == b"\xff\xff\xff\xff"
    with pytest.raises(KeyExhausted):
        sealer.seal(b"none left")


# --- replay window ------------------------------------------------------------------------------


class Ledger:
    """The window's rule in the slowest way."""

    def __init__(self, size: int) -> None:
        self.size, self.highest, self.seen = size, 0, set[int]()

    def takes(self, packet_id: int) -> bool:
        fresh = packet_id > self.highest - self.size and packet_id not in self.seen
        if packet_id == 0 or not fresh:
            return False
        self.seen.add(packet_id)
        self.highest = max(self.highest, packet_id)
        return True


def takes(window: ReplayWindow, packet_id: int) -> bool:
    try:
        window.accept(packet_id)
    except Replayed:
        return False
    return True


@given(
    size=st.sampled_from([1, 2, 8, 64]),
    ids=st.lists(st.integers(0, 100) | st.sampled_from([0xFFFFFFFF, 5000]), max_size=80),
)
def test_the_window_takes_what_the_slow_rule_takes(size: int, ids: list[int]) -> None:
    window, ledger = ReplayWindow(size, 0), Ledger(size)
    assert [takes(window, i) for i in ids] == [ledger.takes(i) for i in ids]


def test_a_late_packet_is_taken_once_within_the_window() -> None:
    window = ReplayWindow()
    order = [1, 2, 66, 3, 3, 4, 2]
    assert [takes(window, i) for i in order] == [True, True, True, True, False, True, False]


def test_a_packet_overtaken_too_long_ago_is_refused() -> None:
    window = ReplayWindow(64, 15)
    window.accept(10)
    window.tick(Instant(100))
    window.accept(20)
    window.tick(Instant(110))
    assert takes(window, 9)
    window.tick(Instant(116))
    assert not takes(window, 8)
    assert takes(window, 19)
    window.tick(Instant(126))
    assert not takes(window, 18)
    assert takes(window, 21)


def test_an_idle_window_remembers_nothing_more() -> None:
    window = ReplayWindow(64, 15)
    window.accept(10)
    for second in range(1000):
        window.tick(Instant(second))
    assert takes(window, 11)
    assert not takes(window, 9)


def test_a_window_of_zero_takes_only_the_next() -> None:
    window = ReplayWindow(0)
    order = [5, 6, 6, 8, 7, 0]
    assert [takes(window, i) for i in order] == [True, True, False, False, True, False]


# --- framing ------------------------------------------------------------------------------------


@given(framing=st.sampled_from(Framing), packet=st.binary(min_size=1, max_size=60))
def test_framing_round_trips(framing: Framing, packet: bytes) -> None:
    assert unframe(framing, frame(framing, packet)) == packet


@given(framing=st.sampled_from(Framing), payload=st.binary(max_size=10))
def test_any_payload_unframes_or_is_a_peer_error(framing: Framing, payload: bytes) -> None:
    try:
        assert len(unframe(framing, payload)) <= len(payload)
    except PeerError:
        assert framing is not Framing.NONE


def test_stubs_look_as_stock_writes_them() -> None:
    assert frame(Framing.STUB, b"\x60abc") == b"\xfa\x60abc"
    assert frame(Framing.STUB_SWAP, b"\x60abc") == b"\xfbabc\x60"
    assert frame(Framing.STUB_V2, b"\x60abc") == b"\x60abc"
    assert frame(Framing.NONE, b"\x60abc") == b"\x60abc"


@pytest.mark.parametrize(
    ("framing", "payload"),
    [
        (Framing.STUB, b"\x66lzo"),
        (Framing.STUB, b"\x69lz4"),
        (Framing.STUB_SWAP, b"\x69lz4"),
        (Framing.STUB_V2, b"\x50\x01lz4"),
        (Framing.STUB, b""),
    ],
)
def test_really_compressed_payloads_are_refused(framing: Framing, payload: bytes) -> None:
    with pytest.raises(Compressed):
        unframe(framing, payload)


def test_the_magic_messages_are_no_ip_packets() -> None:
    assert len(PING) == 16
    assert len(OCC_EXIT) == 17
    assert {PING[0] >> 4, OCC_EXIT[0] >> 4} == {2}
