"""A client role in a small world of virtual time: names, servers, a network, scripts.

The role is the real one with real connections over ``FakeTls``; servers are scripted around real
acceptors and connections. Nothing sleeps: :meth:`World.run` lets time pass until a condition holds.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TypeVar

from ovpn6.config.schema import (
    ClientConfig,
    ControlConfig,
    DataConfig,
    HostConfig,
    Mode,
    MtuConfig,
    Remote,
    ScriptsConfig,
    TunnelConfig,
)
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, PeerError
from ovpn6.model.flow import Action, Input
from ovpn6.model.names import Instant, KeyId, LinkId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Framing, ScriptResult
from ovpn6.protocol import events
from ovpn6.protocol.acceptor import Accepted, Acceptor, Reply, ServerWrapping
from ovpn6.protocol.connection import Connection, ConnectionSettings, Credentials
from ovpn6.protocol.messages import PUSH_REQUEST
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper
from ovpn6.roles.client import ClientRole
from ovpn6.roles.interface import RoleContext
from tests.protocol.sim import FakeTls, entropy_of

WALL_OFFSET = 1_700_000_000.0
DELAY = 0.01
CIPHERS = ("AES-256-GCM", "CHACHA20-POLY1305")
A = Action

HOME = Endpoint(ip_address("2001:db8::1"), 1194)
HOME4 = Endpoint(ip_address("192.0.2.1"), 1194)
OTHER = Endpoint(ip_address("2001:db8::2"), 1194)

PUSH = (
    "PUSH_REPLY,tun-mtu 1400,topology subnet,route-gateway 10.8.0.1,ping 10,ping-restart 60,"
    "ifconfig-ipv6 fd00:6::2/64 fd00:6::1,ifconfig 10.8.0.2 255.255.255.0,peer-id 5,"
    "cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt"
)
T = TypeVar("T")


def config(
    *remotes: Remote,
    client: ClientConfig | None = None,
    control: ControlConfig | None = None,
    data: DataConfig | None = None,
    host: HostConfig | None = None,
    scripts: ScriptsConfig | None = None,
    mtu: MtuConfig | None = None,
) -> TunnelConfig:
    """A client's configuration with one remote, ``home.example``, unless others are given."""
    chosen = remotes or (Remote("home.example"),)
    return TunnelConfig(
        mode=Mode.CLIENT,
        client=replace(client or ClientConfig(), remotes=chosen, nobind=True),
        control=control or ControlConfig(),
        data=data or DataConfig(),
        host=host or HostConfig(),
        scripts=scripts or ScriptsConfig(),
        mtu=mtu or MtuConfig(),
    )


