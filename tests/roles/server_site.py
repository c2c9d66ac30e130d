"""A server role with a fake host around it, and clients that are real connections, for tests.

Nothing is lost or delayed: a step's datagrams arrive at once. ``Site`` carries actions out as an
executor would and keeps what a datapath would hold. Scripts answer from ``scripts`` or wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
)

from ovpn6.config.schema import (
    ControlConfig,
    DataConfig,
    HostConfig,
    Listen,
    Mode,
    MtuConfig,
    ScriptsConfig,
    ServerConfig,
    TunnelConfig,
)
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.ciphers import DEFAULT_DATA_CIPHERS
from ovpn6.model.errors import HostError
from ovpn6.model.flow import (
    Action,
    ActionFailed,
    AddPeer,
    CancelJob,
    ClientConfigRead,
    CloseLink,
    ControlReceived,
    DropKey,
    Finish,
    Input,
    InstallKey,
    LinkOpened,
    Log,
    OpenLink,
    ReadClientConfig,
    RemovePeer,
    RunScript,
    SavePool,
    ScriptFinished,
    SendControl,
    SendProbe,
    SignalReceived,
    Started,
    SwapKeys,
    Tick,
    UpdatePeer,
)
from ovpn6.model.identity import CertificateFacts, PeerIdentity
from ovpn6.model.names import (
    Family,
    Instant,
    JobId,
    KeyId,
    KeySlot,
    LinkId,
    PeerId,
    SessionId,
    Signal,
    Transport,
)
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Framing, Keepalive, PeerSpec, ScriptCall, ScriptResult
from ovpn6.protocol import events
from ovpn6.protocol.acceptor import Acceptor, ServerWrapping
from ovpn6.protocol.connection import (
    RENEGOTIATION_PAUSE,
    Connection,
    ConnectionSettings,
    Credentials,
)
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.key_change import SERVER_DEFERRAL
from ovpn6.roles.server import ServerRole
from tests.protocol.sim import FakeTls, entropy_of

WALL_OFFSET = 1_700_000_000.0
PEER_INFO_26 = {
    "IV_VER": "2.6.14",
    "IV_PLAT": "linux",
    "IV_NCP": "2",
    "IV_CIPHERS": "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
    "IV_PROTO": "990",
    "IV_MTU": "1600",
    "IV_SSO": "openurl,webauth,crtext",
}
"""What a stock 2.6.14 client says."""
OPTIONS_26 = (
    "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,"
    "auth SHA1,keysize 128,key-method 2,tls-client"
)

SERVER = ServerConfig(
    listens=(Listen(Transport.UDP, Family.ANY),),
    server=IPv4Network("192.0.2.0/24"),
    server_ipv6=IPv6Network("2001:db8:1::/64"),
    pool_start=IPv4Address("192.0.2.2"),
    pool_end=IPv4Address("192.0.2.254"),
    pool_netmask=IPv4Address("255.255.255.0"),
    pool_ipv6=IPv6Interface("2001:db8:1::1000/64"),
    push=("route-ipv6 2001:db8:5::/48", "route-gateway 192.0.2.1", "topology subnet"),
)
HOST = HostConfig(
    ifconfig=(IPv6Interface("2001:db8:1::1/64"), IPv4Interface("192.0.2.1/24")),
)
SERVER_IPV6_ONLY = replace(
    SERVER,
    server=None,
    pool_start=None,
    pool_end=None,
    pool_netmask=None,
    push=("route-ipv6 2001:db8:5::/48", "tun-ipv6"),
)
HOST_IPV6_ONLY = HostConfig(ifconfig=(IPv6Interface("2001:db8:1::1/64"),))
DATA = DataConfig(keepalive=Keepalive(10, 120))
CONTROL = ControlConfig(reneg_sec=0)
NO_SCRIPTS = ScriptsConfig()
USUAL_MTU = MtuConfig()
NOBODY = Credentials()
PLAIN = ServerWrapping()
YES = ScriptResult(ok=True)
NO = ScriptResult(ok=False, exit_code=1)


def config_of(
    server: ServerConfig = SERVER,
    *,
    host: HostConfig = HOST,
    data: DataConfig = DATA,
    control: ControlConfig = CONTROL,
    scripts: ScriptsConfig = NO_SCRIPTS,
    mtu: MtuConfig = USUAL_MTU,
) -> TunnelConfig:
    """A server's configuration."""
    return TunnelConfig(
        Mode.SERVER, server=server, host=host, data=data, control=control, scripts=scripts, mtu=mtu
    )


