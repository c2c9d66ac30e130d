"""The frozen configuration: what every layer below the options reads. No parsing.

One dataclass a concern. Times are whole seconds and 0 means never unless a field says otherwise.
Field names are OpenVPN's directive names with underscores wherever there is one.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from pathlib import Path as FilePath

from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork
from ovpn6.model.ciphers import DEFAULT_DATA_CIPHERS
from ovpn6.model.errors import Source
from ovpn6.model.names import Family, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec, Keepalive, SocketOptions

STATUS_JSON = 4
"""The version of the status file that is JSON."""


class Mode(Enum):
    """Which role runs."""

    SERVER = "server"
    CLIENT = "client"
    POINT_TO_POINT = "p2p"
    """Two equal ends, one of them with the server's part in TLS; nothing is pushed."""


class WrapMode(Enum):
    """How control packets are protected outside of TLS."""

    NONE = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file named by a directive, or its inline text: one of ``path``, ``inline`` is set."""

    source: Source
    path: FilePath | None = None
    inline: str | None = None

    def __repr__(self) -> str:
        return f"FileRef({self.path if self.path else '[inline]'})"


@dataclass(frozen=True, slots=True)
class Listen:
    """One ``local`` of a server, or the one socket that lport/port/proto describe."""

    transport: Transport
    family: Family
    address: str = ""
    """Host name or address as written; "" is any."""
    port: int = 1194


@dataclass(frozen=True, slots=True)
class Mssfix:
    """``mssfix``: an upper bound for what TCP inside the tunnel makes of a packet, octets; 0 leaves
    TCP's segments alone.

    ``how`` says of what: "" of the UDP payload, ``mtu`` of the whole outer packet, ``fixed`` of the
    inner packet.
    """

    octets: int
    how: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """One place a client may connect to: a ``remote`` line or a ``<connection>`` block."""

    host: str
    port: int = 1194
    transport: Transport = Transport.UDP
    family: Family = Family.ANY
    local_address: str = ""
    local_port: int = 0
    connect_timeout: int = 120
    explicit_exit_notify: int = 0
    mssfix: Mssfix | None = None
    mtu_disc: str = "maybe"
    tls_auth: FileRef | None = None
    key_direction: int | None = None
    tls_crypt: FileRef | None = None
    tls_crypt_v2: FileRef | None = None


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """The process itself."""

    daemon: bool = False
    daemon_name: str = "ovpn6"
    cd: FilePath | None = None
    chroot: FilePath | None = None
    user: str = ""
    group: str = ""
    nice: int = 0
    writepid: FilePath | None = None
    log: FilePath | None = None
    log_append: bool = False
    syslog: bool = False
    verb: int = 1
    mute: int = 0
    suppress_timestamps: bool = False
    machine_readable_output: bool = False
    status: FilePath | None = None
    status_interval: int = 60
    status_version: int = 1
    """OpenVPN's 1, 2 and 3, or :data:`STATUS_JSON`."""
    tmp_dir: FilePath | None = None
    script_security: int = 1


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificates and TLS policy."""

    ca: FileRef | None = None
    capath: FilePath | None = None
    cert: FileRef | None = None
    key: FileRef | None = None
    pkcs12: FileRef | None = None
    extra_certs: FileRef | None = None
    askpass: FileRef | None = None
    dh: FileRef | None = None
    """None is ``dh none``: elliptic curves only."""
    crl_verify: FileRef | None = None
    crl_verify_dir: FilePath | None = None
    peer_fingerprint: tuple[str, ...] = ()
    """Lower-case hex SHA-256 without colons."""
    verify_hash: tuple[str, ...] = ()
    """Lower-case hex SHA-256 of acceptable level-1 certificates."""
    verify_client_cert: str = "require"
    """``require``, ``optional`` or ``none``."""
    remote_cert_eku: str = ""
    """OID in dotted form or OpenSSL's name; ``remote-cert-tls`` sets it."""
    remote_cert_ku: tuple[int, ...] = ()
    """Acceptable key-usage masks; () does not check, (0xFFFF,) needs the extension's presence."""
    verify_x509_name: str = ""
    verify_x509_type: str = "subject"
    """``subject``, ``name`` or ``name-prefix``."""
    x509_username_field: str = "CN"
    tls_version_min: str = "1.2"
    tls_version_max: str = ""
    tls_cipher: str = ""
    tls_ciphersuites: str = ""
    tls_groups: str = ""
    tls_cert_profile: str = "legacy"


