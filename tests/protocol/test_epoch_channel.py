"""The epoch format against OpenVPN's own test vectors, and its own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.protocol.data_channel import (
    AuthenticationFailed,
    KeyExhausted,
    Replayed,
    ReplayWindow,
    SendKey,
    UsageLimits,
)
from ovpn6.protocol.epoch_channel import (
    EPOCH_OVERHEAD,
    LAST_COUNTER,
    LAST_SEND_EPOCH,
    RENEGOTIATE_EPOCH,
    EpochReceiveKey,
    EpochSendKey,
    UnknownEpoch,
)
from ovpn6.protocol.epoch_keys import LAST_EPOCH, EpochSecret

NO_LIMIT = UsageLimits(usage=None)
ONE_PACKET = UsageLimits(usage=0)
"""Every packet begins an epoch."""


def material(
    cipher: str = "AES-256-GCM", key_id: int = 0, send: int = 1, receive: int = 1
) -> KeyMaterial:
    """Secrets filled with one byte each; equal ``send`` and ``receive`` make a loop."""
    empty = SecretBytes(b"")
    return KeyMaterial(
        KeyId(key_id),
        cipher,
        SecretBytes(bytes([send]) * 32),
        empty,
        SecretBytes(bytes([receive]) * 32),
        empty,
        DataFormat.EPOCH,
    )


class End:
    """Both directions of one end of a connection."""

    def __init__(
        self,
        send: int,
        receive: int,
        *,
        cipher: str = "AES-256-GCM",
        limits: UsageLimits | None = None,
        window: Callable[[], ReplayWindow] = ReplayWindow,
        future_keys: int = 4,
    ) -> None:
        keys = material(cipher, send=send, receive=receive)
        self.send = EpochSendKey(keys, 7, limits)
        self.receive = EpochReceiveKey(keys, self.send, window, limits, future_keys)

    def seal_in(self, epoch: int, payload: bytes = b"payload") -> bytes:
        """A datagram of that epoch or a later one."""
        self.send.reach(epoch)
        return self.send.seal(payload)

    def opens(self, datagram: bytes) -> bool:
        """Whether a key is held for its epoch, and it opens."""
        try:
            self.receive.open(datagram)
        except UnknownEpoch:
            return False
        return True


def pair(limits: UsageLimits | None = None) -> tuple[End, End]:
    return End(1, 2, limits=limits), End(2, 1, limits=limits)


def epoch_and_counter(datagram: bytes) -> tuple[int, int]:
    return int.from_bytes(datagram[4:6], "big"), int.from_bytes(datagram[6:12], "big")


# --- vectors ------------------------------------------------------------------------------------

VECTOR_KEY = b"abcdefgh01234567ABCDEFGHjkuchenl"
VECTOR_SECRET = SecretBytes(bytes(byte ^ index for index, byte in enumerate(VECTOR_KEY)))
VECTOR_PAYLOAD = b"The quick little fox jumps over the bureaucratic hurdles"
VECTORS = {
    # OpenVPN 3 test_crypto.cpp: bytes 18 to 23 and the tag are given there.
    1: "0700001700010000000000013d98ba5b55f68e455addd90eb573e51852f4b555cdefaa5aa3fa246166df411d"
    "eba23d2bebe44484376cfb5a61417c9ff450169758a93820a0b54cdd93ff0b01a3265ecf19d56a06",
    # OpenVPN 2.7.6 test_ssl.c and OpenVPN 3: likewise.
    4: "0700001700040000000000016eacea349ca836aab4d49ce685399a9bab964526e9cd11ece8cb7d77bdbc5c6a"
    "c4f49f36ea02e9c1f5d97644afa9118ba9f9a892623f1a130ffff5913d39d75b18573b5748589a7d",
}


@pytest.mark.parametrize("epoch", VECTORS)
def test_openvpns_own_packets_open(epoch: int) -> None:
    keys = replace(material(), send_key=VECTOR_SECRET, receive_key=VECTOR_SECRET)
    opener = EpochReceiveKey(keys, EpochSendKey(keys, 23))
    assert opener.open(bytes.fromhex(VECTORS[epoch])) == VECTOR_PAYLOAD
    assert opener.epoch == epoch


@pytest.mark.parametrize("epoch", VECTORS)
def test_sealing_differs_from_openvpns_packets_by_the_first_byte_only(epoch: int) -> None:
    """Their tests write 7 where an opcode belongs; the ciphertext does not depend on it."""
    keys = replace(material(), send_key=VECTOR_SECRET)
    sealer = EpochSendKey(keys, 23)
    sealer.reach(epoch)
    theirs, ours = bytes.fromhex(VECTORS[epoch]), sealer.seal(VECTOR_PAYLOAD)
    assert ours[0] == 9 << 3
    assert ours[1:-16] == theirs[1:-16]


def test_a_packet_id_is_16_bits_of_epoch_and_48_of_counter() -> None:
    """The values of OpenVPN's ``test_packet_id.c``."""
    sealer = EpochSendKey(material(), 7, NO_LIMIT)
    sealer.reach(0x23)
    assert sealer.seal(b"x")[4:12].hex() == "0023000000000001"
    sealer.reach(0xF00F)
    sealer.packet_id = 0xF00F << 48 | 0xFA079AB9D2E8
    assert sealer.seal(b"x")[4:12].hex() == "f00ffa079ab9d2e9"


