"""The client role: from the list of remotes to a tunnel, and back after each loss. PURE.

Parts, each in a file of its own: when and where to try (``client_dialer``), one attempt at one
address (``client_session``), what stands on the host (``client_host``). Here they are tied
together: states, losses, signals, the end.

Source: OpenVPN ``init.c``, ``sig.c``, ``forward.c``.
"""

from __future__ import annotations

from collections import Counter

from ovpn6.config.schema import Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.flow import Action, Finish, Input, OpenLink, Outcome
from ovpn6.model.names import Instant, Level, LinkId, Signal
from ovpn6.model.status import RoleStatus
from ovpn6.roles.client_credentials import Wallet
from ovpn6.roles.client_dialer import Dialer, Orders
from ovpn6.roles.client_env import ipchange_arguments, peer_environment
from ovpn6.roles.client_farewell import Farewell
from ovpn6.roles.client_host import HostSide, Milestones
from ovpn6.roles.client_jobs import JobIds
from ovpn6.roles.client_news import (
    Answered,
    Authenticated,
    Configured,
    Ending,
    News,
    Step,
    Then,
    log,
)
from ovpn6.roles.client_session import Session, Target
from ovpn6.roles.client_settings import link_spec, unusable
from ovpn6.roles.client_states import ClientState, Move, move
from ovpn6.roles.interface import RoleContext

MAX_REASONS = 64
"""Reasons for drops that are counted apart."""