def identity_of(name: str) -> PeerIdentity:
    """A verified certificate of that common name."""
    digest = name.encode().hex().ljust(64, "0")[:64]
    facts = CertificateFacts(f"CN={name}", name, len(name), digest, digest[:40], {"CN": name})
    return PeerIdentity((facts,), "TLSv1.3", "FAKE")


@dataclass
class FakeDatapath:
    """What a datapath would hold, and refuse."""

    peers: dict[PeerId, PeerSpec] = field(default_factory=dict)
    keys: dict[PeerId, dict[KeySlot, KeyId]] = field(default_factory=dict)

    def perform(self, action: Action) -> None:
        match action:
            case AddPeer(spec):
                assert spec.peer not in self.peers
                self.peers[spec.peer], self.keys[spec.peer] = spec, {}
            case UpdatePeer(spec):
                assert spec.peer in self.peers
                self.peers[spec.peer] = spec
            case RemovePeer(peer):
                del self.peers[peer], self.keys[peer]
            case InstallKey(peer, slot, key):
                self.keys[peer][slot] = key.key_id
            case SwapKeys(peer):
                slots = self.keys[peer]
                swapped = {KeySlot.PRIMARY: slots.get(KeySlot.SECONDARY)}
                swapped[KeySlot.SECONDARY] = slots.get(KeySlot.PRIMARY)
                self.keys[peer] = {slot: key for slot, key in swapped.items() if key is not None}
            case DropKey(peer, slot):
                self.keys[peer].pop(slot, None)
            case _:
                pass


