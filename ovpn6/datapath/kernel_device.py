"""The network device in the kernel: made, marked as ours, watched, removed, found again.

It is of kind ``ovpn``, or ``ovpn6`` where the module is ours. Unlike a TUN device it stays when the
process that made it dies. So it carries a mark in its ``ifalias`` that names this process, and the
next start removes what a dead process left behind.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ovpn6.datapath.ovpn_netlink.link_kind import MODE_MP, MODE_P2P, ovpn
from ovpn6.datapath.ovpn_netlink.messages import FAMILY, OWN_FAMILY
from ovpn6.datapath.tun import in_netns
from ovpn6.model.errors import HostError
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec
from ovpn6.netlink.conversation import (
    CREATE,
    DUMP,
    ECHO,
    EXCLUSIVE,
    ROUTE,
    Conversation,
    Listener,
    Overrun,
)
from ovpn6.netlink.parts import NLA_F_NESTED, LinkHeader, nla

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
LINK_GROUP = 1
"""``RTNLGRP_LINK``."""
IFF_UP = 1
KINDS = (FAMILY, OWN_FAMILY)
"""Linux' own module, and ours."""
MAX_NAME = 15

_LINK = struct.Struct("=16xBxHiII")
"""``struct nlmsghdr``, then of ``struct ifinfomsg``: family, type, index, flags, change."""
_MARK = re.compile(r"ovpn6 process (\d+) started (\d+) in (\d+)")

_DELETED = "somebody deleted it"
_MOVED = "somebody moved it to another network namespace, where dev-netns could have made it"
_GONE = "deleted or moved to another network namespace"

_T = TypeVar("_T")


class LinkMessage(LinkHeader):
    """An interface, with the attributes that matter here."""

    __slots__ = ()
    nla_map = (
        (3, "IFLA_IFNAME", "asciiz"),
        (18, "IFLA_LINKINFO", "info"),
        (20, "IFLA_IFALIAS", "asciiz"),
        (45, "IFLA_NEW_NETNSID", "int32"),
        (46, "IFLA_TARGET_NETNSID", "int32"),
        (49, "IFLA_NEW_IFINDEX", "int32"),
    )

    class info(nla):  # type: ignore[misc]
        """What kind of device it is."""

        __slots__ = ()
        prefix = "IFLA_INFO_"
        nla_flags = NLA_F_NESTED
        nla_map = ((1, "IFLA_INFO_KIND", "asciiz"), (2, "IFLA_INFO_DATA", "ovpn"))
        ovpn = ovpn


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, by what tells it from a later one of the same id. ``namespace``: the inode of its
    PID namespace; we cannot tell whether a process of another one lives."""

    pid: int
    started: int
    namespace: int

    def __str__(self) -> str:
        return f"ovpn6 process {self.pid} started {self.started} in {self.namespace}"


class KernelDevice:
    """One device of ours. ``name`` may be changed by others, ``index`` cannot."""

    def __init__(self, route: Conversation, watch: Listener, name: str, index: int) -> None:
        self._route = route
        self._watch = watch
        self.name = name
        self.index = index
        self.is_up = False
        self._moved_to: tuple[int, int] | None = None

    def fileno(self) -> int:
        """Readable when something happened to some device: call :meth:`look`."""
        return self._watch.fileno()

    def look(self) -> str:
        """Take what waits. Why the device is lost, "" while it is there."""
        try:
            for kind, packet in self._watch.read():
                if self._is_end(kind, packet):
                    self._moved_to = _new_place(packet)
                    return _MOVED if self._moved_to else _DELETED
        except Overrun:
            if not self._exists():
                return _GONE
        return ""

    @property
    def route(self) -> Conversation:
        """rtnetlink in the device's network namespace."""
        return self._route

    def remove(self) -> None:
        """Delete it, if it is there, or where it was moved to. Raises ``HostError``."""
        if self._moved_to is None:
            _delete(self._route, self.name, self.index)
        else:
            namespace, index = self._moved_to
            _delete(self._route, self.name, index, namespace)

    def close(self) -> None:
        """Close the sockets; the device stays."""
        self._watch.close()
        self._route.close()

    def _is_end(self, kind: int, packet: bytes) -> bool:
        if len(packet) < _LINK.size:
            return False
        family, _, index, flags, _ = _LINK.unpack_from(packet)
        if index != self.index or family != 0:
            return False
        if kind == RTM_NEWLINK:
            self.is_up = bool(flags & IFF_UP)
        return kind == RTM_DELLINK

    def _exists(self) -> bool:
        try:
            (answer,) = self._route.request(
                "look up the device", RTM_GETLINK, LinkMessage, {"index": self.index}
            )
        except HostError as error:
            return error.errno != errno.ENODEV
        self.is_up = bool(answer["flags"] & IFF_UP)
        return True


def make_device(spec: DeviceSpec, *, many_peers: bool, kind: str = FAMILY) -> KernelDevice:
    """A new device in ``spec.netns``, down. ``tun`` takes the first free ``tunN``.

    Raises ``HostError``; EEXIST when there is a device of this name.
    """
    if len(spec.name.encode()) > MAX_NAME:
        raise HostError(f"make device {spec.name}", f"names have at most {MAX_NAME} bytes")
    route, watch = in_namespace(spec.netns, _open_sockets)
    try:
        name, index = _make(route, spec.name, many_peers, kind)
    except HostError:
        route.close()
        watch.close()
        raise
    return KernelDevice(route, watch, name, index)


