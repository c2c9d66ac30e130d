"""What a :class:`~ovpn6.protocol.connection.Connection` tells its role, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import KeyId
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this datagram on the connection's path."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """The peer has the datagram that :meth:`Connection.probe` or ``numbered_probe`` made."""

    probe: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The peer's key-method-2 message has been read: who it is and what it can.

    The peer is authenticated by TLS as far as the TLS policy asks; passwords are the role's.
    ``peer_info`` keeps the order of the lines; names come once, the last wins.
    """

    key_id: KeyId
    identity: PeerIdentity
    options: str
    username: str
    password: SecretBytes
    peer_info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Both key-method-2 messages are through: :meth:`Connection.derive_keys` works for this id."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Everything we sent in this negotiation has arrived: the peer can open what this key seals
    as soon as it has derived it. A server may swap to it."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class RenegotiationStarted:
    """A soft reset was sent or received."""

    key_id: KeyId
    by_peer: bool


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A control message: printable text without its NUL."""

    text: str


@dataclass(frozen=True, slots=True)
class KeyExpired:
    """The old key's transition window is over, or its place is wanted for a new one: drop it."""

    key_id: KeyId


@dataclass(frozen=True, slots=True)
class NegotiationFailed:
    """TLS failed or the hand window closed. ``fatal``: there is no working key to fall back on."""

    key_id: KeyId
    reason: str
    fatal: bool


Event = (
    Transmit
    | ProbeAnswered
    | Hello
    | Exchanged
    | Acknowledged
    | RenegotiationStarted
    | MessageReceived
    | KeyExpired
    | NegotiationFailed
)
