"""One session of two equal ends, from the first packet to the last. PURE.

Wraps a :class:`~ovpn6.protocol.connection.Connection` with what is agreed on without a push, the
data channel's keys and the session's limits. The same in both parts of TLS.

Source: OpenVPN ``ssl.c``, ``ssl_ncp.c`` (p2p_mode_ncp), ``forward.c``.
"""

from __future__ import annotations

from ovpn6.config.schema import Remote
from ovpn6.model.addresses import Path
from ovpn6.model.errors import HostError, PeerError
from ovpn6.model.flow import (
    Action,
    AddPeer,
    Input,
    PacketTooBig,
    PeerExited,
    PeerExpired,
    PeerInactive,
    RemovePeer,
    SendControl,
    SendExit,
    SendProbe,
)
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Instant, KeyId, Level, SessionId
from ovpn6.model.specs import KeyMaterial
from ovpn6.model.status import PeerStatus
from ovpn6.protocol import events
from ovpn6.protocol.connection import Connection, Credentials
from ovpn6.protocol.messages import EXIT, Exit, parse_message
from ovpn6.protocol.negotiation_rules import PeerCapabilities
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.protocol.point_to_point import Agreement, Disagreement, agree, differences
from ovpn6.protocol.wrapping import Wrapper
from ovpn6.roles.client_keys import KeyRing
from ovpn6.roles.client_news import Answered, Authenticated, Configured, Ending, Step, Then, log
from ovpn6.roles.client_plan import Tunnel, describe
from ovpn6.roles.client_settings import spread_reneg_sec
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.path_mtu import PathRules, PeerPath, probes_last
from ovpn6.roles.point_to_point_plan import connection_settings, plan_tunnel, words

LINGER = 1.0
"""Seconds that a session without agreement lives on, so that the peer hears enough to say the same.
"""
MOST_DIFFERENCES = 20
"""Lines that a peer's options string may have us log."""


