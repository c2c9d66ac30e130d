"""The server's pool of tunnel addresses: one offset serves both families. PURE.

A client that comes back gets its old offset as long as nobody else needed it. Source of the order:
OpenVPN ``pool.c`` (ifconfig_pool_find, ifconfig_pool_init).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import UsageError
from ovpn6.model.records import dataclass

POOL_MAX = 65536
"""Most clients that one pool serves."""

IsTaken = Callable[[IPAddress], bool]


@dataclass(frozen=True, slots=True)
class Lease:
    """What one client holds. ``offset`` counts from the start of each family's range."""

    offset: int
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Those of the families the pool serves, IPv6 first."""
        return tuple(address for address in (self.ipv6, self.ipv4) if address is not None)


@dataclass(frozen=True, slots=True)
class PoolRange:
    """Where a pool's addresses lie; a family without a first address is not served.

    ``size`` is the number of offsets, at most ``POOL_MAX``: the smaller family limits both.
    """

    first_ipv4: IPv4Address | None
    first_ipv6: IPv6Address | None
    size: int

    @classmethod
    def of(
        cls, ipv4: tuple[IPv4Address, IPv4Address] | None, ipv6: IPv6Interface | None
    ) -> PoolRange:
        """The range from first and last IPv4 address, and first IPv6 address with its prefix.

        An IPv6 range never begins with the subnet-router anycast address (RFC 4291 2.6.1).
        """
        sizes = [POOL_MAX]
        if ipv4 is not None:
            sizes.append(max(0, int(ipv4[1]) - int(ipv4[0]) + 1))
        first_ipv6: IPv6Address | None = None
        if ipv6 is not None:
            network = ipv6.network
            first = int(ipv6.ip)
            if first == int(network.network_address):
                first += 1
            sizes.append(int(network.broadcast_address) - first + 1)
            first_ipv6 = IPv6Address(first)
        if ipv4 is None and ipv6 is None:
            sizes.append(0)
        return cls(ipv4[0] if ipv4 else None, first_ipv6, min(sizes))

    def lease(self, offset: int) -> Lease:
        """The addresses at an offset."""
        if not 0 <= offset < self.size:
            raise UsageError(f"offset {offset} outside of a pool of {self.size}")
        return Lease(
            offset,
            None if self.first_ipv4 is None else self.first_ipv4 + offset,
            None if self.first_ipv6 is None else self.first_ipv6 + offset,
        )

    def offset_of(self, address: IPAddress) -> int | None:
        """Where an address lies in its family's range, None outside of it."""
        first = self.first_ipv4 if address.version == 4 else self.first_ipv6
        if first is None or not 0 <= int(address) - int(first) < self.size:
            return None
        return int(address) - int(first)