@dataclass(frozen=True, slots=True)
class WrapConfig:
    """Control-packet protection. ``key_direction`` 0, 1, or None for both ways the same."""

    mode: WrapMode = WrapMode.NONE
    key: FileRef | None = None
    key_direction: int | None = None
    auth: str = "SHA1"
    """HMAC digest of tls-auth, in OpenSSL's name."""
    force_cookie: bool = False
    tls_crypt_v2_verify: tuple[str, ...] = ()
    tls_crypt_v2_max_age: int = 0
    """Days; 0 does not check."""


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Timers and limits of the control channel."""

    tls_timeout: int = 2
    hand_window: int = 60
    tran_window: int = 3600
    reneg_sec: int = 3600
    reneg_sec_min: int = 0
    """Lower bound of the random renegotiation time; 0 means the default spread."""
    reneg_bytes: int = 0
    reneg_pkts: int = 0
    tls_mtu: int = 1250
    push_peer_info: bool = False
    setenv: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The data channel."""

    ciphers: tuple[str, ...] = DEFAULT_DATA_CIPHERS
    cipher_fallback: str = ""
    replay_window: int = 64
    replay_time: int = 15
    """Seconds that a packet may be late."""
    mute_replay_warnings: bool = False
    passtos: bool = False
    """Outer packets get the DSCP of inner ones; congestion marks go by RFC 6040 regardless."""
    epoch_keys: bool = True
    """Use the epoch format with peers that have it, where the data path has it."""
    epoch_usage: int | None = None
    """Blocks plus packets after which an epoch is left; None as the cipher demands."""
    keepalive: Keepalive = Keepalive()
    ping_exit: bool = False
    """The keepalive's timeout ends the process instead of restarting the tunnel."""
    inactive: int = 0
    inactive_bytes: int = 0
    session_timeout: int = 0
    float: bool = False
    compress_migrate: bool = False
    comp_stub: bool = False
    """``comp-lzo no`` / ``compress stub``: the one-byte stub header."""
    comp_stub_v2: bool = False
    """``compress stub-v2``: packets as without it, but clients may announce that framing."""
    disable_dco: bool = False
    workers: int | None = None
    """Of the native data path; None as suits the processors."""
    kernel_module: str = "ovpn6"
    """Which of the kernel's modules is tried first: ours, or ``ovpn``, Linux' own."""


@dataclass(frozen=True, slots=True)
class MtuConfig:
    """Packet sizes and path MTU discovery; a remote has ``mssfix`` and ``mtu_disc`` of its own."""

    mssfix: Mssfix | None = None
    """None: whatever the path's MTU allows."""
    mtu_disc: str = "maybe"
    """``maybe``, ``yes`` (and nothing is ever fragmented outside) or ``no``: nothing is probed."""
    base: int = 0
    """Where the search begins, octets of an outer packet; 0 is 1280 over IPv6, 1200 over IPv4."""
    largest: int = 0
    """Nothing longer is probed; 0 is what a full inner packet needs."""
    probe: float = 1.0
    confirm: float = 10.0
    raise_: float = 600.0
    """Seconds: PROBE_TIMER, CONFIRMATION_TIMER and PMTU_RAISE_TIMER of RFC 8899."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The tunnel interface and the host's routes, as the configuration itself asks."""

    device: DeviceSpec = DeviceSpec()
    persist_tun: bool = False
    tun_mtu: int = 1420
    tun_mtu_max: int = 1600
    ifconfig: tuple[IPInterface, ...] = ()
    """``ifconfig`` and ``ifconfig-ipv6``, own address with prefix."""
    ifconfig_noexec: bool = False
    routes: tuple[RouteOrder, ...] = ()
    route_noexec: bool = False
    route_metric: int | None = None
    route_table: int = 0
    route_delay: int = 0
    route_gateway: IPAddress | None = None
    """What routes without a gateway of their own lead through; None is the device alone."""
    route_ipv6_gateway: IPAddress | None = None
    redirect_gateway: frozenset[str] | None = None
    """Flags (``def1``, ``ipv6``, ``!ipv4``, ``local`` ...), None when not given; with ``private``
    it is ``redirect-private``: everything but the default route itself."""
    block_ipv6: bool = False
    max_routes: int = 0
    allow_recursive_routing: bool = False
    proto_force: Transport | None = None


