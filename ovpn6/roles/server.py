"""The server: many clients on several sockets, one tunnel device. PURE.

:class:`ServerRole` only sorts what happened to the module that knows what to do about it:

    server_host       our own start and end          server_admission  strangers become candidates
    server_auth       candidates prove themselves    server_connect    settings, addresses, scripts
    server_data       options, keys, float           server_leave      how clients go
    server_peer       the table of a client's life   server_path       sizes that fit its path
    server_core       what they all share
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ovpn6.model.errors import UsageError, bug_text
from ovpn6.model.flow import (
    Action,
    ActionFailed,
    AddPeer,
    ApplyHost,
    ClientConfigRead,
    CloseLink,
    ControlReceived,
    DeviceLost,
    DropKey,
    FloatConflict,
    HostResolved,
    Input,
    InstallKey,
    KeyConfirmed,
    KeyWornOut,
    LinkAccepted,
    LinkClosed,
    LinkOpened,
    OpenLink,
    PacketTooBig,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
    ReadClientConfig,
    RemovePeer,
    Resolve,
    RunScript,
    SavePool,
    ScriptFinished,
    ScriptPending,
    SendControl,
    SendProbe,
    SignalReceived,
    Started,
    SwapKeys,
    Tick,
    UpdatePeer,
)
from ovpn6.model.names import Instant, JobId, Level, LinkId, PeerId
from ovpn6.model.specs import ScriptResult
from ovpn6.model.status import RoleStatus
from ovpn6.roles import (
    server_admission,
    server_auth,
    server_connect,
    server_data,
    server_host,
    server_leave,
    server_path,
    server_session,
)
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.server_core import Job, JobKind, ServerCore, TimerKind
from ovpn6.roles.server_host import ENDING_PHASES, STATE_WORDS, HostLife, Phase
from ovpn6.roles.server_keys import KeyFact
from ovpn6.roles.server_peer import PeerState, ServerPeer
from ovpn6.roles.server_plan import plan_server
from ovpn6.roles.server_setup import make_pool, make_tokens, shown_peers


class ServerRole:
    """See :class:`ovpn6.roles.interface.Role`.

    Raises ``ConfigError`` at construction for a token secret that is none.
    """

    def __init__(self, context: RoleContext) -> None:
        plan = plan_server(context.config)
        pool, self._notices = make_pool(context, plan)
        self._core = ServerCore(context, plan, pool, make_tokens(context))
        self._life = HostLife()
        self._connect_freq = server_admission.FrequencyLimit(*plan.server.connect_freq)

    def step(self, happened: Input, now: Instant) -> list[Action]:
        """Take one input; the actions are to be carried out in order."""
        core = self._core
        if self._life.phase is not Phase.DONE:
            self._inputs[type(happened)](self, happened, now)
            while core.events:
                peer, event = core.events.popleft()
                server_session.handle(core, peer, event, now)
            self._set_timers()
        return core.take_actions()

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted; None is never."""
        return None if self._life.phase is Phase.DONE else self._core.timers.next()

    def status(self) -> RoleStatus:
        """Now."""
        core = self._core
        return RoleStatus(
            is_server=True,
            state=STATE_WORDS.get(self._life.phase, "CONNECTING"),
            peers=shown_peers(core),
            counts=dict(core.counts),
        )

    # --- inputs --------------------------------------------------------------------------------

    def _started(self, happened: Started, now: Instant) -> None:
        for notice in self._notices:
            self._core.log(Level.WARNING, notice)
        server_host.start(self._core, self._life, happened.device)

    def _tick(self, happened: Tick, now: Instant) -> None:
        core = self._core
        for kind, number in core.timers.take_due(now):
            if kind is TimerKind.PEER:
                peer = core.peers.get(PeerId(number))
                if peer is not None:
                    self._guarded(peer, partial(self._peer_due, peer, now), now)
            elif kind is TimerKind.LINK:
                server_admission.link_idle(core, LinkId(number), now)
            elif kind is TimerKind.SHUTDOWN:
                server_host.shutdown_due(core, self._life, now)
            elif kind is TimerKind.SAVE_POOL:
                server_leave.save_pool(core, now)
        while core.events:
            peer, event = core.events.popleft()
            self._guarded(peer, partial(server_session.handle, core, peer, event, now), now)

    def _guarded(self, peer: ServerPeer, do: Callable[[], None], now: Instant) -> None:
        """A bug that one client finds in its own time ends its session, and nobody else's."""
        try:
            do()
        except Exception as error:
            why = f"{bug_text(error)}; the session was dropped"
            self._core.stranger(why, peer.about, now, Level.ERROR)
            server_leave.forget(self._core, peer, now)

    def _peer_due(self, peer: ServerPeer, now: Instant) -> None:
        core = self._core
        core.enqueue(peer, peer.connection.tick(now))
        server_path.tick(core, peer, now)
        token_due = peer.waiting.token_due
        if token_due is not None and now >= token_due:
            peer.waiting.token_due = None
            if peer.state is PeerState.ACTIVE:
                server_auth.send_new_token(core, peer, now)
        swap_at = peer.waiting.swap_at
        if swap_at is not None and now >= swap_at:
            server_data.swap_overdue(core, peer)
        deadline = peer.waiting.deadline
        if deadline is not None and now >= deadline:
            self._overdue(peer, now)

    def _overdue(self, peer: ServerPeer, now: Instant) -> None:
        core = self._core
        if peer.ending:
            server_leave.forget(core, peer, now)
        elif peer.state is PeerState.ACTIVE:
            server_data.session_over(core, peer, now)
        elif peer.state is PeerState.HANDSHAKE:
            server_leave.drop(core, peer, now, "handshake not done in time")
        else:
            server_leave.refuse(core, peer, now, f"still {peer.state.value} after hand-window")

    def _control_received(self, happened: ControlReceived, now: Instant) -> None:
        limit = None if self._life.phase in ENDING_PHASES else self._connect_freq
        server_admission.control_received(self._core, limit, happened, now)

    def _link_opened(self, happened: LinkOpened, now: Instant) -> None:
        server_host.link_opened(self._core, self._life, happened)

    def _link_accepted(self, happened: LinkAccepted, now: Instant) -> None:
        if self._life.phase in ENDING_PHASES:
            self._core.emit(CloseLink(happened.link))
        else:
            server_admission.link_accepted(self._core, happened, now)

    def _link_closed(self, happened: LinkClosed, now: Instant) -> None:
        state = self._core.links.get(happened.link)
        server_admission.link_closed(self._core, happened, now)
        if state is not None and state.listener is None:
            server_host.lost(self._core, self._life, f"socket closed: {happened.reason}", now)

    def _device_lost(self, happened: DeviceLost, now: Instant) -> None:
        server_host.lost(self._core, self._life, f"tunnel device lost: {happened.reason}", now)

    def _host_resolved(self, happened: HostResolved, now: Instant) -> None:
        job = self._core.finish(happened.job)
        if job is not None:
            server_host.resolved(self._core, self._life, job.index, happened, now)

    def _script_finished(self, happened: ScriptFinished, now: Instant) -> None:
        self._script_ended(happened.job, happened.result, now)

    def _script_ended(self, job_id: JobId, result: ScriptResult, now: Instant) -> None:
        core = self._core
        job = core.finish(job_id)
        if job is None:
            return
        peer = core.peers.get(job.peer)
        if peer is not None and job.kind in _PEER_SCRIPTS:
            core.touch(peer)
            _PEER_SCRIPTS[job.kind](core, peer, job, result, now)
        elif not result.ok and job.kind in (JobKind.CLIENT_DISCONNECT, JobKind.UNLEARN):
            core.log(Level.WARNING, f"{job.kind.value} script failed, exit {result.exit_code}")
        server_host.script_finished(core, self._life, job.kind, result)
        server_host.job_done(core, self._life, now)

    def _script_pending(self, happened: ScriptPending, now: Instant) -> None:
        job = self._core.jobs.get(happened.job)
        peer = self._core.peers.get(job.peer) if job is not None else None
        if peer is not None:
            server_auth.pending(self._core, peer, happened, now)

    def _client_config_read(self, happened: ClientConfigRead, now: Instant) -> None:
        core = self._core
        job = core.finish(happened.job)
        peer = core.peers.get(job.peer) if job is not None else None
        if job is None or peer is None:
            return
        core.touch(peer)
        if job.kind is JobKind.CLIENT_CONFIG:
            server_connect.client_config_read(core, peer, happened, now)
        else:
            server_auth.recheck_read(core, peer, job.key_id, happened, now)

    def _peer_floated(self, happened: PeerFloated, now: Instant) -> None:
        peer = self._core.peers.get(happened.peer)
        if peer is not None:
            server_data.floated(self._core, peer, happened.path, now)

    def _float_conflict(self, happened: FloatConflict, now: Instant) -> None:
        core = self._core
        peer = core.peers.get(happened.peer)
        if peer is not None and peer.state is PeerState.ACTIVE:
            owner = core.peers.get(happened.owner)
            server_data.float_conflict(core, peer, owner, happened.path, now)

    def _peer_expired(self, happened: PeerExpired, now: Instant) -> None:
        self._drop(happened.peer, now, "nothing heard for the keepalive timeout")

    def _peer_inactive(self, happened: PeerInactive, now: Instant) -> None:
        self._drop(happened.peer, now, "inactive")

    def _peer_exited(self, happened: PeerExited, now: Instant) -> None:
        self._goodbye(self._core.peers.get(happened.peer), now)

    def _key_worn_out(self, happened: KeyWornOut, now: Instant) -> None:
        peer = self._core.peers.get(happened.peer)
        if peer is not None and peer.state is PeerState.ACTIVE:
            self._core.enqueue(peer, peer.connection.renegotiate(now))

    def _key_confirmed(self, happened: KeyConfirmed, now: Instant) -> None:
        peer = self._core.peers.get(happened.peer)
        if peer is not None and peer.state is PeerState.ACTIVE:
            server_data.key_fact(self._core, peer, happened.key_id, KeyFact.CONFIRMED)

    def _packet_too_big(self, happened: PacketTooBig, now: Instant) -> None:
        server_path.too_big(self._core, happened, now)

    def _signal_received(self, happened: SignalReceived, now: Instant) -> None:
        server_host.signalled(self._core, self._life, happened.signal, now)

    def _action_failed(self, happened: ActionFailed, now: Instant) -> None:
        core, action, error = self._core, happened.action, happened.error
        match action:
            case OpenLink() | ApplyHost() | Resolve():
                server_host.fail(core, self._life, error)
            case RunScript():
                core.log(Level.ERROR, str(error))
                self._script_ended(action.job, ScriptResult(ok=False), now)
            case ReadClientConfig():
                self._config_unreadable(action.job, str(error), now)
            case AddPeer() | UpdatePeer():
                self._drop(action.spec.peer, now, str(error))
            case InstallKey() | SwapKeys() | DropKey():
                self._drop(action.peer, now, str(error))
            case SendProbe():
                server_path.refused(core, action, error, now)
            case SendControl():
                core.count("control packets not sent")
            case SavePool() | RemovePeer():
                core.log(Level.ERROR, str(error))
            case _:
                core.log(Level.WARNING, str(error))

    def _config_unreadable(self, job_id: JobId, why: str, now: Instant) -> None:
        job = self._core.finish(job_id)
        peer = self._core.peers.get(job.peer) if job is not None else None
        if peer is not None:
            server_leave.refuse(self._core, peer, now, why, "Server configuration error")

    def _drop(self, number: PeerId, now: Instant, why: str) -> None:
        peer = self._core.peers.get(number)
        if peer is not None and not peer.ending:
            server_leave.drop(self._core, peer, now, why)

    def _goodbye(self, peer: ServerPeer | None, now: Instant) -> None:
        if peer is not None:
            server_leave.farewell(self._core, peer, now, "the client said goodbye")

    def _set_timers(self) -> None:
        core = self._core
        for peer in core.touched.values():
            if peer.state is not PeerState.GONE:
                waiting = peer.waiting
                moments = (
                    peer.connection.next_deadline(),
                    waiting.deadline,
                    waiting.token_due,
                    waiting.swap_at,
                    peer.sizes.deadline if peer.sizes is not None else None,
                )
                due = min((moment for moment in moments if moment is not None), default=None)
                core.timers.set((TimerKind.PEER, peer.peer), due)
        core.touched.clear()

    _inputs: dict[type[Input], Callable[..., None]] = {  # noqa: RUF012
        Started: _started,
        Tick: _tick,
        ControlReceived: _control_received,
        LinkOpened: _link_opened,
        LinkAccepted: _link_accepted,
        LinkClosed: _link_closed,
        DeviceLost: _device_lost,
        HostResolved: _host_resolved,
        ScriptFinished: _script_finished,
        ScriptPending: _script_pending,
        ClientConfigRead: _client_config_read,
        PeerFloated: _peer_floated,
        FloatConflict: _float_conflict,
        PeerExpired: _peer_expired,
        PeerInactive: _peer_inactive,
        PeerExited: _peer_exited,
        KeyWornOut: _key_worn_out,
        KeyConfirmed: _key_confirmed,
        PacketTooBig: _packet_too_big,
        SignalReceived: _signal_received,
        ActionFailed: _action_failed,
    }


