"""How the host reaches an address apart from our own routes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.netconf.namespace import FibEntry, Namespace
from ovpn6.netconf.plan import MAIN_TABLE, Hop

_NEIGHBOURS = (1, 2, 4, 8, 16, 32)
"""Bits of a host's address that are turned over."""


def find_hop(
    namespace: Namespace, destination: IPNetwork, is_ours: Callable[[FibEntry], bool]
) -> Hop | None:
    """The hop to ``destination``, by its first address.

    None when no route is needed: it is the host itself, or somebody made that very route. The
    kernel is asked, so policy routing counts; where its answer is a route of ours, the same table
    is searched again without ours. ``HostError`` ENETUNREACH when nothing leads there.
    """
    address = destination.network_address
    table, reason = MAIN_TABLE, errno.ENETUNREACH
    entry: FibEntry | None = None
    try:
        entry = namespace.lookup(address)
        if entry is None:
            return None
        table = entry.route.table
    except HostError as error:
        # Perhaps an unreachable route of ours hides a way.
        reason = error.errno
    if entry is None or is_ours(entry):
        entry = best(namespace.table_routes(address.version, table), address, is_ours)
    if entry is None:
        raise HostError(f"find a route to {destination}", "no route", reason)
    return None if entry.route.destination == destination else entry.route.hop


def find_hop_again(
    namespace: Namespace, destination: IPNetwork, is_ours: Callable[[FibEntry], bool]
) -> Hop | None:
    """The same for a host whose route is ours now, without reading a table, which may be the whole
    Internet's: a neighbouring address goes where this one would."""
    address = destination.network_address
    for bit in _NEIGHBOURS:
        neighbour = type(address)(int(address) ^ bit)
        try:
            entry = namespace.lookup(neighbour)
        except HostError:
            break
        if entry is None or is_ours(entry):
            continue
        if address in entry.route.destination:
            return entry.route.hop
    return find_hop(namespace, destination, is_ours)


def best(
    entries: Iterable[FibEntry], address: IPAddress, is_ours: Callable[[FibEntry], bool]
) -> FibEntry | None:
    """Longest prefix, then lowest metric, then preference, among those that are not ours."""
    covering = [
        entry
        for entry in entries
        if entry.route.destination.version == address.version
        and address in entry.route.destination
        and not is_ours(entry)
    ]
    return min(covering, key=_rank, default=None)


def _rank(entry: FibEntry) -> tuple[int, int, int]:
    return (-entry.route.destination.prefixlen, entry.route.metric, entry.preference)
