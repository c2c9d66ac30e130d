"""Keeps the kernel from believing what routers say of our datagrams (Packet Too Big).

Everybody can send that, and the kernel asks no more than that a socket has the port: a forged one
would have it send everything to a peer in fragments for ten minutes. What is quoted behind IPv6
extension headers other than a fragment's is not looked at: our datagrams have none.

    table inet ovpn6-tun0-guard {
        set ports { ... }       ours
        chain input             (priority raw) drops what quotes UDP from one of them
    }
"""

from __future__ import annotations

from ovpn6.model.errors import HostError
from ovpn6.netlink.nft_messages import (
    INPUT,
    META_PROTOCOL,
    RAW_PRIORITY,
    SERVICE,
    TRANSPORT_HEADER,
    Expression,
    Order,
    add_elements,
    compare,
    delete_elements,
    drop,
    find,
    load_meta,
    load_octets,
    mask,
    new_hook,
    new_rule,
    new_set,
    new_table,
)
from ovpn6.netlink.nftables import Filter

_PORTS = "ports"
_ICMP, _ICMPV6 = b"\x01", b"\x3a"
_UDP, _FRAGMENT = b"\x11", b"\x2c"
_PACKET_TOO_BIG, _FRAGMENTATION_NEEDED = b"\x02", b"\x03\x04"
_ICMP_HEADER, _IPV6_HEADER, _FRAGMENT_HEADER = 8, 40, 8


class PortGuard:
    """In the namespace of the outer sockets. ``transactions`` is for it alone: the table goes with
    it."""

    def __init__(self, transactions: Filter, name: str) -> None:
        """Makes the table, for no port yet. Raises ``HostError``."""
        self._filter = transactions
        self._table = f"ovpn6-{name}-guard"
        self._ports: frozenset[int] = frozenset()
        try:
            transactions.run(f"make table {self._table}", self._frame())
        except HostError:
            transactions.close()
            raise

    def change(self, ports: frozenset[int]) -> None:
        """These are ours now. ``HostError`` when nothing was changed."""
        added, removed = ports - self._ports, self._ports - ports
        orders = []
        if removed:
            orders.append(delete_elements(self._table, _PORTS, map(_packed, sorted(removed))))
        if added:
            elements = [(_packed(port), b"") for port in sorted(added)]
            orders.append(add_elements(self._table, _PORTS, elements))
        self._filter.run(f"guard ports in table {self._table}", orders)
        self._ports = ports

    def close(self) -> None:
        """May be called twice."""
        self._filter.close()

    def _frame(self) -> list[Order]:
        table, quote = self._table, _ICMP_HEADER
        rules: list[tuple[Expression, ...]] = [
            (*_ipv6(_UDP), *_port(quote + _IPV6_HEADER)),
            (
                *_ipv6(_FRAGMENT),
                *_octets(quote + _IPV6_HEADER, _UDP),
                load_octets(TRANSPORT_HEADER, quote + _IPV6_HEADER + 2, 2),
                mask(b"\xff\xf8"),
                compare(b"\0\0"),
                *_port(quote + _IPV6_HEADER + _FRAGMENT_HEADER),
            ),
            # Where the quoted port is depends on the length of the quoted header, in words.
            *((*_ipv4(words), *_port(quote + 4 * words)) for words in range(5, 16)),
        ]
        return [
            new_table(table),
            new_set(table, _PORTS, SERVICE, 2),
            new_hook(table, "input", INPUT, RAW_PRIORITY),
            *(new_rule(table, "input", *rule, drop()) for rule in rules),
        ]


def _octets(offset: int, wanted: bytes) -> tuple[Expression, ...]:
    return load_octets(TRANSPORT_HEADER, offset, len(wanted)), compare(wanted)


def _ipv6(quoted: bytes) -> tuple[Expression, ...]:
    """Packet Too Big about a packet with this next header."""
    protocol = (load_meta(META_PROTOCOL), compare(_ICMPV6))
    return (*protocol, *_octets(0, _PACKET_TOO_BIG), *_octets(_ICMP_HEADER + 6, quoted))


def _ipv4(words: int) -> tuple[Expression, ...]:
    """Fragmentation needed for a UDP packet with a header of so many words."""
    return (
        load_meta(META_PROTOCOL),
        compare(_ICMP),
        *_octets(0, _FRAGMENTATION_NEEDED),
        *_octets(_ICMP_HEADER + 9, _UDP),
        load_octets(TRANSPORT_HEADER, _ICMP_HEADER, 1),
        mask(b"\x0f"),
        compare(bytes((words,))),
    )


def _port(offset: int) -> tuple[Expression, ...]:
    return load_octets(TRANSPORT_HEADER, offset, 2), find(_PORTS)


def _packed(port: int) -> bytes:
    return port.to_bytes(2, "big")
