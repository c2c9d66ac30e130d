"""When sending moves to a new key."""

from __future__ import annotations

from ovpn6.model.flow import Action, DropKey, InstallKey, SwapKeys
from ovpn6.model.names import Instant, KeyId, KeySlot, PeerId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import KeyMaterial
from ovpn6.roles.client_keys import KeyRing
from ovpn6.roles.key_change import CLIENT_DEFERRAL

PEER = PeerId(3)
SECRET = SecretBytes(bytes(32))


def key(number: int) -> KeyMaterial:
    return KeyMaterial(KeyId(number), "AES-256-GCM", SECRET, SECRET, SECRET, SECRET)


def install(slot: KeySlot, number: int) -> InstallKey:
    return InstallKey(PEER, slot, key(number))


def ring(reneg_sec: float = 3600) -> KeyRing:
    keys = KeyRing(PEER, reneg_sec)
    assert keys.first(key(0), now(-3600)) == [install(KeySlot.PRIMARY, 0)]
    return keys


def now(seconds: float) -> Instant:
    return Instant(100 + seconds)


def test_a_new_key_opens_at_once_and_seals_when_the_server_seals_with_it() -> None:
    keys = ring()
    assert keys.renewed(key(1), now(0)) == [install(KeySlot.SECONDARY, 1)]
    assert keys.confirmed(KeyId(0)) == []
    assert keys.confirmed(KeyId(1)) == [SwapKeys(PEER)]
    assert keys.confirmed(KeyId(1)) == []


def test_without_confirmation_it_seals_a_while_after_the_last_acknowledgement() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    assert keys.next_deadline() is None, "never before it is acknowledged"
    keys.acknowledged(KeyId(1), now(1))
    assert keys.next_deadline() == now(1 + CLIENT_DEFERRAL)
    assert keys.tick(now(1 + CLIENT_DEFERRAL - 0.1)) == []
    assert keys.tick(now(1 + CLIENT_DEFERRAL)) == [SwapKeys(PEER)]
    assert keys.next_deadline() is None


def test_the_deferral_is_a_third_of_a_short_renegotiation_time() -> None:
    keys = ring(reneg_sec=3)
    keys.renewed(key(1), now(0))
    keys.acknowledged(KeyId(1), now(0))
    assert keys.next_deadline() == now(1)


def test_the_deferral_is_a_third_of_the_time_from_a_key_to_the_next_negotiation() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    keys.acknowledged(KeyId(1), now(0))
    keys.next_begins(now(6), by_peer=True)
    # However long the negotiation itself takes.
    keys.renewed(key(2), now(9))
    keys.acknowledged(KeyId(2), now(9))
    assert keys.next_deadline() == now(11)


def test_acknowledged_before_exchanged_counts_as_well() -> None:
    keys = ring()
    keys.acknowledged(KeyId(1), now(0))
    keys.renewed(key(1), now(1))
    assert keys.next_deadline() == now(1 + CLIENT_DEFERRAL)


def test_the_expired_key_is_dropped_where_it_stands() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    keys.confirmed(KeyId(1))
    assert keys.expired(KeyId(0)) == [DropKey(PEER, KeySlot.SECONDARY)]
    assert keys.expired(KeyId(0)) == []


def test_a_key_that_still_seals_when_it_expires_makes_way_first() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    assert keys.expired(KeyId(0)) == [SwapKeys(PEER), DropKey(PEER, KeySlot.SECONDARY)]


def test_the_change_is_overdue_when_the_server_begins_the_next_negotiation() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    assert keys.next_begins(now(1), by_peer=False) == [], (
        "not acknowledged, and not the server's doing"
    )
    assert keys.next_begins(now(1), by_peer=True) == [SwapKeys(PEER)]
    assert keys.next_begins(now(1), by_peer=True) == []


def test_a_third_key_never_overwrites_one_that_waits() -> None:
    keys = ring()
    keys.renewed(key(1), now(0))
    expected: list[Action] = [SwapKeys(PEER), install(KeySlot.SECONDARY, 2)]
    assert keys.renewed(key(2), now(1)) == expected
    assert keys.confirmed(KeyId(2)) == [SwapKeys(PEER)]
    assert keys.expired(KeyId(1)) == [DropKey(PEER, KeySlot.SECONDARY)]
