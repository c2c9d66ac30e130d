"""Addresses of the outer network and their order. IPv6 first."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from ovpn6.model.names import LinkId
from ovpn6.model.records import dataclass

IPAddress = IPv6Address | IPv4Address
IPNetwork = IPv6Network | IPv4Network
IPInterface = IPv6Interface | IPv4Interface


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port; never v4-mapped (see :func:`unmapped`). ``scope_id`` is an ifindex."""

    address: IPAddress
    port: int
    scope_id: int = 0

    def __str__(self) -> str:
        if self.address.version == 4:
            return f"{self.address}:{self.port}"
        scope = f"%{self.scope_id}" if self.scope_id else ""
        return f"[{self.address}{scope}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Path:
    """How to reach a remote end: the socket, its address, and ours when ``multihome`` tells."""

    link: LinkId
    remote: Endpoint
    local: IPAddress | None = None

    def __str__(self) -> str:
        return str(self.remote)


def unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address inside a v4-mapped IPv6 address (RFC 4291 2.5.5.2), else the address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def ipv6_first(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The same endpoints, IPv6 before IPv4, otherwise in the order given."""
    return tuple(sorted(endpoints, key=lambda endpoint: -endpoint.address.version))
