"""``--mktun`` and ``--rmtun``: TUN devices that outlive the process (OpenVPN ``tun.c``)."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ovpn6.model.errors import ConfigError, HostError

_CLONE_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNSETGROUP = 0x400454CE
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFREQ = struct.Struct("16sH22x")
_NAME_SIZE = 15


def make_persistent_tun(name: str, owner: str = "", group: str = "") -> str:
    """Make a TUN device that stays, and return its name; one that exists is made persistent.

    ``name`` ``tun`` takes the first free number. ``owner`` and ``group`` (names or numbers) may use
    it without privileges. ``ConfigError`` for one that does not exist, ``HostError`` from the host.
    """
    owner_id = _user_id(owner) if owner else None
    group_id = _group_id(group) if group else None
    with _attached(name) as (device, real_name):
        operation = f"make {real_name} persistent"
        if owner_id is not None:
            _ioctl(operation, device, _TUNSETOWNER, owner_id)
        if group_id is not None:
            _ioctl(operation, device, _TUNSETGROUP, group_id)
        _ioctl(operation, device, _TUNSETPERSIST, 1)
        return real_name


def remove_persistent_tun(name: str) -> None:
    """Remove it. ``HostError`` ENODEV when there is none, EINVAL when it is no TUN device."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        raise HostError(f"remove {name}", "no such device", errno.ENODEV) from None
    with _attached(name) as (device, real_name):
        _ioctl(f"remove {real_name}", device, _TUNSETPERSIST, 0)


@contextmanager
def _attached(name: str) -> Iterator[tuple[int, str]]:
    operation = f"open TUN device {name}"
    if not 0 < len(name.encode()) <= _NAME_SIZE:
        raise HostError(operation, f"a name has 1 to {_NAME_SIZE} bytes", errno.EINVAL)
    # The kernel fills the number in.
    pattern = name if name[-1:].isdigit() or name != "tun" else f"{name}%d"
    try:
        device = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(operation, error.strerror or "", error.errno or 0) from None
    try:
        answer = _ioctl(
            operation, device, _TUNSETIFF, _IFREQ.pack(pattern.encode(), _IFF_TUN | _IFF_NO_PI)
        )
        yield device, _IFREQ.unpack(answer)[0].rstrip(b"\0").decode()
    finally:
        os.close(device)


def _ioctl(operation: str, device: int, code: int, argument: bytes | int) -> bytes:
    try:
        answer = fcntl.ioctl(device, code, argument)
    except OSError as error:
        raise HostError(operation, error.strerror or "", error.errno or 0) from None
    return answer if isinstance(answer, bytes) else b""


def _user_id(owner: str) -> int:
    if owner.isdigit():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {owner!r}") from None


def _group_id(group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r}") from None
