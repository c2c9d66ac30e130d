"""Which peer an inner address belongs to: longest-prefix match with a memo.

One hash table for each prefix length in use, longest first. The memo holds the answers of single
addresses, is bounded, and is cleared on every change. Addresses are packed: 16 or 4 bytes.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ovpn6.model.addresses import IPNetwork

MEMO_SIZE = 4096

_Owner = TypeVar("_Owner")


class InnerRoutes(Generic[_Owner]):
    """Prefixes of both families and their owners.

    When two owners claim one prefix, the later has it, and the earlier again when that one leaves
    (a client that reconnects before its old connection is gone).
    """

    __slots__ = ("_claims", "_tables", "memo")

    def __init__(self) -> None:
        self.memo: dict[bytes, _Owner] = {}
        """Answers for ordinary unicast addresses; may be read directly, written only here."""
        self._claims: dict[IPNetwork, list[_Owner]] = {}
        self._tables: dict[int, list[tuple[int, dict[int, _Owner]]]] = {4: [], 16: []}

    def add(self, network: IPNetwork, owner: _Owner) -> None:
        """``owner`` claims ``network``."""
        self._claims.setdefault(network, []).append(owner)
        self._table(network)[_key(network)] = owner
        self.memo.clear()

    def remove(self, network: IPNetwork, owner: _Owner) -> None:
        """Take one claim back; nothing happens when there is none."""
        claims = self._claims.get(network, [])
        if owner not in claims:
            return
        claims.remove(owner)
        table = self._table(network)
        if claims:
            table[_key(network)] = claims[-1]
        else:
            del self._claims[network]
            del table[_key(network)]
            if not table:
                self._drop_table(network)
        self.memo.clear()

    def find(self, address: bytes) -> _Owner | None:
        """The owner of the longest matching prefix; None for reserved addresses."""
        owner = self.memo.get(address)
        if owner is not None:
            return owner
        if is_reserved(address):
            return None
        number = int.from_bytes(address, "big")
        for shift, table in self._tables[len(address)]:
            owner = table.get(number >> shift)
            if owner is not None:
                if len(self.memo) >= MEMO_SIZE:
                    self.memo.clear()
                self.memo[address] = owner
                return owner
        return None

    def _table(self, network: IPNetwork) -> dict[int, _Owner]:
        tables = self._tables[network.max_prefixlen // 8]
        shift = network.max_prefixlen - network.prefixlen
        for existing, table in tables:
            if existing == shift:
                return table
        tables.append((shift, {}))
        tables.sort(key=lambda entry: entry[0])
        return self._table(network)

    def _drop_table(self, network: IPNetwork) -> None:
        tables = self._tables[network.max_prefixlen // 8]
        tables[:] = [entry for entry in tables if entry[1]]


def is_reserved(address: bytes) -> bool:
    """No tunnel peer has it: unspecified, loopback, link-local, multicast, IPv4's 0/8 and 240/4."""
    first = address[0]
    if len(address) == 16:
        if first == 0:
            return address[:15] == bytes(15) and address[15] <= 1
        return first == 0xFF or (first == 0xFE and address[1] & 0xC0 == 0x80)
    return first in (0, 127) or first >= 224 or (first == 169 and address[1] == 254)


def _key(network: IPNetwork) -> int:
    return int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
