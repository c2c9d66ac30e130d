"""Socket addresses as the kernel gives them, and as endpoints. Knows no socket.

Tuples are kept in exactly the form ``recvfrom`` returns, so that they compare without parsing.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from ovpn6.model.addresses import Endpoint, IPAddress, unmapped
from ovpn6.model.errors import UsageError

SockAddr = tuple[str, int] | tuple[str, int, int, int]
Ancillary = tuple[int, int, bytes]

V4_MAPPED = bytes(10) + b"\xff\xff"
IP_PKTINFO = 8
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
FLOW_LABEL = (socket.IPPROTO_IPV6, 11)
"""Level and kind of ``IPV6_FLOWINFO``."""

_INT = struct.Struct("=i")
_IN_PKTINFO = struct.Struct("=i4s4s")
_IN6_PKTINFO = struct.Struct("=16si")


def to_sockaddr(endpoint: Endpoint, family: int) -> SockAddr:
    """What ``recvfrom`` on a socket of ``family`` would say; IPv4 is mapped on an IPv6 socket.

    Raises ``UsageError`` for an IPv6 endpoint on an IPv4 socket.
    """
    packed = endpoint.address.packed
    if family == socket.AF_INET:
        if len(packed) != 4:
            raise UsageError(f"{endpoint} cannot be reached from an IPv4 socket")
        return socket.inet_ntop(socket.AF_INET, packed), endpoint.port
    if len(packed) == 4:
        packed = V4_MAPPED + packed
    # inet_ntop, not str: the two spell mapped addresses differently.
    return socket.inet_ntop(socket.AF_INET6, packed), endpoint.port, 0, endpoint.scope_id


def to_endpoint(address: Sequence[str | int]) -> Endpoint:
    """The endpoint of a kernel's address tuple, v4-mapped ones as IPv4."""
    host, port = str(address[0]), int(address[1])
    scope = int(address[3]) if len(address) == 4 else 0
    return Endpoint(unmapped(ip_address(host.partition("%")[0])), port, scope)


def local_address(ancillary: Sequence[Ancillary]) -> IPAddress | None:
    """Which of our addresses a datagram was sent to, out of PKTINFO, None when it is not there."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO and len(data) >= 20:
            return unmapped(IPv6Address(data[:16]))
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= 12:
            return IPv4Address(data[8:12])
    return None


def source_ancillary(local: IPAddress, family: int, scope_id: int) -> Ancillary:
    """The PKTINFO that makes a datagram leave from ``local``.

    ``scope_id`` is the interface for a link-local peer, else 0.
    """
    if family == socket.AF_INET:
        info = _IN_PKTINFO.pack(0, local.packed, bytes(4))
        return socket.IPPROTO_IP, IP_PKTINFO, info
    packed = local.packed if len(local.packed) == 16 else V4_MAPPED + local.packed
    return socket.IPPROTO_IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(packed, scope_id)


def traffic_class_in(ancillary: Sequence[Ancillary]) -> int:
    """The traffic class or TOS octet that a datagram came with, 0 when it is not there.

    All datagrams of a train have the same: the kernel merges no others.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_TCLASS:
            return int(_INT.unpack_from(data)[0]) & 0xFF
        if level == socket.IPPROTO_IP and kind == socket.IP_TOS:
            return data[0]
    return 0


def traffic_class_ancillary(address: SockAddr, traffic_class: int) -> Ancillary:
    """What makes a datagram to ``address`` leave with a traffic class.

    To a v4-mapped address an IPv6 socket sends IPv4, which heeds IPv4's kind alone.
    """
    value = _INT.pack(traffic_class)
    if is_ipv4(address):
        return socket.IPPROTO_IP, socket.IP_TOS, value
    return socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value


def flow_label_ancillary(label: int) -> Ancillary:
    """What makes a datagram to an IPv6 address leave with a flow label."""
    return *FLOW_LABEL, label.to_bytes(4, "big")


def is_ipv4(address: SockAddr) -> bool:
    """Whether IPv4 goes there, from a socket of either family."""
    return len(address) == 2 or address[0].startswith("::ffff:")
