"""CONTRACT SKELETON, being implemented. One peer's control channel: session and keys. PURE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovpn6.model.names import Instant, KeyId, SessionId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import KeyMaterial
from ovpn6.protocol.events import Event
from ovpn6.protocol.tls import TlsFactory
from ovpn6.protocol.wrapping import Wrapper


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sends as user name and password."""

    username: str = ""
    password: SecretBytes = SecretBytes(b"")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Constant for a connection's life. Times in seconds; ``wall_offset`` + now = Unix time."""

    is_server: bool
    transport: Transport
    options: str
    """Our OCC options string (``negotiation_rules.options_string``)."""
    peer_info: str = ""
    """Our peer-info, lines ended by newline (``negotiation_rules.peer_info``)."""
    tls_timeout: float = 2.0
    hand_window: float = 60.0
    tran_window: float = 3600.0
    reneg_sec: float = 3600.0
    """Seconds until we begin a renegotiation; 0 never. Spread by the role."""
    tls_mtu: int = 1250
    wall_offset: float = 0.0
    wrapped_client_key: bytes = b""
    """tls-crypt-v2: our WKc, appended to op 10 and, when asked, op 11."""


class Connection:
    """One peer's control channel from the first packet to the last."""

    def __init__(
        self,
        settings: ConnectionSettings,
        wrapper: Wrapper,
        tls: TlsFactory,
        entropy: Callable[[int], bytes],
    ) -> None: ...

    # how it begins: exactly one of these two

    def initiate(self, now: Instant, credentials: Credentials) -> list[Event]:
        """Client: send the hard reset."""

    def accept(
        self, local: SessionId, remote: SessionId, datagram: bytes, now: Instant
    ) -> list[Event]:
        """Server: take over after the acceptor, with the third packet as ``datagram``."""

    # what happens

    def receive(self, datagram: bytes, now: Instant) -> list[Event]:
        """A control datagram of this connection. Raises ``PeerError`` when it is to be counted and
        dropped (bad wrap, replay, wrong session): nothing has changed then."""

    def tick(self, now: Instant) -> list[Event]:
        """Do what is due: resend, start renegotiation, expire keys, give up."""

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted next."""

    def send_message(self, text: str, now: Instant) -> list[Event]:
        """Send a control message (NUL is added) on the newest established negotiation."""

    def renegotiate(self, now: Instant) -> list[Event]:
        """Begin a renegotiation now; nothing when one is under way."""

    # what a role decides

    def set_credentials(self, credentials: Credentials) -> None:
        """Replace what the next key exchange sends (an auth token)."""

    def derive_keys(self, key_id: KeyId, cipher: str, *, use_ekm: bool) -> KeyMaterial:
        """The data keys of an exchanged negotiation."""

    def enable_dynamic_tls_crypt(self) -> None:
        """Key ids above 0 are wrapped by a key from the first negotiation's exporter."""

    def set_reneg_sec(self, seconds: float, now: Instant) -> None:
        """Change when we begin the next renegotiation; 0 never."""

    def export(self, key_id: KeyId, label: str, length: int) -> bytes:
        """Keying material of one negotiation."""

    # what is known

    @property
    def local_session_id(self) -> SessionId: ...

    @property
    def remote_session_id(self) -> SessionId | None: ...

    @property
    def newest_key_id(self) -> KeyId: ...

    @property
    def unanswered(self) -> bool:
        """The peer has not answered anything yet (a client's connect attempt)."""