@dataclass(frozen=True, slots=True)
class RouteOrder:
    """A ``route``/``route-ipv6`` line before the gateway words are resolved.

    ``host`` is set instead of ``destination`` for the special words (``remote_host``,
    ``vpn_gateway``, ``net_gateway``); ``gateway`` is "", an address, ``vpn_gateway``,
    ``net_gateway``.
    """

    destination: IPNetwork | None
    host: str = ""
    gateway: str = ""
    metric: int | None = None
    table: int = 0


@dataclass(frozen=True, slots=True)
class ScriptsConfig:
    """The user's scripts, each split into words; () when not given."""

    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    down_pre: bool = False
    up_restart: bool = False
    up_delay: bool = False
    route_up: tuple[str, ...] = ()
    route_pre_down: tuple[str, ...] = ()
    ipchange: tuple[str, ...] = ()
    client_connect: tuple[str, ...] = ()
    client_disconnect: tuple[str, ...] = ()
    learn_address: tuple[str, ...] = ()
    auth_user_pass_verify: tuple[str, ...] = ()
    auth_user_pass_verify_method: str = "via-env"
    """``via-env`` or ``via-file``."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What only a server has. Prefixes None mean: that family is not served."""

    listens: tuple[Listen, ...] = ()
    server: IPNetwork | None = None
    """IPv4 tunnel network; our address is the first host."""
    server_nopool: bool = False
    server_ipv6: IPNetwork | None = None
    pool_start: IPAddress | None = None
    pool_end: IPAddress | None = None
    pool_netmask: IPAddress | None = None
    pool_ipv6: IPInterface | None = None
    """First address to hand out, with the prefix length of the tunnel."""
    ifconfig_pool_persist: FilePath | None = None
    ifconfig_pool_persist_interval: int = 600
    client_config_dir: FilePath | None = None
    ccd_exclusive: bool = False
    client_to_client: bool = False
    duplicate_cn: bool = False
    max_clients: int = 1024
    max_routes_per_client: int = 256
    connect_freq: tuple[int, int] = (0, 0)
    """At most n new sessions in s seconds; 0 is no limit."""
    connect_freq_initial: tuple[int, int] = (100, 10)
    username_as_common_name: bool = False
    auth_user_pass_optional: bool = False
    auth_gen_token: bool = False
    auth_gen_token_lifetime: int = 0
    auth_gen_token_renewal: int = 0
    auth_gen_token_secret: FileRef | None = None
    push: tuple[str, ...] = ()
    """Options to push, in order, each as the text the client will read."""
    explicit_exit_notify: int = 0
    """1 tells clients to reconnect here when the server ends, 2 to go to their next server."""


