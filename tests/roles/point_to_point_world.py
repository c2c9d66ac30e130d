"""Two equal ends in virtual time: real roles, real connections over ``FakeTls``, a network.

Nothing sleeps: :meth:`Pair.run` lets time pass until a condition holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from typing import TypeVar

from ovpn6.config.schema import (
    ClientConfig,
    ControlConfig,
    DataConfig,
    HostConfig,
    Mode,
    PointToPointConfig,
    Remote,
    RouteOrder,
    ScriptsConfig,
    TunnelConfig,
)
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import Action, Input
from ovpn6.model.names import Family, Instant, LinkId, Transport
from ovpn6.model.specs import Framing, ScriptResult
from ovpn6.protocol.acceptor import Acceptor, ServerWrapping
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.point_to_point import PointToPointRole
from tests.protocol.sim import FakeTls, entropy_of

T = TypeVar("T")
DELAY = 0.01
SERVER = Endpoint(ip_address("2001:db8:5::2"), 1194)
CLIENT = Endpoint(ip_address("2001:db8:c::2"), 1194)
STRANGER = Endpoint(ip_address("2001:db8:bad::1"), 1194)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a test wants of one end."""

    remote: Endpoint | None = None
    transport: Transport = Transport.UDP
    tcp_server: bool = False
    ciphers: Sequence[str] = ("AES-256-GCM", "CHACHA20-POLY1305")
    notify: int = 0
    float: bool = False
    control: ControlConfig = field(default_factory=ControlConfig)
    data: DataConfig = field(default_factory=DataConfig)
    scripts: ScriptsConfig = field(default_factory=ScriptsConfig)
    persist_tun: bool = False
    routes: Sequence[RouteOrder] = ()
    ecn: bool = False


def config(wish: Wish, *, is_server: bool) -> TunnelConfig:
    """One end's configuration."""
    entry = Remote(
        host=str(wish.remote.address) if wish.remote else "",
        transport=wish.transport,
        family=Family.IPV6,
        local_port=1194,
        explicit_exit_notify=wish.notify,
    )
    own, other = ("1", "2") if is_server else ("2", "1")
    return TunnelConfig(
        mode=Mode.POINT_TO_POINT,
        client=ClientConfig(remotes=(entry,) if wish.remote else (), pull=False),
        point_to_point=PointToPointConfig(
            tls_server=is_server,
            tcp_server=wish.tcp_server,
            passive=None if wish.remote else entry,
            ifconfig_remote=ip_address(f"10.0.0.{other}"),
            ifconfig_ipv6_remote=ip_address(f"fd00::{other}"),
        ),
        host=HostConfig(
            ifconfig=(ip_interface(f"fd00::{own}/64"), ip_interface(f"10.0.0.{own}/32")),
            persist_tun=wish.persist_tun,
            routes=tuple(wish.routes),
        ),
        control=wish.control,
        data=replace(wish.data, ciphers=tuple(wish.ciphers), float=wish.float),
        scripts=wish.scripts,
    )


