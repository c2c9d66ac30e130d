"""One of two equal ends: ``tls-server`` or ``tls-client`` without ``pull``. PURE.

What the tunnel has on the host is in the file, so it stands before the peer comes. Who knows the
other's address begins; both may. There is at most one session that carries data and one that may
come in its place: a peer that was restarted begins anew beside the old session, which goes when the
new one is authenticated.

Parts: what it has in common with a client (``one_peer_role``), one session
(``point_to_point_session``), who may begin one (``point_to_point_admission``), the sockets
(``point_to_point_links``), what follows from the configuration (``point_to_point_plan``).

Source: OpenVPN ``ssl.c`` (tls_pre_decrypt, tls_multi_process), ``init.c`` (do_up), ``socket.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ovpn6.config.schema import Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, PeerError, UsageError
from ovpn6.model.flow import Action, Finish, Input, OpenLink
from ovpn6.model.names import Instant, Level, LinkId, Transport
from ovpn6.roles.client_env import peer_environment
from ovpn6.roles.client_host import Milestones
from ovpn6.roles.client_news import Answered, Authenticated, Configured, Ending, Step, Then, log
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.client_states import Move
from ovpn6.roles.deadlines import earliest
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.one_peer_role import OnePeerRole
from ovpn6.roles.point_to_point_admission import Admission, Admitted
from ovpn6.roles.point_to_point_links import Links, Place
from ovpn6.roles.point_to_point_listener import Listener
from ovpn6.roles.point_to_point_plan import link_spec, may_come, plan_tunnel
from ovpn6.roles.point_to_point_session import PeerSession

STALE = 3.0
"""Seconds after which a handshake that hears nothing gives way to another."""

_MOVES = {
    Move.LOOK_UP: "RESOLVE",
    Move.DIAL: "CONNECTING",
    Move.LOST: "RECONNECTING",
    Move.STOP: "EXITING",
}


class PointToPointRole(OnePeerRole):
    """See :class:`ovpn6.roles.interface.Role`. The context must have a point-to-point configuration
    and, by the part in TLS, ``acceptor`` or ``wrapping``."""

    def __init__(self, context: RoleContext) -> None:
        client, both = context.config.client, context.config.point_to_point
        if client is None or both is None:
            raise UsageError("not one of two equal ends")
        listener = None
        if both.passive is not None:
            listener = Listener(self._listen, client.connect_retry[0])
        super().__init__(context, client, listener)
        self._both = both
        self._entry = both.passive or client.remotes[0]
        self._links = Links()
        self._admission = Admission(context)
        self._active: PeerSession | None = None
        self._candidate: PeerSession | None = None
        self._said = "CONNECTING"
        self._is_over = False

    # --- the interface -------------------------------------------------------------------------

    def step(self, happened: Input, now: Instant) -> list[Action]:
        """Take one input."""
        if self._is_over and not isinstance(happened, flow.ScriptFinished):
            return []
        if isinstance(happened, flow.LinkAccepted):
            return self._came(happened, now)
        return super().step(happened, now)

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted."""
        if self._is_over:
            return None
        parts = (self._dialer, self._host, self._active, self._candidate, self._farewell)
        moments = (part.next_deadline() for part in parts if part is not None)
        return earliest(*moments, self._links.next_deadline(self._used_links()))

    # --- where it stands -----------------------------------------------------------------------

    @property
    def _current(self) -> PeerSession | None:
        return self._active

    @property
    def _word(self) -> str:
        if self._is_leaving or self._is_over:
            return "EXITING"
        return "CONNECTED" if self._connected_at is not None else self._said

    @property
    def _is_leaving(self) -> bool:
        return self._farewell is not None

    @property
    def _is_pausing(self) -> bool:
        return self._links.place is None and not self._is_leaving

    def _note(self, how: Move) -> None:
        self._said = _MOVES[how]

    # --- inputs --------------------------------------------------------------------------------

    def _tick(self, now: Instant) -> list[Action]:
        actions = self._host.tick(now)
        for session in (self._active, self._candidate):
            if session is not None and session in (self._active, self._candidate):
                actions += self._run_for(session, self._tick_session(session, now), now)
        if self._farewell is not None and self._active is not None:
            actions += self._run(self._farewell.tick(now), now)
        actions += self._links.impatient(self._used_links(), now)
        return actions + self._dialer.tick(now)

    def _take(self, received: flow.ControlReceived, now: Instant) -> list[Action]:
        path, datagram = received.path, received.datagram
        for session in (self._active, self._candidate):
            if session is not None and session.owns(path, datagram):
                return self._run_for(session, session.receive(path, datagram, now), now)
        return self._stranger(path, datagram, now)

    def _opened(self, opened: flow.LinkOpened, now: Instant) -> list[Action]:
        place = self._links.place
        if place is None or place.link != opened.link or self._farewell is not None:
            return []
        self._said = "WAIT"
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

    def _not_opened(self, link: LinkId, error: HostError, now: Instant) -> list[Action]:
        if not self._links.knows(link):
            return []
        self._links.lost(link)
        if self._both.passive is not None:
            return self._up_failed(str(error), now)
        line = log(Level.ERROR, str(error))
        return [line, *self._end(Ending("socket-error", hurry=True), now)]

    # --- who may begin -------------------------------------------------------------------------

    def _begin(self, place: Place, path: Path, now: Instant) -> list[Action]:
        """Send the first packet, if that is our part."""
        session = self._admission.first(place.entry, path)
        if session is None:
            return []
        self._candidate = session
        return self._run_for(session, session.initiate(now), now)

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
        return actions + self._run_for(found.session, found.steps, now)

    # --- a session's steps ---------------------------------------------------------------------

    def _run(self, steps: list[Step], now: Instant) -> list[Action]:
        return self._run_for(self._active, steps, now) if self._active is not None else []

    def _run_for(self, session: PeerSession, steps: list[Step], now: Instant) -> list[Action]:
        """As ``_run``, for a session that need not be the current one."""
        actions: list[Action] = []
        for step in steps:
            match step:
                case Ending():
                    return actions + self._ended(session, step, now)
                case Answered():
                    self._said = "AUTH"
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
        environment = peer_environment(session.path.remote, session.identity)
        return way + self._bring_up(tunnel, environment, announce, now)

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

    # --- attempts and losses -------------------------------------------------------------------

    def _stand_up(self, then: Callable[[Instant], list[Action]], now: Instant) -> list[Action]:
        """The host's side, which waits for nobody unless ``up-delay`` asks for that."""
        if self._context.config.scripts.up_delay:
            return then(now)
        return self._bring_up(plan_tunnel(self._context.config, self._entry, None), {}, then, now)

    def _bring_up(
        self,
        tunnel: Tunnel,
        environment: Mapping[str, str],
        then: Callable[[Instant], list[Action]],
        now: Instant,
    ) -> list[Action]:
        notices = [log(Level.WARNING, notice) for notice in tunnel.notices]
        milestones = Milestones(_nothing, then, self._up_failed)
        return [*notices, *self._host.bring_up(tunnel, environment, milestones, now)]

    def _listen(self, now: Instant) -> list[Action]:
        return self._open(self._entry, None)

    def _dial(self, remote: Remote, endpoint: Endpoint, now: Instant) -> list[Action]:
        return [*self._host.make_way(endpoint.address), *self._open(remote, endpoint)]

    def _open(self, entry: Remote, endpoint: Endpoint | None) -> list[Action]:
        place = self._links.take_place(entry, endpoint)
        self._said = "CONNECTING"
        return [OpenLink(place.link, link_spec(self._context.config, entry, endpoint))]

    def _close(self) -> list[Action]:
        sessions = [each for each in (self._active, self._candidate) if each is not None]
        self._active = self._candidate = None
        self._connected_at = None
        closed = [action for session in sessions for action in session.close()]
        return closed + self._links.close()

    def _finish(self, finish: Finish) -> list[Action]:
        self._is_over = True
        return super()._finish(finish)

    # --- helpers -------------------------------------------------------------------------------

    def _used_links(self) -> set[LinkId]:
        return {each.path.link for each in (self._active, self._candidate) if each is not None}


def _nothing(now: Instant) -> list[Action]:
    return []
