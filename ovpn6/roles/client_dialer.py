"""When a client tries, and where: look-ups, retries, pauses. PURE.

Source: OpenVPN ``init.c`` (socket_restart_pause, next_connection_entry), ``socket.c``
(resolve_remote).
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model.addresses import Endpoint
from ovpn6.model.flow import Action, HostResolved, Resolve
from ovpn6.model.names import Instant, Level
from ovpn6.model.records import dataclass
from ovpn6.roles.client_jobs import JobIds, Jobs
from ovpn6.roles.client_news import Ending, log
from ovpn6.roles.client_states import Move
from ovpn6.roles.client_walk import RemoteWalk

RESOLVE_INTERVAL = 5.0
"""Seconds between look-ups while ``resolv-retry`` lasts."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the dialer has the role do: note a move, dial an address, deal with a failed attempt,
    give up for good."""

    move: Callable[[Move], None]
    dial: Callable[[Remote, Endpoint, Instant], list[Action]]
    lost: Callable[[Ending, Instant], list[Action]]
    give_up: Callable[[str, Instant], list[Action]]


class Dialer:
    """Tries the remotes one after the other. ``entropy`` is for ``remote-random``."""

    def __init__(
        self,
        client: ClientConfig,
        entropy: Callable[[int], bytes],
        ids: JobIds,
        orders: Orders,
    ) -> None:
        self._client = client
        self._orders = orders
        self._walk = RemoteWalk(client, entropy)
        self._look_ups: Jobs[HostResolved] = Jobs(ids)
        self._look_up_until: Instant | None = None
        self._due: tuple[Instant, Callable[[Instant], list[Action]]] | None = None

    # --- from the outside ----------------------------------------------------------------------

    def attempt(self, now: Instant) -> list[Action]:
        """Try the next address now."""
        endpoint = self._walk.endpoint
        if endpoint is not None:
            return self._dial(endpoint, now)
        patience = self._client.resolv_retry
        self._look_up_until = Instant(now + patience) if patience else None
        return self._look_up(now)

    def after(self, ending: Ending, now: Instant) -> list[Action]:
        """A session has ended, or an attempt failed: choose the next, and pause before it."""
        if ending.advance:
            self._walk.ask(ending.advance, ending.backoff)
        wrapped = self._walk.advance()
        if self._walk.exhausted:
            text = (
                f"All connections have been connect-retry-max ({self._client.connect_retry_max}) "
                f"times unsuccessful, exiting"
            )
            return self._orders.give_up(text, now)
        pause = 0 if ending.hurry and not wrapped else self._walk.take_pause()
        if not pause:
            return self.attempt(now)
        self._due = (Instant(now + pause), self.attempt)
        return [log(Level.INFO, f"Restart pause, {pause} second(s)")]

    def succeeded(self) -> None:
        """The tunnel is up."""
        self._walk.succeeded()

    def resolved(self, answer: HostResolved, now: Instant) -> list[Action]:
        """A look-up has ended."""
        return self._look_ups.finish(answer.job, answer, now)

    def hurry(self, now: Instant) -> list[Action]:
        """Cut a pause short."""
        if self._due is None:
            return []
        self._due = (now, self._due[1])
        return self.tick(now)

    def cancel(self) -> list[Action]:
        """Try nothing more until asked."""
        self._due = None
        return self._look_ups.cancel()

    def tick(self, now: Instant) -> list[Action]:
        """Do what is due."""
        if self._due is None or now < self._due[0]:
            return []
        _, then = self._due
        self._due = None
        return then(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted."""
        return self._due[0] if self._due is not None else None

    # --- look-ups ------------------------------------------------------------------------------

    def _dial(self, endpoint: Endpoint, now: Instant) -> list[Action]:
        self._orders.move(Move.DIAL)
        return self._orders.dial(self._walk.remote, endpoint, now)

    def _look_up(self, now: Instant) -> list[Action]:
        self._orders.move(Move.LOOK_UP)
        remote = self._walk.remote
        job = self._look_ups.begin(self._answered)
        return [Resolve(job, remote.host, remote.port, remote.family)]

    def _answered(self, answer: HostResolved, now: Instant) -> list[Action]:
        if answer.endpoints:
            return self._dial(self._walk.resolved(answer.endpoints), now)
        remote = self._walk.remote
        text = f"RESOLVE: Cannot resolve host address: {remote.host}:{remote.port} ({answer.error})"
        line = log(Level.ERROR, text)
        again = Instant(now + RESOLVE_INTERVAL)
        if self._look_up_until is not None and again <= self._look_up_until:
            self._due = (again, self._look_up)
            return [line]
        return [line, *self._orders.lost(Ending("resolve-failed", hurry=True), now)]
