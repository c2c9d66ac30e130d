"""The table of a client's life, its keys, and deadlines."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import UsageError
from ovpn6.model.names import Instant, KeyId, KeySlot
from ovpn6.roles.deadlines import Deadlines
from ovpn6.roles.server_keys import KeyFact, KeyRing, KeyStep
from ovpn6.roles.server_peer import (
    ADMITTED,
    ENDING,
    TRANSITIONS,
    UNADMITTED,
    PeerEvent,
    PeerState,
    next_state,
)

S, E = PeerState, PeerEvent


@pytest.mark.parametrize(("state", "event"), list(product(PeerState, PeerEvent)))
def test_every_pair_has_a_row_or_is_our_bug(state: PeerState, event: PeerEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(UsageError):
            next_state(state, event)


@pytest.mark.parametrize("state", PeerState)
def test_each_state_is_of_one_class(state: PeerState) -> None:
    assert sum(state in group for group in (ADMITTED, UNADMITTED, ENDING)) == 1


@pytest.mark.parametrize("state", PeerState)
def test_every_state_but_gone_can_be_left_and_reached(state: PeerState) -> None:
    assert any(after is state for after in TRANSITIONS.values()) or state is S.HANDSHAKE
    assert any(before is state for before, _ in TRANSITIONS) or state is S.GONE


def test_nobody_is_admitted_without_being_verified() -> None:
    entrances = {
        event
        for (state, event), after in TRANSITIONS.items()
        if state not in ADMITTED and after in ADMITTED
    }
    assert entrances == {E.VERIFIED}


def test_only_the_whole_way_leads_to_active() -> None:
    state = S.HANDSHAKE
    for event in (E.MUST_VERIFY, E.VERIFIED, E.CONFIGURED, E.CONNECTED, E.LEARNED, E.PUSHED):
        state = next_state(state, event)
    assert state is S.ACTIVE
    assert [pair for pair, after in TRANSITIONS.items() if after is S.ACTIVE] == [
        (S.READY, E.PUSHED)
    ]


@pytest.mark.parametrize("state", [S.REFUSED, S.LEAVING])
def test_who_ends_can_only_be_forgotten(state: PeerState) -> None:
    assert {event for before, event in TRANSITIONS if before is state} == {E.FORGOTTEN}


# --- keys -------------------------------------------------------------------------------------


def ring() -> KeyRing:
    keys = KeyRing()
    for fact in (KeyFact.VERIFIED, KeyFact.EXCHANGED):
        assert keys.learn(KeyId(0), fact) == []
    assert keys.newest_usable() == 0
    keys.first_installed(KeyId(0))
    return keys


def test_new_key_is_installed_when_negotiated_and_verified_and_swapped_when_confirmed() -> None:
    keys = ring()
    keys.begin(KeyId(1))
    assert keys.learn(KeyId(1), KeyFact.EXCHANGED) == []
    assert keys.learn(KeyId(1), KeyFact.VERIFIED) == [KeyStep.INSTALL]
    assert keys.learn(KeyId(1), KeyFact.CONFIRMED) == [KeyStep.SWAP]
    assert keys.slots == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
    assert keys.expire(KeyId(0)) == [KeyStep.DROP_SECONDARY]
    assert keys.slots == {KeySlot.PRIMARY: 1}


def test_key_confirmed_before_it_is_verified_waits() -> None:
    keys = ring()
    assert keys.learn(KeyId(1), KeyFact.EXCHANGED) == []
    assert keys.learn(KeyId(1), KeyFact.CONFIRMED) == []
    assert keys.learn(KeyId(1), KeyFact.VERIFIED) == [KeyStep.INSTALL, KeyStep.SWAP]


def test_second_confirmation_changes_nothing() -> None:
    keys = ring()
    for fact in KeyFact:
        keys.learn(KeyId(1), fact)
    assert keys.learn(KeyId(1), KeyFact.CONFIRMED) == []
    assert keys.learn(KeyId(0), KeyFact.CONFIRMED) == []
    assert keys.slots == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


def test_failed_renegotiation_leaves_the_old_key() -> None:
    keys = ring()
    keys.learn(KeyId(1), KeyFact.EXCHANGED)
    assert keys.expire(KeyId(1)) == []
    assert keys.slots == {KeySlot.PRIMARY: 0}


def test_installed_key_that_fails_is_dropped() -> None:
    keys = ring()
    keys.learn(KeyId(1), KeyFact.EXCHANGED)
    keys.learn(KeyId(1), KeyFact.VERIFIED)
    assert keys.expire(KeyId(1)) == [KeyStep.DROP_SECONDARY]
    assert keys.slots == {KeySlot.PRIMARY: 0}


def test_expiring_primary_gives_way_to_the_new_key() -> None:
    keys = ring()
    keys.learn(KeyId(1), KeyFact.EXCHANGED)
    keys.learn(KeyId(1), KeyFact.VERIFIED)
    assert keys.expire(KeyId(0)) == [KeyStep.SWAP, KeyStep.DROP_SECONDARY]
    assert keys.slots == {KeySlot.PRIMARY: 1}


def test_last_key_that_expires_leaves_nothing() -> None:
    keys = ring()
    assert keys.expire(KeyId(0)) == [KeyStep.KEYLESS]
    assert keys.slots == {}


def test_reused_key_id_begins_without_facts() -> None:
    keys = ring()
    for fact in KeyFact:
        keys.learn(KeyId(1), fact)
    keys.begin(KeyId(1))
    assert not keys.is_usable(KeyId(1))


FACTS = st.tuples(st.sampled_from([KeyId(1), KeyId(2)]), st.sampled_from([*KeyFact, None]))


@given(st.lists(FACTS, max_size=20))
def test_slots_hold_what_the_steps_did(happened: list[tuple[KeyId, KeyFact | None]]) -> None:
    keys = ring()
    model: dict[KeySlot, KeyId] = {KeySlot.PRIMARY: KeyId(0)}
    for key_id, fact in happened:
        steps = keys.expire(key_id) if fact is None else keys.learn(key_id, fact)
        for step in steps:
            if step is KeyStep.INSTALL:
                assert keys.is_usable(key_id)
                model[KeySlot.SECONDARY] = key_id
            elif step is KeyStep.SWAP:
                one, two = model[KeySlot.PRIMARY], model[KeySlot.SECONDARY]
                model = {KeySlot.PRIMARY: two, KeySlot.SECONDARY: one}
            elif step is KeyStep.DROP_SECONDARY:
                del model[KeySlot.SECONDARY]
            else:
                model.clear()
        assert keys.slots == model


# --- deadlines --------------------------------------------------------------------------------


def test_deadline_set_anew_replaces_the_old_one() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", Instant(5))
    deadlines.set("a", Instant(9))
    assert deadlines.take_due(Instant(5)) == []
    assert deadlines.next() == Instant(9)
    deadlines.set("a", None)
    assert deadlines.next() is None


CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 20))), max_size=200
)


@given(CHANGES, st.integers(0, 20))
def test_deadlines_agree_with_a_dictionary(changes: list[tuple[str, int | None]], now: int) -> None:
    deadlines: Deadlines[str] = Deadlines()
    model: dict[str, Instant] = {}
    for key, when in changes:
        deadlines.set(key, None if when is None else Instant(when))
        model.pop(key, None)
        if when is not None:
            model[key] = Instant(when)
    assert deadlines.next() == min(model.values(), default=None)
    due = {key for key, when in model.items() if when <= now}
    taken = deadlines.take_due(Instant(now))
    assert set(taken) == due
    assert len(taken) == len(due)
    assert [model[key] for key in taken] == sorted(model[key] for key in taken)
    assert deadlines.next() == min((w for w in model.values() if w > now), default=None)