class ClientRole:
    """See :class:`ovpn6.roles.interface.Role`. The context must have ``wrapping`` and a client
    configuration with at least one remote, which pulls."""

    def __init__(self, context: RoleContext) -> None:
        client = context.config.client
        if client is None or not client.remotes or context.wrapping is None:
            raise UsageError("a client needs its configuration, a remote and its wrapping")
        self._context = context
        self._client = client
        self._wrapping = context.wrapping
        self._state = ClientState.CONNECTING
        self._wallet = Wallet(context.credentials, forgetful=client.auth_nocache)
        ids = JobIds()
        orders = Orders(self._move, self._dial, self._lost, self._give_up)
        self._dialer = Dialer(client, context.entropy, ids, orders)
        self._host = HostSide(context, ids)
        self._last_link = LinkId(0)
        self._session: Session | None = None
        self._connected_at: Instant | None = None
        self._farewell: Farewell | None = None
        self._counts: Counter[str] = Counter()

    # --- the interface -------------------------------------------------------------------------

    def step(self, happened: Input, now: Instant) -> list[Action]:
        """Take one input."""
        match happened:
            case flow.Started():
                return self._started(happened, now)
            case flow.Tick():
                return self._tick(now)
            case flow.ControlReceived():
                return self._received(happened, now)
            case flow.LinkOpened():
                return self._opened(happened, now)
            case flow.LinkClosed():
                return self._closed(happened, now)
            case flow.HostResolved():
                return self._dialer.resolved(happened, now)
            case flow.ScriptFinished():
                return self._host.jobs.finish(happened.job, happened.result, now)
            case flow.SignalReceived():
                return self._signal(happened.signal, now)
            case flow.ActionFailed():
                return self._refused(happened, now)
            case flow.DeviceLost():
                return self._device_lost(happened, now)
            case flow.PacketTooBig() if self._session is not None:
                return self._run(self._session.too_big(happened, now), now)
            case _:
                return self._reported(happened, now)

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted."""
        parts = (self._dialer, self._host, self._session, self._farewell)
        moments = [part.next_deadline() for part in parts if part is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    def status(self) -> RoleStatus:
        """Now."""
        session, since = self._session, self._connected_at
        known = session.status(since) if session is not None and since is not None else None
        peers = () if known is None else (known,)
        return RoleStatus(False, self._state.value, peers, dict(self._counts))

    # --- inputs --------------------------------------------------------------------------------

    def _started(self, started: flow.Started, now: Instant) -> list[Action]:
        self._host.device = started.device
        reason = unusable(self._client)
        if reason:
            return self._give_up(reason, now)
        return self._dialer.attempt(now)

    def _tick(self, now: Instant) -> list[Action]:
        actions = self._host.tick(now)
        if self._session is not None:
            actions += self._run(self._session.tick(now), now)
        if self._farewell is not None:
            actions += self._run(self._farewell.tick(now), now)
        return actions + self._dialer.tick(now)

    def _received(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        if self._session is None:
            self._counts["control packet without a session"] += 1
            return []
        try:
            return self._run(self._session.receive(received, now), now)
        except PeerError as error:
            reason = str(error)
            known = reason in self._counts or len(self._counts) < MAX_REASONS
            self._counts[reason if known else "other"] += 1
            return []

    def _opened(self, opened: flow.LinkOpened, now: Instant) -> list[Action]:
        session = self._session
        if session is None or session.target.link != opened.link:
            return []
        if self._state is not ClientState.CONNECTING:
            return []
        self._move(Move.OPENED)
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

    def _device_lost(self, lost: flow.DeviceLost, now: Instant) -> list[Action]:
        """Somebody removed the device under us: begin anew with a device of our own."""
        line = log(Level.ERROR, f"tunnel device lost: {lost.reason}, restarting")
        if self._state is ClientState.EXITING:
            return [line]
        return [line, *self._stop(Finish(Outcome.RESTART, "device-lost"), now)]

    def _reported(self, report: Input, now: Instant) -> list[Action]:
        """What the datapath says of our peer."""
        session = self._session
        if session is None or session.tunnel is None or self._state is ClientState.EXITING:
            return []
        if getattr(report, "peer", None) != session.tunnel.peer:
            return []
        if not isinstance(report, flow.PeerFloated):
            return self._run(session.reported(report, now), now)
        line = log(Level.INFO, f"Peer floated to {report.path}")
        fits = self._run(session.floated(report.path, now), now)
        way = self._host.make_way(report.path.remote.address)
        return [line, *way, *fits, *self._ipchange(session)]

    def _signal(self, signal: Signal, now: Instant) -> list[Action]:
        line = log(Level.INFO, f"{signal.value}[hard,] received")
        match signal:
            case Signal.TERM | Signal.INT:
                ending = Ending(signal.value.lower(), Then.EXIT, goodbye=True)
                return [line, *self._end(ending, now)]
            case Signal.HUP if self._state is not ClientState.EXITING:
                return [line, *self._stop(Finish(Outcome.RELOAD, "sighup"), now)]
            case Signal.USR1 if self._state is ClientState.RECONNECTING:
                return [line, *self._dialer.hurry(now)]
            case Signal.USR1:
                return [line, *self._end(Ending("sigusr1"), now)]
            case _:
                return []

    def _refused(self, failed: flow.ActionFailed, now: Instant) -> list[Action]:
        """The host did not do what we asked."""
        action, line = failed.action, log(Level.ERROR, str(failed.error))
        session = self._session
        if isinstance(action, flow.SendProbe):
            steps = [] if session is None else session.probe_refused(action, failed.error, now)
            return self._run(steps, now)
        if isinstance(action, OpenLink):
            if session is None or session.target.link != action.link:
                return []
            session.link_closed()
            return [line, *self._end(Ending("socket-error", hurry=True), now)]
        if isinstance(action, flow.AddPeer | flow.InstallKey):
            return [line, *self._end(Ending("datapath-error"), now)]
        if isinstance(action, flow.ApplyHost) and self._host.refused(action.plan):
            return self._give_up(f"Exiting due to fatal error: {failed.error}", now)
        return [line]

    # --- a session's steps ---------------------------------------------------------------------

    def _run(self, steps: list[Step], now: Instant) -> list[Action]:
        """Carry out actions and act on news, in order; nothing follows the end of the session."""
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
        if session is None or self._state is ClientState.EXITING:
            return []
        match news:
            case Answered():
                self._move(Move.ANSWERED)
            case Authenticated():
                self._move(Move.AUTHENTICATED)
                return self._ipchange(session)
            case Configured():
                self._move(Move.CONFIGURED)
                who = peer_environment(session.path.remote, session.identity)
                milestones = Milestones(self._addressed, self._routed, self._up_failed)
                return self._host.bring_up(news.tunnel, who, milestones, now)
            case Ending():
                return self._end(news, now)
        return []

    def _addressed(self, now: Instant) -> list[Action]:
        self._move(Move.ADDRESSED)
        return []

    def _routed(self, now: Instant) -> list[Action]:
        self._move(Move.ROUTED)
        self._dialer.succeeded()
        self._connected_at = now
        return [flow.Announce()]

    def _up_failed(self, reason: str, now: Instant) -> list[Action]:
        return self._give_up(f"Exiting due to fatal error: {reason}", now)

    def _ipchange(self, session: Session) -> list[Action]:
        endpoint = session.path.remote
        who = peer_environment(endpoint, session.identity)
        return self._host.ipchange(ipchange_arguments(endpoint), who)

    # --- attempts and losses -------------------------------------------------------------------

    def _dial(self, remote: Remote, endpoint: Endpoint, now: Instant) -> list[Action]:
        self._last_link = LinkId(self._last_link + 1)
        target = Target(remote, endpoint, self._last_link)
        self._session = Session(
            self._context, self._client, self._wrapping(remote), target, self._wallet
        )
        spec = link_spec(self._context.config, self._client, remote, endpoint)
        return [*self._host.make_way(endpoint.address), OpenLink(target.link, spec)]

    def _end(self, ending: Ending, now: Instant) -> list[Action]:
        """A session's end, or the operator's wish for it."""
        if self._state is ClientState.EXITING:
            return self._take_leave(now)
        match ending.then:
            case Then.RECONNECT:
                return self._lost(ending, now)
            case Then.EXIT:
                return self._stop(Finish(Outcome.EXIT, ending.reason), now, goodbye=ending.goodbye)
            case Then.AGAIN:
                keep = self._context.config.host.persist_tun
                return self._stop(Finish(Outcome.RESTART, ending.reason, keep_device=keep), now)

    def _lost(self, ending: Ending, now: Instant) -> list[Action]:
        if ending.reason == "auth-failure (auth-token)":
            self._wallet.drop_token()
        self._move(Move.LOST)
        line = log(Level.NOTICE, f"SIGUSR1[soft,{ending.reason}] received, process restarting")
        actions = [line, *self._dialer.cancel(), *self._close_session()]

        def try_again(later: Instant) -> list[Action]:
            return self._dialer.after(ending, later)

        return actions + self._host.release(ending.reason, try_again, now)

    def _close_session(self) -> list[Action]:
        session, self._session, self._connected_at = self._session, None, None
        return session.close() if session is not None else []

    def _move(self, how: Move) -> None:
        self._state = move(self._state, how)

    # --- the end -------------------------------------------------------------------------------

    def _stop(self, finish: Finish, now: Instant, *, goodbye: bool = False) -> list[Action]:
        """Say goodbye where that is wanted and possible, take everything down, finish."""
        connected = self._connected_at is not None
        self._move(Move.STOP)
        self._farewell = Farewell(self._session if goodbye and connected else None, finish, now)
        actions = self._dialer.cancel()
        if not self._farewell.is_long:
            return actions + self._take_leave(now)
        line = log(Level.INFO, f"{finish.reason} received, sending exit notification to peer")
        return [*actions, line, *self._run(self._farewell.tick(now), now)]

    def _take_leave(self, now: Instant) -> list[Action]:
        """The goodbye is said, or a second signal was impatient."""
        farewell = self._farewell
        if farewell is None or farewell.is_over:
            return []
        farewell.is_over = True
        actions = self._close_session()
        if farewell.finish.keep_device:
            return [*actions, farewell.finish]
        reason = farewell.finish.reason
        return actions + self._host.take_down(reason, lambda later: [farewell.finish], now)

    def _give_up(self, reason: str, now: Instant) -> list[Action]:
        """A fatal error: as OpenVPN, exit at once without ``down``."""
        self._move(Move.STOP)
        line = log(Level.FATAL, reason)
        return [line, *self._dialer.cancel(), Finish(Outcome.EXIT, reason, code=1)]
