"""The datapath: what moves data packets between a tunnel device and outer sockets.

One interface, several implementations (user space in Python, a native worker, the kernel module,
an in-memory fake); each passes ``tests/datapath/contract.py``. Calls come from the daemon's event
loop and do not block for long; what happens is reported by calling ``report`` from the same loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.flow import (
    ControlReceived,
    DeviceLost,
    FloatConflict,
    KeyConfirmed,
    KeyWornOut,
    LinkAccepted,
    LinkClosed,
    LinkOpened,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
)
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import (
    DeviceSpec,
    Framing,
    KeyMaterial,
    LinkSpec,
    PeerCounters,
    PeerFit,
    PeerSpec,
)

Report = (
    ControlReceived
    | LinkOpened
    | LinkAccepted
    | LinkClosed
    | PeerFloated
    | FloatConflict
    | PeerExpired
    | PeerInactive
    | PeerExited
    | KeyWornOut
    | KeyConfirmed
    | DeviceLost
)
ReportSink = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be advertised to peers. ``name`` is printed: ``user space (Python)``.
    ``data_epoch``: keys of the format EPOCH can be installed. ``ecn``: congestion marks of outer
    packets are carried inside (RFC 6040)."""

    name: str
    ciphers: tuple[str, ...]
    framings: frozenset[Framing]
    data_epoch: bool = False
    ecn: bool = False
    occ: bool = True


@dataclass(frozen=True, slots=True)
class Drops:
    """Datagrams and packets dropped, by reason, since the datapath was opened."""

    counts: dict[str, int]


class Datapath(Protocol):
    """Errors: ``HostError`` when the host refuses, ``UsageError`` for an unknown peer or link."""

    @property
    def capabilities(self) -> Capabilities:
        """Known before :meth:`open_device`."""

    def open_device(self, spec: DeviceSpec, mtu: int) -> str:
        """Make the tunnel device (down, no addresses) and return its real name."""

    def close_device(self) -> None:
        """Remove the device that we made; a persistent one stays."""

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        """Open a socket under ``link``; returns the local endpoint. TCP with a remote connects.

        A TCP listener reports ``LinkAccepted`` with ids from ``new_link_id`` of the constructor.
        """

    def close_link(self, link: LinkId) -> None:
        """Close it; its peers stay known but cannot send."""

    def send_control(self, path: Path, datagram: bytes) -> None:
        """Send one datagram (UDP) or one framed packet (TCP). A full socket drops and counts."""

    def send_probe(self, path: Path, datagram: bytes) -> None:
        """Send one datagram in one piece or not at all, whatever the route's MTU (UDP only).

        ``HostError`` EMSGSIZE when it is longer than the outgoing interface takes, EOPNOTSUPP over
        TCP. Everything else drops and counts.
        """

    def add_peer(self, spec: PeerSpec) -> None:
        """Make a peer known; it sends and opens nothing before a key is installed."""

    def update_peer(self, spec: PeerSpec) -> None:
        """Replace all of a peer's spec; its keys and counters stay."""

    def fit_routes(self, peer: PeerId, fit: PeerFit | None) -> frozenset[IPNetwork]:
        """The networks whose routes this data path itself makes for a peer, known yet or not: they
        get the fit's MTUs from now on, or none again. The host is to leave them alone."""

    def remove_peer(self, peer: PeerId) -> PeerCounters:
        """Forget it; returns its last counters."""

    def install_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        """Put a key into a slot, over what was there. Packet ids begin at 1."""

    def swap_keys(self, peer: PeerId) -> None:
        """PRIMARY and SECONDARY change places."""

    def drop_key(self, peer: PeerId, slot: KeySlot) -> None:
        """Empty a slot; nothing happens when it is empty."""

    def send_exit(self, peer: PeerId) -> None:
        """Send OpenVPN's OCC exit in the data channel, if there is a key and OCC."""

    def counters(self, peer: PeerId) -> PeerCounters:
        """Now."""

    def keys(self, peer: PeerId) -> dict[KeySlot, KeyId]:
        """Which key ids are installed."""

    def drops(self) -> Drops:
        """What was dropped and why."""

    def close(self) -> None:
        """Close every link, remove the device, wipe keys."""
