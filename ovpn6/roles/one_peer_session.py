"""A session with a device's only peer, from the first packet to the last. PURE.

Wraps a :class:`~ovpn6.protocol.connection.Connection` with what a client and one of two equal ends
both make of it: the answer that is waited for, the peer in the datapath, its keys, the sizes that
fit its path, the session's limits, the goodbye. How the two come to agree on a tunnel differs: that
is the business of ``client_session`` and ``point_to_point_session``.

Sessions ask for actions and tell news; what a lost one means for the host is the role's.

Source: OpenVPN ``ssl.c``, ``forward.c`` (check_server_poll_timeout), ``sig.c``, ``ping.c``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ovpn6.config.schema import Remote
from ovpn6.model.addresses import IPAddress, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import (
    Action,
    AddPeer,
    Input,
    KeyConfirmed,
    KeyWornOut,
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
from ovpn6.model.names import Instant, KeyId, Level
from ovpn6.model.specs import KeyMaterial
from ovpn6.model.status import PeerStatus
from ovpn6.protocol import events
from ovpn6.protocol.connection import Connection, ConnectionSettings, Credentials
from ovpn6.protocol.messages import EXIT
from ovpn6.protocol.wrapping import Wrapper
from ovpn6.roles.client_keys import KeyRing
from ovpn6.roles.client_news import Answered, Configured, Ending, Step, Then, log
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.deadlines import earliest, is_due
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.path_mtu import PathRules, PeerPath, probes_last


class OnePeerSession(ABC):
    """``entry`` describes the connection. ``tunnel`` is None before it is agreed on."""

    def __init__(
        self,
        context: RoleContext,
        entry: Remote,
        path: Path,
        settings: ConnectionSettings,
        wrapper: Wrapper,
    ) -> None:
        self.path = path
        self.tunnel: Tunnel | None = None
        self.identity = PeerIdentity()
        self._context = context
        self._entry = entry
        self._reneg_sec = settings.reneg_sec
        self._connection = Connection(settings, wrapper, context.tls, context.entropy)
        self._answer_due: Instant | None = None
        self._ends_at: Instant | None = None
        self._keys: KeyRing | None = None
        self._sizes: PeerPath | None = None

    # --- from the outside ----------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Step]:
        """Do what is due."""
        return self._over(now) or self._due(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return earliest(
            self._answer_due,
            self._ends_at,
            self._connection.next_deadline(),
            self._keys.next_deadline() if self._keys is not None else None,
            self._sizes.deadline if self._sizes is not None else None,
        )

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

    def reported(self, report: Input, now: Instant) -> list[Step]:
        """What the datapath says of the peer."""
        match report:
            case KeyConfirmed():
                return [*self._keys.confirmed(report.key_id)] if self._keys is not None else []
            case KeyWornOut():
                return self._act(self._connection.renegotiate(now), now)
            case PeerExpired() if self.tunnel is not None and self.tunnel.ping_exit:
                line = "Inactivity timeout (--ping-exit), exiting"
                return [log(Level.INFO, line), Ending("ping-exit", Then.EXIT)]
            case PeerExpired():
                line = "Inactivity timeout (--ping-restart), restarting"
                return [log(Level.INFO, line), Ending("ping-restart")]
            case PeerInactive():
                line = "Inactivity timeout (--inactive), exiting"
                return [log(Level.INFO, line), Ending("inactive", Then.EXIT, goodbye=True)]
            case PeerExited():
                line = "OCC exit message received by peer"
                return [log(Level.INFO, line), Ending("remote-exit")]
            case _:
                return []

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

    @abstractmethod
    def status(self, connected: Instant) -> PeerStatus | None:
        """What is known of the peer; None before there is a tunnel."""

    # --- what differs --------------------------------------------------------------------------

    @abstractmethod
    def _first_exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        """A key exchange is through, and there is no tunnel yet."""

    @abstractmethod
    def _message(self, text: str, now: Instant) -> list[Step]:
        """A control message."""

    def _said_hello(self, hello: events.Hello) -> list[Step]:
        """The peer has told who it is and what it can do."""
        self.identity = hello.identity
        version, cipher = hello.identity.tls_version, hello.identity.tls_cipher
        return [log(Level.INFO, f"Control Channel: {version}, cipher {cipher}")]

    def _over(self, now: Instant) -> list[Step]:
        """The session's end, if its time has come."""
        if is_due(self._answer_due, now):
            line = log(Level.INFO, "Server poll timeout, restarting")
            return [line, Ending("server_poll", hurry=True)]
        if is_due(self._ends_at, now):
            self._ends_at = None
            line = log(Level.INFO, "Session timeout, exiting")
            return [line, Ending("session-timeout", Then.EXIT, goodbye=True)]
        return []

    def _due(self, now: Instant) -> list[Step]:
        """What else the time has come for."""
        return self._act(self._connection.tick(now), now)

    def _probe_answered(self, probe: int, now: Instant) -> list[Step]:
        return [*self._sizes.answered(probe, now)] if self._sizes is not None else []

    def _failed(self, reason: str, *, fatal: bool) -> list[Step]:
        """A negotiation came to nothing; without a working key the session has."""
        steps: list[Step] = [
            log(Level.ERROR, f"TLS Error: {reason}"),
            log(Level.ERROR, "TLS Error: TLS handshake failed"),
        ]
        return [*steps, Ending("tls-error", hurry=True)] if fatal else steps

    # --- the connection's events ---------------------------------------------------------------

    def _initiate(self, credentials: Credentials, now: Instant) -> list[Step]:
        """Send the first packet, and wait for an answer as long as the entry says."""
        self._answer_due = Instant(now + self._entry.connect_timeout)
        return self._act(self._connection.initiate(now, credentials), now)

    def _heard(self, happened: list[events.Event], now: Instant) -> list[Step]:
        """What came of a datagram that the connection took."""
        steps: list[Step] = []
        if self._answer_due is not None and not self._connection.unanswered:
            self._answer_due = None
            steps += self._answered()
        return steps + self._act(happened, now)

    def _answered(self) -> list[Step]:
        return [log(Level.INFO, f"TLS: Initial packet from {self.path}"), Answered()]

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
                return self._probe_answered(event.probe, now)
            case events.Hello():
                return self._said_hello(event)
            case events.Exchanged():
                return self._exchanged(event.key_id, now)
            case events.MessageReceived():
                return self._message(event.text, now)
            case events.NegotiationFailed():
                return self._failed(event.reason, fatal=event.fatal)
            case events.Acknowledged():
                if keys is not None:
                    keys.acknowledged(event.key_id, now)
                return [*self._sizes.acknowledged(now)] if self._sizes is not None else []
            case events.RenegotiationStarted() if keys is not None:
                return [*keys.next_begins(now, by_peer=event.by_peer)]
            case events.KeyExpired() if keys is not None:
                return [*keys.expired(event.key_id)]
            case _:
                return []

    def _exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        if self.tunnel is not None and self._keys is not None:
            return [*self._keys.renewed(self._derive(self.tunnel, key_id), now)]
        return self._first_exchanged(key_id, now)

    # --- the tunnel ----------------------------------------------------------------------------

    def _initiated(self) -> Action:
        name = self.identity.common_name
        who = f"[{name}] " if name else ""
        return log(Level.INFO, f"{who}Peer Connection Initiated with {self.path}")

    def _enter(self, tunnel: Tunnel, key_id: KeyId, now: Instant) -> list[Step]:
        """All is agreed on: the peer, its sizes and its first key go to the datapath."""
        self.tunnel = tunnel
        self._keys = KeyRing(tunnel.peer, self._reneg_sec)
        if tunnel.dynamic_tls_crypt:
            self._connection.enable_dynamic_tls_crypt()
        if tunnel.session_timeout:
            self._ends_at = Instant(now + tunnel.session_timeout)
        key = self._derive(tunnel, key_id)
        return [
            *self._fit(tunnel, now),
            AddPeer(tunnel.peer_spec(self.path)),
            *self._keys.first(key, now),
            Configured(tunnel),
        ]

    def _fit(self, tunnel: Tunnel, now: Instant) -> list[Action]:
        """Sizes for the path, before the first data packet; what was found out already counts."""
        rules = PathRules.of_tunnel(self._context.config, self._entry, tunnel)
        agreed: list[Action] = []
        if self._sizes is None:
            self._sizes = PeerPath(rules, self.path, self._connection)
        else:
            agreed = self._sizes.agree(rules, now)
        spec = tunnel.peer_spec(self.path)
        return [*agreed, *self._sizes.enter(spec.peer, spec.networks, now)]

    def _derive(self, tunnel: Tunnel, key_id: KeyId) -> KeyMaterial:
        return self._connection.derive_keys(
            key_id, tunnel.cipher, use_ekm=tunnel.use_ekm, data_format=tunnel.data_format
        )

    def _status(
        self,
        tunnel: Tunnel,
        connected: Instant,
        username: str,
        ipv4: IPAddress | None,
        ipv6: IPAddress | None,
    ) -> PeerStatus:
        return PeerStatus(
            peer=tunnel.peer,
            common_name=self.identity.common_name,
            username=username,
            path=self.path,
            ipv4=ipv4,
            ipv6=ipv6,
            cipher=tunnel.cipher,
            connected=connected,
            sizes=self._sizes.status() if self._sizes is not None else None,
        )