# --- round trips --------------------------------------------------------------------------------


@given(
    payload=st.binary(min_size=1, max_size=2000),
    cipher=st.sampled_from(sorted(CIPHERS)),
    epoch=st.integers(1, 5),
    key_id=st.integers(0, 7),
    send_id=st.integers(0, 0xFFFFFF),
)
def test_what_was_sealed_opens(
    payload: bytes, cipher: str, epoch: int, key_id: int, send_id: int
) -> None:
    keys = material(cipher, key_id=key_id)
    sealer = EpochSendKey(keys, send_id)
    sealer.reach(epoch)
    datagram = sealer.seal(payload)
    assert len(datagram) == len(payload) + EPOCH_OVERHEAD
    assert datagram[:4] == bytes((0x48 | key_id,)) + send_id.to_bytes(3, "big")
    assert epoch_and_counter(datagram) == (epoch, 1)
    assert EpochReceiveKey(keys, EpochSendKey(keys, 0)).open(datagram) == payload


@given(position=st.integers(0, 8 * (EPOCH_OVERHEAD + 20) - 1), epoch=st.integers(1, 5))
def test_no_bit_of_a_datagram_may_change(position: int, epoch: int) -> None:
    near, far = pair()
    datagram = bytearray(near.seal_in(epoch, bytes(20)))
    datagram[position // 8] ^= 1 << position % 8
    with pytest.raises((AuthenticationFailed, UnknownEpoch)):
        far.receive.open(bytes(datagram))
    assert (far.receive.epoch, far.receive.packets) == (1, 0)


@given(datagram=st.binary(max_size=80))
def test_any_bytes_are_refused_and_move_nothing(datagram: bytes) -> None:
    _, far = pair()
    with pytest.raises(PeerError):
        far.receive.open(datagram)
    assert (far.receive.epoch, far.send.epoch, far.receive.packets) == (1, 1, 0)


def test_an_empty_payload_is_refused() -> None:
    near, far = pair()
    with pytest.raises(PeerError):
        far.receive.open(near.send.seal(b""))


def test_our_own_packets_do_not_open_when_reflected() -> None:
    near, _ = pair()
    with pytest.raises(AuthenticationFailed):
        near.receive.open(near.send.seal(b"reflected"))


def test_the_classic_nonce_does_not_open() -> None:
    """Concatenation in place of XOR: what would go unnoticed between two ends of ours."""
    key = EpochSecret(1, SecretBytes(bytes([1]) * 32)).data_key("AES-256-GCM")
    header = bytes.fromhex("480000070001000000000001")
    sealed = AESGCM(key.key.reveal()).encrypt(header[4:] + key.iv.reveal()[8:], b"x", header)
    with pytest.raises(AuthenticationFailed):
        pair()[1].receive.open(header + sealed)


# --- the receiver's walk ------------------------------------------------------------------------


def test_the_next_four_epochs_open_and_no_fifth() -> None:
    for epoch in range(1, 9):
        near, far = pair()
        assert far.opens(near.seal_in(epoch)) == (epoch <= 5), epoch


def test_only_the_epoch_before_still_opens() -> None:
    near, far = pair()
    kept = {epoch: [near.seal_in(epoch), near.seal_in(epoch)] for epoch in range(1, 10)}
    # As OpenVPN's own test of its look-up walks: 1, then 4, then 5.
    assert far.opens(kept[1][0])
    assert far.opens(kept[4][0])
    assert [epoch for epoch, sealed in kept.items() if far.opens(sealed[1])] == [
        1,
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    # What opened last moved it: 9 is current, 8 was before.
    assert far.receive.epoch == 9


def test_epochs_that_were_passed_over_are_over() -> None:
    near, far = pair()
    kept = {epoch: near.seal_in(epoch) for epoch in range(1, 6)}
    assert far.opens(kept[5])
    assert [epoch for epoch in (1, 2, 3, 4) if far.opens(kept[epoch])] == [1]


def test_a_forged_packet_of_a_future_epoch_moves_nothing() -> None:
    near, far = pair()
    good = near.seal_in(1)
    for epoch in (2, 3, 5):
        forged = good[:4] + epoch.to_bytes(2, "big") + good[6:]
        with pytest.raises(AuthenticationFailed):
            far.receive.open(forged)
    assert (far.receive.epoch, far.send.epoch) == (1, 1)
    assert far.opens(good)


def test_epoch_0_is_never_known() -> None:
    near, far = pair()
    good = near.seal_in(1)
    with pytest.raises(UnknownEpoch):
        far.receive.open(good[:4] + bytes(2) + good[6:])


def test_an_authentic_counter_of_0_neither_opens_nor_moves_the_epoch() -> None:
    near, far = pair()
    near.send.reach(2)
    near.send.packet_id = (2 << 48) - 1
    datagram = near.send.seal(b"x")
    assert epoch_and_counter(datagram) == (2, 0)
    with pytest.raises(Replayed):
        far.receive.open(datagram)
    assert far.receive.epoch == 1


def test_every_epoch_has_its_own_replay_window() -> None:
    near, far = pair()
    first = [near.send.seal(b"x") for _ in range(3)]
    near.send.reach(2)
    second = [near.send.seal(b"x") for _ in range(3)]
    for datagram in (first[0], second[0], first[2], second[2], first[1], second[1]):
        far.receive.open(datagram)
    for datagram in first + second:
        with pytest.raises(Replayed):
            far.receive.open(datagram)
    assert far.receive.packets == 6


def test_a_replay_of_a_packet_that_moved_the_epoch_is_refused() -> None:
    near, far = pair()
    datagram = near.seal_in(3)
    far.receive.open(datagram)
    with pytest.raises(Replayed):
        far.receive.open(datagram)


def test_on_a_reliable_link_each_epoch_counts_in_order() -> None:
    near, far = End(1, 2), End(2, 1, window=lambda: ReplayWindow(0, 0))
    for epoch in (1, 2):
        for _ in range(3):
            far.receive.open(near.seal_in(epoch))
    near.send.seal(b"lost")
    with pytest.raises(Replayed):
        far.receive.open(near.send.seal(b"after a gap"))


def test_packets_of_both_held_epochs_grow_too_old() -> None:
    near, far = pair()
    late = [near.send.seal(b"late") for _ in range(2)]
    far.receive.open(near.send.seal(b"x"))
    later = near.seal_in(2)
    far.receive.open(near.send.seal(b"x"))
    for second in range(20):
        far.receive.tick(Instant(float(second)))
    for datagram in (*late, later):
        with pytest.raises(Replayed):
            far.receive.open(datagram)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_any_walk_with_loss_opens_all_that_arrives(walk: list[tuple[int, bool]]) -> None:
    """Steps of up to three epochs; what is lost must not leave more than four behind."""
    near, far = pair()
    heard = 1
    for step, lost in walk:
        datagram = near.seal_in(near.send.epoch + step)
        if lost and near.send.epoch - heard <= 1:
            continue
        far.receive.open(datagram)
        heard = near.send.epoch
        far.send.seal(b"x")
        assert far.receive.epoch == far.send.epoch == heard


def test_only_the_newest_packet_is_the_newest() -> None:
    near, far = pair()
    first, second, third = near.seal_in(1), near.seal_in(1), near.seal_in(2)
    far.receive.open(first)
    assert far.receive.is_newest(first)
    far.receive.open(third)
    far.receive.open(second)
    assert [far.receive.is_newest(datagram) for datagram in (first, second, third)] == [
        False,
        False,
        True,
    ]


# --- the sender's walk --------------------------------------------------------------------------


def test_sending_follows_what_was_heard_and_never_goes_back() -> None:
    """The steps of OpenVPN's ``crypto_test_epoch_key_rotation``."""
    near, far = End(1, 2), End(2, 1)
    for epoch in (5, 9):
        far.receive.open(near.seal_in(epoch))
        far.send.seal(b"x")
    assert (far.receive.epoch, far.send.epoch) == (9, 9)
    far.send.reach(13)
    for heard, sent in ((10, 13), (12, 13)):
        far.receive.open(near.seal_in(heard))
        assert (far.receive.epoch, far.send.epoch) == (heard, sent)
    far.send.reach(14)
    far.send.reach(2)
    assert far.send.epoch == 14


def test_following_stays_within_the_keys_of_an_end_that_did_not_hear_us() -> None:
    near, far = pair()
    for epoch in range(2, 30):
        far.receive.open(near.seal_in(epoch))
    assert far.send.epoch == 5
    for expected in (5, 9, 13):
        near.receive.open(far.send.seal(b"x"))
        assert near.receive.epoch == expected
        far.receive.tick(Instant(float(expected)))
    # Nothing is sealed in between, so it stays where it is.
    far.receive.tick(Instant(20.0))
    assert far.send.epoch == 17


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=60), limit=st.integers(0, 800))
def test_a_key_is_left_when_its_limit_is_passed_and_not_before(
    sizes: list[int], limit: int
) -> None:
    near, far = pair(UsageLimits(usage=limit))
    octets = packets = 0
    epoch = 1
    for size in sizes:
        if octets // 16 + 2 * packets > limit:
            epoch, octets, packets = epoch + 1, 0, 0
        octets, packets = octets + size, packets + 1
        datagram = near.send.seal(bytes(size))
        assert epoch_and_counter(datagram) == (epoch, packets)
        assert far.receive.open(datagram) == bytes(size)
    assert near.send.packets == far.receive.packets == len(sizes)
    assert near.send.octets == far.receive.octets == sum(sizes)


