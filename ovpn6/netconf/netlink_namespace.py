"""A network namespace of the running kernel, by netlink (pyroute2) and ``/proc/sys``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from ovpn6.model.addresses import IPAddress, IPInterface
from ovpn6.model.errors import HostError
from ovpn6.netconf.interface import ROUTE_PROTOCOL
from ovpn6.netconf.namespace import FibEntry, Link
from ovpn6.netconf.plan import KernelRoute
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
from ovpn6.netconf.worker import NamespaceWorker

_ADDRESS_FLAGS = {4: 0x200, 6: 0x200 | 0x02}
"""``IFA_F_NOPREFIXROUTE``, and for IPv6 ``IFA_F_NODAD``."""
_IFF_UP = 1
_GONE = (errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENOENT)
_DUMP_ATTEMPTS = 5


class NetlinkNamespace:
    """A :class:`ovpn6.netconf.namespace.Namespace`; the methods are documented there."""

    def __init__(self, name: str = "") -> None:
        """``HostError`` ENOENT when there is no namespace of this name."""
        self._worker = NamespaceWorker(name)
        self._run = self._worker.run
        self.inode = self._worker.inode
        self.identity = self._worker.cookie or self._worker.inode
        try:
            self._netlink = self._run(IPRoute, ext_ack=True, strict_check=True)
        except OSError as error:
            self._worker.close()
            text = error.strerror or str(error)
            raise HostError("open a netlink socket", text, error.errno or 0) from None

    def link(self, name: str) -> Link | None:
        """By name."""
        return self._run(self._link, name)

    def link_name(self, index: int) -> str:
        """By ifindex."""
        return self._run(self._link_name, index)

    def set_mtu(self, index: int, mtu: int) -> None:
        """Octets."""
        self._run(self._netlink_call, f"set mtu {mtu}", "link", "set", index=index, mtu=mtu)

    def set_up(self, index: int, up: bool) -> None:
        """Administrative state."""
        state = "up" if up else "down"
        self._run(self._netlink_call, f"set link {state}", "link", "set", index=index, state=state)

    def set_txqueuelen(self, index: int, packets: int) -> None:
        """Packets."""
        operation = f"set txqueuelen {packets}"
        self._run(self._netlink_call, operation, "link", "set", index=index, txqlen=packets)

    def addresses(self, index: int) -> frozenset[IPInterface]:
        """Of one interface."""
        return self._run(self._addresses, index)

    def add_address(self, index: int, address: IPInterface) -> None:
        """``nodad noprefixroute``."""
        self._run(self._address, "add", index, address)

    def remove_address(self, index: int, address: IPInterface) -> None:
        """When it is there."""
        with _forgiving():
            self._run(self._address, "del", index, address)

    def own_routes(self) -> frozenset[KernelRoute]:
        """The kernel filters by protocol, so a large table costs little."""
        entries = self._run(self._routes, tuple(FAMILIES), {"proto": ROUTE_PROTOCOL})
        return frozenset(entry.route for entry in entries)

    def table_routes(self, version: int, table: int) -> tuple[FibEntry, ...]:
        """Unicast only."""
        entries = self._run(self._routes, (version,), {"table": table})
        return tuple(entry for entry in entries if entry.route.hop is not None and entry.usable)

    def lookup(self, address: IPAddress) -> FibEntry | None:
        """``RTM_GETROUTE``."""
        return self._run(self._lookup, address)

    def add_route(self, route: KernelRoute) -> None:
        """``NLM_F_EXCL``: IPv6 would make a second hop of it otherwise."""
        self._run(self._netlink_call, f"add route {route}", "route", "add", **request(route))

    def replace_route(self, route: KernelRoute) -> None:
        """``NLM_F_REPLACE | NLM_F_CREATE``."""
        operation = f"replace route {route}"
        self._run(self._netlink_call, operation, "route", "replace", **request(route))

    def remove_route(self, route: KernelRoute) -> None:
        """Names protocol, device and gateway, so that nobody else's route can match."""
        with _forgiving():
            self._run(self._netlink_call, f"remove route {route}", "route", "del", **request(route))

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
        with suppress(RuntimeError):  # the worker is gone
            self._run(self._netlink.close)
        self._worker.close()

    # --- in the worker ---------------------------------------------------------------------------

    def _netlink_call(self, operation: str, method: str, command: str, **arguments: Any) -> Any:
        try:
            return getattr(self._netlink, method)(command, **arguments)
        except NetlinkError as error:
            raise _host_error(operation, error) from None

    def _dump(self, operation: str, method: str, **arguments: Any) -> list[Any]:
        for _ in range(_DUMP_ATTEMPTS):
            # The kernel says so when the table changed while it was read.
            with suppress(NetlinkDumpInterrupted):
                return list(self._netlink_call(operation, method, "dump", **arguments))
        raise HostError(operation, "the table changes too often to be read", errno.EINTR)

    def _link(self, name: str) -> Link | None:
        try:
            (message,) = self._netlink_call(f"look up {name}", "link", "get", ifname=name)
        except HostError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        attributes = dict(message["attrs"])
        return Link(
            index=message["index"],
            name=attributes["IFLA_IFNAME"],
            mtu=attributes["IFLA_MTU"],
            up=bool(message["flags"] & _IFF_UP),
            txqueuelen=attributes.get("IFLA_TXQLEN", 0),
        )

    def _link_name(self, index: int) -> str:
        try:
            (message,) = self._netlink_call("look up an interface", "link", "get", index=index)
        except HostError as error:
            if error.errno == errno.ENODEV:
                return ""
            raise
        return str(dict(message["attrs"])["IFLA_IFNAME"])

    def _addresses(self, index: int) -> frozenset[IPInterface]:
        found: set[IPInterface] = set()
        for family in FAMILIES.values():
            try:
                messages = self._dump("read addresses", "addr", family=family, index=index)
            except HostError as error:
                if error.errno == errno.ENODEV:
                    return frozenset()
                raise
            for message in messages:
                if message["index"] != index:
                    continue
                attributes = dict(message["attrs"])
                address = attributes.get("IFA_LOCAL") or attributes["IFA_ADDRESS"]
                found.add(ip_interface((address, message["prefixlen"])))
        return frozenset(found)

    def _address(self, command: str, index: int, address: IPInterface) -> None:
        self._netlink_call(
            f"{'add' if command == 'add' else 'remove'} address {address}",
            "addr",
            command,
            index=index,
            family=FAMILIES[address.version],
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **({"flags": _ADDRESS_FLAGS[address.version]} if command == "add" else {}),
        )

    def _routes(self, versions: tuple[int, ...], wanted: dict[str, int]) -> list[FibEntry]:
        entries = []
        for version in versions:
            try:
                messages = self._dump("read routes", "route", family=FAMILIES[version], **wanted)
            except HostError as error:
                if error.errno == errno.ENOENT:  # no such table
                    continue
                raise
            entries += [decode_route(message, self.identity) for message in messages]
        return [entry for entry in entries if entry is not None]

    def _lookup(self, address: IPAddress) -> FibEntry | None:
        operation, question = f"find a route to {address}", host_destination(address)
        (message,) = self._netlink_call(operation, "route", "get", flags=FIB_MATCH, **question)
        if message["type"] == LOCAL:
            return None
        entry = decode_route(message, self.identity)
        if entry is None or entry.route.hop is None:
            raise HostError(operation, "unreachable", errno.EHOSTUNREACH)
        if is_multipath(message):
            (answer,) = self._netlink_call(operation, "route", "get", **question)
            hop = chosen_hop(answer) or entry.route.hop
            return replace(entry, route=replace(entry.route, hop=hop))
        return entry


@contextmanager
def _forgiving() -> Iterator[None]:
    """What is gone already needs no removing."""
    try:
        yield
    except HostError as error:
        if error.errno not in _GONE:
            raise


def _host_error(operation: str, error: NetlinkError) -> HostError:
    code = error.code or 0
    text = str(error.args[1]) if len(error.args) > 1 else os.strerror(code)
    return HostError(operation, text, code)