def remove_leftovers(netns: str) -> list[str]:
    """Remove devices whose process died in the network namespace ``netns``; their names.

    Devices of others, and of processes that we cannot see, stay. Raises ``HostError``.
    """
    route = in_namespace(netns, lambda: Conversation(ROUTE))
    try:
        removed = []
        found = [device for kind in KINDS for device in _of_kind(route, kind)]
        for name, index, mark in found:
            owner = parse_mark(mark)
            if owner is not None and is_dead(owner):
                _delete(route, name, index)
                removed.append(name)
        return removed
    finally:
        route.close()


def in_namespace(netns: str, act: Callable[[], _T]) -> _T:
    """Call ``act`` in a network namespace; "" is our own. Raises ``HostError``."""
    return in_netns(netns, act) if netns else act()


def parse_mark(text: str) -> Owner | None:
    """Whose device it is; None when the mark is not ours."""
    found = _MARK.fullmatch(text)
    return Owner(*(int(number) for number in found.groups())) if found else None


@functools.cache
def ourselves() -> Owner:
    """This process. Asked for the first time before ``--chroot``."""
    return Owner(os.getpid(), _start_time("self"), _pid_namespace())


def is_dead(owner: Owner, proc: Path = Path("/proc")) -> bool:
    """Whether the process is gone for certain."""
    if owner.namespace != _pid_namespace():
        return False
    try:
        return _start_time(str(owner.pid), proc) != owner.started
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False


def _open_sockets() -> tuple[Conversation, Listener]:
    route = Conversation(ROUTE)
    try:
        return route, Listener(ROUTE, LINK_GROUP)
    except HostError:
        route.close()
        raise


def _make(route: Conversation, wanted: str, many_peers: bool, kind: str) -> tuple[str, int]:
    pattern = "tun%d" if wanted == "tun" else wanted
    mode = MODE_MP if many_peers else MODE_P2P
    info = [
        ("IFLA_INFO_KIND", kind),
        ("IFLA_INFO_DATA", {"attrs": [("IFLA_OVPN_MODE", mode)]}),
    ]
    made = route.request(
        f"make device {wanted}",
        RTM_NEWLINK,
        LinkMessage,
        {},
        {"IFLA_IFNAME": pattern, "IFLA_LINKINFO": {"attrs": info}},
        CREATE | EXCLUSIVE | ECHO,
    )
    if made:
        index, name = made[0]["index"], dict(made[0]["attrs"])["IFLA_IFNAME"]
    else:
        name, index = _newest(route, kind, wanted)
    route.request(
        f"mark device {name}",
        RTM_NEWLINK,
        LinkMessage,
        {"index": index},
        {"IFLA_IFALIAS": str(ourselves())},
    )
    return name, index


def _newest(route: Conversation, kind: str, wanted: str) -> tuple[str, int]:
    """What was just made, for kernels before 6.2, which do not say: indexes rise."""
    unmarked = [(index, name) for name, index, mark in _of_kind(route, kind) if not mark]
    if not unmarked:
        raise HostError(f"make device {wanted}", "the kernel does not say what it made")
    index, name = max(unmarked)
    return name, index


def _new_place(packet: bytes) -> tuple[int, int] | None:
    """Of an ``RTM_DELLINK``: the namespace, by its id in ours, where the device is now, and its
    number there. None when it is nowhere."""
    message = LinkMessage(packet)
    message.decode()
    said = dict(message["attrs"])
    namespace, index = said.get("IFLA_NEW_NETNSID"), said.get("IFLA_NEW_IFINDEX")
    return None if namespace is None or index is None else (namespace, index)


def _delete(route: Conversation, name: str, index: int, namespace: int | None = None) -> None:
    operation = f"remove device {name}"
    where = {"IFLA_TARGET_NETNSID": namespace}
    try:
        route.request(operation, RTM_DELLINK, LinkMessage, {"index": index}, where)
    except HostError as error:
        if error.errno != errno.ENODEV:
            raise


def _of_kind(route: Conversation, wanted: str) -> list[tuple[str, int, str]]:
    """Name, index and alias of each device of a kind."""
    info: dict[str, Any] = {"attrs": [("IFLA_INFO_KIND", wanted)]}
    answers = route.request(
        "look for devices", RTM_GETLINK, LinkMessage, {}, {"IFLA_LINKINFO": info}, DUMP
    )
    found = []
    for answer in answers:
        said = dict(answer["attrs"])
        kind = dict(said.get("IFLA_LINKINFO", {"attrs": []})["attrs"]).get("IFLA_INFO_KIND")
        if kind == wanted:
            found.append((said["IFLA_IFNAME"], answer["index"], said.get("IFLA_IFALIAS", "")))
    return found


def _start_time(process: str, proc: Path = Path("/proc")) -> int:
    """Field 22 of ``/proc/<pid>/stat``: clock ticks since boot."""
    text = (proc / process / "stat").read_text()
    return int(text.rpartition(")")[2].split()[19])


@functools.cache
def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
