"""The client's state table, walked for all pairs."""

from __future__ import annotations

import itertools

import pytest

from ovpn6.model.errors import UsageError
from ovpn6.roles.client_states import MOVES, ClientState, Move, move

FORWARD = [
    (ClientState.CONNECTING, Move.LOOK_UP, ClientState.RESOLVE),
    (ClientState.RESOLVE, Move.DIAL, ClientState.CONNECTING),
    (ClientState.CONNECTING, Move.OPENED, ClientState.WAIT),
    (ClientState.WAIT, Move.ANSWERED, ClientState.AUTH),
    (ClientState.AUTH, Move.AUTHENTICATED, ClientState.GET_CONFIG),
    (ClientState.GET_CONFIG, Move.CONFIGURED, ClientState.ASSIGN_IP),
    (ClientState.ASSIGN_IP, Move.ADDRESSED, ClientState.ADD_ROUTES),
    (ClientState.ADD_ROUTES, Move.ROUTED, ClientState.CONNECTED),
]


@pytest.mark.parametrize(("state", "how"), list(itertools.product(ClientState, Move)))
def test_each_pair_leads_where_the_table_says_or_is_our_own_bug(
    state: ClientState, how: Move
) -> None:
    if (state, how) in MOVES:
        assert move(state, how) is MOVES[(state, how)]
    else:
        with pytest.raises(UsageError):
            move(state, how)


def test_the_way_up_is_the_one_of_the_management_interface() -> None:
    for state, how, after in FORWARD:
        assert move(state, how) is after


@pytest.mark.parametrize("state", ClientState)
def test_a_loss_leads_to_reconnecting_but_never_out_of_exiting(state: ClientState) -> None:
    if state is ClientState.EXITING:
        with pytest.raises(UsageError):
            move(state, Move.LOST)
    else:
        assert move(state, Move.LOST) is ClientState.RECONNECTING
    assert move(state, Move.STOP) is ClientState.EXITING


def test_nothing_leaves_exiting() -> None:
    after = {end for (state, _), end in MOVES.items() if state is ClientState.EXITING}
    assert after == {ClientState.EXITING}


def test_every_state_can_be_reached_and_every_move_is_used() -> None:
    reached = {ClientState.CONNECTING}
    while True:
        more = {end for (state, _), end in MOVES.items() if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(ClientState)
    assert {how for _, how in MOVES} == set(Move)
