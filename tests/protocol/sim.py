"""A client and a server connection on a simulated network in virtual time, for tests.

``FakeTls`` is a TLS engine without cryptography (two flights and a finish, records with a length),
so that a whole handshake is deterministic and quick. ``Network`` loses, repeats and delays.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.identity import CertificateFacts, PeerIdentity
from ovpn6.model.names import Instant, LinkId, Transport
from ovpn6.protocol import events
from ovpn6.protocol.acceptor import Accepted, Acceptor, Reply, ServerWrapping
from ovpn6.protocol.connection import Connection, ConnectionSettings, Credentials
from ovpn6.protocol.tls import TlsFailed
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper

CLIENT_IDENTITY = PeerIdentity(
    (CertificateFacts("CN=client", "client", 2, "c" * 64, "c" * 40, {"CN": "client"}),),
    "TLSv1.3",
    "FAKE",
)
SERVER_IDENTITY = PeerIdentity(
    (CertificateFacts("CN=server", "server", 1, "a" * 64, "a" * 40, {"CN": "server"}),),
    "TLSv1.3",
    "FAKE",
)
FLIGHT_SIZE = 2500
"""Octets of a handshake flight: several control packets, as with certificates."""


class FakeTls:
    """See the module. ``refuse`` makes it fail where a certificate would."""

    def __init__(
        self,
        *,
        is_server: bool,
        entropy: Callable[[int], bytes],
        refuse: bool = False,
        peer: PeerIdentity | None = None,
    ) -> None:
        self._is_server = is_server
        self._own = entropy(32)
        self._peer = b""
        self._refuse = refuse
        self._identity = peer or (CLIENT_IDENTITY if is_server else SERVER_IDENTITY)
        self._input = b""
        self._output = b""
        self._records: list[bytes] = []
        self._finished = False

    def start(self) -> None:
        if not self._is_server:
            self._emit(b"F", self._own + bytes(FLIGHT_SIZE))

    def feed(self, ciphertext: bytes) -> None:
        self._input += ciphertext
        while len(self._input) >= 4:
            size = int.from_bytes(self._input[1:4], "big")
            if len(self._input) < 4 + size:
                return
            kind, body = self._input[:1], self._input[4 : 4 + size]
            self._input = self._input[4 + size :]
            self._take(kind, body)

    def outgoing(self) -> bytes:
        output, self._output = self._output, b""
        return output

    def records(self) -> list[bytes]:
        records, self._records = self._records, []
        return records

    def write(self, plaintext: bytes) -> None:
        assert self.established
        self._emit(b"R", plaintext)

    @property
    def established(self) -> bool:
        return self._finished

    def export(self, label: str, length: int) -> bytes:
        shared = min(self._own, self._peer) + max(self._own, self._peer) + label.encode()
        return hashlib.shake_256(shared).digest(length)

    @property
    def identity(self) -> PeerIdentity:
        return self._identity if self._finished else PeerIdentity()

    def _emit(self, kind: bytes, body: bytes) -> None:
        self._output += kind + len(body).to_bytes(3, "big") + body

    def _take(self, kind: bytes, body: bytes) -> None:
        if kind == b"A":
            raise TlsFailed("alert from the peer")
        if kind == b"R" and self._finished:
            self._records.append(body)
            return
        if kind not in (b"F", b"D"):
            raise TlsFailed("not a handshake")
        if self._refuse:
            self._emit(b"A", b"")
            raise TlsFailed("certificate verify failed")
        if kind == b"F":
            self._peer = body[:32]
            if self._is_server:
                self._emit(b"F", self._own + bytes(FLIGHT_SIZE))
                return
            self._emit(b"D", b"")
        self._finished = True


@dataclass
class Clock:
    """Virtual time; tests move it, nothing else does."""

    now: Instant = Instant(1000.0)

    @property
    def wall_offset(self) -> float:
        return 1_700_000_000.0


def entropy_of(seed: int) -> Callable[[int], bytes]:
    """Random bytes that are the same each run."""
    return random.Random(seed).randbytes


CLIENT_PATH = Path(LinkId(1), Endpoint(__import__("ipaddress").ip_address("2001:db8::9"), 40000))


@dataclass
class Network:
    """Carries datagrams both ways; ``loss`` and ``repeat`` are probabilities, delays in seconds."""

    seed: int = 0
    loss: float = 0.0
    repeat: float = 0.0
    delay: float = 0.01
    jitter: float = 0.0
    filter: Callable[[str, bytes], bool] = lambda to, datagram: True
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._queue: list[tuple[float, int, str, bytes]] = []
        self._count = 0

    def send(self, to: str, datagram: bytes, now: Instant) -> None:
        self.sent.append((to, datagram))
        if not self.filter(to, datagram):
            return
        copies = 2 if self._random.random() < self.repeat else 1
        for _ in range(copies):
            if self._random.random() >= self.loss:
                at = now + self.delay + self._random.random() * self.jitter
                self._count += 1
                heapq.heappush(self._queue, (at, self._count, to, datagram))

    def next_arrival(self) -> float | None:
        return self._queue[0][0] if self._queue else None

    def take(self, now: Instant) -> list[tuple[str, bytes]]:
        arrived = []
        while self._queue and self._queue[0][0] <= now:
            _, _, to, datagram = heapq.heappop(self._queue)
            arrived.append((to, datagram))
        return arrived


class Pair:
    """A client connection and an acceptor with the connection it lets in."""

    def __init__(
        self,
        network: Network | None = None,
        *,
        server_wrapping: ServerWrapping | None = None,
        client_wrapping: ClientWrapping | None = None,
        transport: Transport = Transport.UDP,
        client_refuses: bool = False,
        server_refuses: bool = False,
        reneg_sec: tuple[float, float] = (0.0, 0.0),
        tls_mtu: int = 1250,
    ) -> None:
        self.clock = Clock()
        self.network = network or Network()
        self.transport = transport
        self.client_events: list[events.Event] = []
        self.server_events: list[events.Event] = []
        self.peer_errors: list[str] = []
        self.server: Connection | None = None
        wrapping = client_wrapping or ClientWrapping(PlainWrapper())
        self._server_entropy = entropy_of(self.network.seed * 2 + 1)
        self._server_refuses = server_refuses
        entropy = entropy_of(self.network.seed * 2)
        self.acceptor = Acceptor(
            server_wrapping or ServerWrapping(),
            secret=b"s" * 32,
            hand_window=60,
            rate=(1000, 1),
            wall_offset=self.clock.wall_offset,
        )
        self._server_settings = ConnectionSettings(
            is_server=True,
            transport=transport,
            options="V4,dev-type tun,tls-server",
            reneg_sec=reneg_sec[1],
            tls_mtu=tls_mtu,
            wall_offset=self.clock.wall_offset,
        )
        self.client = Connection(
            ConnectionSettings(
                is_server=False,
                transport=transport,
                options="V4,dev-type tun,tls-client",
                peer_info="IV_VER=2.6.14\nIV_PROTO=990\n",
                reneg_sec=reneg_sec[0],
                tls_mtu=tls_mtu,
                wall_offset=self.clock.wall_offset,
                wrapped_client_key=wrapping.wrapped_client_key,
            ),
            wrapping.wrapper,
            lambda: FakeTls(is_server=False, entropy=entropy, refuse=client_refuses),
            entropy,
        )

    def start(self, credentials: Credentials | None = None) -> None:
        """Send the client's reset."""
        self.from_client(self.client.initiate(self.clock.now, credentials or Credentials()))

    def run(self, until: Callable[[], bool], limit: float = 300.0) -> None:
        """Let time pass until a condition holds; fails after ``limit`` virtual seconds."""
        end = self.clock.now + limit
        while not until():
            moment = self._next_moment()
            assert moment is not None, "nothing is going to happen any more"
            assert moment <= end, f"nothing happened for {limit} s: {self.peer_errors[-5:]}"
            self.clock.now = Instant(max(moment, self.clock.now))
            self._deliver()
            self._tick()

    def pass_time(self, seconds: float) -> None:
        """Let exactly this much time pass."""
        end = self.clock.now + seconds
        while True:
            moment = self._next_moment()
            if moment is None or moment > end:
                break
            self.clock.now = Instant(max(moment, self.clock.now))
            self._deliver()
            self._tick()
        self.clock.now = Instant(end)

    def both(self, kind: type[events.Event], key_id: int = 0) -> bool:
        """Whether both ends reported an event of this kind for this key id."""
        return all(
            any(isinstance(e, kind) and getattr(e, "key_id", key_id) == key_id for e in side)
            for side in (self.client_events, self.server_events)
        )

    def from_client(self, happened: list[events.Event]) -> None:
        self._emit(happened, self.client_events, "server")

    def from_server(self, happened: list[events.Event]) -> None:
        self._emit(happened, self.server_events, "client")

    def _emit(self, happened: list[events.Event], log: list[events.Event], to: str) -> None:
        for event in happened:
            if isinstance(event, events.Transmit):
                self.network.send(to, event.datagram, self.clock.now)
            else:
                log.append(event)

    def _next_moment(self) -> float | None:
        moments = [self.network.next_arrival(), self.client.next_deadline()]
        if self.server is not None:
            moments.append(self.server.next_deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def _deliver(self) -> None:
        from ovpn6.model.errors import PeerError

        for to, datagram in self.network.take(self.clock.now):
            try:
                if to == "client":
                    self.from_client(self.client.receive(datagram, self.clock.now))
                else:
                    self._at_server(datagram)
            except PeerError as error:
                self.peer_errors.append(f"{to}: {error}")

    def _at_server(self, datagram: bytes) -> None:
        now = self.clock.now
        known = self.server is not None and self.server.remote_session_id == datagram[1:9]
        if self.server is not None and known:
            self.from_server(self.server.receive(datagram, now))
            return
        verdict = self.acceptor.receive(CLIENT_PATH, datagram, now, transport=self.transport)
        if isinstance(verdict, Reply):
            self.network.send("client", verdict.datagram, now)
        elif isinstance(verdict, Accepted):
            self.server = Connection(
                self._server_settings,
                verdict.wrapper,
                lambda: FakeTls(
                    is_server=True, entropy=self._server_entropy, refuse=self._server_refuses
                ),
                self._server_entropy,
            )
            self.from_server(self.server.accept(verdict.local, verdict.remote, datagram, now))
        else:
            self.peer_errors.append(f"acceptor: {verdict.reason}")

    def _tick(self) -> None:
        now = self.clock.now
        for connection, take in ((self.client, self.from_client), (self.server, self.from_server)):
            if connection is None:
                continue
            deadline = connection.next_deadline()
            if deadline is not None and deadline <= now:
                take(connection.tick(now))