_PeerScript = Callable[[ServerCore, ServerPeer, Job, ScriptResult, Instant], None]


def _password_judged(
    core: ServerCore, peer: ServerPeer, job: Job, result: ScriptResult, now: Instant
) -> None:
    server_auth.password_judged(core, peer, job.key_id, result, now)


def _metadata_judged(
    core: ServerCore, peer: ServerPeer, job: Job, result: ScriptResult, now: Instant
) -> None:
    server_auth.metadata_judged(core, peer, result, now)


def _connect_finished(
    core: ServerCore, peer: ServerPeer, job: Job, result: ScriptResult, now: Instant
) -> None:
    server_connect.connect_script_finished(core, peer, result, now)


def _network_learned(
    core: ServerCore, peer: ServerPeer, job: Job, result: ScriptResult, now: Instant
) -> None:
    if job.network is None:
        raise UsageError("a learn-address job without a network")
    server_connect.network_learned(core, peer, job.network, result, now)


_PEER_SCRIPTS: dict[JobKind, _PeerScript] = {
    JobKind.VERIFY_PASSWORD: _password_judged,
    JobKind.VERIFY_METADATA: _metadata_judged,
    JobKind.CLIENT_CONNECT: _connect_finished,
    JobKind.LEARN: _network_learned,
}
