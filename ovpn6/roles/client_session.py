"""One attempt of a client at one server address, from the first packet to the last. PURE.

What a client adds to a :class:`~ovpn6.roles.one_peer_session.OnePeerSession`: a path that is looked
at and options that are waited for before there is a tunnel. Where to try next is the role's.

Source: OpenVPN ``forward.c`` (check_push_request), ``push.c``.
"""

from __future__ import annotations

from ovpn6.config.load import parse_push
from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import PeerError
from ovpn6.model.flow import Action, CloseLink, ControlReceived
from ovpn6.model.names import Instant, KeyId, Level, LinkId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DataFormat
from ovpn6.model.status import PeerStatus
from ovpn6.protocol import events
from ovpn6.protocol.messages import PUSH_REQUEST, AuthPending, PushReply, parse_message
from ovpn6.protocol.wrapping import ClientWrapping
from ovpn6.roles.client_credentials import Wallet
from ovpn6.roles.client_messages import AuthPolicy, answer
from ovpn6.roles.client_news import Authenticated, Ending, Step, log
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
from ovpn6.roles.deadlines import earliest, is_due
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.one_peer_session import OnePeerSession
from ovpn6.roles.path_mtu import ANSWERS_WAIT, PathRules, PeerPath

ANY_TIME_OPTIONS = ("auth-token",)
"""Beginnings of the options that a server may push again once the tunnel is up."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a session goes: an entry of the list, one of its addresses, the socket for it."""

    remote: Remote
    endpoint: Endpoint
    link: LinkId


class Session(OnePeerSession):
    """One attempt. ``client`` is the context's client configuration."""

    def __init__(
        self,
        context: RoleContext,
        client: ClientConfig,
        wrapping: ClientWrapping,
        target: Target,
        wallet: Wallet,
    ) -> None:
        reneg_sec = spread_reneg_sec(context.config.control, context.entropy)
        super().__init__(
            context,
            target.remote,
            Path(target.link, target.endpoint),
            connection_settings(context, target.remote, wrapping, reneg_sec),
            wrapping.wrapper,
        )
        self.target = target
        self._client = client
        self._wallet = wallet
        self._server_options = ""
        self._newest_exchanged = KeyId(0)
        self._link_is_open = True
        self._push = PushAssembly()
        self._push_wait: PushWait | None = None
        self._planned: Tunnel | None = None
        self._planned_until: Instant | None = None

    # --- from the outside ----------------------------------------------------------------------

    def start(self, now: Instant) -> list[Step]:
        """The socket is open: send the first packet."""
        return self._initiate(self._wallet.current, now)

    def receive(self, received: ControlReceived, now: Instant) -> list[Step]:
        """A datagram from the socket. Raises ``PeerError`` when it is to be counted and dropped."""
        if received.path.link != self.target.link:
            raise PeerError("control packet on another socket")
        if received.path.remote != self.path.remote:
            raise PeerError("control packet from another address")
        return self._heard(self._connection.receive(received.datagram, now), now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        push = self._push_wait.next_deadline() if self._push_wait is not None else None
        return earliest(super().next_deadline(), self._planned_until, push)

    def link_closed(self) -> None:
        """The socket is gone already."""
        self._link_is_open = False

    def close(self) -> list[Action]:
        """Take it out of the datapath."""
        return super().close() + ([CloseLink(self.target.link)] if self._link_is_open else [])

    def status(self, connected: Instant) -> PeerStatus | None:
        """What is known of the server; None before the push."""
        if self.tunnel is None:
            return None
        addresses = {address.version: address.ip for address in self.tunnel.addresses}
        name = self._wallet.current.username
        return self._status(self.tunnel, connected, name, addresses.get(4), addresses.get(6))

    # --- what differs --------------------------------------------------------------------------

    def _due(self, now: Instant) -> list[Step]:
        steps = super()._due(now)
        if self._keys is not None:
            steps += self._keys.tick(now)
        if self._sizes is not None:
            steps += self._sizes.tick(now)
        if self._planned is not None and is_due(self._planned_until, now):
            steps += self._configure(self._planned, now)
        return steps + self._ask_for_push(now)

    def _said_hello(self, hello: events.Hello) -> list[Step]:
        self._server_options = hello.options
        return super()._said_hello(hello)

    def _first_exchanged(self, key_id: KeyId, now: Instant) -> list[Step]:
        self._newest_exchanged = key_id
        if self._push_wait is not None:
            return []
        self._push_wait = PushWait(now, self._context.config.control)
        return [self._initiated(), *self._begin_probing(now), Authenticated()]

    def _probe_answered(self, probe: int, now: Instant) -> list[Step]:
        steps = super()._probe_answered(probe, now)
        if self._planned is not None and self._sizes is not None and not self._sizes.may_grow:
            steps += self._configure(self._planned, now)
        return steps

    def _failed(self, reason: str, *, fatal: bool) -> list[Step]:
        hint = ""
        if reason.startswith("TLS key negotiation failed to occur"):
            hint = " (check your network connectivity)"
        return super()._failed(f"{reason}{hint}", fatal=fatal)

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
        return [
            *(log(Level.INFO, line) for line in describe(tunnel)),
            *(log(Level.WARNING, notice) for notice in first_notices(tunnel.notices)),
            *self._enter(tunnel, self._newest_exchanged, now),
        ]

    def _begin_probing(self, now: Instant) -> list[Action]:
        """While the server's options are on their way the path is looked at already."""
        data_format = DataFormat.EPOCH if self._context.data_epoch else DataFormat.CLASSIC
        rules = PathRules.expected(self._context.config, self.target.remote, data_format)
        self._sizes = PeerPath(rules, self.path, self._connection)
        return self._sizes.acknowledged(now) if self._connection.acknowledged else []
