"""A configuration while it is being read: what the options fold their directives into.

The schema's dataclasses are kept as they will be; what needs more than one directive to decide
(links, remotes, pools, keepalive, ciphers) waits in plain fields for :mod:`ovpn6.config.build`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path as FilePath

from ovpn6.config.lexer import Directive
from ovpn6.config.schema import (
    ClientConfig,
    ControlConfig,
    DataConfig,
    FileRef,
    HostConfig,
    Mssfix,
    MtuConfig,
    PeerConfig,
    ProcessConfig,
    PushedConfig,
    ScriptsConfig,
    ServerConfig,
    TlsConfig,
    WrapConfig,
)
from ovpn6.config.values import Proto
from ovpn6.model.errors import ConfigError, Source
from ovpn6.model.names import Transport
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import SocketOptions


@dataclass(frozen=True, slots=True)
class LocalLine:
    """One ``local``: address "" is any; port and proto None are those of ``lport``, ``proto``."""

    source: Source
    address: str
    port: int | None = None
    proto: Proto | None = None


@dataclass(frozen=True, slots=True)
class RemoteLine:
    """One ``remote``; port and proto None are those of ``rport``, ``proto``."""

    source: Source
    host: str
    port: int | None = None
    proto: Proto | None = None


@dataclass(slots=True)
class LinkDraft:
    """What a ``<connection>`` block may say; outside of blocks it is what they start from."""

    proto: Proto = Proto(Transport.UDP)
    locals: tuple[LocalLine, ...] = ()
    remotes: tuple[RemoteLine, ...] = ()
    local_port: int = 1194
    local_port_given: bool = False
    remote_port: int = 1194
    bind: bool = False
    nobind: bool = False
    connect_timeout: int = 120
    explicit_exit_notify: int = 0
    mssfix: Mssfix | None = None
    mtu_disc: str = "maybe"
    tls_auth: FileRef | None = None
    key_direction: int | None = None
    tls_crypt: FileRef | None = None
    tls_crypt_v2: FileRef | None = None


@dataclass(slots=True)
class RoleDraft:
    """What decides on the mode, and the macros' own values."""

    client: bool = False
    pull: bool = False
    tls_client: bool = False
    tls_server: bool = False
    mode_server: bool = False
    server: IPv4Network | None = None
    server_nopool: bool = False
    server_ipv6: IPv6Network | None = None
    pool: tuple[IPv4Address, IPv4Address, IPv4Address | None] | None = None
    pool_ipv6: IPv6Interface | None = None
    keepalive: tuple[int, int] | None = None
    ping: int | None = None
    ping_restart: int | None = None
    ping_exit: int | None = None
    tcp_nodelay: bool = False
    topology: str = "subnet"
    ifconfig: IPv4Interface | None = None
    ifconfig_remote: IPv4Address | None = None
    """Set where ``ifconfig`` names the other end instead of a netmask."""
    ifconfig_ipv6: IPv6Interface | None = None
    ifconfig_ipv6_remote: IPv6Address | None = None
    device: str = ""
    device_type: str = ""
    cipher: str | None = None

    @property
    def is_server(self) -> bool:
        """One end with many clients."""
        return self.mode_server or self.server is not None or self.server_ipv6 is not None

    @property
    def is_point_to_point(self) -> bool:
        """One of two equal ends."""
        alone = not (self.is_server or self.client or self.pull)
        return alone and (self.tls_server or self.tls_client)


@dataclass(slots=True)
class Draft:
    """Everything read so far. ``base`` is the directory that relative paths start from."""

    base: FilePath
    origin: Source = Source("[command line]")
    """What an error is blamed on that has no directive of its own."""
    role_known: bool = True
    """Whether the mode could be told; else what follows from it is not judged."""
    process: ProcessConfig = ProcessConfig()
    tls: TlsConfig = TlsConfig()
    wrap: WrapConfig = WrapConfig()
    control: ControlConfig = ControlConfig()
    data: DataConfig = DataConfig()
    host: HostConfig = HostConfig()
    mtu: MtuConfig = MtuConfig()
    sockets: SocketOptions = SocketOptions()
    scripts: ScriptsConfig = ScriptsConfig()
    server: ServerConfig = ServerConfig()
    client: ClientConfig = ClientConfig()
    pushed: PushedConfig = PushedConfig()
    peer: PeerConfig = PeerConfig()
    role: RoleDraft = field(default_factory=RoleDraft)
    link: LinkDraft = field(default_factory=LinkDraft)
    blocks: list[tuple[Source, LinkDraft]] = field(default_factory=list)
    given: dict[str, list[Directive]] = field(default_factory=dict)
    """Every directive outside of blocks, by canonical name, in order."""
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str, source: Source) -> None:
        """Note something the operator should know and need not change."""
        self.warnings.append(f"{source}: {text}")

    def fail(self, text: str, source: Source | None, advice: str = "") -> None:
        """Note something the operator must change; reading goes on to find the rest."""
        self.errors.append(ConfigError(text, source or self.origin, advice))

    def source_of(self, *names: str) -> Source | None:
        """Where the first of these directives stands last, None when none is given."""
        for name in names:
            if name in self.given:
                return self.given[name][-1].source
        return None

    def is_given(self, name: str) -> bool:
        """Whether the directive stands outside of ``<connection>`` blocks."""
        return name in self.given

    @contextmanager
    def block(self, source: Source) -> Iterator[LinkDraft]:
        """Fold link directives into a new ``<connection>`` block while the context lasts."""
        outer = self.link
        self.link = replace(
            outer, remotes=(), tls_auth=None, key_direction=None, tls_crypt=None, tls_crypt_v2=None
        )
        self.blocks.append((source, self.link))
        try:
            yield self.link
        finally:
            self.link = outer
