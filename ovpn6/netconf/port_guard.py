"""Keeps the kernel from believing what routers say of our datagrams (Packet Too Big).

Everybody can send that, and the kernel asks no more than that a socket has the port: a forged one
would have it send everything to a peer in fragments for ten minutes. A filter cannot find the port
behind IPv6 extension headers, as the kernel does: our datagrams have none, so what quotes any
toward a peer's address is forged, or about somebody else's of a kind that hardly exists.

    table inet ovpn6-tun0-guard {
        set ports { ... }       ours
        set peers { ... }       their outer IPv6 addresses
        chain input             (priority raw) drops what quotes UDP from one of the ports, or
                                extension headers toward one of the peers
    }
"""

from __future__ import annotations

from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import HostError
from ovpn6.netlink.nft_messages import (
    INPUT,
    IPV6_ADDRESS,
    META_PROTOCOL,
    PROTOCOL,
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

_PORTS, _PEERS, _HEADERS = "ports", "peers", "headers"
_EXTENSIONS = (0, 43, 51, 60)
"""Hop-by-hop options, routing, authentication, destination options."""
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
        self._peers: set[IPAddress] = set()
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

    def know(self, address: IPAddress) -> None:
        """A peer's outer address. ``HostError`` when nothing was changed."""
        if address.version == 6 and address not in self._peers:
            order = add_elements(self._table, _PEERS, [(address.packed, b"")])
            self._filter.run(f"guard {address} in table {self._table}", [order])
            self._peers.add(address)

    def forget(self, address: IPAddress) -> None:
        """It is nobody's any more. ``HostError`` when nothing was changed."""
        if address in self._peers:
            order = delete_elements(self._table, _PEERS, [address.packed])
            self._filter.run(f"do not guard {address} in table {self._table}", [order])
            self._peers.discard(address)

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
            (*_too_big(), *_header(quote + 6), *_to_peer()),
            (*_ipv6(_FRAGMENT), *_header(quote + _IPV6_HEADER), *_to_peer()),
            (*_ipv6(_FRAGMENT), *_octets(quote + _IPV6_HEADER, _FRAGMENT), *_to_peer()),
            # Where the quoted port is depends on the length of the quoted header, in words.
            *((*_ipv4(words), *_port(quote + 4 * words)) for words in range(5, 16)),
        ]
        return [
            new_table(table),
            new_set(table, _PORTS, SERVICE, 2),
            new_set(table, _PEERS, IPV6_ADDRESS, 16),
            new_set(table, _HEADERS, PROTOCOL, 1),
            add_elements(table, _HEADERS, [(bytes((each,)), b"") for each in _EXTENSIONS]),
            new_hook(table, "input", INPUT, RAW_PRIORITY),
            *(new_rule(table, "input", *rule, drop()) for rule in rules),
        ]


def _octets(offset: int, wanted: bytes) -> tuple[Expression, ...]:
    return load_octets(TRANSPORT_HEADER, offset, len(wanted)), compare(wanted)


def _too_big() -> tuple[Expression, ...]:
    return load_meta(META_PROTOCOL), compare(_ICMPV6), *_octets(0, _PACKET_TOO_BIG)


def _ipv6(quoted: bytes) -> tuple[Expression, ...]:
    """Packet Too Big about a packet with this next header."""
    return *_too_big(), *_octets(_ICMP_HEADER + 6, quoted)


def _header(offset: int) -> tuple[Expression, ...]:
    """One of :data:`_EXTENSIONS`."""
    return load_octets(TRANSPORT_HEADER, offset, 1), find(_HEADERS)


def _to_peer() -> tuple[Expression, ...]:
    """Quoted with a peer's address for its destination."""
    return load_octets(TRANSPORT_HEADER, _ICMP_HEADER + 24, 16), find(_PEERS)


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
