"""Counts the fragments that leave for a peer's outer address, where the host was told to make any.

    table netdev ovpn6-tun0-fragments {
        set ipv6, ipv4 { ... }      outer addresses, each with its counter
        chain eth0                  (egress of a device) what is a fragment and goes there
    }

Fragments are seen behind the host's routing alone (Linux 5.16, ``NETFILTER_EGRESS``).
"""

from __future__ import annotations

from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import HostError
from ovpn6.netlink.nft_messages import (
    DIFFERENT,
    EGRESS,
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    META_ETHER_TYPE,
    NETWORK_HEADER,
    RAW_PRIORITY,
    Expression,
    Order,
    add_elements,
    compare,
    delete_elements,
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

_IPV6, _IPV4 = b"\x86\xdd", b"\x08\x00"
_FRAGMENT = b"\x2c"


class FragmentTable:
    """In the namespace of the outer sockets. ``transactions`` is for it alone, of the family
    ``netdev``: the table goes with it."""

    def __init__(self, transactions: Filter, name: str) -> None:
        """Makes the table. Raises ``HostError``."""
        self._filter = transactions
        self._table = f"ovpn6-{name}-fragments"
        self._addresses: set[IPAddress] = set()
        self._devices: set[str] = set()
        frame = [
            new_table(self._table),
            new_set(self._table, _name(6), IPV6_ADDRESS, 16, counted=True),
            new_set(self._table, _name(4), IPV4_ADDRESS, 4, counted=True),
        ]
        try:
            transactions.run(f"make table {self._table}", frame)
        except HostError:
            transactions.close()
            raise

    def add(self, address: IPAddress, device: str) -> None:
        """Count what leaves for it by this device; from 0 unless it was counted before."""
        orders: list[Order] = []
        if device not in self._devices:
            orders += self._watch(device)
        if address not in self._addresses:
            element = [(address.packed, b"")]
            orders.append(add_elements(self._table, _name(address.version), element))
        self._filter.run(f"count fragments to {address}", orders)
        self._devices.add(device)
        self._addresses.add(address)

    def drop(self, address: IPAddress) -> None:
        """No more; nothing happens for one that is not counted."""
        if address in self._addresses:
            order = delete_elements(self._table, _name(address.version), [address.packed])
            self._filter.run(f"count no fragments to {address}", [order])
            self._addresses.discard(address)

    def count(self, address: IPAddress) -> int:
        """So far; 0 for one that is not counted."""
        if address not in self._addresses:
            return 0
        operation = f"read the fragments to {address}"
        return self._filter.counted(operation, self._table, _name(address.version), address.packed)

    def close(self) -> None:
        """May be called twice."""
        self._filter.close()

    def _watch(self, device: str) -> list[Order]:
        table, chain = self._table, f"on-{device}"
        return [
            new_hook(table, chain, EGRESS, RAW_PRIORITY, device),
            new_rule(
                table,
                chain,
                *_of_type(_IPV6),
                load_octets(NETWORK_HEADER, 6, 1),
                compare(_FRAGMENT),
                load_octets(NETWORK_HEADER, 24, 16),
                find(_name(6)),
            ),
            new_rule(
                table,
                chain,
                *_of_type(_IPV4),
                load_octets(NETWORK_HEADER, 6, 2),
                mask(b"\x3f\xff"),
                compare(b"\0\0", DIFFERENT),
                load_octets(NETWORK_HEADER, 16, 4),
                find(_name(4)),
            ),
        ]


def _of_type(ether_type: bytes) -> tuple[Expression, ...]:
    return load_meta(META_ETHER_TYPE), compare(ether_type)


def _name(version: int) -> str:
    return f"ipv{version}"