def test_the_largest_packets_do_not_overrun_a_limit() -> None:
    limit = 20_000
    sealer = EpochSendKey(material(), 7, UsageLimits(usage=limit))
    used: dict[int, int] = {}
    for _ in range(40):
        epoch, _ = epoch_and_counter(sealer.seal(bytes(65_535)))
        assert used.get(epoch, 0) <= limit
        used[epoch] = used.get(epoch, 0) + 4096 + 1
    assert len(used) > 5


def test_gcm_is_left_after_two_to_the_36_blocks_and_packets() -> None:
    sealer = EpochSendKey(material(), 7)
    sealer.octets = 16 << 36
    assert epoch_and_counter(sealer.seal(b"x")) == (2, 1)
    assert epoch_and_counter(sealer.seal(b"x")) == (2, 2)


def test_chacha_is_left_with_its_last_counter_only() -> None:
    sealer = EpochSendKey(material("CHACHA20-POLY1305"), 7)
    sealer.octets = 16 << 40
    assert epoch_and_counter(sealer.seal(b"x")) == (1, 1)
    sealer.packet_id = 1 << 48 | LAST_COUNTER - 1
    assert epoch_and_counter(sealer.seal(b"x")) == (1, LAST_COUNTER)
    assert epoch_and_counter(sealer.seal(b"x")) == (2, 1)


