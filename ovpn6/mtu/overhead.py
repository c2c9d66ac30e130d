"""What the tunnel adds to an inner packet, and the sizes that follow from a path MTU. PURE.

Sources: RFC 8200 section 5 (1280), RFC 2473 section 7, RFC 4459 section 3.2, RFC 9293 section
3.7.1; OpenVPN's ``P_DATA_V2`` with an AEAD cipher, and its epoch format.
"""

from __future__ import annotations

from ovpn6.model.errors import UsageError
from ovpn6.model.records import dataclass

IPV6_MINIMUM = 1280
"""Octets that every IPv6 link carries (RFC 8200 section 5)."""

_IP_HEADER = {4: 20, 6: 40}
_UDP_HEADER = 8
_TCP_HEADER = 20
_TAG = 16
_OPCODE = {True: 4, False: 1}
"""With and without a peer id behind the first octet."""
_PACKET_ID = {True: 8, False: 4}
"""Of the epoch format and of the classic one."""


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """How a peer's data packets travel: over UDP, sealed by an AEAD cipher."""

    ip_version: int
    """Of the outer packet, 4 or 6."""
    epoch: bool = False
    """The epoch format with its packet id of 64 bits."""
    has_peer_id: bool = True
    framing: int = 0
    """Octets between the seal and the inner packet: a compression stub's."""

    @property
    def overhead(self) -> int:
        """Octets that the outer packet is longer than the inner one."""
        if self.ip_version not in _IP_HEADER:
            raise UsageError(f"IP version {self.ip_version}")
        sealed = _OPCODE[self.has_peer_id] + _PACKET_ID[self.epoch] + _TAG + self.framing
        return _IP_HEADER[self.ip_version] + _UDP_HEADER + sealed


@dataclass(frozen=True, slots=True)
class Sizes:
    """What holds for one peer while its path MTU is ``path``. Octets of whole IP packets."""

    path: int
    """Largest outer packet."""
    tunnel: int
    """Largest inner packet that travels in one outer packet; the route MTU of IPv4."""
    route_ipv6: int
    """Route MTU of inner IPv6: :attr:`tunnel`, but what every link must carry at least."""
    mss_ipv4: int
    mss_ipv6: int
    """Largest TCP segments that never need outer fragments."""
    outer_route: int | None
    """Where an inner packet of 1280 octets does not fit: the route MTU toward the peer's outer
    address, so that the host itself fragments what is longer. None where nothing is fragmented."""


def sizes(path: int, encapsulation: Encapsulation, device: int) -> Sizes:
    """From the path MTU and the MTU of the tunnel device, which is a limit too."""
    fits = path - encapsulation.overhead
    tunnel = min(fits, device)
    return Sizes(
        path=path,
        tunnel=tunnel,
        route_ipv6=min(max(IPV6_MINIMUM, tunnel), max(IPV6_MINIMUM, device)),
        mss_ipv4=tunnel - _IP_HEADER[4] - _TCP_HEADER,
        mss_ipv6=tunnel - _IP_HEADER[6] - _TCP_HEADER,
        outer_route=path if fits < min(IPV6_MINIMUM, device) else None,
    )


def largest_useful_path(encapsulation: Encapsulation, device: int, link: int) -> int:
    """The path MTU above which nothing is won: the device's, or the outer link's limit."""
    return min(link, device + encapsulation.overhead)
