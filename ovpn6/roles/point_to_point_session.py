"""One session of two equal ends, from the first packet to the last. PURE.

What equal ends add to a :class:`~ovpn6.roles.one_peer_session.OnePeerSession`: either may begin it,
and what is agreed on without a push. The same in both parts of TLS.

Source: OpenVPN ``ssl.c``, ``ssl_ncp.c`` (p2p_mode_ncp).
"""

from __future__ import annotations

from ovpn6.config.schema import Remote
from ovpn6.model.addresses import Path
from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant, KeyId, Level, SessionId
from ovpn6.model.status import PeerStatus
from ovpn6.protocol import events
from ovpn6.protocol.connection import Credentials
from ovpn6.protocol.messages import Exit, parse_message
from ovpn6.protocol.negotiation_rules import PeerCapabilities
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.protocol.point_to_point import Agreement, Disagreement, agree, differences
from ovpn6.protocol.wrapping import Wrapper
from ovpn6.roles.client_news import Authenticated, Ending, Step, log
from ovpn6.roles.client_plan import describe
from ovpn6.roles.client_settings import spread_reneg_sec
from ovpn6.roles.deadlines import earliest, is_due
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.one_peer_session import OnePeerSession
from ovpn6.roles.point_to_point_plan import connection_settings, plan_tunnel, words

LINGER = 1.0
"""Seconds that a session without agreement lives on, so that the peer hears enough to say the same.
"""
MOST_DIFFERENCES = 20
"""Lines that a peer's options string may have us log."""


class PeerSession(OnePeerSession):
    """Begin with exactly one of ``initiate`` and ``accept``."""

    def __init__(
        self,
        context: RoleContext,
        entry: Remote,
        path: Path,
        wrapper: Wrapper,
        wrapped_client_key: bytes = b"",
    ) -> None:
        reneg_sec = spread_reneg_sec(context.config.control, context.entropy)
        settings = connection_settings(context, entry, wrapped_client_key, reneg_sec)
        super().__init__(context, entry, path, settings, wrapper)
        self.last_heard = Instant(0.0)
        self._hello: events.Hello | None = None
        self._fails_at: Instant | None = None

    # --- from the outside ----------------------------------------------------------------------

    def initiate(self, now: Instant) -> list[Step]:
        """Send the first packet."""
        self.last_heard = now
        return self._initiate(Credentials(), now)

    def accept(
        self, local: SessionId, remote: SessionId, datagram: bytes, now: Instant
    ) -> list[Step]:
        """The peer has begun, with ``datagram``. Raises ``PeerError`` when it is to be dropped."""
        self.last_heard = now
        happened = self._connection.accept(local, remote, datagram, now)
        return [*self._answered(), *self._act(happened, now)]

    @property
    def unanswered(self) -> bool:
        """We have begun, and nothing has come back."""
        return self._connection.unanswered

    def owns(self, path: Path, datagram: bytes) -> bool:
        """Whether the datagram is for this session, by its link and session id."""
        if path.link != self.path.link:
            return False
        if self.unanswered:
            return path.remote == self.path.remote
        return self._connection.remote_session_id == datagram[1:HEADER_SIZE]

    def receive(self, path: Path, datagram: bytes, now: Instant) -> list[Step]:
        """A datagram of this session. Raises ``PeerError`` when it is to be counted and dropped."""
        if path.remote != self.path.remote:
            raise PeerError("control packet from another address")
        happened = self._connection.receive(datagram, now)
        self.last_heard = now
        return self._heard(happened, now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return earliest(super().next_deadline(), self._fails_at)

    def status(self, connected: Instant) -> PeerStatus | None:
        """What is known of the peer, once it is there; the addresses are its own."""
        both = self._context.config.point_to_point
        if self.tunnel is None or both is None:
            return None
        ipv4, ipv6 = both.ifconfig_remote, both.ifconfig_ipv6_remote
        return self._status(self.tunnel, connected, "", ipv4, ipv6)

    # --- what differs --------------------------------------------------------------------------

    def _over(self, now: Instant) -> list[Step]:
        if is_due(self._fails_at, now):
            return [Ending("p2p-negotiation-failed")]
        return super()._over(now)

    def _due(self, now: Instant) -> list[Step]:
        steps = super()._due(now)
        if self._sizes is not None:
            steps += self._sizes.tick(now)
        return steps + (self._keys.tick(now) if self._keys is not None else [])

    def _said_hello(self, hello: events.Hello) -> list[Step]:
        first, self._hello = self._hello is None, hello
        steps = super()._said_hello(hello)
        if first:
            expected = words(self._context.config, self._entry).expected
            lines = differences(expected, hello.options)[:MOST_DIFFERENCES]
            steps += [log(Level.DEBUG, line) for line in lines]
        return steps

    def _first_exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        try:
            agreement = self._agree(key_id)
        except Disagreement as error:
            self._fails_at = Instant(now + LINGER)
            return [log(Level.ERROR, f"ERROR: no tunnel with {self.path}: {error}")]
        config, outer = self._context.config, self.path.remote.address
        tunnel = plan_tunnel(config, self._entry, outer, agreement)
        return [
            log(Level.INFO, str(agreement)),
            self._initiated(),
            Authenticated(),
            *(log(Level.INFO, line) for line in describe(tunnel)),
            *self._enter(tunnel, key_id, now),
        ]

    def _agree(self, key_id: KeyId) -> Agreement:
        context, hello = self._context, self._hello
        if hello is None:
            raise Disagreement("the peer has not told what it can do")
        return agree(
            context.ciphers,
            context.config.data.cipher_fallback,
            PeerCapabilities.parse(hello.peer_info, hello.options),
            lambda label, length: self._connection.export(key_id, label, length),
            is_server=context.config.is_tls_server,
            data_epoch=context.data_epoch,
            ecn=context.ecn,
        )

    def _message(self, text: str, now: Instant) -> list[Step]:
        message = parse_message(text)
        if isinstance(message, Exit):
            line = log(Level.INFO, "CC-EEN exit message received by peer")
            return [line, Ending("remote-exit")]
        return [log(Level.WARNING, f"Received unexpected control message: {message}")]
