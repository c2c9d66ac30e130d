"""Frozen orders: what a role wants of a datapath, the host, or a script. No behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from ovpn6.model.addresses import Endpoint, IPAddress, IPInterface, IPNetwork, Path
from ovpn6.model.names import Family, KeyId, PeerId, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes

# --- datapath -----------------------------------------------------------------------------------


class Framing(Enum):
    """What stands before the inner packet inside a data packet (OpenVPN ``comp.c``)."""

    NONE = "none"
    STUB = "stub"
    """One byte 0xFA first, the peer's ``comp-lzo no``; a really compressed packet is dropped."""
    STUB_SWAP = "stub-swap"
    """Its first byte moved to the end and 0xFB in its place: the peer's ``compress stub``."""
    STUB_V2 = "stub-v2"
    """As NONE; a payload that begins with 0x50 is escaped by 0x50 0x00, which IP never needs."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Seconds of send silence before a ping, and of receive silence before the peer is dead; 0 is
    never."""

    interval: int = 0
    timeout: int = 0


class DataFormat(Enum):
    """How a data packet is laid out and where its key comes from."""

    CLASSIC = "classic"
    """A 32-bit packet id, the tag before the ciphertext, one key for a negotiation's life."""
    EPOCH = "epoch"
    """A 64-bit packet id, the tag last, a chain of keys: ``aead-epoch`` of OpenVPN 2.7."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One data-channel key pair. ``cipher`` names a row of ``CIPHERS``; implicit IVs: 8 bytes.

    In the format EPOCH the keys are the 32-byte secrets of epoch 1, whatever the cipher, and the
    implicit IVs are empty: both are derived for each epoch (``protocol/epoch_keys.py``).
    """

    key_id: KeyId
    cipher: str
    send_key: SecretBytes
    send_iv: SecretBytes
    receive_key: SecretBytes
    receive_iv: SecretBytes
    data_format: DataFormat = DataFormat.CLASSIC


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A peer of the data channel.

    ``peer`` is the id that its packets to us carry, ``send_id`` the one we write to it (equal but
    for asymmetric ids). ``networks`` is what it may send from and what is sent to it: host
    addresses as /128 and /32, iroutes, and ``::/0`` with ``0.0.0.0/0`` for a client's only peer.
    ``inactive_after``/``inactive_bytes``: report ``PeerInactive`` after that many seconds with
    fewer payload bytes than that, 0 never. ``copy_ecn``: congestion marks of inner packets go on
    outer ones, for a peer that is known to carry them back inside (RFC 6040 4.1).
    """

    peer: PeerId
    send_id: int
    path: Path
    networks: tuple[IPNetwork, ...]
    keepalive: Keepalive = Keepalive()
    framing: Framing = Framing.NONE
    float_allowed: bool = True
    inactive_after: int = 0
    inactive_bytes: int = 0
    copy_ecn: bool = False


@dataclass(frozen=True, slots=True)
class PeerCounters:
    """Octets and packets of a peer. ``link_*`` count outer datagrams, the others inner packets."""

    link_in: int = 0
    link_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


# --- outer sockets ------------------------------------------------------------------------------


class FlowLabel(Enum):
    """The flow label of outer IPv6 packets."""

    PEER = "peer"
    """The kernel's own: one for all packets of a peer."""
    FLOW = "flow"
    """One for each inner flow (RFC 6438); for UDP in user space."""
    OFF = "off"
    """Zero: none."""


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """Socket settings by OpenVPN's names; None or 0 leaves the kernel's own."""

    sndbuf: int = 0
    rcvbuf: int = 0
    mark: int | None = None
    bind_device: str = ""
    multihome: bool = False
    ipv6_only: bool = False
    tcp_nodelay: bool = False
    flow_label: FlowLabel = FlowLabel.PEER


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One outer socket to open.

    Without ``remote`` it is bound and serves any remote (UDP) or listens (TCP). With ``remote`` a
    UDP socket still receives from any address (float), a TCP one connects within
    ``connect_timeout`` seconds. ``local_address`` None is any; ``local_port`` 0 is ephemeral.
    """

    transport: Transport
    family: Family = Family.ANY
    local_address: IPAddress | None = None
    local_port: int = 0
    remote: Endpoint | None = None
    connect_timeout: int = 120
    options: SocketOptions = SocketOptions()


# --- host state ---------------------------------------------------------------------------------


class RouteVia(Enum):
    """Where a route leads."""

    TUNNEL = "tunnel"
    """Out of the tunnel interface, through ``gateway`` where one is given."""
    UNDERLAY = "underlay"
    """Pinned to the way the host reaches it now, apart from our routes."""
    UNREACHABLE = "unreachable"
    """Answered with ICMP unreachable by the kernel: ``block-ipv6``, an unassigned pool."""


@dataclass(frozen=True, slots=True)
class Route:
    """One kernel route. ``metric`` and ``mtu`` None leave the kernel's own; ``table`` 0 is main."""

    destination: IPNetwork
    via: RouteVia = RouteVia.TUNNEL
    gateway: IPAddress | None = None
    metric: int | None = None
    table: int = 0
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """The tunnel device. ``name`` without a number (``tun``) takes the first free number.

    ``netns`` names the network namespace (``/run/netns``) the device lives in; "" is our own.
    ``persist`` devices existed before us (``--mktun``) and are left behind.
    """

    name: str = "tun"
    netns: str = ""
    txqueuelen: int = 0