class End:
    """One end: a role and what it did."""

    def __init__(self, pair: Pair, wish: Wish, at: Endpoint, *, is_server: bool) -> None:
        self.at = at
        self.config = config(wish, is_server=is_server)
        self.actions: list[Action] = []
        self.links: dict[LinkId, Endpoint | None] = {}
        self.deaf = False
        self.tls_breaks = False
        """Each of its negotiations finds a bug of ours."""
        self.outer_mtu: int | None = None
        """Of the path from here, where it is not the pair's."""
        self._pair = pair
        self._is_server = is_server
        self._wish = wish
        self._seed = 0
        self.begin()

    def begin(self) -> None:
        """As a new process does."""
        self._seed += 1
        entropy = entropy_of(hash((self._is_server, self._seed)) & 0xFFFF)
        acceptor = Acceptor(
            ServerWrapping(),
            secret=entropy(32),
            hand_window=60,
            rate=(1000, 1),
            wall_offset=0.0,
        )
        self.links.clear()
        self.role = PointToPointRole(
            RoleContext(
                config=self.config,
                tls=lambda: self._tls(entropy),
                entropy=entropy,
                wall_offset=0.0,
                ciphers=tuple(self._wish.ciphers),
                framings=frozenset({Framing.NONE}),
                occ=True,
                ecn=self._wish.ecn,
                environment={},
                acceptor=acceptor if self._is_server else None,
                wrapping=(None if self._is_server else (lambda _: ClientWrapping(PlainWrapper()))),
            )
        )

    def tell(self, happened: Input) -> list[Action]:
        """Give the role an input now."""
        actions = self.role.step(happened, self._pair.now)
        for action in actions:
            self.actions.append(action)
            self._carry_out(action)
        return actions

    def of(self, kind: type[T]) -> list[T]:
        """All actions of a kind so far."""
        return [action for action in self.actions if isinstance(action, kind)]

    def kinds(self, *of: type[Action]) -> list[str]:
        """The order of actions of these kinds."""
        return [type(action).__name__ for action in self.actions if isinstance(action, of)]

    def logged(self, text: str) -> bool:
        """Whether a line has this in it."""
        return any(text in line.text for line in self.of(flow.Log))

    @property
    def announced(self) -> int:
        """How often the tunnel came up."""
        return len(self.of(flow.Announce))

    @property
    def state(self) -> str:
        """The role's word for it."""
        return self.role.status().state

    def _tls(self, entropy: Callable[[int], bytes]) -> FakeTls:
        if self.tls_breaks:
            raise IndexError("out of range")
        return FakeTls(is_server=self._is_server, entropy=entropy)

    def _carry_out(self, action: Action) -> None:
        match action:
            case flow.Resolve():
                found = Endpoint(ip_address(action.host), action.port)
                answer = flow.HostResolved(action.job, (found,))
                self._pair.later(0.0, lambda: void(self.tell(answer)))
            case flow.OpenLink():
                self.links[action.link] = action.spec.remote
                opened = flow.LinkOpened(action.link, self.at)
                self._pair.later(0.0, lambda: void(self.tell(opened)))
            case flow.CloseLink():
                self.links.pop(action.link, None)
            case flow.SendControl():
                self._pair.carry(self, action)
            case flow.SendProbe():
                if len(action.datagram) + 48 <= (self.outer_mtu or self._pair.outer_mtu):
                    self._pair.carry(self, flow.SendControl(action.path, action.datagram))
            case flow.RunScript():
                done = flow.ScriptFinished(action.job, ScriptResult(ok=True))
                self._pair.later(0.0, lambda: void(self.tell(done)))
            case _:
                pass


class Pair:
    """Both ends over UDP. ``lose`` decides of each datagram, by its receiver, whether it is
    lost."""

    def __init__(self, server: Wish, client: Wish) -> None:
        self.now = Instant(1000.0)
        self.outer_mtu = 1500
        self.lose: Callable[[End, bytes], bool] = lambda to, datagram: False
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.server = End(self, server, SERVER, is_server=True)
        self.client = End(self, client, CLIENT, is_server=False)

    @property
    def ends(self) -> tuple[End, End]:
        """The server's part first."""
        return self.server, self.client

    def start(self) -> Pair:
        """Both begin."""
        for end in self.ends:
            end.tell(flow.Started("tun0"))
        return self

    def connect(self) -> Pair:
        """Start and wait until both are up, and all is acknowledged."""
        self.start()
        self.run(lambda: all(end.announced for end in self.ends))
        self.pass_time(1.0)
        return self

    def run(self, until: Callable[[], bool], limit: float = 600.0) -> None:
        """Let time pass until the condition holds; fails after ``limit`` virtual seconds."""
        end = self.now + limit
        while not until():
            moment = self._next_moment()
            assert moment is not None, "nothing will happen any more"
            assert moment <= end, f"nothing in {limit} s"
            self._advance(moment)

    def pass_time(self, seconds: float) -> None:
        """Let exactly this much time pass."""
        end = self.now + seconds
        while (moment := self._next_moment()) is not None and moment <= end:
            self._advance(moment)
        self.now = Instant(end)

    def later(self, delay: float, what: Callable[[], None]) -> None:
        """Do it then."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, what))

    def carry(self, sender: End, action: flow.SendControl) -> None:
        """Bring a datagram to who is at its address."""
        for end in self.ends:
            if end.at == action.path.remote and not end.deaf:
                self._bring(end, sender.at, action.datagram)

    def throw(self, end: End, source: Endpoint, datagram: bytes) -> list[Action]:
        """A datagram of somebody's, now."""
        link = max(end.links, default=LinkId(0))
        return end.tell(flow.ControlReceived(Path(link, source), datagram))

    def _bring(self, end: End, source: Endpoint, datagram: bytes) -> None:
        if self.lose(end, datagram):
            return

        def arrive() -> None:
            if end.links and not end.deaf:
                self.throw(end, source, datagram)

        self.later(DELAY, arrive)

    def _next_moment(self) -> float | None:
        moments = [self._queue[0][0] if self._queue else None]
        moments += [end.role.next_deadline() for end in self.ends if not end.deaf]
        return min((moment for moment in moments if moment is not None), default=None)

    def _advance(self, moment: float) -> None:
        self.now = Instant(max(self.now, moment))
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for end in self.ends:
            deadline = end.role.next_deadline()
            if not end.deaf and deadline is not None and deadline <= self.now:
                end.tell(flow.Tick())


def void(_: object) -> None:
    """Throw a value away."""
