"""One client as the server sees it, and the table of its life. PURE.

    HANDSHAKE    TLS is under way: a candidate, nothing is known of it
    VERIFYING    a script decides on its password or its tls-crypt-v2 metadata
    CONFIGURING  its client-config-dir file is being read; from here on it counts as a client
    CONNECTING   the client-connect script runs
    LEARNING     learn-address scripts run, one for each network
    READY        everything is decided; it has not asked for its options yet
    ACTIVE       options are pushed, the data channel works
    REFUSED      it was told AUTH_FAILED and is remembered for the resends only
    LEAVING      it said or was told goodbye, likewise
    GONE         forgotten

What belongs to a state is done by the ``server_*`` modules; here is only what may follow what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface

from ovpn6.config.schema import PeerConfig
from ovpn6.model.addresses import IPNetwork, Path
from ovpn6.model.errors import UsageError
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Instant, KeyId, PeerId, SessionId, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, Framing
from ovpn6.protocol.connection import Connection
from ovpn6.protocol.negotiation_rules import PeerCapabilities
from ovpn6.roles.address_pool import Lease
from ovpn6.roles.auth_token import TokenSession
from ovpn6.roles.path_mtu import PeerPath
from ovpn6.roles.route_table import host_network
from ovpn6.roles.server_keys import KeyRing


class PeerState(Enum):
    """Where a client stands; see the module."""

    HANDSHAKE = "handshake"
    VERIFYING = "verifying"
    CONFIGURING = "configuring"
    CONNECTING = "connecting"
    LEARNING = "learning"
    READY = "ready"
    ACTIVE = "active"
    REFUSED = "refused"
    LEAVING = "leaving"
    GONE = "gone"


class PeerEvent(Enum):
    """What moves a client on."""

    MUST_VERIFY = "a script must decide on it"
    VERIFIED = "it is who it says"
    CONFIGURED = "its own settings are read"
    CONNECTED = "client-connect let it in"
    LEARNED = "every address is settled"
    PUSHED = "it has its options"
    REFUSED = "it may not connect"
    GOODBYE = "it leaves, or is sent away"
    FORGOTTEN = "nothing more is expected of it"


_LINE = (
    (PeerState.HANDSHAKE, PeerEvent.MUST_VERIFY, PeerState.VERIFYING),
    (PeerState.HANDSHAKE, PeerEvent.VERIFIED, PeerState.CONFIGURING),
    (PeerState.VERIFYING, PeerEvent.VERIFIED, PeerState.CONFIGURING),
    (PeerState.CONFIGURING, PeerEvent.CONFIGURED, PeerState.CONNECTING),
    (PeerState.CONNECTING, PeerEvent.CONNECTED, PeerState.LEARNING),
    (PeerState.LEARNING, PeerEvent.LEARNED, PeerState.READY),
    (PeerState.READY, PeerEvent.PUSHED, PeerState.ACTIVE),
)
ADMITTED = frozenset(
    {
        PeerState.CONFIGURING,
        PeerState.CONNECTING,
        PeerState.LEARNING,
        PeerState.READY,
        PeerState.ACTIVE,
    }
)
"""States that count against ``max-clients``."""
UNADMITTED = frozenset({PeerState.HANDSHAKE, PeerState.VERIFYING})
ENDING = frozenset({PeerState.REFUSED, PeerState.LEAVING, PeerState.GONE})
"""States in which nothing is granted any more."""
_LIVING = ADMITTED | UNADMITTED

TRANSITIONS: dict[tuple[PeerState, PeerEvent], PeerState] = {
    **{(state, event): after for state, event, after in _LINE},
    **{(state, PeerEvent.REFUSED): PeerState.REFUSED for state in _LIVING},
    **{(state, PeerEvent.GOODBYE): PeerState.LEAVING for state in _LIVING},
    **{
        (state, PeerEvent.FORGOTTEN): PeerState.GONE
        for state in PeerState
        if state is not PeerState.GONE
    },
}
"""Every step there is; a pair without a row is a bug of ours."""


def next_state(state: PeerState, event: PeerEvent) -> PeerState:
    """The state that follows. Raises ``UsageError`` for a pair without a row."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise UsageError(f"a peer in {state.value} cannot take: {event.value}")
    return after


@dataclass(slots=True)
class Person:
    """Who a client is, as far as it is known."""

    identity: PeerIdentity = field(default_factory=PeerIdentity)
    common_name: str = ""
    username: str = ""
    login: str = ""
    """The user name as the client sends it; ``username`` may have been overridden."""
    peer_info: Mapping[str, str] = field(default_factory=dict)
    options: str = ""
    capabilities: PeerCapabilities | None = None
    token_session: TokenSession | None = None
    token: SecretBytes | None = None


@dataclass(slots=True)
class Grant:
    """What a client has been given."""

    config: PeerConfig = field(default_factory=PeerConfig)
    lease: Lease | None = None
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    cipher: str = ""
    data_format: DataFormat = DataFormat.CLASSIC
    framing: Framing = Framing.NONE
    copy_ecn: bool = False
    numbered_probes: bool = False
    compression_push: str = ""
    connected: bool = False
    """client-connect said yes, so client-disconnect must be told."""
    pushed_at: Instant | None = None


@dataclass(slots=True)
class Waiting:
    """What a client in the midst of its set-up waits for.

    ``verdicts``: scripts that must still say yes. ``learning``: networks whose learn-address script
    runs. ``deadline``: when the present state must be over. ``token_due``: time for a new token.
    ``swap_at``: when the key ``swap`` takes over at the latest.
    """

    deadline: Instant | None = None
    verdicts: int = 0
    learning: int = 0
    push_wanted: bool = False
    token_due: Instant | None = None
    reset_answered: Instant | None = None
    """When a reset from its path, of another session, last had an answer."""
    swap: KeyId | None = None
    swap_at: Instant | None = None


@dataclass(slots=True, eq=False)
class ServerPeer:
    """One client, from the third packet of its handshake until it is forgotten."""

    peer: PeerId
    path: Path
    transport: Transport
    remote_session: SessionId
    connection: Connection
    created: Instant
    state: PeerState = PeerState.HANDSHAKE
    person: Person = field(default_factory=Person)
    grant: Grant = field(default_factory=Grant)
    waiting: Waiting = field(default_factory=Waiting)
    keys: KeyRing = field(default_factory=KeyRing)
    in_datapath: bool = False
    sizes: PeerPath | None = None
    """From the moment its data format is known until it leaves the data path."""

    def advance(self, event: PeerEvent) -> None:
        """Take one step of the table."""
        self.state = next_state(self.state, event)

    @property
    def admitted(self) -> bool:
        """Counts as a client."""
        return self.state in ADMITTED

    @property
    def ending(self) -> bool:
        """Nothing is granted to it any more."""
        return self.state in ENDING

    @property
    def name(self) -> str:
        """For scripts and log lines, as in OpenVPN."""
        return self.person.common_name or "UNDEF"

    @property
    def about(self) -> str:
        """How log lines begin: ``alice peer 7 [2001:db8::9]:1194``."""
        who = f"peer {self.peer} {self.path}"
        return f"{self.person.common_name} {who}" if self.person.common_name else who


def own_networks(grant: Grant) -> tuple[IPNetwork, ...]:
    """A client's own addresses as /128 and /32, IPv6 first."""
    interfaces = (grant.ipv6, grant.ipv4)
    return tuple(host_network(interface.ip) for interface in interfaces if interface is not None)
