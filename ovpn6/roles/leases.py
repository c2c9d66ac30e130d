"""The pool's persistence file: one ``NAME,IPv4,IPv6`` a line. PURE: text in, text out.

Source: OpenVPN ``pool.c`` (ifconfig_pool_read, ifconfig_pool_list). What it says is a suggestion:
a line that does not fit the pool any more is passed over with a notice.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from ovpn6.model.addresses import IPAddress
from ovpn6.model.records import dataclass
from ovpn6.roles.address_pool import AddressPool, PoolRange


@dataclass(frozen=True, slots=True)
class StoredLease:
    """One line that fits the pool."""

    name: str
    offset: int


def parse_leases(text: str, addresses: PoolRange) -> tuple[list[StoredLease], list[str]]:
    """The usable lines of a persistence file, and a notice for each that is not.

    When the families disagree on the offset the IPv6 address decides: a pool without IPv4 must not
    depend on what an older file says of it.
    """
    leases: list[StoredLease] = []
    notices: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        try:
            leases.append(_parse_line(line, addresses))
        except ValueError as problem:
            notices.append(f"pool file line {number}: {problem}")
    return leases, notices


def load_leases(pool: AddressPool, text: str, *, fixed: bool) -> list[str]:
    """Suggest a file's leases to a new pool; returns the notices. ``fixed``: they are binding."""
    leases, notices = parse_leases(text, pool.addresses)
    for lease in leases:
        pool.suggest(lease.name, lease.offset, fixed=fixed)
    return notices


def format_leases(pool: AddressPool) -> str:
    """The file for a pool; a family that is not served leaves its field empty."""
    return "".join(
        f"{name},{lease.ipv4 or ''},{lease.ipv6 or ''}\n" for name, lease in pool.entries()
    )


def _parse_line(line: str, addresses: PoolRange) -> StoredLease:
    name, *fields = line.split(",")
    if not name or not fields or len(fields) > 2:
        raise ValueError("not NAME,IPv4,IPv6")
    ipv4, ipv6 = [*fields, ""][:2]
    written: list[IPAddress] = []
    if ipv6:
        written.append(IPv6Address(ipv6))
    if ipv4:
        written.append(IPv4Address(ipv4))
    for address in written:
        offset = addresses.offset_of(address)
        if offset is not None:
            return StoredLease(name, offset)
    raise ValueError(f"no address of {name} lies in the pool")
