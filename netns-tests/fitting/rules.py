"""What must become of an inner packet, from its size and the path's. PURE.

    inner packet of s octets, T = what fits into one outer packet of P octets
    R1  s <= T                       Passes: one outer packet
    R2  IPv6, T < s <= 1280          BelowIp: delivered, in outer pieces
    R3  IPv6, s > max(T, 1280)       TooBig: Packet Too Big with max(T, 1280)
    R4  IPv4 with DF, s > T          TooBig: fragmentation needed with T
    R5  IPv4 without DF, s > T       Pieces: fragmented inside the tunnel
    R6  TCP                          segments of at most T less headers, in both directions
    R7  whether routers say Packet Too Big changes none of these
    R8  nor does the direction, where ovpn6 is the sender

Computed from :mod:`ovpn6.mtu.overhead` alone. Sources: RFC 8200 section 5, RFC 2473 section 7,
RFC 4459 section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovpn6.mtu.overhead import IPV6_MINIMUM, Encapsulation, sizes

IP_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
_FRAGMENT_HEADER = {4: 0, 6: 8}


@dataclass(frozen=True, slots=True)
class Packet:
    """An inner packet of ``size`` octets, IP header included. ``df`` is of IPv4."""

    version: int
    size: int
    df: bool = True


@dataclass(frozen=True, slots=True)
class Passes:
    """Delivered as it is, in one outer packet (R1)."""


@dataclass(frozen=True, slots=True)
class BelowIp:
    """Delivered as it is, in ``outer`` fragments of the outer packet (R2)."""

    outer: int


@dataclass(frozen=True, slots=True)
class TooBig:
    """Not delivered; the sender is told ``mtu`` (R3, R4)."""

    mtu: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """Delivered in ``inner`` fragments of the inner packet, one outer packet each (R5)."""

    inner: int


Verdict = Passes | BelowIp | TooBig | Pieces


@dataclass(frozen=True, slots=True)
class Rules:
    """A tunnel over a path: ``path`` is P, ``device`` the ``tun-mtu`` of both ends."""

    path: int
    encapsulation: Encapsulation
    device: int

    @property
    def tunnel(self) -> int:
        """T: the largest inner packet that travels in one outer packet."""
        return sizes(self.path, self.encapsulation, self.device).tunnel

    def verdict(self, packet: Packet) -> Verdict:
        """What becomes of ``packet``."""
        fits = self.tunnel
        if packet.size <= fits:
            return Passes()
        if packet.version == 6:
            largest = max(fits, IPV6_MINIMUM)
            return TooBig(largest) if packet.size > largest else BelowIp(self._outer(packet.size))
        if packet.df:
            return TooBig(fits)
        header = IP_HEADER[4]
        return Pieces(_divided(packet.size - header, fits - header))

    def mss(self, version: int) -> int:
        """The largest segment that a SYN through the tunnel may announce (R6)."""
        found = sizes(self.path, self.encapsulation, self.device)
        return found.mss_ipv6 if version == 6 else found.mss_ipv4

    def edges(self) -> tuple[int, ...]:
        """Sizes on both sides of every border, sorted."""
        fits, least = self.tunnel, IPV6_MINIMUM
        return tuple(sorted({fits - 1, fits, fits + 1, least - 1, least, least + 1}))

    def _outer(self, size: int) -> int:
        version = self.encapsulation.ip_version
        # Of an outer packet all behind its IP header is divided.
        behind = self.encapsulation.overhead - IP_HEADER[version] + size
        return _divided(behind, self.path - IP_HEADER[version] - _FRAGMENT_HEADER[version])


def _divided(octets: int, room: int) -> int:
    """Into how many fragments: each but the last is a multiple of eight octets."""
    return -(-octets // (room // 8 * 8))
