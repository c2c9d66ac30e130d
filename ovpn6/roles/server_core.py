"""What the parts of the server share: its peers, tables, jobs, and the list of actions. PURE.

One object, no decisions: the ``server_*`` modules are functions over it, and ``server.py`` calls
them. Everything a step wants done goes through :meth:`ServerCore.emit`, in order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import field
from enum import Enum

from ovpn6.config.schema import ServerConfig, TunnelConfig
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import Action, CancelJob, Log, RunScript
from ovpn6.model.names import (
    NO_PEER_ID,
    Instant,
    JobId,
    KeyId,
    Level,
    LinkId,
    PeerId,
    SessionId,
    Transport,
)
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import ScriptCall
from ovpn6.protocol.events import Event
from ovpn6.roles.address_pool import AddressPool
from ovpn6.roles.auth_token import TokenAuthority
from ovpn6.roles.deadlines import Deadlines
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.route_table import RouteTable
from ovpn6.roles.server_peer import ServerPeer
from ovpn6.roles.server_plan import ServerPlan

STRANGER_LOG_SECONDS = 60
"""At most one log line in this time for each thing a stranger can trigger; the rest is counted."""


class JobKind(Enum):
    """What a slow action was for."""

    RESOLVE = "resolve a local address"
    UP = "up"
    ROUTE_UP = "route-up"
    DOWN = "down"
    VERIFY_PASSWORD = "auth-user-pass-verify"
    VERIFY_METADATA = "tls-crypt-v2-verify"
    CLIENT_CONFIG = "client-config-dir"
    RECHECK_CLIENT_CONFIG = "ccd-exclusive at renegotiation"
    CLIENT_CONNECT = "client-connect"
    LEARN = "learn-address"
    CLIENT_DISCONNECT = "client-disconnect"
    UNLEARN = "learn-address delete"


FAREWELL_JOBS = frozenset({JobKind.CLIENT_DISCONNECT, JobKind.LEARN, JobKind.UNLEARN})
"""Jobs that end by themselves when their peer has gone; only the end of the process waits."""

Turn = tuple[str, str]
"""Scripts with the same turn run one after another, in the order they were asked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """One slow action under way, or waiting for its ``turn``. ``index``: RESOLVE's listen entry."""

    kind: JobKind
    peer: PeerId | None = None
    key_id: KeyId = KeyId(0)
    network: IPNetwork | None = None
    index: int = 0
    turn: Turn | None = None


@dataclass(slots=True)
class LinkState:
    """One outer socket. ``listener`` is set for an accepted TCP connection."""

    transport: Transport
    listener: LinkId | None = None
    open: bool = False
    spoken: bool = False
    """A TCP connection became a peer."""


class PeerTable:
    """The peers, found by id and by (link, remote endpoint, session id)."""

    def __init__(self) -> None:
        self._by_id: dict[PeerId, ServerPeer] = {}
        self._by_path: dict[tuple[LinkId, Endpoint], dict[SessionId, ServerPeer]] = {}
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[ServerPeer]:
        """Over a copy: peers may go while it runs."""
        return iter(tuple(self._by_id.values()))

    def get(self, peer: PeerId | None) -> ServerPeer | None:
        """The peer under an id."""
        return None if peer is None else self._by_id.get(peer)

    def find(self, path: Path, session: SessionId) -> ServerPeer | None:
        """The peer a control packet belongs to."""
        return self._by_path.get((path.link, path.remote), {}).get(session)

    def on_path(self, path: Path) -> tuple[ServerPeer, ...]:
        """All peers at one remote endpoint of one link."""
        return tuple(self._by_path.get((path.link, path.remote), {}).values())

    def new_id(self) -> PeerId:
        """An id nobody has; as long as possible after its last use, for late packets' sake."""
        for _ in range(NO_PEER_ID):
            candidate = PeerId(self._next_id)
            self._next_id = (self._next_id + 1) % NO_PEER_ID
            if candidate not in self._by_id:
                return candidate
        raise UsageError("no peer id is left")

    def add(self, peer: ServerPeer) -> None:
        """Make a peer known."""
        self._by_id[peer.peer] = peer
        self._index(peer)

    def move(self, peer: ServerPeer, path: Path) -> None:
        """The peer is reached by another path now. Session ids are the clients' choice: one that
        has the same there loses its place, and ends by its deadline."""
        self._unindex(peer)
        peer.path = path
        self._index(peer)

    def renumber(self, peer: ServerPeer, number: PeerId) -> None:
        """Another id, which must be free, for a known peer."""
        if number in self._by_id:
            raise UsageError(f"peer id {number} is in use")
        del self._by_id[peer.peer]
        peer.peer = number
        self._by_id[number] = peer

    def remove(self, peer: ServerPeer) -> None:
        """Forget a peer."""
        del self._by_id[peer.peer]
        self._unindex(peer)

    def _index(self, peer: ServerPeer) -> None:
        where = (peer.path.link, peer.path.remote)
        self._by_path.setdefault(where, {})[peer.remote_session] = peer

    def _unindex(self, peer: ServerPeer) -> None:
        where = (peer.path.link, peer.path.remote)
        sessions = self._by_path.get(where, {})
        if sessions.get(peer.remote_session) is not peer:
            return
        del sessions[peer.remote_session]
        if not sessions:
            del self._by_path[where]


class TimerKind(Enum):
    """Whose deadline it is; the number beside it is a peer id, a link id, or 0."""

    PEER = "peer"
    LINK = "a TCP connection that has not become a peer"
    SHUTDOWN = "the end of what a shutdown waits for"
    SAVE_POOL = "the pool file may be written again"


Timer = tuple[TimerKind, int]