class PeerSession:
    """Begin with exactly one of ``initiate`` and ``accept``. ``entry`` describes the connection."""

    def __init__(
        self,
        context: RoleContext,
        entry: Remote,
        path: Path,
        wrapper: Wrapper,
        wrapped_client_key: bytes = b"",
    ) -> None:
        self.path = path
        self.tunnel: Tunnel | None = None
        self.identity = PeerIdentity()
        self.last_heard = Instant(0.0)
        self._context = context
        self._entry = entry
        self._reneg_sec = spread_reneg_sec(context.config.control, context.entropy)
        self._connection = Connection(
            connection_settings(context, entry, wrapped_client_key, self._reneg_sec),
            wrapper,
            context.tls,
            context.entropy,
        )
        self._hello: events.Hello | None = None
        self._answer_due: Instant | None = None
        self._ends_at: Instant | None = None
        self._fails_at: Instant | None = None
        self._keys: KeyRing | None = None
        self._sizes: PeerPath | None = None

    # --- from the outside ----------------------------------------------------------------------

    def initiate(self, now: Instant) -> list[Step]:
        """Send the first packet."""
        self.last_heard = now
        self._answer_due = Instant(now + self._entry.connect_timeout)
        return self._act(self._connection.initiate(now, Credentials()), now)

    def accept(
        self, local: SessionId, remote: SessionId, datagram: bytes, now: Instant
    ) -> list[Step]:
        """The peer has begun, with ``datagram``. Raises ``PeerError`` when it is to be dropped."""
        self.last_heard = now
        happened = self._connection.accept(local, remote, datagram, now)
        return [self._heard_first(), Answered(), *self._act(happened, now)]

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
        steps: list[Step] = []
        if self._answer_due is not None and not self.unanswered:
            self._answer_due = None
            steps += [self._heard_first(), Answered()]
        return steps + self._act(happened, now)

    def tick(self, now: Instant) -> list[Step]:
        """Do what is due."""
        if _is_due(self._answer_due, now):
            line = log(Level.INFO, "Server poll timeout, restarting")
            return [line, Ending("server_poll", hurry=True)]
        if _is_due(self._fails_at, now):
            return [Ending("p2p-negotiation-failed")]
        if _is_due(self._ends_at, now):
            self._ends_at = None
            line = log(Level.INFO, "Session timeout, exiting")
            return [line, Ending("session-timeout", Then.EXIT, goodbye=True)]
        steps = self._act(self._connection.tick(now), now)
        if self._sizes is not None:
            steps += self._sizes.tick(now)
        return steps + (self._keys.tick(now) if self._keys is not None else [])

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        moments = [self._answer_due, self._fails_at, self._ends_at]
        moments.append(self._connection.next_deadline())
        if self._keys is not None:
            moments.append(self._keys.next_deadline())
        if self._sizes is not None:
            moments.append(self._sizes.deadline)
        return min((moment for moment in moments if moment is not None), default=None)

    def floated(self, path: Path, now: Instant) -> list[Step]:
        """The peer is at another address now."""
        self.path = path
        self._connection.forget_probes()
        return [*self._sizes.moved(path, now)] if self._sizes is not None else []

    def probe_refused(self, order: SendProbe, error: HostError, now: Instant) -> list[Step]:
        """The host did not send a probe."""
        if self._sizes is None or order.path != self.path:
            return []
        return [*self._sizes.refused(order, error, now)]

    def too_big(self, hint: PacketTooBig, now: Instant) -> list[Step]:
        """A router's word about a path."""
        here = (hint.path.link, hint.path.remote) == (self.path.link, self.path.remote)
        if self._sizes is None or not here:
            return []
        return [*self._sizes.too_big(hint, self._connection.local_session_id, now)]

    def key_confirmed(self, key_id: KeyId) -> list[Step]:
        """The peer seals with this key."""
        return [*self._keys.confirmed(key_id)] if self._keys is not None else []

    def renegotiate(self, now: Instant) -> list[Step]:
        """A key is worn out."""
        return self._act(self._connection.renegotiate(now), now)

    def goodbye(self, now: Instant) -> list[Step]:
        """Tell the peer that we go."""
        if self.tunnel is None:
            return []
        if self.tunnel.control_exit:
            return self._act(self._connection.send_message(EXIT, now), now)
        return [SendExit(self.tunnel.peer)] if self._context.occ else []

    def close(self) -> list[Action]:
        """Take it out of the datapath."""
        actions: list[Action] = []
        if self.tunnel is not None:
            actions.append(RemovePeer(self.tunnel.peer))
        return actions + (self._sizes.leave() if self._sizes is not None else [])

    def status(self, connected: Instant) -> PeerStatus | None:
        """What is known of the peer, once it is there; the addresses are its own."""
        both = self._context.config.point_to_point
        if self.tunnel is None or both is None:
            return None
        return PeerStatus(
            peer=self.tunnel.peer,
            common_name=self.identity.common_name,
            username="",
            path=self.path,
            ipv4=both.ifconfig_remote,
            ipv6=both.ifconfig_ipv6_remote,
            cipher=self.tunnel.cipher,
            connected=connected,
            sizes=self._sizes.status() if self._sizes is not None else None,
        )

    # --- the connection's events ---------------------------------------------------------------

    def _act(self, happened: list[events.Event], now: Instant) -> list[Step]:
        steps: list[Step] = []
        for event in happened:
            steps += self._act_on(event, now)
        return probes_last(steps)

    def _act_on(self, event: events.Event, now: Instant) -> list[Step]:
        keys = self._keys
        match event:
            case events.Transmit():
                return [SendControl(self.path, event.datagram)]
            case events.ProbeAnswered():
                return [*self._sizes.answered(event.probe, now)] if self._sizes else []
            case events.Hello():
                return self._said_hello(event)
            case events.Exchanged():
                return self._exchanged(event.key_id, now)
            case events.MessageReceived():
                return self._message(event.text)
            case events.NegotiationFailed():
                return _failed(event)
            case events.Acknowledged() if keys is not None:
                keys.acknowledged(event.key_id, now)
                return [*self._sizes.acknowledged(now)] if self._sizes is not None else []
            case events.RenegotiationStarted() if keys is not None:
                return [*keys.next_begins(now, by_peer=event.by_peer)]
            case events.KeyExpired() if keys is not None:
                return [*keys.expired(event.key_id)]
            case _:
                return []

    def _said_hello(self, hello: events.Hello) -> list[Step]:
        first, self._hello = self._hello is None, hello
        self.identity = hello.identity
        version, cipher = hello.identity.tls_version, hello.identity.tls_cipher
        steps: list[Step] = [log(Level.INFO, f"Control Channel: {version}, cipher {cipher}")]
        if first:
            expected = words(self._context.config, self._entry).expected
            lines = differences(expected, hello.options)[:MOST_DIFFERENCES]
            steps += [log(Level.DEBUG, line) for line in lines]
        return steps

    def _exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        if self.tunnel is not None and self._keys is not None:
            return [*self._keys.renewed(self._derive(self.tunnel, key_id), now)]
        try:
            agreement = self._agree(key_id)
        except Disagreement as error:
            self._fails_at = Instant(now + LINGER)
            return [log(Level.ERROR, f"ERROR: no tunnel with {self.path}: {error}")]
        config, outer = self._context.config, self.path.remote.address
        self.tunnel = tunnel = plan_tunnel(config, self._entry, outer, agreement)
        self._keys = KeyRing(tunnel.peer, self._reneg_sec)
        if tunnel.dynamic_tls_crypt:
            self._connection.enable_dynamic_tls_crypt()
        if tunnel.session_timeout:
            self._ends_at = Instant(now + tunnel.session_timeout)
        name = self.identity.common_name
        who = f"[{name}] " if name else ""
        return [
            log(Level.INFO, str(agreement)),
            log(Level.INFO, f"{who}Peer Connection Initiated with {self.path}"),
            Authenticated(),
            *(log(Level.INFO, line) for line in describe(tunnel)),
            *self._fit(tunnel, now),
            AddPeer(tunnel.peer_spec(self.path)),
            *self._keys.first(self._derive(tunnel, key_id), now),
            Configured(tunnel),
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

    def _message(self, text: str) -> list[Step]:
        message = parse_message(text)
        if isinstance(message, Exit):
            line = log(Level.INFO, "CC-EEN exit message received by peer")
            return [line, Ending("remote-exit")]
        return [log(Level.WARNING, f"Received unexpected control message: {message}")]

    def _heard_first(self) -> Action:
        return log(Level.INFO, f"TLS: Initial packet from {self.path}")

    def _fit(self, tunnel: Tunnel, now: Instant) -> list[Action]:
        """Sizes for the path, before the first data packet."""
        rules = PathRules.of_tunnel(self._context.config, self._entry, tunnel)
        self._sizes = PeerPath(rules, self.path, self._connection)
        spec = tunnel.peer_spec(self.path)
        return self._sizes.enter(spec.peer, spec.networks, now)

    def _derive(self, tunnel: Tunnel, key_id: KeyId) -> KeyMaterial:
        return self._connection.derive_keys(
            key_id, tunnel.cipher, use_ekm=tunnel.use_ekm, data_format=tunnel.data_format
        )


def ending_of(report: Input, tunnel: Tunnel) -> list[Step]:
    """What it means for the session that the datapath says this of the peer."""
    match report:
        case PeerExpired() if tunnel.ping_exit:
            line = "Inactivity timeout (--ping-exit), exiting"
            return [log(Level.INFO, line), Ending("ping-exit", Then.EXIT)]
        case PeerExpired():
            line = "Inactivity timeout (--ping-restart), restarting"
            return [log(Level.INFO, line), Ending("ping-restart")]
        case PeerInactive():
            line = "Inactivity timeout (--inactive), exiting"
            return [log(Level.INFO, line), Ending("inactive", Then.EXIT, goodbye=True)]
        case PeerExited():
            return [
                log(Level.INFO, "OCC exit message received by peer"),
                Ending("remote-exit"),
            ]
        case _:
            return []


def _failed(event: events.NegotiationFailed) -> list[Step]:
    steps: list[Step] = [
        log(Level.ERROR, f"TLS Error: {event.reason}"),
        log(Level.ERROR, "TLS Error: TLS handshake failed"),
    ]
    return [*steps, Ending("tls-error", hurry=True)] if event.fatal else steps


def _is_due(moment: Instant | None, now: Instant) -> bool:
    return moment is not None and now >= moment
