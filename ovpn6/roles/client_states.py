"""The states of a client, as a table.

The words are those of OpenVPN's management interface (``doc/management-notes.txt``, ``>STATE``):

    CONNECTING -> RESOLVE -> CONNECTING -> WAIT -> AUTH -> GET_CONFIG -> ASSIGN_IP -> ADD_ROUTES
    -> CONNECTED

From each of them a loss leads to RECONNECTING, where the pause between attempts is spent, and from
there to the next look-up or socket. A stop leads to EXITING, which nothing leaves.
"""

from __future__ import annotations

from enum import Enum

from ovpn6.model.errors import UsageError


class ClientState(Enum):
    """Where a client stands."""

    CONNECTING = "CONNECTING"
    """At the start, and while a socket is opened."""
    RESOLVE = "RESOLVE"
    WAIT = "WAIT"
    """The first packet is out, nothing has come back."""
    AUTH = "AUTH"
    GET_CONFIG = "GET_CONFIG"
    """Waiting for the push."""
    ASSIGN_IP = "ASSIGN_IP"
    ADD_ROUTES = "ADD_ROUTES"
    CONNECTED = "CONNECTED"
    RECONNECTING = "RECONNECTING"
    EXITING = "EXITING"


class Move(Enum):
    """What moves a client on."""

    LOOK_UP = "look up"
    DIAL = "dial"
    OPENED = "opened"
    ANSWERED = "answered"
    AUTHENTICATED = "authenticated"
    CONFIGURED = "configured"
    ADDRESSED = "addressed"
    ROUTED = "routed"
    LOST = "lost"
    STOP = "stop"


MOVES: dict[tuple[ClientState, Move], ClientState] = {
    (ClientState.CONNECTING, Move.LOOK_UP): ClientState.RESOLVE,
    (ClientState.RECONNECTING, Move.LOOK_UP): ClientState.RESOLVE,
    (ClientState.RESOLVE, Move.LOOK_UP): ClientState.RESOLVE,
    (ClientState.RESOLVE, Move.DIAL): ClientState.CONNECTING,
    (ClientState.RECONNECTING, Move.DIAL): ClientState.CONNECTING,
    (ClientState.CONNECTING, Move.OPENED): ClientState.WAIT,
    (ClientState.WAIT, Move.ANSWERED): ClientState.AUTH,
    (ClientState.AUTH, Move.AUTHENTICATED): ClientState.GET_CONFIG,
    (ClientState.GET_CONFIG, Move.CONFIGURED): ClientState.ASSIGN_IP,
    (ClientState.ASSIGN_IP, Move.ADDRESSED): ClientState.ADD_ROUTES,
    (ClientState.ADD_ROUTES, Move.ROUTED): ClientState.CONNECTED,
    **{
        (state, Move.LOST): ClientState.RECONNECTING
        for state in ClientState
        if state is not ClientState.EXITING
    },
    **{(state, Move.STOP): ClientState.EXITING for state in ClientState},
}


def move(state: ClientState, how: Move) -> ClientState:
    """The state after; raises ``UsageError`` for a pair the table does not have."""
    after = MOVES.get((state, how))
    if after is None:
        raise UsageError(f"a client in {state.value} cannot be {how.value}")
    return after
