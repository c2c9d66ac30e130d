"""One attempt of a client at one server address, from the first packet to the last. PURE.

Wraps a :class:`~ovpn6.protocol.connection.Connection` with what a client adds: waiting for the
push, the data channel's keys, the session's limits. It asks for actions and tells news; what a lost
session means for the host, and where to try next, is the role's.

Source: OpenVPN ``forward.c`` (check_push_request, check_server_poll_timeout), ``push.c``.
"""

from __future__ import annotations

from ovpn6.config.load import parse_push
from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, PeerError
from ovpn6.model.flow import (
    Action,
    AddPeer,
    CloseLink,
    ControlReceived,
    PacketTooBig,
    RemovePeer,
    SendControl,
    SendExit,
    SendProbe,
)
from ovpn6.model.identity import PeerIdentity
from ovpn6.model.names import Instant, KeyId, Level, LinkId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.model.status import PeerStatus
from ovpn6.protocol import events
from ovpn6.protocol.connection import Connection
from ovpn6.protocol.messages import EXIT, PUSH_REQUEST, AuthPending, PushReply, parse_message
from ovpn6.protocol.wrapping import ClientWrapping
from ovpn6.roles.client_credentials import Wallet
from ovpn6.roles.client_keys import KeyRing
from ovpn6.roles.client_messages import AuthPolicy, answer
from ovpn6.roles.client_news import (
    Answered,
    Authenticated,
    Configured,
    Ending,
    Step,
    Then,
    log,
)
from ovpn6.roles.client_plan import Means, Tunnel, describe, plan_tunnel
from ovpn6.roles.client_pull import (
    PushAssembly,
    PushRefused,
    first_notices,
    masked,
    pull,
)
from ovpn6.roles.client_push_wait import PushWait
from ovpn6.roles.client_settings import connection_settings, spread_reneg_sec
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.path_mtu import ANSWERS_WAIT, PathRules, PeerPath, probes_last

ANY_TIME_OPTIONS = ("auth-token",)
"""Beginnings of the options that a server may push again once the tunnel is up."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a session goes: an entry of the list, one of its addresses, the socket for it."""

    remote: Remote
    endpoint: Endpoint
    link: LinkId