@dataclass(slots=True, eq=False)
class ServerCore:
    """The server's memory."""

    context: RoleContext
    plan: ServerPlan
    pool: AddressPool | None = None
    tokens: TokenAuthority | None = None
    device: str = ""
    peers: PeerTable = field(default_factory=PeerTable)
    routes: RouteTable = field(default_factory=RouteTable)
    links: dict[LinkId, LinkState] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    timers: Deadlines[Timer] = field(default_factory=Deadlines)
    counts: Counter[str] = field(default_factory=Counter)
    actions: list[Action] = field(default_factory=list)
    last_actions: list[Action] = field(default_factory=list)
    events: deque[tuple[ServerPeer, Event]] = field(default_factory=deque)
    """What connections said, to be handled in this step after what is going on."""
    touched: dict[PeerId, ServerPeer] = field(default_factory=dict)
    """Peers whose deadline may have changed in this step."""
    pool_saved_at: Instant | None = None
    script_context: str = "init"
    _turns: dict[Turn, deque[RunScript]] = field(default_factory=dict)
    """The first of each is running."""
    _last_job: int = 0
    _last_log: dict[str, Instant] = field(default_factory=dict)

    @property
    def config(self) -> TunnelConfig:
        """The whole configuration."""
        return self.context.config

    @property
    def server(self) -> ServerConfig:
        """What only a server has."""
        return self.plan.server

    def emit(self, *actions: Action) -> None:
        """To be done after all that was emitted before."""
        self.actions += actions

    def emit_last(self, *actions: Action) -> None:
        """To be done at the end of the step: nobody waits for it."""
        self.last_actions += actions

    def take_actions(self) -> list[Action]:
        """What this step wants done."""
        actions = self.actions + self.last_actions
        self.actions, self.last_actions = [], []
        return actions

    def enqueue(self, peer: ServerPeer, events: list[Event]) -> None:
        """Handle these after what is going on now, in order."""
        self.touch(peer)
        self.events.extend((peer, event) for event in events)

    def touch(self, peer: ServerPeer) -> None:
        """Its deadline may have changed."""
        self.touched[peer.peer] = peer

    def log(self, level: Level, text: str, peer: ServerPeer | None = None) -> None:
        """One line, about a peer or ourselves."""
        self.emit(Log(level, text, peer.about if peer else ""))

    def count(self, reason: str) -> None:
        """One more of something that nobody needs to read about each time."""
        known = reason in self.counts or len(self.counts) < _MOST_REASONS
        self.counts[reason if known else "other reasons"] += 1

    def stranger(self, reason: str, about: str, now: Instant, level: Level = Level.INFO) -> None:
        """Count what a stranger did; log it when that reason was not logged for a while."""
        reason = reason[:_LONGEST_REASON]
        self.count(reason)
        last = self._last_log.get(reason)
        if last is not None and now < last + STRANGER_LOG_SECONDS:
            return
        if last is None and len(self._last_log) >= _MOST_REASONS:
            self._forget_logged(now)
            if len(self._last_log) >= _MOST_REASONS:
                return
        self._last_log[reason] = now
        self.emit(Log(level, f"dropped: {reason} ({self.counts[reason]} so far)", about))

    def _forget_logged(self, now: Instant) -> None:
        """Reasons of a while ago make room for new ones."""
        self._last_log = {
            reason: at for reason, at in self._last_log.items() if now < at + STRANGER_LOG_SECONDS
        }

    def start(self, job: Job) -> JobId:
        """A new job; the caller emits its action."""
        self._last_job += 1
        job_id = JobId(self._last_job)
        self.jobs[job_id] = job
        return job_id

    def run(self, job: Job, call: ScriptCall) -> None:
        """Run a script, once those of the same turn before it have ended."""
        order = RunScript(self.start(job), call)
        if job.turn is None:
            self.emit(order)
            return
        queue = self._turns.setdefault(job.turn, deque())
        queue.append(order)
        if len(queue) == 1:
            self.emit(order)

    def finish(self, job_id: JobId) -> Job | None:
        """A job has ended; None when nobody waits for it. The next of its turn begins."""
        job = self.jobs.pop(job_id, None)
        if job is not None:
            self._leave_turn(job_id, job)
        return job

    def inherit_id(self, peer: ServerPeer, number: PeerId) -> None:
        """A peer that nothing outside knows yet takes the id of one that was removed."""
        self.timers.set((TimerKind.PEER, peer.peer), None)
        for job_id, job in self.jobs.items():
            if job.peer == number:  # scripts that run on tell nothing about the successor
                self.jobs[job_id] = replace(job, peer=None)
        self.peers.renumber(peer, number)
        self.touch(peer)

    def cancel_jobs(self, peer: PeerId) -> None:
        """Nobody waits for this peer's jobs any more; its farewell scripts run on."""
        for job_id, job in tuple(self.jobs.items()):
            if job.peer == peer and job.kind not in FAREWELL_JOBS:
                del self.jobs[job_id]
                self.emit(CancelJob(job_id))
                self._leave_turn(job_id, job)

    def _leave_turn(self, job_id: JobId, job: Job) -> None:
        queue = self._turns.get(job.turn) if job.turn is not None else None
        if job.turn is None or queue is None:
            return
        was_running = queue[0].job == job_id
        remaining = deque(order for order in queue if order.job != job_id)
        if not remaining:
            del self._turns[job.turn]
            return
        self._turns[job.turn] = remaining
        if was_running:
            self.emit(remaining[0])

    def wall(self, now: Instant) -> float:
        """Unix time."""
        return now + self.context.wall_offset


_MOST_REASONS = 200
_LONGEST_REASON = 300
"""Bound what reasons with a stranger's words in them could make us remember."""
