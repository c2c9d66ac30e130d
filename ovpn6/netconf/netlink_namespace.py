"""A network namespace of the running kernel, by netlink (pyroute2) and ``/proc/sys``.

pyroute2 0.9 runs an event loop of its own inside each synchronous call, and refuses to from inside
a running loop; its sockets belong to one thread. So each namespace has a worker thread, which also
lets that one thread, and nothing else of the process, enter another network namespace:
``/proc/sys/net`` shows the namespace of the thread that looks. The caller waits for the answer.

Not to be carried over ``fork``: the thread stays behind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, TypeVar

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

NETNS_DIR = Path("/run/netns")
"""Where ``ip netns`` names namespaces."""

_SYSCTL = Path("/proc/sys")
_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71
_ADDRESS_FLAGS = {4: 0x200, 6: 0x200 | 0x02}
"""``IFA_F_NOPREFIXROUTE``, and for IPv6 ``IFA_F_NODAD``."""
_IFF_UP = 1
_GONE = (errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENOENT)
_DUMP_ATTEMPTS = 5

T = TypeVar("T")


class NetlinkNamespace:
    """A :class:`ovpn6.netconf.namespace.Namespace`; the methods are documented there."""

    def __init__(self, name: str = "") -> None:
        """``HostError`` ENOENT when there is no namespace of this name."""
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netconf")
        try:
            self.identity, self.inode, self._netlink = self._run(_enter, name)
        except HostError:
            self._worker.shutdown()
            raise

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
        return tuple(entry for entry in entries if entry.route.hop is not None)

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
        return self._run(_setting_names, directory)

    def read_setting(self, name: str) -> str | None:
        """Of this namespace."""
        return self._run(_read_setting, name)

    def write_setting(self, name: str, value: str) -> None:
        """Of this namespace."""
        self._run(_write_setting, name, value)

    def close(self) -> None:
        """May be called twice."""
        with suppress(RuntimeError):
            self._run(self._netlink.close)
        self._worker.shutdown()

    # --- in the worker ---------------------------------------------------------------------------

    def _run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self._worker.submit(function, *arguments, **named).result()

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
            route = KernelRoute(
                self.identity,
                entry.route.destination,
                entry.route.table,
                entry.route.metric,
                hop,
            )
            return FibEntry(route, entry.protocol, entry.preference)
        return entry


def _enter(name: str) -> tuple[int, int, IPRoute]:
    """Enter the namespace with this thread; its identity, inode and a netlink socket."""
    if name:
        try:
            file = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _system_error(f"open network namespace {name}", error) from None
        try:
            library = ctypes.CDLL(None, use_errno=True)
            if library.setns(file, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise HostError(f"enter network namespace {name}", os.strerror(code), code)
        finally:
            os.close(file)
    inode = os.stat("/proc/thread-self/ns/net").st_ino
    try:
        netlink = IPRoute(ext_ack=True, strict_check=True)
    except OSError as error:
        raise _system_error("open a netlink socket", error) from None
    return _cookie() or inode, inode, netlink


def _cookie() -> int:
    """0 on kernels before 5.14."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        value: int = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[
            0
        ]
        return value
    return 0


def _setting_names(directory: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(_SYSCTL / directory)))
    except FileNotFoundError:
        return ()


def _read_setting(name: str) -> str | None:
    try:
        return (_SYSCTL / name).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _system_error(f"read {name}", error) from None


def _write_setting(name: str, value: str) -> None:
    try:
        with open(_SYSCTL / name, "r+") as file:
            file.write(value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _system_error(f"set {name} to {value}", error) from None


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


def _system_error(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