@dataclass(frozen=True, slots=True)
class PullFilter:
    """``pull-filter``: the first whose ``prefix`` a pushed option begins with decides."""

    action: str
    """``accept``, ``ignore`` or ``reject``."""
    prefix: str


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What only a client has."""

    remotes: tuple[Remote, ...] = ()
    remote_random: bool = False
    nobind: bool = False
    pull: bool = True
    route_nopull: bool = False
    pull_filters: tuple[PullFilter, ...] = ()
    connect_retry: tuple[int, int] = (1, 300)
    """First and longest wait between attempts at the whole list."""
    connect_retry_max: int = 0
    server_poll_timeout: int = 120
    resolv_retry: int | None = None
    """Seconds to retry a look-up; None is for ever."""
    auth_user_pass: FileRef | None = None
    auth_user_pass_prompt: bool = False
    auth_retry: str = "none"
    """``none``, ``nointeract`` or ``interact``."""
    auth_nocache: bool = False
    explicit_exit_notify: int = 0


@dataclass(frozen=True, slots=True)
class PointToPointConfig:
    """What only an end of two has; ``client`` tells where its peer is.

    ``passive`` is our own socket when there is no remote: an entry without host, which serves
    whoever comes first. ``ifconfig_remote``, ``ifconfig_ipv6_remote``: the peer's addresses in the
    tunnel, None where ``ifconfig`` has a netmask and ``ifconfig-ipv6`` one word.
    """

    tls_server: bool
    tcp_server: bool = False
    """Over TCP: wait for the peer's connection (``tcp-server``) instead of making it."""
    passive: Remote | None = None
    ifconfig_remote: IPAddress | None = None
    ifconfig_ipv6_remote: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One whole configuration. ``server`` or ``client`` is set, by ``mode``; in the mode
    POINT_TO_POINT it is ``client``, beside ``point_to_point``."""

    mode: Mode
    process: ProcessConfig = ProcessConfig()
    tls: TlsConfig = TlsConfig()
    wrap: WrapConfig = WrapConfig()
    control: ControlConfig = ControlConfig()
    data: DataConfig = DataConfig()
    host: HostConfig = HostConfig()
    mtu: MtuConfig = MtuConfig()
    sockets: SocketOptions = SocketOptions()
    scripts: ScriptsConfig = ScriptsConfig()
    server: ServerConfig | None = None
    client: ClientConfig | None = None
    point_to_point: PointToPointConfig | None = None
    warnings: tuple[str, ...] = ()
    """Notices from reading, each with file:line, to log at start."""
    origin: Source = field(default=Source("[command line]"))

    @property
    def is_tls_server(self) -> bool:
        """Whether our part in TLS is the server's."""
        both = self.point_to_point
        return self.server is not None or (both is not None and both.tls_server)


# --- what servers decide for one client, and what a client is told ------------------------------


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One client's own settings: a client-config-dir file, or what client-connect wrote."""

    ifconfig_push: IPInterface | None = None
    ifconfig_ipv6_push: IPInterface | None = None
    iroutes: tuple[IPNetwork, ...] = ()
    push: tuple[str, ...] = ()
    push_reset: bool = False
    push_remove: tuple[str, ...] = ()
    disable: bool = False
    max_routes_per_client: int | None = None
    override_username: str = ""
    inactive: int | None = None
    inactive_bytes: int = 0
    keepalive: Keepalive | None = None


@dataclass(frozen=True, slots=True)
class PushedConfig:
    """What a server pushed, parsed: fields None or empty were not in the push."""

    ifconfig: IPInterface | None = None
    ifconfig_ipv6: IPInterface | None = None
    ifconfig_ipv6_gateway: IPAddress | None = None
    route_gateway: IPAddress | None = None
    route_ipv6_gateway: IPAddress | None = None
    topology: str = "subnet"
    """``net30`` and ``p2p`` servers: ``route_gateway`` is their end unless they pushed another."""
    peer_id: int | None = None
    cipher: str | None = None
    protocol_flags: frozenset[str] = frozenset()
    """``cc-exit``, ``tls-ekm`` (``key-derivation tls-ekm`` too), ``dyn-tls-crypt``; any other
    word is a format this end did not offer."""
    ecn_marks: bool = False
    """The server carries congestion marks of outer packets inside; of ovpn6 alone."""
    numbered_probes: bool = False
    """The server answers numbered probes of the path's MTU; of ovpn6 alone."""
    tun_mtu: int | None = None
    ping: int | None = None
    ping_restart: int | None = None
    ping_exit: int | None = None
    inactive: int | None = None
    inactive_bytes: int = 0
    session_timeout: int | None = None
    explicit_exit_notify: int | None = None
    auth_token: str = field(default="", repr=False)
    auth_token_user: str = ""
    routes: tuple[RouteOrder, ...] = ()
    route_metric: int | None = None
    redirect_gateway: frozenset[str] | None = None
    block_ipv6: bool = False
    compression: str = ""
    """``stub-v2``, ``stub`` (``comp-lzo no``) or "" (none); any other word (``stub-swap``, ``lzo``
    ...) is a framing this end cannot do, so the tunnel would carry nothing."""
    dhcp_options: tuple[str, ...] = ()
    """``dhcp-option``/``dns`` lines, for ``foreign_option_n``."""
    sndbuf: int | None = None
    rcvbuf: int | None = None
    setenv: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    """Options that were dropped, with the reason, to log."""
