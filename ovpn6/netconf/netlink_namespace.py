"""A network namespace of the running kernel, by netlink (pyroute2) and ``/proc/sys``."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface
from typing import Any, TypeVar

from ovpn6.model.addresses import IPAddress, IPInterface
from ovpn6.model.errors import HostError
from ovpn6.model.records import replace
from ovpn6.netconf.fragment_table import FragmentTable
from ovpn6.netconf.interface import ROUTE_PROTOCOL
from ovpn6.netconf.namespace import FibEntry, Link
from ovpn6.netconf.plan import KernelRoute
from ovpn6.netconf.port_guard import PortGuard
from ovpn6.netconf.route_codec import ROUTE_CODEC
from ovpn6.netconf.route_messages import (
    FAMILIES,
    FIB_MATCH,
    LOCAL,
    chosen_hop,
    decode_route,
    host_destination,
    is_multipath,
    request,
)
from ovpn6.netconf.route_news import RouteNews
from ovpn6.netconf.segment_table import SegmentTable
from ovpn6.netconf.worker import NamespaceWorker
from ovpn6.netlink.conversation import CREATE, DUMP, EXCLUSIVE, REPLACE, ROUTE, Conversation
from ovpn6.netlink.nftables import NETDEV, Filter
from ovpn6.netlink.parts import LinkHeader, ifaddrmsg

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
"""Message types of ``linux/rtnetlink.h``."""

_ADDRESS_FLAGS = {4: 0x200, 6: 0x200 | 0x02}
"""``IFA_F_NOPREFIXROUTE``, and for IPv6 ``IFA_F_NODAD``."""
_IFF_UP = 1
_SAME_NAMES = 64

T = TypeVar("T")
_SKIP_STATISTICS = 8
"""``RTEXT_FILTER_SKIP_STATS``."""
_GONE = (errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENOENT)


class LinkMessage(LinkHeader):
    """An interface, with the attributes that matter here."""

    __slots__ = ()
    nla_map = (
        (3, "IFLA_IFNAME", "asciiz"),
        (4, "IFLA_MTU", "uint32"),
        (13, "IFLA_TXQLEN", "uint32"),
        (29, "IFLA_EXT_MASK", "uint32"),
    )


class NetlinkNamespace:
    """A :class:`ovpn6.netconf.namespace.Namespace`; the methods are documented there."""

    def __init__(self, name: str = "") -> None:
        """``HostError`` ENOENT when there is no namespace of this name."""
        self._worker = NamespaceWorker(name)
        self.inode = self._worker.inode
        self.identity = self._worker.cookie or self._worker.inode
        try:
            self._netlink = self._worker.run(Conversation, ROUTE)
        except HostError:
            self._worker.close()
            raise

    def link(self, name: str) -> Link | None:
        """By name."""
        return self._get_link(f"look up {name}", {}, {"IFLA_IFNAME": name})

    def link_name(self, index: int) -> str:
        """By ifindex."""
        found = self._get_link("look up an interface", {"index": index}, {})
        return found.name if found is not None else ""

    def link_names(self) -> dict[int, str]:
        """By a dump."""
        brief = {"IFLA_EXT_MASK": _SKIP_STATISTICS}
        found = self._request("list interfaces", RTM_GETLINK, LinkMessage, {}, brief, DUMP)
        return {message["index"]: message.get_attr("IFLA_IFNAME") for message in found}

    def set_mtu(self, index: int, mtu: int) -> None:
        """Octets."""
        self._set_link(f"set mtu {mtu}", {"index": index}, {"IFLA_MTU": mtu})

    def set_up(self, index: int, up: bool) -> None:
        """Administrative state."""
        fields = {"index": index, "flags": _IFF_UP if up else 0, "change": _IFF_UP}
        self._set_link(f"set link {'up' if up else 'down'}", fields)

    def set_txqueuelen(self, index: int, packets: int) -> None:
        """Packets."""
        attributes = {"IFLA_TXQLEN": packets}
        self._set_link(f"set txqueuelen {packets}", {"index": index}, attributes)

    def addresses(self, index: int) -> frozenset[IPInterface]:
        """Of one interface."""
        return self._addresses(index)

    def add_address(self, index: int, address: IPInterface) -> None:
        """``nodad noprefixroute``."""
        operation, flags = f"add address {address}", _ADDRESS_FLAGS[address.version]
        self._address(operation, RTM_NEWADDR, index, address, IFA_FLAGS=flags)

    def remove_address(self, index: int, address: IPInterface) -> None:
        """When it is there."""
        with _forgiving():
            self._address(f"remove address {address}", RTM_DELADDR, index, address)

    def own_routes(self) -> frozenset[KernelRoute]:
        """The kernel filters by protocol, so a large table costs little."""
        entries = self._routes(tuple(FAMILIES), {"proto": ROUTE_PROTOCOL})
        return frozenset(entry.route for entry in entries)

    def table_routes(self, version: int, table: int) -> tuple[FibEntry, ...]:
        """Unicast only."""
        entries = self._routes((version,), {}, {"RTA_TABLE": table})
        return tuple(entry for entry in entries if entry.route.hop is not None and entry.usable)

    def lookup(self, address: IPAddress) -> FibEntry | None:
        """``RTM_GETROUTE``."""
        return self._lookup(address)

    def add_route(self, route: KernelRoute) -> None:
        """``NLM_F_EXCL``: IPv6 would make a second hop of it otherwise."""
        flags = CREATE | EXCLUSIVE
        self._route(f"add route {route}", RTM_NEWROUTE, route, flags)

    def replace_route(self, route: KernelRoute) -> None:
        """``NLM_F_REPLACE | NLM_F_CREATE``."""
        flags = CREATE | REPLACE
        self._route(f"replace route {route}", RTM_NEWROUTE, route, flags)

    def remove_route(self, route: KernelRoute) -> None:
        """Names protocol, device and gateway, so that nobody else's route can match."""
        with _forgiving():
            self._route(f"remove route {route}", RTM_DELROUTE, route)

    def limit_segments(self, device: str) -> SegmentTable:
        """By nftables."""
        return SegmentTable(self._worker.run(Filter), device)

    def guard_ports(self, name: str) -> PortGuard:
        """By nftables."""
        return _first_free(name, lambda free: PortGuard(self._worker.run(Filter), free))

    def count_fragments(self, name: str) -> FragmentTable:
        """By nftables."""
        return _first_free(name, lambda free: FragmentTable(self._worker.run(Filter, NETDEV), free))

    def route_news(self) -> RouteNews:
        """What this namespace's own socket changes is none."""
        return self._worker.run(RouteNews, (self._netlink.port,))

    def setting_names(self, directory: str) -> tuple[str, ...]:
        """Sorted."""
        return self._worker.setting_names(directory)

    def read_setting(self, name: str) -> str | None:
        """Of this namespace."""
        return self._worker.read_setting(name)

    def write_setting(self, name: str, value: str) -> None:
        """Of this namespace."""
        self._worker.write_setting(name, value)

    def close(self) -> None:
        """May be called twice."""
        self._netlink.close()
        self._worker.close()

    # --- helpers ---------------------------------------------------------------------------------

    def _request(self, *arguments: Any, **named: Any) -> list[Any]:
        """:meth:`Conversation.request`. The socket belongs to its namespace, whoever uses it."""
        self._worker.refuse_child()
        return self._netlink.request(*arguments, **named)

    def _set_link(
        self, operation: str, fields: dict[str, int], attributes: dict[str, int] | None = None
    ) -> None:
        self._request(operation, RTM_NEWLINK, LinkMessage, fields, attributes)

    def _get_link(
        self, operation: str, fields: dict[str, int], attributes: dict[str, Any]
    ) -> Link | None:
        attributes |= {"IFLA_EXT_MASK": _SKIP_STATISTICS}
        try:
            (message,) = self._request(operation, RTM_GETLINK, LinkMessage, fields, attributes)
        except HostError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        # Attributes are decoded when they are asked for.
        return Link(
            index=message["index"],
            name=message.get_attr("IFLA_IFNAME"),
            mtu=message.get_attr("IFLA_MTU"),
            up=bool(message["flags"] & _IFF_UP),
            txqueuelen=message.get_attr("IFLA_TXQLEN") or 0,
        )

    def _addresses(self, index: int) -> frozenset[IPInterface]:
        found: set[IPInterface] = set()
        for family in FAMILIES.values():
            fields = {"family": family, "index": index}
            try:
                messages = self._request(
                    "read addresses", RTM_GETADDR, ifaddrmsg, fields, flags=DUMP
                )
            except HostError as error:
                if error.errno == errno.ENODEV:
                    return frozenset()
                raise
            for message in messages:
                attributes = dict(message["attrs"])
                address = attributes.get("IFA_LOCAL") or attributes["IFA_ADDRESS"]
                found.add(ip_interface((address, message["prefixlen"])))
        return frozenset(found)

    def _address(
        self, operation: str, kind: int, index: int, address: IPInterface, **more: int
    ) -> None:
        fields = {
            "family": FAMILIES[address.version],
            "index": index,
            "prefixlen": address.network.prefixlen,
        }
        text = str(address.ip)
        attributes = {
            "IFA_ADDRESS": text,
            "IFA_LOCAL": text if address.version == 4 else None,
            **more,
        }
        flags = CREATE | EXCLUSIVE if kind == RTM_NEWADDR else 0
        self._request(operation, kind, ifaddrmsg, fields, attributes, flags)

    def _route(self, operation: str, kind: int, route: KernelRoute, flags: int = 0) -> None:
        words = request(route)
        self._request(operation, kind, ROUTE_CODEC, words.fields, words.attributes, flags)

    def _routes(
        self,
        versions: tuple[int, ...],
        fields: dict[str, int],
        attributes: dict[str, int] | None = None,
    ) -> list[FibEntry]:
        """A dump; the kernel leaves out what does not match."""
        entries = []
        for version in versions:
            asked = {"family": FAMILIES[version], **fields}
            try:
                messages = self._request(
                    "read routes", RTM_GETROUTE, ROUTE_CODEC, asked, attributes, DUMP
                )
            except HostError as error:
                if error.errno == errno.ENOENT:  # no such table
                    continue
                raise
            entries += [decode_route(message, self.identity) for message in messages]
        return [entry for entry in entries if entry is not None]

    def _lookup(self, address: IPAddress) -> FibEntry | None:
        message = self._get_route(address, FIB_MATCH)
        if message["type"] == LOCAL:
            return None
        entry = decode_route(message, self.identity)
        if entry is None or entry.route.hop is None:
            raise HostError(f"find a route to {address}", "unreachable", errno.EHOSTUNREACH)
        if is_multipath(message):
            hop = chosen_hop(self._get_route(address, 0)) or entry.route.hop
            return replace(entry, route=replace(entry.route, hop=hop))
        return entry

    def _get_route(self, address: IPAddress, flags: int) -> Any:
        words = host_destination(address)
        (message,) = self._request(
            f"find a route to {address}",
            RTM_GETROUTE,
            ROUTE_CODEC,
            {**words.fields, "flags": flags},
            words.attributes,
        )
        return message


def _first_free(name: str, make: Callable[[str], T]) -> T:
    """Devices of one name may be in several namespaces whose sockets are here."""
    for free in (name, *(f"{name}.{number}" for number in range(2, _SAME_NAMES))):
        try:
            return make(free)
        except HostError as error:
            if error.errno != errno.EEXIST:
                raise
    raise HostError("make a table", "all names are taken", errno.EEXIST)


@contextmanager
def _forgiving() -> Iterator[None]:
    """What is gone already needs no removing."""
    try:
        yield
    except HostError as error:
        if error.errno not in _GONE:
            raise