def test_overuse_by_the_other_end_is_answered_by_going_ahead() -> None:
    near = End(1, 2, limits=NO_LIMIT)
    far = End(2, 1, limits=UsageLimits(usage=100))
    for _ in range(30):
        far.receive.open(near.send.seal(bytes(160)))
    assert far.send.epoch == 1
    far.receive.tick(Instant(1.0))
    assert (far.send.epoch, far.receive.epoch) == (2, 1)
    # Once: it waits for the other end to follow.
    far.receive.tick(Instant(2.0))
    assert far.send.epoch == 2
    near.receive.open(far.send.seal(b"follow"))
    assert near.send.epoch == 2


def test_half_the_allowed_failures_ask_for_an_epoch_and_all_of_them_end_its_key() -> None:
    near, far = pair(UsageLimits(failures=4))
    good, forged = near.send.seal(b"good"), bytes.fromhex("4800000700010000000000ff") + bytes(40)
    outcomes = []
    for second in range(5):
        with pytest.raises(AuthenticationFailed):
            far.receive.open(forged)
        far.receive.tick(Instant(float(second)))
        outcomes.append(far.send.epoch)
    assert outcomes == [1, 1, 2, 2, 2]
    assert far.receive.failures == 5
    with pytest.raises(AuthenticationFailed):
        far.receive.open(good)
    assert far.opens(near.seal_in(2))


