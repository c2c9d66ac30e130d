"""The server's own start and end: host state, scripts, sockets. PURE.

RESOLVING   names of ``local`` are looked up
UP          host state is applied, the up script runs
ROUTE_UP    the route-up script runs
OPENING     the sockets are being opened
RUNNING     clients are served
NOTIFYING   clients were told to go, and have a moment to acknowledge
CLOSING     their disconnect scripts run
DOWN        route-pre-down and down run
DONE        Finish was given; nothing more is done
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum
from ipaddress import ip_address

from ovpn6.config.schema import Listen
from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    Announce,
    ApplyHost,
    Finish,
    HostResolved,
    LinkOpened,
    OpenLink,
    Outcome,
    Resolve,
)
from ovpn6.model.names import Instant, Level, LinkId, Signal, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.specs import LinkSpec, ScriptCall, ScriptResult
from ovpn6.protocol.messages import RESTART, RESTART_NEXT_SERVER
from ovpn6.roles import script_env
from ovpn6.roles.server_core import FAREWELL_JOBS, Job, JobKind, LinkState, ServerCore, TimerKind
from ovpn6.roles.server_leave import farewell, forget, save_pool
from ovpn6.roles.server_plan import host_plan
from ovpn6.roles.server_scripts import base_environment

NOTIFY_SECONDS = 2.0
"""How long clients may take to acknowledge that the server ends (OpenVPN ``multi.c``)."""
SCRIPT_SECONDS = 10.0
"""Longest time that the end waits for scripts."""


class Phase(Enum):
    """See the module."""

    IDLE = "idle"
    RESOLVING = "resolving"
    UP = "up"
    ROUTE_UP = "route-up"
    OPENING = "opening"
    RUNNING = "running"
    NOTIFYING = "notifying"
    CLOSING = "closing"
    DOWN = "down"
    DONE = "done"


ENDING_PHASES = frozenset({Phase.NOTIFYING, Phase.CLOSING, Phase.DOWN, Phase.DONE})
STATE_WORDS = {Phase.RUNNING: "CONNECTED", **dict.fromkeys(ENDING_PHASES, "EXITING")}
"""Other phases are ``CONNECTING``."""

_DOWN_TURN = ("host", "down")
"""route-pre-down ends before down begins."""
_OUTCOMES = {
    Signal.TERM: Outcome.EXIT,
    Signal.INT: Outcome.EXIT,
    Signal.HUP: Outcome.RELOAD,
    Signal.USR1: Outcome.RESTART,
}


@dataclass(slots=True)
class HostLife:
    """Where the server's own life stands. ``end`` is set once it is to end."""

    phase: Phase = Phase.IDLE
    addresses: dict[int, IPAddress | None] = field(default_factory=dict)
    """Resolved address of each listen entry, None is any."""
    end: Finish | None = None


def start(core: ServerCore, life: HostLife, device: str) -> None:
    """The device exists: look up what must be looked up, then go on."""
    core.device = device
    for warning in core.config.warnings:
        core.log(Level.WARNING, warning)
    _warn_of_oddities(core)
    life.phase = Phase.RESOLVING
    for index, listen in enumerate(core.server.listens):
        literal = _literal(listen.address)
        if literal is not None or not listen.address:
            life.addresses[index] = literal
            continue
        job = core.start(Job(JobKind.RESOLVE, index=index))
        core.emit(Resolve(job, listen.address, listen.port, listen.family))
    _resolved(core, life)


def resolved(
    core: ServerCore, life: HostLife, index: int, answer: HostResolved, now: Instant
) -> None:
    """A ``local`` name was looked up."""
    if not answer.endpoints:
        name = core.server.listens[index].address
        fail(core, life, HostError("resolve", f"local {name}: {answer.error}"))
        return
    life.addresses[index] = answer.endpoints[0].address
    _resolved(core, life)


