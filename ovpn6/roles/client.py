"""The client role: from the list of remotes to a tunnel, and back after each loss. PURE.

Parts, each in a file of its own: what it has in common with one of two equal ends
(``one_peer_role``), when and where to try (``client_dialer``), one attempt at one address
(``client_session``), what stands on the host (``client_host``). Here is what only a client has: its
states, the credentials, a host's side that waits for the push.

Source: OpenVPN ``init.c``, ``sig.c``, ``forward.c``.
"""

from __future__ import annotations

from ovpn6.config.schema import Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError, PeerError, UsageError
from ovpn6.model.flow import Action, OpenLink
from ovpn6.model.names import Instant, Level, LinkId
from ovpn6.roles.client_credentials import Wallet
from ovpn6.roles.client_env import peer_environment
from ovpn6.roles.client_host import Milestones
from ovpn6.roles.client_news import (
    Answered,
    Authenticated,
    Configured,
    Ending,
    News,
    Step,
    log,
)
from ovpn6.roles.client_session import Session, Target
from ovpn6.roles.client_settings import link_spec
from ovpn6.roles.client_states import ClientState, Move, move
from ovpn6.roles.deadlines import earliest
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.one_peer_role import OnePeerRole


class ClientRole(OnePeerRole):
    """See :class:`ovpn6.roles.interface.Role`. The context must have ``wrapping`` and a client
    configuration with at least one remote, which pulls."""

    def __init__(self, context: RoleContext) -> None:
        client = context.config.client
        if client is None or not client.remotes or context.wrapping is None:
            raise UsageError("a client needs its configuration, a remote and its wrapping")
        super().__init__(context, client)
        self._wrapping = context.wrapping
        self._state = ClientState.CONNECTING
        self._wallet = Wallet(context.credentials, forgetful=client.auth_nocache)
        self._last_link = LinkId(0)
        self._session: Session | None = None

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted."""
        parts = (self._dialer, self._host, self._session, self._farewell)
        return earliest(*(part.next_deadline() for part in parts if part is not None))

    # --- where it stands -----------------------------------------------------------------------

    @property
    def _current(self) -> Session | None:
        return self._session

    @property
    def _word(self) -> str:
        return self._state.value

    @property
    def _is_leaving(self) -> bool:
        return self._state is ClientState.EXITING

    @property
    def _is_pausing(self) -> bool:
        return self._state is ClientState.RECONNECTING

    def _note(self, how: Move) -> None:
        self._state = move(self._state, how)

    # --- inputs --------------------------------------------------------------------------------

    def _tick(self, now: Instant) -> list[Action]:
        actions = self._host.tick(now)
        if self._session is not None:
            actions += self._run(self._tick_session(self._session, now), now)
        if self._farewell is not None:
            actions += self._run(self._farewell.tick(now), now)
        return actions + self._dialer.tick(now)

    def _take(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        if self._session is None:
            raise PeerError("control packet without a session")
        return self._run(self._session.receive(received, now), now)

    def _opened(self, opened: flow.LinkOpened, now: Instant) -> list[Action]:
        session = self._session
        if session is None or session.target.link != opened.link:
            return []
        if self._state is not ClientState.CONNECTING:
            return []
        self._note(Move.OPENED)
        name = session.target.remote.transport.value.upper()
        line = log(Level.INFO, f"{name} link local: {opened.local}, remote: {session.path}")
        return [line, *self._run(session.start(now), now)]

    def _closed(self, closed: flow.LinkClosed, now: Instant) -> list[Action]:
        session = self._session
        if session is None or session.target.link != closed.link:
            return []
        session.link_closed()
        hurry = self._state in (ClientState.CONNECTING, ClientState.WAIT)
        line = log(Level.ERROR, f"Connection reset, restarting [{closed.reason}]")
        return [line, *self._end(Ending("connection-reset", hurry=hurry), now)]

    def _not_opened(self, link: LinkId, error: HostError, now: Instant) -> list[Action]:
        session = self._session
        if session is None or session.target.link != link:
            return []
        session.link_closed()
        line = log(Level.ERROR, str(error))
        return [line, *self._end(Ending("socket-error", hurry=True), now)]

    # --- a session's steps ---------------------------------------------------------------------

    def _run(self, steps: list[Step], now: Instant) -> list[Action]:
        actions: list[Action] = []
        for step in steps:
            if isinstance(step, Ending):
                return actions + self._end(step, now)
            if isinstance(step, Answered | Authenticated | Configured):
                actions += self._heard(step, now)
            else:
                actions.append(step)
        return actions

    def _heard(self, news: News, now: Instant) -> list[Action]:
        session = self._session
        if session is None or self._is_leaving:
            return []
        match news:
            case Answered():
                self._note(Move.ANSWERED)
            case Authenticated():
                self._note(Move.AUTHENTICATED)
                return self._ipchange(session)
            case Configured():
                self._note(Move.CONFIGURED)
                who = peer_environment(session.path.remote, session.identity)
                milestones = Milestones(self._addressed, self._routed, self._up_failed)
                return self._host.bring_up(news.tunnel, who, milestones, now)
            case Ending():
                return self._end(news, now)
        return []

    def _addressed(self, now: Instant) -> list[Action]:
        self._note(Move.ADDRESSED)
        return []

    def _routed(self, now: Instant) -> list[Action]:
        self._note(Move.ROUTED)
        self._dialer.succeeded()
        self._connected_at = now
        return [flow.Announce()]

    # --- attempts and losses -------------------------------------------------------------------

    def _dial(self, remote: Remote, endpoint: Endpoint, now: Instant) -> list[Action]:
        self._last_link = LinkId(self._last_link + 1)
        target = Target(remote, endpoint, self._last_link)
        self._session = Session(
            self._context, self._client, self._wrapping(remote), target, self._wallet
        )
        spec = link_spec(self._context.config, self._client, remote, endpoint)
        return [*self._host.make_way(endpoint.address), OpenLink(target.link, spec)]

    def _lost(self, ending: Ending, now: Instant) -> list[Action]:
        if ending.reason == "auth-failure (auth-token)":
            self._wallet.drop_token()
        return super()._lost(ending, now)

    def _close(self) -> list[Action]:
        session, self._session, self._connected_at = self._session, None, None
        return session.close() if session is not None else []
