"""A role's state as the status file, SIGUSR2 and ``Log`` show it. Plain facts, no formatting."""

from __future__ import annotations

from ovpn6.model.addresses import IPAddress, IPNetwork, Path
from ovpn6.model.names import Instant, PeerId
from ovpn6.model.records import dataclass


@dataclass(frozen=True, slots=True)
class PathStatus:
    """What fits through the path to a peer. ``path``: the largest outer packet, None where it is
    not found out; ``tunnel``: the largest inner packet that travels in one outer packet.
    ``learned`` says from what, ``since`` is on the role's clock; ``sent`` and ``lost`` count
    probes, ``numbered`` says whether they are those of ovpn6 alone."""

    path: int | None
    tunnel: int
    learned: str
    since: Instant
    sent: int = 0
    lost: int = 0
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One connected peer. ``connected`` is on the role's clock; addresses None when not given."""

    peer: PeerId
    common_name: str
    username: str
    path: Path
    ipv4: IPAddress | None
    ipv6: IPAddress | None
    cipher: str
    connected: Instant
    routes: tuple[IPNetwork, ...] = ()
    sizes: PathStatus | None = None


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """A whole role. ``counts`` holds drops and refusals by reason; ``state`` uses the words of
    OpenVPN's management interface (``CONNECTING`` ... ``CONNECTED``, ``RECONNECTING``)."""

    is_server: bool
    state: str
    peers: tuple[PeerStatus, ...]
    counts: dict[str, int]