def script_finished(core: ServerCore, life: HostLife, kind: JobKind, result: ScriptResult) -> None:
    """up, route-up or down ended."""
    if kind is JobKind.UP and life.phase is Phase.UP:
        if not result.ok:
            fail(core, life, HostError("up", f"script failed, exit code {result.exit_code}"))
        else:
            _route_up(core, life)
    elif kind is JobKind.ROUTE_UP and life.phase is Phase.ROUTE_UP:
        if not result.ok:
            core.log(Level.WARNING, f"route-up failed, exit code {result.exit_code}")
        _open_links(core, life)


def link_opened(core: ServerCore, life: HostLife, opened: LinkOpened) -> None:
    """One of our sockets is open."""
    state = core.links.get(opened.link)
    if state is None:
        return
    state.open = True
    core.log(Level.NOTICE, f"listening on {opened.local}, {state.transport.value}")
    if life.phase is Phase.OPENING and all(link.open for link in core.links.values()):
        life.phase = Phase.RUNNING
        core.emit(Announce())


def signalled(core: ServerCore, life: HostLife, signal: Signal, now: Instant) -> None:
    """The operator wants something. A second wish to end ends at once."""
    outcome = _OUTCOMES.get(signal)
    if outcome is None or life.phase is Phase.DONE:
        return
    keep = outcome is Outcome.RESTART and core.config.host.persist_tun
    if life.phase in ENDING_PHASES:
        _finish(core, life, now)
        return
    core.log(Level.NOTICE, f"{signal.value} received, ending")
    _begin_end(core, life, Finish(outcome, signal.value, keep_device=keep), now)


def lost(core: ServerCore, life: HostLife, what: str, now: Instant) -> None:
    """The device or one of our sockets is gone: clients are told, and all begins anew."""
    if life.phase not in ENDING_PHASES:
        core.log(Level.ERROR, f"{what}, restarting")
        _begin_end(core, life, Finish(Outcome.RESTART, what), now)


def shutdown_due(core: ServerCore, life: HostLife, now: Instant) -> None:
    """The present phase of the end has had its time."""
    steps: dict[Phase, Callable[[ServerCore, HostLife, Instant], None]] = {
        Phase.NOTIFYING: _close,
        Phase.CLOSING: _down,
        Phase.DOWN: _finish,
    }
    step = steps.get(life.phase)
    if step is not None:
        step(core, life, now)


def job_done(core: ServerCore, life: HostLife, now: Instant) -> None:
    """A job ended: maybe it was the last one that the end waited for."""
    if life.phase is Phase.CLOSING and not _has_jobs(core, *FAREWELL_JOBS):
        _down(core, life, now)
    elif life.phase is Phase.DOWN and not _has_jobs(core, JobKind.DOWN):
        _finish(core, life, now)


def fail(core: ServerCore, life: HostLife, error: HostError) -> None:
    """The host refused something without which there is no server."""
    if life.phase is Phase.DONE:
        return
    core.log(Level.FATAL, str(error))
    life.phase = Phase.DONE
    core.emit(Finish(Outcome.EXIT, str(error), code=1))


def link_spec(core: ServerCore, listen: Listen, address: IPAddress | None) -> LinkSpec:
    """The socket of one ``local``."""
    return LinkSpec(
        transport=listen.transport,
        family=listen.family,
        local_address=address,
        local_port=listen.port,
        options=core.config.sockets,
    )


def _resolved(core: ServerCore, life: HostLife) -> None:
    if life.phase is not Phase.RESOLVING or len(life.addresses) < len(core.server.listens):
        return
    life.phase = Phase.UP
    config, plan = core.config, core.plan
    core.emit(ApplyHost(host_plan(config, plan)))
    for address in plan.addresses:
        core.log(Level.NOTICE, f"{core.device}: {address}, MTU {config.host.tun_mtu}")
    if config.scripts.up:
        core.run(Job(JobKind.UP), _up_down(core, "up", config.scripts.up))
    else:
        _route_up(core, life)


def _route_up(core: ServerCore, life: HostLife) -> None:
    life.phase = Phase.ROUTE_UP
    command = core.config.scripts.route_up
    if not command:
        _open_links(core, life)
        return
    environment = base_environment(core)
    core.run(Job(JobKind.ROUTE_UP), ScriptCall("route-up", command, environment=environment))