@dataclass(frozen=True, slots=True)
class HostPlan:
    """All host state that a tunnel wants; the executor applies the difference to what is there.

    ``forwarding`` turns on IP forwarding for the families of ``addresses`` while the plan stands.
    """

    mtu: int
    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: bool = False


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """Sizes for one IP version inside the tunnel, octets. ``mtu`` None is the device's own; ``mss``
    0 leaves TCP's segments alone."""

    mtu: int | None
    mss: int


@dataclass(frozen=True, slots=True)
class PeerFit:
    """What the host does so that packets for one peer fit its path: route MTUs, TCP segment sizes.

    ``networks`` lead to the peer: its addresses as /128 and /32, and its iroutes. ``::/0`` and
    ``0.0.0.0/0`` stand for the whole device, which has one peer then. ``outer_mtu``: a route MTU
    toward ``outer``, the peer's outer address, so that the host itself fragments what is longer;
    None where nothing is to be fragmented.
    """

    peer: PeerId
    networks: tuple[IPNetwork, ...]
    ipv6: FamilyFit
    ipv4: FamilyFit
    outer: IPAddress | None = None
    outer_mtu: int | None = None


# --- scripts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One run of a user's script.

    ``kind`` is the directive (``up``, ``client-connect`` ...) and becomes ``script_type``. The
    executor appends to ``command``: ``arguments``, then the path of a temporary file that holds
    ``secret_input`` (via-file), then that of an empty one when ``returns_config``. ``deferrable``:
    exit code 2 means the answer comes through ``auth_control_file`` or
    ``client_connect_deferred_file``. ``input_variable``: the path of ``secret_input``'s file goes
    into this variable instead of the arguments. ``peer``: add ``bytes_received`` and ``bytes_sent``
    of this peer, as the datapath counts them when the action is carried out.
    """

    kind: str
    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_environment: Mapping[str, SecretBytes] = field(default_factory=dict)
    secret_input: SecretBytes | None = None
    returns_config: bool = False
    deferrable: bool = False
    peer: PeerId | None = None
    input_variable: str = ""


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """How it ended: ``ok`` is exit 0 (or a deferred 1). ``config_text`` is what it wrote for
    ``returns_config``; ``reason`` the text of ``auth_failed_reason_file``."""

    ok: bool
    exit_code: int = 0
    config_text: str = ""
    reason: str = ""