def test_a_negotiation_is_wanted_near_the_last_epoch() -> None:
    sealer = EpochSendKey(material(), 7)
    sealer.reach(RENEGOTIATE_EPOCH - 1)
    assert not sealer.worn_out
    sealer.reach(RENEGOTIATE_EPOCH)
    assert sealer.worn_out


def test_a_key_ends_with_its_last_epoch() -> None:
    near, far = pair(ONE_PACKET)
    far.receive.open(near.seal_in(2))
    near.send.reach(LAST_SEND_EPOCH - 1)
    assert epoch_and_counter(near.send.seal(b"x")) == (LAST_SEND_EPOCH - 1, 1)
    assert epoch_and_counter(near.send.seal(b"x")) == (LAST_SEND_EPOCH, 1)
    for _ in range(2):
        with pytest.raises(KeyExhausted):
            near.send.seal(b"x")
    near.send.reach(LAST_EPOCH)
    assert near.send.epoch == LAST_SEND_EPOCH
    assert near.send.packets == 3


def test_the_last_epochs_open_without_a_key_beyond() -> None:
    sender = End(1, 2, limits=NO_LIMIT)
    opener = End(2, 1, future_keys=LAST_SEND_EPOCH)
    assert opener.opens(sender.seal_in(LAST_SEND_EPOCH))
    assert opener.receive.epoch == LAST_SEND_EPOCH


# --- keys ---------------------------------------------------------------------------------------


def test_the_two_formats_keys_are_not_taken_for_each_other() -> None:
    classic = replace(material(), data_format=DataFormat.CLASSIC, send_iv=SecretBytes(bytes(8)))
    with pytest.raises(UsageError):
        EpochSendKey(classic, 7)
    with pytest.raises(UsageError):
        EpochReceiveKey(classic, EpochSendKey(material(), 7))
    with pytest.raises(UsageError):
        SendKey(material(), 7)


def test_what_cannot_be_a_key_is_refused() -> None:
    with pytest.raises(UsageError):
        EpochSendKey(replace(material(), send_key=SecretBytes(bytes(16))), 7)
    with pytest.raises(UsageError):
        EpochSendKey(replace(material(), cipher="BF-CBC"), 7)
    with pytest.raises(UsageError):
        EpochSendKey(material(), 1 << 24)


def test_keys_do_not_print() -> None:
    keys = replace(material(), send_key=SecretBytes(b"A" * 32), receive_key=SecretBytes(b"A" * 32))
    sealer = EpochSendKey(keys, 7)
    text = repr(sealer) + repr(EpochReceiveKey(keys, sealer))
    assert "AAAA" not in text
    assert "4141" not in text


def test_a_wiped_key_neither_seals_nor_opens() -> None:
    near, far = pair()
    datagrams = [near.seal_in(epoch) for epoch in (1, 2, 3)]
    far.receive.open(datagrams[0])
    near.send.wipe()
    far.receive.wipe()
    near.send.reach(9)
    with pytest.raises(KeyExhausted):
        near.send.seal(b"after")
    for datagram in datagrams:
        with pytest.raises((AuthenticationFailed, UnknownEpoch)):
            far.receive.open(datagram)
