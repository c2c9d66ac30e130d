"""Datagrams and connections of strangers: who becomes a candidate. PURE.

What a stranger can make us remember is bounded here: a candidate needs the third packet of the
handshake, there are only so many at a time, and each has ``hand-window`` seconds.
"""

from __future__ import annotations

from ovpn6.model.addresses import Path
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.flow import CloseLink, ControlReceived, LinkAccepted, LinkClosed, SendControl
from ovpn6.model.names import Instant, Level, LinkId, SessionId, Transport
from ovpn6.model.records import dataclass
from ovpn6.protocol.acceptor import Accepted, Ignored, Reply
from ovpn6.protocol.connection import Connection
from ovpn6.protocol.packets import HEADER_SIZE
from ovpn6.roles import server_auth
from ovpn6.roles.server_core import LinkState, ServerCore, TimerKind
from ovpn6.roles.server_leave import drop, forget
from ovpn6.roles.server_peer import ServerPeer
from ovpn6.roles.server_plan import connection_settings

RESET_PAUSE = 0.9
"""Seconds; a client that was not answered asks again after one."""
LEAST_CANDIDATES = 64
"""So many half-open connections are allowed even when ``max-clients`` is small."""


@dataclass(slots=True)
class FrequencyLimit:
    """``connect-freq``: at most ``count`` in each period of ``seconds``; 0 is no limit."""

    count: int
    seconds: int
    _used: int = 0
    _since: Instant | None = None

    def take(self, now: Instant) -> bool:
        """Whether one more may come now."""
        if not self.count or not self.seconds:
            return True
        if self._since is None or now >= self._since + self.seconds:
            self._since, self._used = now, 0
        self._used += 1
        return self._used <= self.count


def control_received(
    core: ServerCore, limit: FrequencyLimit | None, received: ControlReceived, now: Instant
) -> None:
    """A control datagram: of a known peer, or a stranger's. No ``limit``: nobody new may come."""
    datagram, path = received.datagram, received.path
    peer = core.peers.find(path, SessionId(datagram[1:HEADER_SIZE]))
    if peer is None:
        if limit is not None:
            _stranger(core, limit, path, datagram, now)
        return
    try:
        core.enqueue(peer, peer.connection.receive(datagram, now))
    except PeerError as error:
        core.stranger(str(error), peer.about, now)


def link_accepted(core: ServerCore, accepted: LinkAccepted, now: Instant) -> None:
    """A TCP connection; it must become a peer within the hand window."""
    waiting = sum(
        1 for state in core.links.values() if state.listener is not None and not state.spoken
    )
    if waiting >= _most_candidates(core):
        core.stranger("too many TCP connections that say nothing", str(accepted.remote), now)
        core.emit(CloseLink(accepted.link))
        return
    core.links[accepted.link] = LinkState(Transport.TCP, accepted.listener, open=True)
    core.timers.set((TimerKind.LINK, accepted.link), Instant(now + core.config.control.hand_window))


def link_idle(core: ServerCore, link: LinkId, now: Instant) -> None:
    """The hand window of a TCP connection is over."""
    state = core.links.get(link)
    if state is not None and not state.spoken:
        del core.links[link]
        core.stranger("TCP connection that never became a peer", f"link {link}", now)
        core.emit(CloseLink(link))


def link_closed(core: ServerCore, closed: LinkClosed, now: Instant) -> None:
    """A TCP connection ended."""
    core.links.pop(closed.link, None)
    core.timers.set((TimerKind.LINK, closed.link), None)
    for peer in _peers_of(core, closed.link):
        if peer.ending:
            forget(core, peer, now)
        else:
            drop(core, peer, now, f"TCP connection closed: {closed.reason}")


def _stranger(
    core: ServerCore, limit: FrequencyLimit, path: Path, datagram: bytes, now: Instant
) -> None:
    state = core.links.get(path.link)
    if state is None:
        core.count("datagram on a closed link")
        return
    acceptor = core.context.acceptor
    if acceptor is None:
        raise UsageError("a server needs an acceptor")
    verdict = acceptor.receive(path, datagram, now, transport=state.transport)
    match verdict:
        case Reply():
            if _answers_reset(core, path, now):
                core.emit(SendControl(path, verdict.datagram))
            else:
                core.stranger("reset beside a living session", str(path), now)
        case Ignored():
            core.stranger(verdict.reason, str(path), now)
        case Accepted():
            if not limit.take(now):
                core.stranger("over connect-freq", str(path), now)
            elif not _has_room(core):
                core.stranger("too many half-open connections", str(path), now)
            else:
                _begin(core, path, state.transport, verdict, datagram, now)


def _answers_reset(core: ServerCore, path: Path, now: Instant) -> bool:
    """Whether a reset, which anybody may have forged or replayed, gets its answer now.

    Beside a living session only one in a while does: each answer makes OpenVPN's client begin anew,
    and a second one in the midst of that breaks it off after we have left the old session.
    """
    for peer in core.peers.on_path(path):
        if peer.admitted:
            last = peer.waiting.reset_answered
            if last is not None and now < last + RESET_PAUSE:
                return False
            peer.waiting.reset_answered = now
    return True


def _begin(
    core: ServerCore,
    path: Path,
    transport: Transport,
    accepted: Accepted,
    datagram: bytes,
    now: Instant,
) -> None:
    context = core.context
    connection = Connection(
        connection_settings(core.config, transport, context.wall_offset, context.entropy),
        accepted.wrapper,
        context.tls,
        context.entropy,
    )
    try:
        events = connection.accept(accepted.local, accepted.remote, datagram, now)
    except PeerError as error:
        core.stranger(str(error), str(path), now)
        return
    peer = ServerPeer(
        peer=core.peers.new_id(),
        path=path,
        transport=transport,
        remote_session=accepted.remote,
        connection=connection,
        created=now,
    )
    peer.waiting.deadline = Instant(now + core.config.control.hand_window)
    core.peers.add(peer)
    core.links[path.link].spoken = True
    core.log(Level.DEBUG, "new connection", peer)
    if accepted.metadata is not None:
        server_auth.start_metadata_check(core, peer, accepted.metadata)
    core.enqueue(peer, events)


def _most_candidates(core: ServerCore) -> int:
    return max(LEAST_CANDIDATES, core.server.max_clients)


def _has_room(core: ServerCore) -> bool:
    clients = sum(1 for peer in core.peers if peer.admitted)
    return len(core.peers) - clients < _most_candidates(core)


def _peers_of(core: ServerCore, link: LinkId) -> list[ServerPeer]:
    return [peer for peer in core.peers if peer.path.link == link]