class Site:
    """One server and its surroundings."""

    def __init__(
        self,
        config: TunnelConfig | None = None,
        *,
        framings: frozenset[Framing] = frozenset(Framing),
        data_epoch: bool = False,
        ecn: bool = False,
        pool_text: str = "",
        token_secret: SecretBytes | None = None,
        wrapping: ServerWrapping = PLAIN,
        start: bool = True,
    ) -> None:
        self.now = Instant(1000.0)
        self.clients: list[SiteClient] = []
        self.identity = PeerIdentity()
        self.actions: list[Action] = []
        self.datapath = FakeDatapath()
        self.scripts: dict[str, ScriptResult | None] = {}
        """Answers by kind; None waits for the test."""
        self.calls: list[ScriptCall] = []
        self.waiting: dict[JobId, ScriptCall] = {}
        self.files: dict[str, str] = {}
        self.saved: list[str] = []
        self.refused: dict[type[Action], HostError] = {}
        """Actions that the host refuses."""
        self.outer_mtu = 1500
        """Of every path."""
        self.tls_breaks = 0
        """So many negotiations from now on find a bug of ours."""
        self.finished: Finish | None = None
        self._inputs: deque[Input] = deque()
        self._busy = False
        entropy = entropy_of(7)
        acceptor = Acceptor(
            wrapping, secret=b"s" * 32, hand_window=60, rate=(0, 0), wall_offset=WALL_OFFSET
        )
        self.role = ServerRole(
            RoleContext(
                config=config or config_of(),
                tls=lambda: self._tls(entropy),
                entropy=entropy,
                wall_offset=WALL_OFFSET,
                ciphers=DEFAULT_DATA_CIPHERS,
                framings=framings,
                occ=True,
                environment={"daemon_pid": "1"},
                acceptor=acceptor,
                pool_text=pool_text,
                auth_token_secret=token_secret,
                data_epoch=data_epoch,
                ecn=ecn,
            )
        )
        if start:
            self.give(Started("tun0"))

    def client(self, name: str = "alice", **changes: object) -> SiteClient:
        """A client that has not begun yet."""
        client = SiteClient(self, name, len(self.clients) + 1, **changes)  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def connected(self, name: str = "alice", **changes: object) -> SiteClient:
        """A client that has its options."""
        client = self.client(name, **changes)
        client.begin()
        assert client.options, self.log()
        return client

    def give(self, *inputs: Input) -> None:
        """Step the role, and carry out what it wants, until nothing more happens."""
        self._inputs.extend(inputs)
        if self._busy:
            return
        self._busy = True
        while self._inputs:
            for action in self.role.step(self._inputs.popleft(), self.now):
                self.actions.append(action)
                refusal = self.refused.get(type(action))
                if refusal is not None:
                    self.give(ActionFailed(action, refusal))
                    continue
                self.datapath.perform(action)
                self._perform(action)
        self._busy = False

    def pass_time(self, seconds: float) -> None:
        """Let this much time pass, at the role and at every client."""
        end = self.now + seconds
        while True:
            moments = [self.role.next_deadline()]
            moments += [
                client.connection.next_deadline() for client in self.clients if client.alive
            ]
            moment = min((m for m in moments if m is not None), default=None)
            if moment is None or moment > end:
                break
            self.now = Instant(max(self.now, moment))
            for client in self.clients:
                if client.alive:
                    client.take(client.connection.tick(self.now))
            self.give(Tick())
        self.now = Instant(end)

    def signal(self, signal: Signal) -> None:
        self.give(SignalReceived(signal))

    def answer(self, kind: str, result: ScriptResult = YES) -> None:
        """Answer the oldest waiting script of a kind."""
        job = next(job for job, call in self.waiting.items() if call.kind == kind)
        del self.waiting[job]
        self.give(ScriptFinished(job, result))

    def job(self, kind: str) -> JobId:
        """The oldest waiting script of a kind."""
        return next(job for job, call in self.waiting.items() if call.kind == kind)

    def ran(self, kind: str) -> list[ScriptCall]:
        """Every call of a kind so far."""
        return [call for call in self.calls if call.kind == kind]

    def log(self) -> str:
        """All that was logged."""
        return "\n".join(f"{a.about} {a.text}" for a in self.actions if isinstance(a, Log))

    def kinds(self, *kinds: type[Action]) -> list[Action]:
        """The actions of some kinds so far, in order."""
        return [action for action in self.actions if isinstance(action, kinds)]

    def _tls(self, entropy: Callable[[int], bytes]) -> FakeTls:
        if self.tls_breaks:
            self.tls_breaks -= 1
            raise IndexError("out of range")
        return _ServerTls(self, entropy)

    def _perform(self, action: Action) -> None:
        match action:
            case OpenLink(link, spec):
                address = spec.local_address or ip_address("::")
                self.give(LinkOpened(link, Endpoint(address, spec.local_port)))
            case SendControl(path, datagram):
                for client in self.clients:
                    if client.path == path and client.alive:
                        client.receive(datagram)
            case SendProbe(path, datagram):
                fits = len(datagram) + 48 <= self.outer_mtu
                for client in self.clients:
                    own = client.connection.remote_session_id == datagram[1:9]
                    if fits and own and client.path == path and client.alive:
                        client.receive(datagram)
            case RunScript(job, call):
                self.calls.append(call)
                answer = self.scripts.get(call.kind, YES)
                if answer is None:
                    self.waiting[job] = call
                else:
                    self.give(ScriptFinished(job, answer))
            case CancelJob(job):
                self.waiting.pop(job, None)
            case ReadClientConfig(job, name):
                file = name if name in self.files else "DEFAULT"
                self.give(ClientConfigRead(job, f"/ccd/{file}", self.files.get(file)))
            case SavePool(text):
                self.saved.append(text)
            case CloseLink(link):
                for client in self.clients:
                    if client.path.link == link:
                        client.alive = False
            case Finish():
                self.finished = action
            case _:
                pass


class _ServerTls(FakeTls):
    """Its peer is whoever sent the datagram under way."""

    def __init__(self, site: Site, entropy: Callable[[int], bytes]) -> None:
        super().__init__(is_server=True, entropy=entropy)
        self._site = site

    @property
    def identity(self) -> PeerIdentity:
        return self._site.identity if self.established else PeerIdentity()