def _open_links(core: ServerCore, life: HostLife) -> None:
    life.phase = Phase.OPENING
    if not core.server.listens:
        raise UsageError("a server without a socket")
    for index, listen in enumerate(core.server.listens):
        link = LinkId(index + 1)
        core.links[link] = LinkState(listen.transport)
        core.emit(OpenLink(link, link_spec(core, listen, life.addresses[index])))


def _begin_end(core: ServerCore, life: HostLife, end: Finish, now: Instant) -> None:
    life.end = end
    notify = core.server.explicit_exit_notify
    message = RESTART_NEXT_SERVER if notify == 2 else RESTART
    told = False
    for peer in core.peers:
        if notify and peer.admitted:
            farewell(core, peer, now, "server ends", message)
            told = True
    life.phase = Phase.NOTIFYING
    if told:
        core.timers.set((TimerKind.SHUTDOWN, 0), Instant(now + NOTIFY_SECONDS))
    else:
        _close(core, life, now)


def _close(core: ServerCore, life: HostLife, now: Instant) -> None:
    """Everyone goes; their scripts are told."""
    life.phase = Phase.CLOSING
    for peer in core.peers:
        forget(core, peer, now)
    save_pool(core, now)
    core.timers.set((TimerKind.SHUTDOWN, 0), Instant(now + SCRIPT_SECONDS))
    if not _has_jobs(core, *FAREWELL_JOBS):
        _down(core, life, now)


def _down(core: ServerCore, life: HostLife, now: Instant) -> None:
    life.phase = Phase.DOWN
    core.timers.set((TimerKind.SHUTDOWN, 0), Instant(now + SCRIPT_SECONDS))
    kept = life.end is not None and life.end.keep_device
    scripts = core.config.scripts
    for kind, command in (("route-pre-down", scripts.route_pre_down), ("down", scripts.down)):
        if command and (not kept or scripts.up_restart):
            core.run(
                Job(JobKind.DOWN, turn=_DOWN_TURN),
                _up_down(core, kind, command, _signal_name(life)),
            )
    if not _has_jobs(core, JobKind.DOWN):
        _finish(core, life, now)


def _finish(core: ServerCore, life: HostLife, now: Instant) -> None:
    if life.phase is Phase.NOTIFYING:
        for peer in core.peers:
            forget(core, peer, now)
        save_pool(core, now)
    life.phase = Phase.DONE
    core.timers.set((TimerKind.SHUTDOWN, 0), None)
    core.emit(life.end or Finish(Outcome.EXIT, "ended"))


def _up_down(core: ServerCore, kind: str, command: tuple[str, ...], signal: str = "") -> ScriptCall:
    environment = base_environment(core)
    if signal:
        environment["signal"] = signal
    arguments = script_env.up_down_arguments(
        core.device, core.config.host.tun_mtu, core.plan.addresses, core.script_context
    )
    return ScriptCall(kind, command, arguments, environment=environment)


def _signal_name(life: HostLife) -> str:
    return life.end.reason.lower() if life.end is not None else "sigterm"


def _has_jobs(core: ServerCore, *kinds: JobKind) -> bool:
    return any(job.kind in kinds for job in core.jobs.values())


def _literal(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _warn_of_oddities(core: ServerCore) -> None:
    """Settings that the server takes but that do less than they say."""
    host = core.config.host
    if host.block_ipv6:
        core.log(
            Level.WARNING,
            "block-ipv6 on a server: clients may only send from the addresses they were given"
            ' anyway; to block IPv6 on clients use push "block-ipv6"',
        )
    for order in host.routes:
        if order.destination is None:
            core.log(Level.WARNING, f"route {order.host}: means nothing on a server, left out")
    has_udp = any(listen.transport is Transport.UDP for listen in core.server.listens)
    if core.server.explicit_exit_notify and not has_udp:
        core.log(Level.NOTICE, "explicit-exit-notify: TCP clients notice the end anyway")