class AddressPool:
    """Leases addresses. ``remember_names`` False (``duplicate-cn``) gives the lowest free offset.

    ``reserved`` are never leased (the server's own). Offsets are given out in this order: the one
    the name holds a claim on, the lowest that nobody ever claimed, the one released longest ago.
    """

    def __init__(
        self,
        addresses: PoolRange,
        *,
        remember_names: bool = True,
        reserved: Iterable[IPAddress] = (),
    ) -> None:
        self.addresses = addresses
        self._remember = remember_names
        self._reserved = frozenset(reserved)
        self._used: dict[int, str | None] = {}
        """Leased offsets with the name that will keep a claim."""
        self._claims: dict[str, int] = {}
        """The offset of each name, leased or free."""
        self._fixed: dict[int, str] = {}
        """Offsets that only their name may have."""
        self._released: OrderedDict[int, str] = OrderedDict()
        """Free offsets that a name claims, the longest free first; the fixed ones are not here."""
        self._returned: list[int] = []
        """Heap of free offsets below ``_fresh`` that nobody claims."""
        self._fresh = 0
        """No offset from here on was ever given out."""

    def acquire(self, name: str, is_taken: IsTaken = lambda address: False) -> Lease | None:
        """A lease for ``name``, None when all is given out.

        ``is_taken`` tells addresses that are in use apart from the pool (static ones).
        """
        claimed = self._claims.get(name) if self._remember and name else None
        if claimed is not None and claimed not in self._used and self._usable(claimed, is_taken):
            self._released.pop(claimed, None)
            return self._give(claimed, name)
        for take in (self._take_returned, self._take_fresh, self._take_released):
            offset = take(is_taken)
            if offset is not None:
                return self._give(offset, name)
        return None

    def release(self, lease: Lease) -> None:
        """End a lease; the name keeps its claim until the offset is needed."""
        offset = lease.offset
        if offset not in self._used:
            raise UsageError(f"offset {offset} is not leased")
        name = self._used.pop(offset)
        if name is None or self._claims.get(name) != offset:
            self._give_back(offset)
        elif offset not in self._fixed:
            self._released[offset] = name

    def suggest(self, name: str, offset: int, *, fixed: bool = False) -> None:
        """Before anything is leased: ``name`` claims ``offset``, or (``fixed``) owns it.

        A later suggestion for the same name or offset replaces an earlier one.
        """
        if not 0 <= offset < self.addresses.size:
            raise UsageError(f"offset {offset} outside of a pool of {self.addresses.size}")
        if self._used:
            raise UsageError("suggestions come before the first lease")
        for known in (name, self._released.get(offset) or self._fixed.get(offset)):
            self._withdraw(known)
        if offset in self._returned:
            self._returned.remove(offset)
            heapq.heapify(self._returned)
        self._claims[name] = offset
        if fixed:
            self._fixed[offset] = name
        else:
            self._released[offset] = name

    def entries(self) -> list[tuple[str, Lease]]:
        """Each name with the addresses it holds or may claim, by offset."""
        return [
            (name, self.addresses.lease(offset))
            for name, offset in sorted(self._claims.items(), key=lambda claim: claim[1])
        ]

    def _withdraw(self, name: str | None) -> None:
        offset = self._claims.pop(name, None) if name is not None else None
        if offset is not None:
            self._released.pop(offset, None)
            self._fixed.pop(offset, None)
            self._give_back(offset)

    def _give(self, offset: int, name: str) -> Lease:
        keeps = name if self._remember and name else None
        self._used[offset] = keeps
        if keeps is not None and self._claims.get(keeps) not in self._fixed:
            stale = self._claims.get(keeps)
            self._claims[keeps] = offset
            if stale is not None and stale != offset and stale in self._released:
                del self._released[stale]
                self._give_back(stale)
        return self.addresses.lease(offset)

    def _give_back(self, offset: int) -> None:
        if offset < self._fresh:
            heapq.heappush(self._returned, offset)

    def _usable(self, offset: int, is_taken: IsTaken) -> bool:
        return not any(
            address in self._reserved or is_taken(address)
            for address in self.addresses.lease(offset).addresses
        )

    def _take_returned(self, is_taken: IsTaken) -> int | None:
        passed_over: list[int] = []
        found: int | None = None
        while self._returned and found is None:
            offset = heapq.heappop(self._returned)
            if self._usable(offset, is_taken):
                found = offset
            else:
                passed_over.append(offset)
        for offset in passed_over:
            heapq.heappush(self._returned, offset)
        return found

    def _take_fresh(self, is_taken: IsTaken) -> int | None:
        while self._fresh < self.addresses.size:
            offset = self._fresh
            self._fresh += 1
            if offset in self._used or offset in self._released or offset in self._fixed:
                continue
            if self._usable(offset, is_taken):
                return offset
            heapq.heappush(self._returned, offset)
        return None

    def _take_released(self, is_taken: IsTaken) -> int | None:
        for offset, name in self._released.items():
            if self._usable(offset, is_taken):
                del self._released[offset]
                del self._claims[name]
                return offset
        return None
