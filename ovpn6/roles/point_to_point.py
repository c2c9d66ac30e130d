"""One of two equal ends: ``tls-server`` or ``tls-client`` without ``pull``. PURE.

What the tunnel has on the host is in the file, so it stands before the peer comes. Who knows the
other's address begins; both may. There is at most one session that carries data and one that may
come in its place: a peer that was restarted begins anew beside the old session, which goes when the
new one is authenticated.

Parts, beside those of the client that are used here as they are (dialler, host): one session
(``point_to_point_session``), who may begin one (``point_to_point_admission``), the sockets
(``point_to_point_links``), what follows from the configuration (``point_to_point_plan``).

Source: OpenVPN ``ssl.c`` (tls_pre_decrypt, tls_multi_process), ``init.c`` (do_up), ``socket.c``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ovpn6.config.schema import Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.flow import Action, Finish, Input, OpenLink, Outcome
from ovpn6.model.names import Instant, Level, LinkId, Signal, Transport
from ovpn6.model.status import RoleStatus
from ovpn6.roles.client_dialer import Dialer, Orders
from ovpn6.roles.client_env import ipchange_arguments, peer_environment
from ovpn6.roles.client_farewell import Farewell
from ovpn6.roles.client_host import HostSide, Milestones
from ovpn6.roles.client_jobs import JobIds
from ovpn6.roles.client_news import Answered, Authenticated, Configured, Ending, Step, Then, log
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.client_settings import unusable
from ovpn6.roles.client_states import Move
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.point_to_point_admission import Admission, Admitted
from ovpn6.roles.point_to_point_links import Links, Place
from ovpn6.roles.point_to_point_listener import Listener
from ovpn6.roles.point_to_point_plan import link_spec, may_come, plan_tunnel
from ovpn6.roles.point_to_point_session import PeerSession

MAX_REASONS = 64
"""Reasons for drops that are counted apart."""
STALE = 3.0
"""Seconds after which a handshake that hears nothing gives way to another."""

_MOVES = {Move.LOOK_UP: "RESOLVE", Move.DIAL: "CONNECTING", Move.LOST: "RECONNECTING"}


class PointToPointRole:
    """See :class:`ovpn6.roles.interface.Role`. The context must have a point-to-point configuration
    and, by the part in TLS, ``acceptor`` or ``wrapping``."""

    def __init__(self, context: RoleContext) -> None:
        client, both = context.config.client, context.config.point_to_point
        if client is None or both is None:
            raise UsageError("not one of two equal ends")
        self._context = context
        self._both = both
        self._client = client
        self._entry = both.passive or client.remotes[0]
        ids = JobIds()
        orders = Orders(self._note, self._dial, self._lost, self._give_up)
        self._dialer: Dialer | Listener
        if both.passive is None:
            self._dialer = Dialer(client, context.entropy, ids, orders)
        else:
            self._dialer = Listener(self._listen, client.connect_retry[0])
        self._host = HostSide(context, ids)
        self._links = Links()
        self._admission = Admission(context)
        self._active: PeerSession | None = None
        self._candidate: PeerSession | None = None
        self._word = "CONNECTING"
        self._connected_at: Instant | None = None
        self._farewell: Farewell | None = None
        self._is_over = False
        self._counts: Counter[str] = Counter()

    # --- the interface -------------------------------------------------------------------------

    def step(self, happened: Input, now: Instant) -> list[Action]:
        """Take one input."""
        if self._is_over and not isinstance(happened, flow.ScriptFinished):
            return []
        match happened:
            case flow.Started():
                return self._started(happened, now)
            case flow.Tick():
                return self._tick(now)
            case flow.ControlReceived():
                return self._received(happened, now)
            case flow.LinkOpened():
                return self._opened(happened, now)
            case flow.LinkAccepted():
                return self._came(happened, now)
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
            case flow.PacketTooBig() if self._active is not None:
                return self._run(self._active, self._active.too_big(happened, now), now)
            case _:
                return self._reported(happened, now)

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted."""
        if self._is_over:
            return None
        parts = (self._dialer, self._host, self._active, self._candidate, self._farewell)
        moments = [part.next_deadline() for part in parts if part is not None]
        moments.append(self._links.next_deadline(self._used_links()))
        return min((moment for moment in moments if moment is not None), default=None)

    def status(self) -> RoleStatus:
        """Now."""
        active, since = self._active, self._connected_at
        known = active.status(since) if active is not None and since is not None else None
        peers = () if known is None else (known,)
        return RoleStatus(False, self._state(), peers, dict(self._counts))

    # --- inputs --------------------------------------------------------------------------------

    def _started(self, started: flow.Started, now: Instant) -> list[Action]:
        self._host.device = started.device
        reason = unusable(self._client)
        if reason:
            return self._give_up(reason, now)
        return self._stand_up(self._dialer.attempt, now)

    def _tick(self, now: Instant) -> list[Action]:
        actions = self._host.tick(now)
        for session in (self._active, self._candidate):
            if session is not None and session in (self._active, self._candidate):
                actions += self._run(session, session.tick(now), now)
        if self._farewell is not None and self._active is not None:
            actions += self._run(self._active, self._farewell.tick(now), now)
        actions += self._links.impatient(self._used_links(), now)
        return actions + self._dialer.tick(now)

    def _received(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        path, datagram = received.path, received.datagram
        try:
            for session in (self._active, self._candidate):
                if session is not None and session.owns(path, datagram):
                    return self._run(session, session.receive(path, datagram, now), now)
            return self._stranger(path, datagram, now)
        except PeerError as error:
            reason = str(error)
            known = reason in self._counts or len(self._counts) < MAX_REASONS
            self._counts[reason if known else "other"] += 1
            return []

    def _opened(self, opened: flow.LinkOpened, now: Instant) -> list[Action]:
        place = self._links.place
        if place is None or place.link != opened.link or self._farewell is not None:
            return []
        self._word = "WAIT"
        name = place.entry.transport.value.upper()
        whom = str(place.endpoint) if place.endpoint is not None else "[undef]"
        line = log(Level.INFO, f"{name} link local (bound): {opened.local}, remote: {whom}")
        waits = place.entry.transport is Transport.TCP and self._both.tcp_server
        if place.endpoint is None or waits:
            return [line]
        return [line, *self._begin(place, Path(place.link, place.endpoint), now)]

    def _came(self, accepted: flow.LinkAccepted, now: Instant) -> list[Action]:
        """A TCP connection. OpenVPN's TLS server sends nothing first over one, its client does."""
        place = self._links.place
        wanted = place is not None and place.link == accepted.listener
        if place is None or not wanted or self._farewell is not None:
            return [flow.CloseLink(accepted.link)]
        patience = Instant(now + self._context.config.control.hand_window)
        if not may_come(self._context.config, place.endpoint, accepted.remote):
            self._counts["TCP connection from another address"] += 1
            return [flow.CloseLink(accepted.link)]
        if not self._links.came(accepted.link, patience):
            self._counts["too many TCP connections that say nothing"] += 1
            return [flow.CloseLink(accepted.link)]
        line = log(Level.INFO, f"TCP connection established with {accepted.remote}")
        if self._both.tls_server or self._candidate is not None:
            return [line]
        return [line, *self._begin(place, Path(accepted.link, accepted.remote), now)]

    def _closed(self, closed: flow.LinkClosed, now: Instant) -> list[Action]:
        if not self._links.knows(closed.link):
            return []
        self._links.lost(closed.link)
        line = log(Level.ERROR, f"Connection reset, restarting [{closed.reason}]")
        # The one that waits first: the other's end is the end of both.
        for session in (self._candidate, self._active):
            if session is not None and session.path.link == closed.link:
                ending = Ending("connection-reset", hurry=session is self._candidate)
                return [line, *self._ended(session, ending, now)]
        place = self._links.place
        if place is not None and place.link == closed.link:
            return [line, *self._end(Ending("connection-reset", hurry=True), now)]
        return []

    def _reported(self, report: Input, now: Instant) -> list[Action]:
        """What the datapath says of our peer."""
        session = self._active
        if session is None or session.tunnel is None or self._farewell is not None:
            return []
        if getattr(report, "peer", None) != session.tunnel.peer:
            return []
        if not isinstance(report, flow.PeerFloated):
            return self._run(session, session.reported(report, now), now)
        line = log(Level.INFO, f"Peer floated to {report.path}")
        fits = self._run(session, session.floated(report.path, now), now)
        way = self._host.make_way(report.path.remote.address)
        return [line, *way, *fits, *self._ipchange(session)]

    def _device_lost(self, lost: flow.DeviceLost, now: Instant) -> list[Action]:
        """Somebody removed the device under us: begin anew with a device of our own."""
        line = log(Level.ERROR, f"tunnel device lost: {lost.reason}, restarting")
        if self._farewell is not None:
            return [line]
        return [line, *self._stop(Finish(Outcome.RESTART, "device-lost"), now)]

    def _signal(self, signal: Signal, now: Instant) -> list[Action]:
        line = log(Level.INFO, f"{signal.value}[hard,] received")
        match signal:
            case Signal.TERM | Signal.INT:
                ending = Ending(signal.value.lower(), Then.EXIT, goodbye=True)
                return [line, *self._end(ending, now)]
            case Signal.HUP if self._farewell is None:
                return [line, *self._stop(Finish(Outcome.RELOAD, "sighup"), now)]
            case Signal.USR1 if self._links.place is None and self._farewell is None:
                return [line, *self._dialer.hurry(now)]
            case Signal.USR1:
                return [line, *self._end(Ending("sigusr1"), now)]
            case _:
                return []

    def _refused(self, failed: flow.ActionFailed, now: Instant) -> list[Action]:
        """The host did not do what we asked."""
        action, line = failed.action, log(Level.ERROR, str(failed.error))
        if isinstance(action, flow.SendProbe):
            session = self._active
            if session is None:
                return []
            return self._run(session, session.probe_refused(action, failed.error, now), now)
        if isinstance(action, OpenLink):
            if not self._links.knows(action.link):
                return []
            self._links.lost(action.link)
            if self._both.passive is not None:
                return self._give_up(f"Exiting due to fatal error: {failed.error}", now)
            return [line, *self._end(Ending("socket-error", hurry=True), now)]
        if isinstance(action, flow.AddPeer | flow.InstallKey):
            return [line, *self._end(Ending("datapath-error"), now)]
        if isinstance(action, flow.ApplyHost) and self._host.refused(action.plan):
            return self._give_up(f"Exiting due to fatal error: {failed.error}", now)
        return [line]

    # --- who may begin -------------------------------------------------------------------------

    def _begin(self, place: Place, path: Path, now: Instant) -> list[Action]:
        """Send the first packet, if that is our part."""
        session = self._admission.first(place.entry, path)
        if session is None:
            return []
        self._candidate = session
        return self._run(session, session.initiate(now), now)

    def _stranger(self, path: Path, datagram: bytes, now: Instant) -> list[Action]:
        """Of no session. Raises ``PeerError`` when it is to be counted and dropped."""
        place, older = self._links.place, self._candidate
        if place is None or self._farewell is not None or not self._links.knows(path.link):
            raise PeerError("control packet without a session")
        if not may_come(self._context.config, place.endpoint, path.remote):
            raise PeerError("control packet from another address")
        if older is not None and now < older.last_heard + STALE:
            raise PeerError("control packet beside a handshake")
        found = self._admission.stranger(
            place, path, datagram, now, beside=self._active is not None
        )
        if not isinstance(found, Admitted):
            return found
        self._candidate = found.session
        actions = self._leave(older) if older is not None else []
        return actions + self._run(found.session, found.steps, now)

    # --- a session's steps ---------------------------------------------------------------------

    def _run(self, session: PeerSession, steps: list[Step], now: Instant) -> list[Action]:
        """Carry out actions and act on news, in order; nothing follows the end of the session."""
        actions: list[Action] = []
        for step in steps:
            match step:
                case Ending():
                    return actions + self._ended(session, step, now)
                case Answered():
                    self._word = "AUTH"
                case Authenticated():
                    actions += self._promote(session)
                case Configured():
                    actions += self._configured(session, step.tunnel, now)
                case _:
                    actions.append(step)
        return actions

    def _promote(self, session: PeerSession) -> list[Action]:
        """The peer has proved itself: its older session is over."""
        older, self._active, self._candidate = self._active, session, None
        actions: list[Action] = []
        if older is not None:
            actions += [*older.close(), *self._leave(older)]
        return actions + self._ipchange(session)

    def _configured(self, session: PeerSession, tunnel: Tunnel, now: Instant) -> list[Action]:
        way = self._host.make_way(session.path.remote.address)

        def announce(later: Instant) -> list[Action]:
            self._dialer.succeeded()
            self._connected_at = later
            return [flow.Announce()]

        if not self._context.config.scripts.up_delay:
            return way + announce(now)
        return way + self._host.bring_up(
            tunnel,
            peer_environment(session.path.remote, session.identity),
            Milestones(_nothing, announce, self._up_failed),
            now,
        )

    def _ended(self, session: PeerSession, ending: Ending, now: Instant) -> list[Action]:
        """A session's end. A handshake that came to nothing leaves the tunnel as it is, and so it
        does where another may come at any time."""
        if session is not self._candidate or ending.then is not Then.RECONNECT:
            return self._end(ending, now)
        place = self._links.place
        waits = place is not None and (place.endpoint is None or self._both.tcp_server)
        if self._active is None and not waits:
            return self._end(ending, now)
        self._candidate = None
        return self._leave(session)

    def _leave(self, session: PeerSession) -> list[Action]:
        """Close the TCP connection that a session came on, unless another uses it."""
        if session.path.link in self._used_links():
            return []
        return self._links.leave(session.path)

    def _ipchange(self, session: PeerSession) -> list[Action]:
        endpoint = session.path.remote
        who = peer_environment(endpoint, session.identity)
        return self._host.ipchange(ipchange_arguments(endpoint), who)

    # --- attempts and losses -------------------------------------------------------------------

    def _stand_up(self, then: Callable[[Instant], list[Action]], now: Instant) -> list[Action]:
        """The host's side, which waits for nobody unless ``up-delay`` asks for that."""
        if self._context.config.scripts.up_delay:
            return then(now)
        tunnel = plan_tunnel(self._context.config, self._entry, None)
        notices = [log(Level.WARNING, notice) for notice in tunnel.notices]
        milestones = Milestones(_nothing, then, self._up_failed)
        return [*notices, *self._host.bring_up(tunnel, {}, milestones, now)]

    def _up_failed(self, reason: str, now: Instant) -> list[Action]:
        return self._give_up(f"Exiting due to fatal error: {reason}", now)

    def _listen(self, now: Instant) -> list[Action]:
        return self._open(self._entry, None)

    def _dial(self, remote: Remote, endpoint: Endpoint, now: Instant) -> list[Action]:
        return [*self._host.make_way(endpoint.address), *self._open(remote, endpoint)]

    def _open(self, entry: Remote, endpoint: Endpoint | None) -> list[Action]:
        place = self._links.take_place(entry, endpoint)
        self._word = "CONNECTING"
        return [OpenLink(place.link, link_spec(self._context.config, entry, endpoint))]

    def _end(self, ending: Ending, now: Instant) -> list[Action]:
        """The end of all, or the operator's wish for it."""
        if self._farewell is not None:
            return self._take_leave(now)
        if ending.then is Then.RECONNECT:
            return self._lost(ending, now)
        return self._stop(Finish(Outcome.EXIT, ending.reason), now, goodbye=ending.goodbye)

    def _lost(self, ending: Ending, now: Instant) -> list[Action]:
        self._note(Move.LOST)
        line = log(Level.NOTICE, f"SIGUSR1[soft,{ending.reason}] received, process restarting")
        actions = [line, *self._dialer.cancel(), *self._close_all()]

        def try_again(later: Instant) -> list[Action]:
            return self._stand_up(lambda up: self._dialer.after(ending, up), later)

        return actions + self._host.release(ending.reason, try_again, now)

    def _close_all(self) -> list[Action]:
        sessions = [each for each in (self._active, self._candidate) if each is not None]
        self._active = self._candidate = None
        self._connected_at = None
        closed = [action for session in sessions for action in session.close()]
        return closed + self._links.close()

    # --- the end -------------------------------------------------------------------------------

    def _stop(self, finish: Finish, now: Instant, *, goodbye: bool = False) -> list[Action]:
        """Say goodbye where that is wanted and possible, take everything down, finish."""
        whom = self._active if goodbye and self._connected_at is not None else None
        self._farewell = Farewell(whom, finish, now)
        actions = self._dialer.cancel()
        if whom is None or not self._farewell.is_long:
            return actions + self._take_leave(now)
        line = log(Level.INFO, f"{finish.reason} received, sending exit notification to peer")
        return [*actions, line, *self._run(whom, self._farewell.tick(now), now)]

    def _take_leave(self, now: Instant) -> list[Action]:
        """The goodbye is said, or a second signal was impatient."""
        farewell = self._farewell
        if farewell is None or farewell.is_over:
            return []
        farewell.is_over = True
        actions = self._close_all()
        reason = farewell.finish.reason
        return actions + self._host.take_down(reason, lambda later: self._over(farewell), now)

    def _over(self, farewell: Farewell) -> list[Action]:
        self._is_over = True
        return [farewell.finish]

    def _give_up(self, reason: str, now: Instant) -> list[Action]:
        """A fatal error: as OpenVPN, exit at once without ``down``."""
        self._is_over = True
        finish = Finish(Outcome.EXIT, reason, code=1)
        return [log(Level.FATAL, reason), *self._dialer.cancel(), finish]

    # --- helpers -------------------------------------------------------------------------------

    def _note(self, how: Move) -> None:
        self._word = _MOVES[how]

    def _state(self) -> str:
        if self._farewell is not None or self._is_over:
            return "EXITING"
        return "CONNECTED" if self._connected_at is not None else self._word

    def _used_links(self) -> set[LinkId]:
        return {each.path.link for each in (self._active, self._candidate) if each is not None}


def _nothing(now: Instant) -> list[Action]:
    return []