@dataclass
class Server:
    """One server process. ``push`` are the answers to PUSH_REQUEST, ``unasked`` sends them with
    the key exchange already, ``deaf`` drops all."""

    endpoint: Endpoint
    push: Sequence[str] = (PUSH,)
    unasked: bool = False
    deaf: bool = False
    refuse_tls: bool = False
    transport: Transport = Transport.UDP
    messages: list[str] = field(default_factory=list)
    heard: list[events.Event] = field(default_factory=list)
    hellos: list[events.Hello] = field(default_factory=list)
    requests: list[Instant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything, as a new process does."""
        self._entropy = entropy_of(hash(self.endpoint) & 0xFFFF)
        self.connection: Connection | None = None
        self._acceptor = Acceptor(
            ServerWrapping(), secret=b"s" * 32, hand_window=60, rate=(1000, 1), wall_offset=0.0
        )

    def receive(self, source: Path, datagram: bytes, now: Instant) -> list[bytes]:
        """The datagrams that go back."""
        if self.deaf:
            return []
        known = self.connection
        if known is not None and known.remote_session_id == datagram[1:9]:
            return self._take(known.receive(datagram, now), now)
        verdict = self._acceptor.receive(source, datagram, now, transport=self.transport)
        if isinstance(verdict, Reply):
            return [verdict.datagram]
        if not isinstance(verdict, Accepted):
            return []
        self.connection = Connection(
            ConnectionSettings(
                is_server=True,
                transport=self.transport,
                options="V4,dev-type tun,cipher AES-256-CBC,tls-server",
                reneg_sec=0,
            ),
            verdict.wrapper,
            lambda: FakeTls(is_server=True, entropy=self._entropy, refuse=self.refuse_tls),
            self._entropy,
        )
        happened = self.connection.accept(verdict.local, verdict.remote, datagram, now)
        return self._take(happened, now)

    def tick(self, now: Instant) -> list[bytes]:
        if self.deaf or self.connection is None:
            return []
        return self._take(self.connection.tick(now), now)

    def next_deadline(self) -> Instant | None:
        return self.connection.next_deadline() if self.connection is not None else None

    def say(self, text: str, now: Instant) -> list[bytes]:
        assert self.connection is not None
        return self._take(self.connection.send_message(text, now), now)

    def renegotiate(self, now: Instant) -> list[bytes]:
        assert self.connection is not None
        return self._take(self.connection.renegotiate(now), now)

    def _take(self, happened: Iterable[events.Event], now: Instant) -> list[bytes]:
        sent: list[bytes] = []
        for event in happened:
            if isinstance(event, events.Transmit):
                sent.append(event.datagram)
                continue
            self.heard.append(event)
            if isinstance(event, events.Hello):
                self.hellos.append(event)
            if isinstance(event, events.MessageReceived):
                self.messages.append(event.text)
                if event.text == PUSH_REQUEST:
                    self.requests.append(now)
                    sent += self._push(now)
            if isinstance(event, events.Exchanged) and event.key_id == 0 and self.unasked:
                sent += self._push(now)
        return sent

    def _push(self, now: Instant) -> list[bytes]:
        sent = [datagram for text in self.push for datagram in self.say(text, now)]
        if self.connection is not None and "dyn-tls-crypt" in "".join(self.push):
            self.connection.enable_dynamic_tls_crypt()
        return sent


class World:
    """See the module.

    ``names`` maps host names to addresses, () fails; ``scripts`` maps a kind to its result, None
    never answers; a socket to an ``unreachable`` address fails, one to a ``stalled`` address never
    opens; ``lose`` decides of each datagram whether it is lost. ``outer_mtu`` is every path's,
    ``interface_mtu`` what our own interface takes. Probes take ``probe_delay`` seconds longer.
    While ``tls_breaks`` each of our negotiations finds a bug of ours.
    """

    def __init__(
        self,
        configuration: TunnelConfig | None = None,
        *servers: Server,
        credentials: Credentials | None = None,
        seed: int = 1,
        data_epoch: bool = False,
        ecn: bool = False,
    ) -> None:
        self.config = configuration or config()
        self.servers = {server.endpoint: server for server in servers or (Server(HOME),)}
        self.names: dict[str, tuple[Endpoint, ...]] = {"home.example": (HOME,)}
        self.scripts: dict[str, ScriptResult | None] = {}
        self.lose: Callable[[str, bytes], bool] = lambda to, datagram: False
        self.outer_mtu = self.interface_mtu = 1500
        self.probe_delay = 0.0
        self.unreachable: set[Endpoint] = set()
        self.stalled: set[Endpoint] = set()
        self.tls_breaks = False
        self.now = Instant(1000.0)
        self.actions: list[Action] = []
        self.times: list[Instant] = []
        self.links: dict[LinkId, Endpoint] = {}
        entropy = entropy_of(seed)
        self.role = ClientRole(
            RoleContext(
                config=self.config,
                tls=lambda: self._tls(entropy),
                entropy=entropy,
                wall_offset=WALL_OFFSET,
                ciphers=CIPHERS,
                framings=frozenset({Framing.NONE, Framing.STUB, Framing.STUB_V2}),
                occ=True,
                environment={"PATH": "/bin"},
                wrapping=lambda remote: ClientWrapping(PlainWrapper()),
                credentials=credentials or Credentials(),
                data_epoch=data_epoch,
                ecn=ecn,
            )
        )
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def server(self) -> Server:
        """The only or first one."""
        return next(iter(self.servers.values()))

    # --- what a test does ----------------------------------------------------------------------

    def start(self) -> World:
        self.tell(flow.Started("tun0"))
        return self

    def connect(self) -> World:
        """Start and wait until the tunnel is up."""
        self.start()
        self.run(lambda: bool(self.of(flow.Announce)))
        return self

    def tell(self, happened: Input) -> list[Action]:
        """Give the role an input now; returns what it asked for."""
        actions = self.role.step(happened, self.now)
        for action in actions:
            self.actions.append(action)
            self.times.append(self.now)
            self._carry_out(action)
        return actions

    def run(self, until: Callable[[], bool], limit: float = 600.0) -> None:
        """Let time pass until the condition holds; fails after ``limit`` virtual seconds."""
        end = self.now + limit
        while not until():
            moment = self._next_moment()
            assert moment is not None, f"nothing will happen any more: {self.actions[-8:]}"
            assert moment <= end, f"nothing in {limit} s: {self.actions[-8:]}"
            self._advance(moment)

    def pass_time(self, seconds: float) -> None:
        """Let exactly this much time pass."""
        end = self.now + seconds
        while (moment := self._next_moment()) is not None and moment <= end:
            self._advance(moment)
        self.now = Instant(end)

    def say(self, text: str) -> None:
        """The (first) server sends a control message."""
        self._from_server(self.server, self.server.say(text, self.now))

    def renegotiate(self) -> None:
        """The (first) server begins a renegotiation, once the last packets have arrived."""
        self.pass_time(5 * DELAY)
        self._from_server(self.server, self.server.renegotiate(self.now))

    def break_link(self, reason: str) -> None:
        """The TCP connection in use ends."""
        link = max(self.links)
        del self.links[link]
        self.tell(flow.LinkClosed(link, reason))

    def finish_script(self, kind: str, result: ScriptResult | None = None) -> None:
        """Answer the newest run of a script that ``scripts`` leaves open."""
        run = [one for one in self.of(flow.RunScript) if one.call.kind == kind][-1]
        self.tell(flow.ScriptFinished(run.job, result or ScriptResult(ok=True)))

    # --- what a test looks at ------------------------------------------------------------------

    def of(self, kind: type[T]) -> list[T]:
        """All actions of a kind so far."""
        return [action for action in self.actions if isinstance(action, kind)]

    def forget(self) -> None:
        """Look only at what comes from now on."""
        self.actions.clear()
        self.times.clear()

    def kinds(self, *of: type[Action]) -> list[str]:
        """The order of actions of these kinds, scripts by their own names."""
        return [
            action.call.kind if isinstance(action, flow.RunScript) else type(action).__name__
            for action in self.actions
            if isinstance(action, of)
        ]

    def logged(self, text: str) -> bool:
        return any(text in line.text for line in self.of(flow.Log))

    @property
    def state(self) -> str:
        return self.role.status().state

    @property
    def dialled(self) -> list[Endpoint | None]:
        return [action.spec.remote for action in self.of(flow.OpenLink)]

    # --- inside --------------------------------------------------------------------------------

    def _tls(self, entropy: Callable[[int], bytes]) -> FakeTls:
        if self.tls_breaks:
            raise IndexError("out of range")
        return FakeTls(is_server=False, entropy=entropy)

    def _next_moment(self) -> float | None:
        moments = [self._queue[0][0] if self._queue else None, self.role.next_deadline()]
        moments += [server.next_deadline() for server in self.servers.values() if not server.deaf]
        return min((moment for moment in moments if moment is not None), default=None)

    def _advance(self, moment: float) -> None:
        self.now = Instant(max(self.now, moment))
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for server in self.servers.values():
            deadline = server.next_deadline()
            if deadline is not None and deadline <= self.now:
                self._from_server(server, server.tick(self.now))
        deadline = self.role.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.tell(flow.Tick())

    def _later(self, delay: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, what))

    def _tell_later(self, happened: Input, delay: float = 0.0) -> None:
        self._later(delay, lambda: void(self.tell(happened)))

    def _carry_out(self, action: Action) -> None:
        match action:
            case flow.Resolve():
                found = self.names.get(action.host, ())
                answer = flow.HostResolved(action.job, found, "" if found else "unknown")
                self._tell_later(answer)
            case flow.OpenLink():
                self._open(action)
            case flow.CloseLink():
                self.links.pop(action.link, None)
            case flow.SendControl():
                self._to_server(action)
            case flow.SendProbe():
                self._probe(action)
            case flow.RunScript():
                result = self.scripts.get(action.call.kind, ScriptResult(ok=True))
                if result is not None:
                    self._tell_later(flow.ScriptFinished(action.job, result))
            case _:
                pass

    def _open(self, action: flow.OpenLink) -> None:
        assert action.spec.remote is not None
        if action.spec.remote in self.unreachable:
            error = HostError("connect", "Network is unreachable", 101)
            self._tell_later(flow.ActionFailed(action, error))
            return
        if action.spec.remote in self.stalled:
            return
        self.links[action.link] = action.spec.remote
        local = Endpoint(ip_address("2001:db8::9"), 40000 + action.link)
        self._tell_later(flow.LinkOpened(action.link, local))

    def _probe(self, action: flow.SendProbe) -> None:
        headers = 48 if action.path.remote.address.version == 6 else 28
        size = len(action.datagram) + headers
        if size > self.interface_mtu:
            error = HostError("send probe", "Message too long", errno.EMSGSIZE)
            self._tell_later(flow.ActionFailed(action, error))
        elif size <= self.outer_mtu:
            probe = flow.SendControl(action.path, action.datagram)
            self._to_server(probe, DELAY + self.probe_delay)

    def _to_server(self, action: flow.SendControl, delay: float = DELAY) -> None:
        server = self.servers.get(action.path.remote)
        if server is None or self.lose("server", action.datagram):
            return
        source = Path(LinkId(1), Endpoint(ip_address("2001:db8::9"), 40000 + action.path.link))

        def arrive() -> None:
            with contextlib.suppress(PeerError):
                self._from_server(server, server.receive(source, action.datagram, self.now))

        self._later(delay, arrive)

    def _from_server(self, server: Server, datagrams: Iterable[bytes]) -> None:
        for datagram in datagrams:
            if not self.lose("client", datagram):
                self._later(DELAY, lambda d=datagram: self._arrive(server, d))  # type: ignore[misc]

    def _arrive(self, server: Server, datagram: bytes) -> None:
        for link, remote in self.links.items():
            if remote == server.endpoint:
                self.tell(flow.ControlReceived(Path(link, remote), datagram))
                return


def void(_: object) -> None:
    """Throw a value away."""


def credentials(username: str, password: str) -> Credentials:
    return Credentials(username, SecretBytes(password.encode()))


def key(number: int) -> KeyId:
    return KeyId(number)
