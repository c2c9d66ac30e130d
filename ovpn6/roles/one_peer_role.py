"""An end whose device has one peer: a client, or one of two equal ends. PURE.

What both do alike, whoever begins and however the tunnel is agreed on: inputs go to who knows about
them, a session that is lost is followed by another attempt, signals and failures end one or all,
and the end says goodbye and takes down what stands on the host.

Source: OpenVPN ``init.c``, ``sig.c``, ``forward.c``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError, PeerError, bug_text
from ovpn6.model.flow import Action, Finish, Input, OpenLink, Outcome
from ovpn6.model.names import Instant, Level, LinkId, Signal
from ovpn6.model.status import RoleStatus
from ovpn6.roles.client_dialer import Dialer, Orders
from ovpn6.roles.client_env import ipchange_arguments, peer_environment
from ovpn6.roles.client_farewell import Farewell
from ovpn6.roles.client_host import HostSide
from ovpn6.roles.client_jobs import JobIds
from ovpn6.roles.client_news import Ending, Step, Then, log
from ovpn6.roles.client_settings import unusable
from ovpn6.roles.client_states import Move
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.one_peer_session import OnePeerSession
from ovpn6.roles.point_to_point_listener import Listener

MAX_REASONS = 64
"""Reasons for drops that are counted apart."""


class OnePeerRole(ABC):
    """See :class:`ovpn6.roles.interface.Role`. ``listener`` is for who has nobody to dial."""

    def __init__(
        self, context: RoleContext, client: ClientConfig, listener: Listener | None = None
    ) -> None:
        self._context = context
        self._client = client
        ids = JobIds()
        orders = Orders(self._note, self._dial, self._lost, self._give_up)
        self._dialer = listener or Dialer(client, context.entropy, ids, orders)
        self._host = HostSide(context, ids)
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
            case flow.PacketTooBig():
                return self._too_big(happened, now)
            case _:
                return self._reported(happened, now)

    @abstractmethod
    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted."""

    def status(self) -> RoleStatus:
        """Now."""
        session, since = self._current, self._connected_at
        known = session.status(since) if session is not None and since is not None else None
        peers = () if known is None else (known,)
        return RoleStatus(False, self._word, peers, dict(self._counts))

    # --- what differs --------------------------------------------------------------------------

    @property
    @abstractmethod
    def _current(self) -> OnePeerSession | None:
        """The session that the datapath knows, or will know."""

    @property
    @abstractmethod
    def _word(self) -> str:
        """The state in OpenVPN's word."""

    @property
    @abstractmethod
    def _is_leaving(self) -> bool:
        """The end has begun."""

    @property
    @abstractmethod
    def _is_pausing(self) -> bool:
        """Nothing is open until the next attempt."""

    @abstractmethod
    def _note(self, how: Move) -> None:
        """The state changes."""

    @abstractmethod
    def _tick(self, now: Instant) -> list[Action]: ...

    @abstractmethod
    def _take(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        """A control packet. Raises ``PeerError`` when it is to be counted and dropped."""

    @abstractmethod
    def _opened(self, opened: flow.LinkOpened, now: Instant) -> list[Action]: ...

    @abstractmethod
    def _closed(self, closed: flow.LinkClosed, now: Instant) -> list[Action]: ...

    @abstractmethod
    def _not_opened(self, link: LinkId, error: HostError, now: Instant) -> list[Action]: ...

    @abstractmethod
    def _run(self, steps: list[Step], now: Instant) -> list[Action]:
        """Carry out actions of the current session and act on its news, in order; nothing follows
        the end of the session."""

    @abstractmethod
    def _dial(self, remote: Remote, endpoint: Endpoint, now: Instant) -> list[Action]:
        """Try this address."""

    @abstractmethod
    def _close(self) -> list[Action]:
        """Take all sessions and sockets away."""

    def _stand_up(self, then: Callable[[Instant], list[Action]], now: Instant) -> list[Action]:
        """Before an attempt: what must be on the host by then."""
        return then(now)

    # --- inputs --------------------------------------------------------------------------------

    def _started(self, started: flow.Started, now: Instant) -> list[Action]:
        self._host.device = started.device
        reason = unusable(self._client)
        if reason:
            return self._give_up(reason, now)
        return self._stand_up(self._dialer.attempt, now)

    def _received(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        try:
            return self._take(received, now)
        except PeerError as error:
            reason = str(error)
            known = reason in self._counts or len(self._counts) < MAX_REASONS
            self._counts[reason if known else "other"] += 1
            return []

    def _tick_session(self, session: OnePeerSession, now: Instant) -> list[Step]:
        """A bug that the peer finds ends the session, and not the daemon."""
        try:
            return session.tick(now)
        except Exception as error:
            line = log(Level.ERROR, f"{bug_text(error)}; the session was dropped")
            return [line, Ending("bug")]

    def _device_lost(self, lost: flow.DeviceLost, now: Instant) -> list[Action]:
        """Somebody removed the device under us: begin anew with a device of our own."""
        line = log(Level.ERROR, f"tunnel device lost: {lost.reason}, restarting")
        if self._is_leaving:
            return [line]
        return [line, *self._stop(Finish(Outcome.RESTART, "device-lost"), now)]

    def _too_big(self, hint: flow.PacketTooBig, now: Instant) -> list[Action]:
        session = self._current
        return self._run(session.too_big(hint, now), now) if session is not None else []

    def _reported(self, report: Input, now: Instant) -> list[Action]:
        """What the datapath says of our peer."""
        session = self._current
        if session is None or session.tunnel is None or self._is_leaving:
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
            case Signal.HUP if not self._is_leaving:
                return [line, *self._stop(Finish(Outcome.RELOAD, "sighup"), now)]
            case Signal.USR1 if self._is_pausing:
                return [line, *self._dialer.hurry(now)]
            case Signal.USR1:
                return [line, *self._end(Ending("sigusr1"), now)]
            case _:
                return []

    def _refused(self, failed: flow.ActionFailed, now: Instant) -> list[Action]:
        """The host did not do what we asked."""
        action, line = failed.action, log(Level.ERROR, str(failed.error))
        match action:
            case flow.SendProbe():
                session = self._current
                if session is None:
                    return []
                return self._run(session.probe_refused(action, failed.error, now), now)
            case OpenLink():
                return self._not_opened(action.link, failed.error, now)
            case flow.AddPeer() | flow.InstallKey():
                return [line, *self._end(Ending("datapath-error"), now)]
            case flow.ApplyHost() if self._host.refused(action.plan):
                return self._up_failed(str(failed.error), now)
            case _:
                return [line]

    def _up_failed(self, reason: str, now: Instant) -> list[Action]:
        return self._give_up(f"Exiting due to fatal error: {reason}", now)

    def _ipchange(self, session: OnePeerSession) -> list[Action]:
        endpoint = session.path.remote
        who = peer_environment(endpoint, session.identity)
        return self._host.ipchange(ipchange_arguments(endpoint), who)

    # --- losses and the end --------------------------------------------------------------------

    def _end(self, ending: Ending, now: Instant) -> list[Action]:
        """The end of what is there, or the operator's wish for it."""
        if self._is_leaving:
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
        self._note(Move.LOST)
        line = log(Level.NOTICE, f"SIGUSR1[soft,{ending.reason}] received, process restarting")
        actions = [line, *self._dialer.cancel(), *self._close()]

        def try_again(later: Instant) -> list[Action]:
            return self._stand_up(lambda up: self._dialer.after(ending, up), later)

        return actions + self._host.release(ending.reason, try_again, now)

    def _stop(self, finish: Finish, now: Instant, *, goodbye: bool = False) -> list[Action]:
        """Say goodbye where that is wanted and possible, take everything down, finish."""
        whom = self._current if goodbye and self._connected_at is not None else None
        self._note(Move.STOP)
        self._farewell = Farewell(whom, finish, now)
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
        actions = self._close()
        if farewell.finish.keep_device:
            return actions + self._finish(farewell.finish)
        reason = farewell.finish.reason

        def all_down(later: Instant) -> list[Action]:
            return self._finish(farewell.finish)

        return actions + self._host.take_down(reason, all_down, now)

    def _give_up(self, reason: str, now: Instant) -> list[Action]:
        """A fatal error: as OpenVPN, exit at once without ``down``."""
        self._note(Move.STOP)
        finish = Finish(Outcome.EXIT, reason, code=1)
        return [log(Level.FATAL, reason), *self._dialer.cancel(), *self._finish(finish)]

    def _finish(self, finish: Finish) -> list[Action]:
        return [finish]
