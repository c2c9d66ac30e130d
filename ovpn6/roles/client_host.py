"""The host's side of a client's tunnel: addresses, scripts and routes, in OpenVPN's order. PURE.

Up: addresses and MTU, ``up``, (``route-delay``), routes, ``route-up``. Down: ``route-pre-down``,
routes and addresses away, ``down`` (before that with ``down-pre``). With ``persist-tun`` a lost
server changes nothing here; when the next push looks the same, nothing is touched and no script
runs unless ``up-restart`` asks for it.

Source: OpenVPN ``init.c`` (do_up, do_open_tun, do_close_tun, do_route, run_up_down).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ovpn6.model.addresses import IPAddress
from ovpn6.model.flow import Action, ApplyHost, RunScript
from ovpn6.model.names import Instant, Level
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import HostPlan, ScriptResult
from ovpn6.roles.client_env import remotes_environment, script_call, tunnel_environment
from ovpn6.roles.client_jobs import JobIds, Jobs
from ovpn6.roles.client_news import log
from ovpn6.roles.client_plan import Tunnel
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.route_plan import bypass_for
from ovpn6.roles.script_env import up_down_arguments

Continue = Callable[[Instant], list[Action]]


@dataclass(frozen=True, slots=True)
class Milestones:
    """What the role does when the tunnel has its addresses, when it has its routes, and when the
    ``up`` script failed."""

    addressed: Continue
    routed: Continue
    failed: Callable[[str, Instant], list[Action]]


class HostSide:
    """What stands on the host for the tunnel. ``device`` is set when it is known."""

    def __init__(self, context: RoleContext, ids: JobIds) -> None:
        self.device = ""
        self._config = context.config
        self._base = {**context.environment, **remotes_environment(context.config)}
        self._peer_environment: Mapping[str, str] = {}
        self._jobs: Jobs[ScriptResult] = Jobs(ids)
        self._tunnel: Tunnel | None = None
        self._plan: HostPlan | None = None
        self._has_routes = False
        self._told_of_loss = False
        self._routes_due: tuple[Instant, Continue] | None = None
        self._after_down: Continue | None = None

    @property
    def jobs(self) -> Jobs[ScriptResult]:
        """Scripts that are waited for."""
        return self._jobs

    # --- up ------------------------------------------------------------------------------------

    def bring_up(
        self,
        tunnel: Tunnel,
        peer_environment: Mapping[str, str],
        milestones: Milestones,
        now: Instant,
    ) -> list[Action]:
        """Make the host what a push asks for, from whatever stands."""
        self._peer_environment = dict(peer_environment)
        self._told_of_loss = False
        if self._tunnel is None:
            return self._open(tunnel, milestones, now)
        if self._has_routes and self._tunnel.looks_like(tunnel):
            return self._keep(tunnel, milestones, now)
        note = log(Level.INFO, "NOTE: Pulled options changed on restart, the tunnel is set up anew")
        down = self.take_down("restart", lambda later: self._open(tunnel, milestones, later), now)
        return [note, *down]

    def tick(self, now: Instant) -> list[Action]:
        """Add the routes that ``route-delay`` held back."""
        if self._routes_due is None or now < self._routes_due[0]:
            return []
        _, then = self._routes_due
        self._routes_due = None
        return then(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return self._routes_due[0] if self._routes_due is not None else None

    def make_way(self, remote: IPAddress) -> list[Action]:
        """Before a packet goes to ``remote``: a host route around the tunnel, where routes that
        stand would swallow it."""
        plan, host = self._plan, self._config.host
        if plan is None or host.allow_recursive_routing:
            return []
        bypass = bypass_for(plan.routes, plan.addresses, remote, host.route_table)
        if bypass is None:
            return []
        return self._apply(replace(plan, routes=(bypass, *plan.routes)))

    def _open(self, tunnel: Tunnel, milestones: Milestones, now: Instant) -> list[Action]:
        self._tunnel = tunnel
        self._has_routes = False
        applied = self._apply(tunnel.host_plan(self._config, with_routes=False))

        def after_up(result: ScriptResult, later: Instant) -> list[Action]:
            if not result.ok:
                return milestones.failed(_up_failed(result), later)
            return [*milestones.addressed(later), *self._delay_routes(tunnel, milestones, later)]

        return applied + self._script("up", tunnel, "init", after_up, now)

    def _keep(self, tunnel: Tunnel, milestones: Milestones, now: Instant) -> list[Action]:
        self._tunnel = tunnel
        plan = tunnel.host_plan(self._config)
        actions: list[Action] = [
            log(Level.INFO, f"Preserving previous TUN/TAP instance: {self.device}")
        ]
        if plan != self._plan:
            actions += self._apply(plan)

        def after_up(result: ScriptResult, later: Instant) -> list[Action]:
            if not result.ok:
                return milestones.failed(_up_failed(result), later)
            return [*milestones.addressed(later), *milestones.routed(later)]

        if not self._config.scripts.up_restart:
            return actions + after_up(ScriptResult(ok=True), now)
        return actions + self._script("up", tunnel, "restart", after_up, now)

    def _delay_routes(self, tunnel: Tunnel, milestones: Milestones, now: Instant) -> list[Action]:
        def add(later: Instant) -> list[Action]:
            return self._add_routes(tunnel, milestones, later)

        if not self._config.host.route_delay:
            return add(now)
        self._routes_due = (Instant(now + self._config.host.route_delay), add)
        return []

    def _add_routes(self, tunnel: Tunnel, milestones: Milestones, now: Instant) -> list[Action]:
        self._has_routes = True
        plan = tunnel.host_plan(self._config)
        actions = self._apply(plan) if plan != self._plan else []

        def after_route_up(result: ScriptResult, later: Instant) -> list[Action]:
            routed = milestones.routed(later)
            if result.ok:
                return routed
            text = f"WARNING: route-up script failed: exit status {result.exit_code}"
            return [log(Level.WARNING, text), *routed]

        return actions + self._script("route-up", tunnel, None, after_route_up, now)

    def refused(self, plan: HostPlan) -> bool:
        """The host did not take ``plan``. True when the tunnel cannot be without it: the
        interface's own addresses; routes and removals are not worth ending for."""
        self._plan = None
        return bool(plan.addresses) and not self._has_routes and self._tunnel is not None

    # --- down ----------------------------------------------------------------------------------

    def release(self, reason: str, then: Continue, now: Instant) -> list[Action]:
        """The server is lost: keep what ``persist-tun`` keeps, take down the rest."""
        stays = self._config.host.persist_tun and self._has_routes and self._after_down is None
        if self._tunnel is None or not stays:
            return self.take_down(reason, then, now)
        cancelled = self._jobs.cancel()
        told, self._told_of_loss = self._told_of_loss, True
        if told or not self._config.scripts.up_restart:
            return cancelled + then(now)
        return cancelled + self._script(
            "down", self._tunnel, "restart", lambda _, later: then(later), now, reason
        )

    def take_down(self, reason: str, then: Continue, now: Instant) -> list[Action]:
        """Scripts and host state; ``then`` when all is down. While that goes on, a second call
        only changes what comes after."""
        if self._after_down is not None:
            self._after_down = then
            return []
        self._routes_due = None
        actions = self._jobs.cancel()
        tunnel = self._tunnel
        if tunnel is None:
            return actions + then(now)
        self._after_down = then

        def after_pre_down(_: ScriptResult, later: Instant) -> list[Action]:
            return self._down(tunnel, reason, later)

        if not self._has_routes:
            return actions + after_pre_down(ScriptResult(ok=True), now)
        return actions + self._script("route-pre-down", tunnel, "init", after_pre_down, now, reason)

    def _down(self, tunnel: Tunnel, reason: str, now: Instant) -> list[Action]:
        down_pre = self._config.scripts.down_pre
        nothing = HostPlan(self._config.host.tun_mtu)
        before = [] if down_pre else self._apply(nothing)

        def after_down(_: ScriptResult, later: Instant) -> list[Action]:
            then, self._after_down = self._after_down, None
            self._tunnel = None
            self._has_routes = False
            after = self._apply(nothing) if down_pre else []
            return after + (then(later) if then is not None else [])

        return before + self._script("down", tunnel, "init", after_down, now, reason)

    # --- scripts -------------------------------------------------------------------------------

    def ipchange(self, argument: tuple[str, ...], environment: Mapping[str, str]) -> list[Action]:
        """Tell of the server's address; nobody waits for the script."""
        command = self._config.scripts.ipchange
        if not command:
            return []
        call = script_call("ipchange", command, argument, self._base, environment)
        return [RunScript(self._jobs.begin(lambda result, now: []), call)]

    def _script(
        self,
        kind: str,
        tunnel: Tunnel,
        context: str | None,
        then: Callable[[ScriptResult, Instant], list[Action]],
        now: Instant,
        signal: str = "",
    ) -> list[Action]:
        """Run the script if there is one. ``context`` None: called without arguments."""
        command = self._commands()[kind]
        if not command:
            return then(ScriptResult(ok=True), now)
        arguments: tuple[str, ...] = ()
        extra: dict[str, str] = {}
        if context:
            arguments = up_down_arguments(
                self.device, tunnel.mtu, tunnel.addresses, context, tunnel.ifconfig_remote
            )
            extra["script_context"] = context
        if signal:
            extra["signal"] = signal
        call = script_call(
            kind,
            command,
            arguments,
            self._base,
            self._peer_environment,
            tunnel_environment(self.device, tunnel),
            extra,
        )
        return [RunScript(self._jobs.begin(then), call)]

    def _commands(self) -> dict[str, tuple[str, ...]]:
        scripts = self._config.scripts
        return {
            "up": scripts.up,
            "down": scripts.down,
            "route-up": scripts.route_up,
            "route-pre-down": scripts.route_pre_down,
        }

    def _apply(self, plan: HostPlan) -> list[Action]:
        self._plan = plan
        return [ApplyHost(plan)]


def _up_failed(result: ScriptResult) -> str:
    return f"up script failed: exit status {result.exit_code}"
