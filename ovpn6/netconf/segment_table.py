"""TCP segment sizes by the packet filter: a table whose rules see each SYN over a tunnel device.

    table inet ovpn6-tun0 {
        map ipv6_128 { ... }        one map for each prefix length in use: network -> segment size
        chain from6 { ... }         ip6 saddr, longest prefix first; then the default
        chain to6 { ... }           ip6 daddr
        chain input, output, forward  (priority mangle) TCP with SYN over the device -> from, to
    }

A size is written to both directions of a connection, and only where it is less than what is there.
Adding or removing a network costs the same however many there are; only a prefix length that was
not in use before has the rules of its family written again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.netlink.nft_messages import (
    FORWARD,
    INPUT,
    IPV4_ADDRESS,
    IPV6_ADDRESS,
    MANGLE_PRIORITY,
    META_INPUT_NAME,
    META_OUTPUT_NAME,
    META_PROTOCOL,
    META_VERSION,
    NETWORK_HEADER,
    OUTPUT,
    TRANSPORT_HEADER,
    Expression,
    Order,
    add_elements,
    add_intervals,
    compare,
    delete_elements,
    delete_intervals,
    delete_rules,
    find,
    go,
    jump,
    leave,
    limit_segments,
    load_meta,
    load_octets,
    load_value,
    mask,
    new_chain,
    new_hook,
    new_map,
    new_rule,
    new_table,
)
from ovpn6.netlink.nftables import Filter

_VERSIONS = (6, 4)
_PROTOCOL_VERSION = {6: b"\x0a", 4: b"\x02"}
"""``NFPROTO_IPV6``, ``NFPROTO_IPV4``."""
_SOURCE_OFFSET = {6: 8, 4: 12}
_ADDRESS = {6: (IPV6_ADDRESS, 16), 4: (IPV4_ADDRESS, 4)}
_TCP = b"\x06"
_FLAGS_OFFSET, _SYN_RST, _SYN = 13, b"\x06", b"\x02"
_NAME_SIZE = 16


class SegmentTable:
    """Of one tunnel device. ``transactions`` is for it alone: the table goes with it."""

    def __init__(self, transactions: Filter, device: str) -> None:
        """Makes the table. Raises ``HostError``."""
        self._filter = transactions
        self._table = f"ovpn6-{device}"
        self._sizes: dict[tuple[int, int], dict[bytes, int]] = {}
        """By version and prefix length."""
        self._default = {6: 0, 4: 0}
        try:
            transactions.run(f"make table {self._table}", self._frame(device))
        except HostError:
            transactions.close()
            raise

    def change(self, sizes: Mapping[IPNetwork, int | None]) -> None:
        """Largest segments for these networks; None leaves one to what covers it.

        A network of length 0 is the default. ``HostError`` when nothing was changed.
        """
        removals: dict[tuple[int, int], list[bytes]] = {}
        additions: dict[tuple[int, int], list[tuple[bytes, int]]] = {}
        default = dict(self._default)
        for network, size in sizes.items():
            group: tuple[int, int] = network.version, network.prefixlen
            if not network.prefixlen:
                default[network.version] = size or 0
                continue
            key = network.network_address.packed
            known = self._sizes.get(group, {}).get(key)
            if known is not None and known != size:
                removals.setdefault(group, []).append(key)
            if size is not None and known != size:
                additions.setdefault(group, []).append((key, size))
        orders = self._orders(removals, additions, default)
        if orders:
            self._filter.run(f"limit TCP segments in table {self._table}", orders)
        self._default = default
        for group, keys in removals.items():
            for key in keys:
                del self._sizes[group][key]
        for group, elements in additions.items():
            self._sizes.setdefault(group, {}).update(elements)

    def close(self) -> None:
        """Nothing is limited any more. May be called twice."""
        self._filter.close()

    def _orders(
        self,
        removals: Mapping[tuple[int, int], list[bytes]],
        additions: Mapping[tuple[int, int], list[tuple[bytes, int]]],
        default: Mapping[int, int],
    ) -> list[Order]:
        orders: list[Order] = []
        lengths = dict.fromkeys((*self._sizes, *additions))
        for group in additions.keys() - self._sizes.keys():
            kind, octets = _ADDRESS[group[0]]
            intervals = group[1] < octets * 8
            orders.append(new_map(self._table, _name(*group), kind, octets, intervals=intervals))
        for group, keys in removals.items():
            orders.append(_delete(self._table, group, keys))
        for group, elements in additions.items():
            packed = [(key, size.to_bytes(2, "big")) for key, size in elements]
            orders.append(_add(self._table, group, packed))
        for version in _VERSIONS:
            now = {length for v, length in self._sizes if v == version}
            then = {length for v, length in lengths if v == version}
            if now != then or self._default[version] != default[version]:
                orders += self._rules(version, then, default[version])
        return orders

    def _rules(self, version: int, lengths: set[int], default: int) -> list[Order]:
        """Of both directions, over those that were there."""
        orders = []
        octets = _ADDRESS[version][1]
        for direction, offset in (("from", 0), ("to", octets)):
            chain = f"{direction}{version}"
            orders.append(delete_rules(self._table, chain))
            load = load_octets(NETWORK_HEADER, _SOURCE_OFFSET[version] + offset, octets)
            for length in sorted(lengths, reverse=True):
                name = _name(version, length)
                step = (load, find(name, value=True), limit_segments(), leave())
                orders.append(new_rule(self._table, chain, *step))
            if default:
                value = load_value(default.to_bytes(2, "big"))
                orders.append(new_rule(self._table, chain, value, limit_segments()))
        return orders

    def _frame(self, device: str) -> list[Order]:
        table = self._table
        orders = [new_table(table)]
        for direction in ("from", "to"):
            orders += [new_chain(table, f"{direction}{version}") for version in _VERSIONS]
            orders.append(new_chain(table, direction))
            for version in _VERSIONS:
                step = (load_meta(META_VERSION), compare(_PROTOCOL_VERSION[version]))
                orders.append(new_rule(table, direction, *step, go(f"{direction}{version}")))
        for chain, hook in (("input", INPUT), ("forward", FORWARD), ("output", OUTPUT)):
            orders.append(new_hook(table, chain, hook, MANGLE_PRIORITY))
            if hook != OUTPUT:
                orders.append(new_rule(table, chain, *_syn(META_INPUT_NAME, device), jump("from")))
            if hook != INPUT:
                orders.append(new_rule(table, chain, *_syn(META_OUTPUT_NAME, device), jump("to")))
        return orders


def _name(version: int, length: int) -> str:
    return f"ipv{version}_{length}"


def _add(table: str, group: tuple[int, int], elements: list[tuple[bytes, bytes]]) -> Order:
    if group[1] == _ADDRESS[group[0]][1] * 8:
        return add_elements(table, _name(*group), elements)
    intervals = [(key, _behind(key, group[1]), value) for key, value in elements]
    return add_intervals(table, _name(*group), intervals)


def _delete(table: str, group: tuple[int, int], keys: list[bytes]) -> Order:
    if group[1] == _ADDRESS[group[0]][1] * 8:
        return delete_elements(table, _name(*group), keys)
    return delete_intervals(table, _name(*group), [(key, _behind(key, group[1])) for key in keys])


def _behind(network: bytes, length: int) -> bytes | None:
    """The address behind a network's last; None when that was the last of all."""
    octets = len(network)
    after = int.from_bytes(network, "big") + (1 << octets * 8 - length)
    return after.to_bytes(octets, "big") if after < 1 << octets * 8 else None


def _syn(side: int, device: str) -> tuple[Expression, ...]:
    """A connection's first packet, or its answer, over the device."""
    return (
        load_meta(side),
        compare(device.encode().ljust(_NAME_SIZE, b"\0")),
        load_meta(META_PROTOCOL),
        compare(_TCP),
        load_octets(TRANSPORT_HEADER, _FLAGS_OFFSET, 1),
        mask(_SYN_RST),
        compare(_SYN),
    )
