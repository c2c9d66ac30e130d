"""What the doctor found out, before anybody judges it. Plain facts. PURE.

Sizes are octets of whole IP packets.
"""

from __future__ import annotations

from enum import Enum

from ovpn6.model.addresses import IPAddress
from ovpn6.model.records import dataclass


class Place(Enum):
    """Which path was swept."""

    OUTER = "outer"
    INNER = "inner"


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody said how large a packet may be; ``by`` None is this host itself."""

    by: IPAddress | None
    mtu: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Large packets come as far as ``reached`` (None: they do not leave this host) and not to
    ``beyond`` (None: nothing further on answers)."""

    reached: IPAddress | None
    beyond: IPAddress | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Echo requests of many sizes to one address, both ways.

    ``largest`` was answered, ``lost`` is the smallest that was not (None: all up to the link's
    MTU were); 0 and None where nothing is answered at all. ``told``: what was said about ``lost``.
    ``fragments``: whether a request in fragments was answered (None: not tried). ``back``: the
    largest answer to a request that went in fragments, so that only the way back was under test
    (None: not tried).
    """

    place: Place
    target: IPAddress
    link: str
    link_mtu: int
    largest: int = 0
    lost: int | None = None
    told: Told | None = None
    hole: Hole | None = None
    fragments: bool | None = None
    back: int | None = None

    @property
    def answered(self) -> bool:
        """Whether anything was."""
        return self.largest > 0


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. ``tunnel``: a TUN or ``ovpn`` device. ``learns_route``: its default
    route came from a router advertisement. Sysctls are None where the kernel has none."""

    name: str
    mtu: int
    tunnel: bool
    ipv6: bool
    """It has an IPv6 address that is not link-local."""
    ipv4: bool
    learns_route: bool = False
    disable_ipv6: int | None = None
    accept_ra: int | None = None
    forwarding6: int | None = None


@dataclass(frozen=True, slots=True)
class Sysctls:
    """Of the whole network namespace; None where the kernel has no such."""

    forwarding6: int | None = None
    forwarding4: int | None = None
    disable_ipv6: int | None = None
    icmp6_ratelimit: int | None = None
    icmp6_limited: tuple[int, ...] = ()
    """ICMPv6 types under the rate limit (``net.ipv6.icmp.ratemask``)."""
    no_pmtu_disc: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule, or a chain's policy, that ends "packet too big". ``family`` 6 or 4."""

    family: int
    hook: str
    """``input``, ``output`` or ``forward``."""
    where: str
    """Table and chain."""
    rule: str
    certain: bool = True
    """Otherwise a policy that nothing was seen to except them from."""


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """What a SYN announced as it left by the tunnel device, toward ``target``."""

    target: IPAddress
    mss: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What a running daemon says of a peer: ``path`` MTU, None where probes found out nothing,
    ``tunnel`` MTU, how it knows, and the ``inner`` addresses of a client of ours."""

    outer: IPAddress
    path: int | None
    tunnel: int
    learned: str
    inner: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. ``server``: whether the configuration is a server's; ``filters`` None when the
    rules could not be read, and ``unread`` says why."""

    sweeps: tuple[Sweep, ...]
    interfaces: tuple[Interface, ...]
    sysctls: Sysctls
    server: bool = False
    filters: tuple[Filter, ...] | None = ()
    unread: str = ""
    segments: tuple[SegmentSize, ...] = ()
    known: tuple[Known, ...] = ()