class SiteClient:
    """A client's control channel; it asks for its options as soon as it may."""

    def __init__(
        self,
        site: Site,
        name: str,
        number: int,
        *,
        path: Path | None = None,
        credentials: Credentials = NOBODY,
        info: Mapping[str, str] | None = None,
        options: str = OPTIONS_26,
        asks: bool = True,
        transport: Transport = Transport.UDP,
        wrapping: ClientWrapping | None = None,
    ) -> None:
        self.site = site
        wrapping = wrapping or ClientWrapping(PlainWrapper())
        self.identity = identity_of(name) if name else PeerIdentity()
        address = ip_address(f"2001:db8:ff::{number:x}")
        self.path = path or Path(LinkId(1), Endpoint(address, 40000 + number))
        self.alive = True
        self.asks = asks
        self.mute_after: type[events.Event] | None = None
        """Nothing is sent once an event of this kind came."""
        self.muted = False
        self.limit = 1_000_000
        """So many datagrams are sent, and no more."""
        self.messages: list[str] = []
        self.events: list[events.Event] = []
        self.credentials = credentials
        peer_info = PEER_INFO_26 if info is None else info
        self.session_id: SessionId | None = None
        random = entropy_of(100 + number)

        def entropy(size: int) -> bytes:
            return self.session_id if size == 8 and self.session_id else random(size)

        self.connection = Connection(
            ConnectionSettings(
                is_server=False,
                transport=transport,
                options=options,
                peer_info="".join(f"{key}={value}\n" for key, value in peer_info.items()),
                reneg_sec=0,
                wall_offset=WALL_OFFSET,
                wrapped_client_key=wrapping.wrapped_client_key,
            ),
            wrapping.wrapper,
            lambda: FakeTls(is_server=False, entropy=entropy),
            entropy,
        )

    def choose_session_id(self, session_id: SessionId) -> None:
        """Take this one in place of a random one."""
        self.session_id = session_id

    def begin(self) -> None:
        """Connect, as far as it goes without time passing."""
        self.take(self.connection.initiate(self.site.now, self.credentials))

    def receive(self, datagram: bytes) -> None:
        self.take(self.connection.receive(datagram, self.site.now))

    def say(self, text: str) -> None:
        self.take(self.connection.send_message(text, self.site.now))

    def renegotiate(self) -> None:
        """New keys, not sooner than a server lets us, until they have taken over."""
        self.begin_renegotiation()
        self.site.pass_time(SERVER_DEFERRAL)

    def begin_renegotiation(self) -> None:
        """New keys, acknowledged at once."""
        self.site.pass_time(RENEGOTIATION_PAUSE)
        self.take(self.connection.renegotiate(self.site.now))

    def take(self, happened: list[events.Event]) -> None:
        """Send datagrams, note the rest."""
        for event in happened:
            if self.mute_after is not None and isinstance(event, self.mute_after):
                self.muted = True
            if isinstance(event, events.Transmit) and (self.muted or self.limit <= 0):
                continue
            if isinstance(event, events.Transmit):
                self.limit -= 1
                self.site.identity = self.identity
                self.site.give(ControlReceived(self.path, event.datagram))
            elif isinstance(event, events.MessageReceived):
                self.messages.append(event.text)
                if "dyn-tls-crypt" in event.text:
                    self.connection.enable_dynamic_tls_crypt()
            else:
                self.events.append(event)
                if isinstance(event, events.Exchanged) and event.key_id == 0 and self.asks:
                    self.say("PUSH_REQUEST")

    @property
    def options(self) -> list[str]:
        """Of all push replies so far."""
        replies = [text for text in self.messages if text.startswith("PUSH_REPLY")]
        return [option for text in replies for option in text.split(",")[1:]]

    @property
    def peer(self) -> PeerId:
        """Its id, as it was told."""
        return PeerId(int(next(o for o in self.options if o.startswith("peer-id ")).split()[1]))

    @property
    def refusals(self) -> list[str]:
        """AUTH_FAILED messages."""
        return [text for text in self.messages if text.startswith("AUTH_FAILED")]
