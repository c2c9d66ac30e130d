"""What a client's session tells its role, between the actions it asks for. PURE."""

from __future__ import annotations

from enum import Enum

from ovpn6.model.flow import Action, Log
from ovpn6.model.names import Level
from ovpn6.model.records import dataclass
from ovpn6.roles.client_plan import Tunnel


class Then(Enum):
    """What follows the end of a session."""

    RECONNECT = "reconnect"
    EXIT = "exit"
    AGAIN = "begin again, with credentials read anew"


@dataclass(frozen=True, slots=True)
class Ending:
    """The session is over.

    ``reason`` in OpenVPN's words, also for scripts (``ping-restart``). ``advance`` and ``backoff``
    as a server asks, see ``RemoteWalk.ask``; "" leaves the order alone. ``hurry``: nothing came
    back from there, so the next address is tried without a pause. ``goodbye``: the server is told.
    """

    reason: str
    then: Then = Then.RECONNECT
    advance: str = ""
    backoff: int = 0
    hurry: bool = False
    goodbye: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The first packet has come back."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The first key exchange is through."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The push is here, the peer and its key are with the datapath."""

    tunnel: Tunnel


News = Answered | Authenticated | Configured | Ending
Step = Action | News
"""A session's steps: the role carries actions out and acts on news, in the order given."""


def log(level: Level, text: str) -> Log:
    """A line about ourselves; unprintable characters of a peer's text are replaced."""
    return Log(level, "".join(char if char.isprintable() else "?" for char in text))
