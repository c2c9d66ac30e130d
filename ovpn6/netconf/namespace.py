"""One network namespace as this package sees it: a port that netlink and the fake implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ovpn6.model.addresses import IPAddress, IPInterface, IPNetwork
from ovpn6.model.records import dataclass
from ovpn6.netconf.plan import KernelRoute


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    index: int
    name: str
    mtu: int
    up: bool
    txqueuelen: int


@dataclass(frozen=True, slots=True)
class FibEntry:
    """A route of anybody's. ``protocol`` is ``rtm_protocol``; ``preference`` ranks equals, lower
    first (RFC 4191: high -1, medium 0, low 1). ``usable``: its device has a carrier."""

    route: KernelRoute
    protocol: int
    preference: int = 0
    usable: bool = True


class SegmentLimits(Protocol):
    """The largest TCP segments over one device, both ways."""

    def change(self, sizes: Mapping[IPNetwork, int | None]) -> None:
        """For these networks, octets; None leaves one to what covers it. A network of length 0 is
        the default. Longest prefix first; never raised. ``HostError`` when nothing was changed."""

    def close(self) -> None:
        """No more limits; the end of the process does the same. May be called twice."""


class PortGuard(Protocol):
    """Keeps the kernel from believing Packet Too Big about datagrams from UDP ports."""

    def change(self, ports: frozenset[int]) -> None:
        """These and no others. ``HostError`` when nothing was changed."""

    def know(self, address: IPAddress) -> None:
        """A peer's outer address. ``HostError`` when nothing was changed."""

    def forget(self, address: IPAddress) -> None:
        """It is nobody's any more. ``HostError`` when nothing was changed."""

    def close(self) -> None:
        """No more; the end of the process does the same. May be called twice."""


class FragmentCounts(Protocol):
    """Counts the fragments that leave for outer addresses."""

    def add(self, address: IPAddress, device: str) -> None:
        """Count what leaves for it by this device. ``HostError`` when that cannot be."""

    def drop(self, address: IPAddress) -> None:
        """No more; nothing happens for one that is not counted."""

    def count(self, address: IPAddress) -> int:
        """So far; 0 for one that is not counted."""

    def close(self) -> None:
        """No more at all; the end of the process does the same. May be called twice."""


class RouteNews(Protocol):
    """Tells that somebody else has changed routes."""

    def fileno(self) -> int:
        """For an event loop; -1 when there is nothing to wait for."""

    def read(self) -> tuple[bool, bool]:
        """Whether a route of ours may be gone, and whether anything else may have changed; takes
        all that waits."""

    def close(self) -> None:
        """May be called twice."""


class Namespace(Protocol):
    """Each method raises ``HostError`` with the kernel's reason when it is refused.

    Removing what does not exist is no error; adding what exists is ``EEXIST``.
    """

    @property
    def identity(self) -> int:
        """Not equal to any other namespace's since the machine started (``SO_NETNS_COOKIE``)."""

    @property
    def inode(self) -> int:
        """What ``lsns`` prints; may be used again after the namespace has gone."""

    def link(self, name: str) -> Link | None:
        """The interface of this name; None when there is none."""

    def link_name(self, index: int) -> str:
        """The name of an interface; "" when there is none."""

    def link_names(self) -> dict[int, str]:
        """The names of all interfaces, by index."""

    def set_mtu(self, index: int, mtu: int) -> None:
        """Octets."""

    def set_up(self, index: int, up: bool) -> None:
        """Administrative state."""

    def set_txqueuelen(self, index: int, packets: int) -> None:
        """Length of the device's queue."""

    def addresses(self, index: int) -> frozenset[IPInterface]:
        """All of an interface; empty when there is no such interface."""

    def add_address(self, index: int, address: IPInterface) -> None:
        """Without duplicate address detection and without the kernel's on-link route."""

    def remove_address(self, index: int, address: IPInterface) -> None:
        """Take it away."""

    def own_routes(self) -> frozenset[KernelRoute]:
        """Those of ``ROUTE_PROTOCOL`` in every table, whichever daemon made them."""

    def table_routes(self, version: int, table: int) -> tuple[FibEntry, ...]:
        """Every usable unicast route of a table, of IP ``version``; the first hop of many."""

    def lookup(self, address: IPAddress) -> FibEntry | None:
        """How a packet to ``address`` would go now; None when it is one of our own addresses.

        ``HostError`` (ENETUNREACH, EHOSTUNREACH) when it would not go at all.
        """

    def add_route(self, route: KernelRoute) -> None:
        """Make it, with ``ROUTE_PROTOCOL``."""

    def replace_route(self, route: KernelRoute) -> None:
        """Make it in the place of the one with its key, if there is one."""

    def remove_route(self, route: KernelRoute) -> None:
        """Remove it, if it exists exactly so with ``ROUTE_PROTOCOL``."""

    def limit_segments(self, device: str) -> SegmentLimits:
        """Begin, for the device of this name. ``HostError`` without a packet filter."""

    def guard_ports(self, name: str) -> PortGuard:
        """Begin; ``name`` is part of the name of a table. ``HostError`` without a packet filter."""

    def count_fragments(self, name: str) -> FragmentCounts:
        """Begin; ``name`` is part of the name of a table. ``HostError`` when that cannot be."""

    def route_news(self) -> RouteNews:
        """From now on."""

    def setting_names(self, directory: str) -> tuple[str, ...]:
        """What ``/proc/sys/<directory>`` holds; empty when it does not exist."""

    def read_setting(self, name: str) -> str | None:
        """``/proc/sys/<name>`` without white space at the ends; None when it does not exist."""

    def write_setting(self, name: str, value: str) -> None:
        """Write it; no error when it does not exist (any more)."""

    def close(self) -> None:
        """Let go of sockets and threads."""


OpenNamespace = Callable[[str], Namespace]
"""Opens a namespace by name (``/run/netns``), "" for the process's own; ``HostError`` ENOENT."""