class Session:
    """One attempt. ``client`` is the context's client configuration."""

    def __init__(
        self,
        context: RoleContext,
        client: ClientConfig,
        wrapping: ClientWrapping,
        target: Target,
        wallet: Wallet,
    ) -> None:
        self.target = target
        self.path = Path(target.link, target.endpoint)
        self.tunnel: Tunnel | None = None
        self.identity = PeerIdentity()
        self._context = context
        self._client = client
        self._wallet = wallet
        self._reneg_sec = spread_reneg_sec(context.config.control, context.entropy)
        self._connection = Connection(
            connection_settings(context, target.remote, wrapping, self._reneg_sec),
            wrapping.wrapper,
            context.tls,
            context.entropy,
        )
        self._server_options = ""
        self._newest_exchanged = KeyId(0)
        self._link_is_open = True
        self._answer_due: Instant | None = None
        self._ends_at: Instant | None = None
        self._push = PushAssembly()
        self._push_wait: PushWait | None = None
        self._planned: Tunnel | None = None
        self._planned_until: Instant | None = None
        self._keys: KeyRing | None = None
        self._sizes: PeerPath | None = None

    # --- from the outside ----------------------------------------------------------------------

    def start(self, now: Instant) -> list[Step]:
        """The socket is open: send the first packet."""
        self._answer_due = Instant(now + self.target.remote.connect_timeout)
        return self._act(self._connection.initiate(now, self._wallet.current), now)

    def receive(self, received: ControlReceived, now: Instant) -> list[Step]:
        """A datagram from the socket. Raises ``PeerError`` when it is to be counted and dropped."""
        if received.path.link != self.target.link:
            raise PeerError("control packet on another socket")
        if received.path.remote != self.path.remote:
            raise PeerError("control packet from another address")
        happened = self._connection.receive(received.datagram, now)
        steps: list[Step] = []
        if self._answer_due is not None and not self._connection.unanswered:
            self._answer_due = None
            steps += [log(Level.INFO, f"TLS: Initial packet from {self.path}"), Answered()]
        return steps + self._act(happened, now)

    def tick(self, now: Instant) -> list[Step]:
        """Do what is due."""
        if _is_due(self._answer_due, now):
            return [
                log(Level.INFO, "Server poll timeout, restarting"),
                Ending("server_poll", hurry=True),
            ]
        if _is_due(self._ends_at, now):
            self._ends_at = None
            return [
                log(Level.INFO, "Session timeout, exiting"),
                Ending("session-timeout", Then.EXIT, goodbye=True),
            ]
        steps = self._act(self._connection.tick(now), now)
        if self._keys is not None:
            steps += self._keys.tick(now)
        if self._sizes is not None:
            steps += self._sizes.tick(now)
        if self._planned is not None and _is_due(self._planned_until, now):
            steps += self._configure(self._planned, now)
        return steps + self._ask_for_push(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        moments = [self._answer_due, self._ends_at, self._planned_until]
        moments.append(self._connection.next_deadline())
        if self._keys is not None:
            moments.append(self._keys.next_deadline())
        if self._sizes is not None:
            moments.append(self._sizes.deadline)
        if self._push_wait is not None:
            moments.append(self._push_wait.next_deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def floated(self, path: Path, now: Instant) -> list[Step]:
        """The server is at another address now."""
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
        """The server seals with this key."""
        return [*self._keys.confirmed(key_id)] if self._keys is not None else []

    def renegotiate(self, now: Instant) -> list[Step]:
        """A key is worn out."""
        return self._act(self._connection.renegotiate(now), now)

    def goodbye(self, now: Instant) -> list[Step]:
        """Tell the server that we go."""
        if self.tunnel is None:
            return []
        if self.tunnel.control_exit:
            return self._act(self._connection.send_message(EXIT, now), now)
        return [SendExit(self.tunnel.peer)] if self._context.occ else []

    def link_closed(self) -> None:
        """The socket is gone already."""
        self._link_is_open = False

    def close(self) -> list[Action]:
        """Take it out of the datapath."""
        actions: list[Action] = []
        if self.tunnel is not None:
            actions.append(RemovePeer(self.tunnel.peer))
        if self._sizes is not None:
            actions += self._sizes.leave()
        if self._link_is_open:
            actions.append(CloseLink(self.target.link))
        return actions

    def status(self, username: str, connected: Instant) -> PeerStatus | None:
        """What is known of the server; None before the push."""
        if self.tunnel is None:
            return None
        addresses = {address.version: address.ip for address in self.tunnel.addresses}
        return PeerStatus(
            peer=self.tunnel.peer,
            common_name=self.identity.common_name,
            username=username,
            path=self.path,
            ipv4=addresses.get(4),
            ipv6=addresses.get(6),
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
        match event:
            case events.Transmit():
                return [SendControl(self.path, event.datagram)]
            case events.ProbeAnswered():
                return self._probe_answered(event.probe, now)
            case events.Hello():
                return self._hello(event)
            case events.Exchanged():
                return self._exchanged(event.key_id, now)
            case events.Acknowledged():
                if self._keys is not None:
                    self._keys.acknowledged(event.key_id, now)
                return [*self._sizes.acknowledged(now)] if self._sizes is not None else []
            case events.RenegotiationStarted():
                if self._keys is None:
                    return []
                return [*self._keys.next_begins(now, by_peer=event.by_peer)]
            case events.KeyExpired():
                return [*self._keys.expired(event.key_id)] if self._keys is not None else []
            case events.MessageReceived():
                return self._message(event.text, now)
            case events.NegotiationFailed():
                return _failed(event)

    def _hello(self, hello: events.Hello) -> list[Step]:
        self.identity = hello.identity
        self._server_options = hello.options
        version, cipher = hello.identity.tls_version, hello.identity.tls_cipher
        return [log(Level.INFO, f"Control Channel: {version}, cipher {cipher}")]

    def _exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        self._newest_exchanged = key_id
        if self.tunnel is not None and self._keys is not None:
            return [*self._keys.renewed(self._derive(self.tunnel, key_id), now)]
        if self._push_wait is not None:
            return []
        self._push_wait = PushWait(now, self._context.config.control)
        name = self.identity.common_name
        who = f"[{name}] " if name else ""
        return [
            log(Level.INFO, f"{who}Peer Connection Initiated with {self.path}"),
            *self._begin_probing(now),
            Authenticated(),
        ]

    def _probe_answered(self, probe: int, now: Instant) -> list[Step]:
        if self._sizes is None:
            return []
        steps: list[Step] = [*self._sizes.answered(probe, now)]
        if self._planned is not None and not self._sizes.may_grow:
            steps += self._configure(self._planned, now)
        return steps

    # --- the push ------------------------------------------------------------------------------

    def _ask_for_push(self, now: Instant) -> list[Step]:
        wait = self._push_wait
        if wait is None or self._planned is not None:
            return []
        if wait.is_over(now):
            self._push_wait = None
            text = f"No reply from server to push requests in {wait.waited(now)}s"
            return [log(Level.ERROR, text), Ending("no-push-reply")]
        if wait.take_request(now):
            return self._act(self._connection.send_message(PUSH_REQUEST, now), now)
        return []

    def _message(self, text: str, now: Instant) -> list[Step]:
        message = parse_message(text)
        if isinstance(message, PushReply):
            return self._push_reply(message, now)
        if isinstance(message, AuthPending):
            if self._push_wait is None:
                return []
            limit = self._push_wait.extend(message.timeout)
            return [log(Level.INFO, f"AUTH_PENDING received, extending timeout to {limit}s")]
        wallet = self._wallet
        return answer(
            message,
            AuthPolicy(self._client.auth_retry, wallet.holds_token, wallet.password_known),
        )

    def _push_reply(self, reply: PushReply, now: Instant) -> list[Step]:
        shown = ",".join(("PUSH_REPLY", *(masked(option) for option in reply.options)))
        steps: list[Step] = [log(Level.INFO, f"PUSH: Received control message: '{shown}'")]
        try:
            options = self._push.take(reply)
            if options is None:
                return steps
            return steps + self._pushed(options, now)
        except PushRefused as error:
            return [*steps, log(Level.ERROR, str(error)), Ending("process-push-msg-failed")]

    def _pushed(self, options: tuple[str, ...], now: Instant) -> list[Step]:
        pulled = pull(options, self._client)
        steps: list[Step] = [log(Level.INFO, notice) for notice in first_notices(pulled.notices)]
        kept = pulled.options
        if self.tunnel is not None:
            kept = tuple(option for option in kept if option.startswith(ANY_TIME_OPTIONS))
        pushed = parse_push(kept)
        if pushed.auth_token:
            self._wallet.give_token(pushed.auth_token, pushed.auth_token_user)
            self._connection.set_credentials(self._wallet.current)
            steps.append(log(Level.INFO, "The server gave a token to use as password"))
        if self.tunnel is not None or self._planned is not None or self._push_wait is None:
            return steps
        context = self._context
        tunnel = plan_tunnel(
            context.config,
            pushed,
            Means(context.ciphers, context.framings, context.data_epoch, context.ecn),
            self.target.remote,
            self.path.remote.address,
            self._server_options,
        )
        if self._sizes is not None and self._sizes.may_grow:
            self._planned, self._planned_until = tunnel, Instant(now + ANSWERS_WAIT)
            return steps
        return steps + self._configure(tunnel, now)

    def _configure(self, tunnel: Tunnel, now: Instant) -> list[Step]:
        """The peer and its key go to the datapath; a key that was renegotiated while the server
        made us wait is the one to use."""
        self._push_wait = self._planned = self._planned_until = None
        self.tunnel = tunnel
        self._keys = KeyRing(tunnel.peer, self._reneg_sec)
        if tunnel.dynamic_tls_crypt:
            self._connection.enable_dynamic_tls_crypt()
        if tunnel.session_timeout:
            self._ends_at = Instant(now + tunnel.session_timeout)
        key = self._derive(tunnel, self._newest_exchanged)
        return [
            *(log(Level.INFO, line) for line in describe(tunnel)),
            *(log(Level.WARNING, notice) for notice in first_notices(tunnel.notices)),
            *self._fit(tunnel, now),
            AddPeer(tunnel.peer_spec(self.path)),
            *self._keys.first(key, now),
            Configured(tunnel),
        ]

    def _begin_probing(self, now: Instant) -> list[Action]:
        """While the server's options are on their way the path is looked at already."""
        data_format = DataFormat.EPOCH if self._context.data_epoch else DataFormat.CLASSIC
        rules = PathRules.expected(self._context.config, self.target.remote, data_format)
        self._sizes = PeerPath(rules, self.path, self._connection)
        return self._sizes.acknowledged(now) if self._connection.acknowledged else []

    def _fit(self, tunnel: Tunnel, now: Instant) -> list[Action]:
        """Sizes for the path, before the first data packet."""
        assert self._sizes is not None
        rules = PathRules.of_tunnel(self._context.config, self.target.remote, tunnel)
        spec = tunnel.peer_spec(self.path)
        agreed = self._sizes.agree(rules, now)
        return [*agreed, *self._sizes.enter(spec.peer, spec.networks, now)]

    def _derive(self, tunnel: Tunnel, key_id: KeyId) -> KeyMaterial:
        return self._connection.derive_keys(
            key_id, tunnel.cipher, use_ekm=tunnel.use_ekm, data_format=tunnel.data_format
        )


def _failed(event: events.NegotiationFailed) -> list[Step]:
    hint = ""
    if event.reason.startswith("TLS key negotiation failed to occur"):
        hint = " (check your network connectivity)"
    steps: list[Step] = [
        log(Level.ERROR, f"TLS Error: {event.reason}{hint}"),
        log(Level.ERROR, "TLS Error: TLS handshake failed"),
    ]
    return [*steps, Ending("tls-error", hurry=True)] if event.fatal else steps


def _is_due(moment: Instant | None, now: Instant) -> bool:
    return moment is not None and now >= moment
