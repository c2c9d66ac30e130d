"""Giving up root: chroot, ``user``/``group``, and keeping only CAP_NET_ADMIN.

Source: OpenVPN ``platform.c`` ``platform_user_group_set``; ``capabilities(7)``, ``prctl(2)``,
``capset(2)``. CAP_NET_ADMIN alone serves addresses, routes and tunnel devices; sockets on low
ports are open by then.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd

from ovpn6.config.schema import ProcessConfig
from ovpn6.model.errors import ConfigError, HostError
from ovpn6.model.records import dataclass

CAP_NET_ADMIN = 12
_PR_SET_KEEPCAPS = 8
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to become; None keeps what is."""

    user: int | None = None
    group: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything changes."""
        return self.user is not None or self.group is not None


def look_up(process: ProcessConfig) -> Identity:
    """The numbers behind ``user`` and ``group``; a user alone brings its own group.

    Raises ``ConfigError`` for a name the system does not know. Call before chroot.
    """
    user, group = None, None
    if process.user:
        try:
            entry = pwd.getpwnam(process.user)
        except KeyError:
            raise ConfigError(f"user: '{process.user}' does not exist") from None
        user, group = entry.pw_uid, entry.pw_gid
    if process.group:
        try:
            group = grp.getgrnam(process.group).gr_gid
        except KeyError:
            raise ConfigError(f"group: '{process.group}' does not exist") from None
    return Identity(user, group)


def enter_root(process: ProcessConfig) -> None:
    """``chroot``. Raises ``HostError``."""
    if process.chroot is None:
        return
    # Looking a name up after chroot would import this from a path that is gone.
    "preload".encode("idna")
    try:
        os.chroot(process.chroot)
        os.chdir("/")
    except OSError as error:
        raise HostError("chroot", error.strerror or "", error.errno or 0) from None


def become(identity: Identity) -> None:
    """Change user and group for good, with CAP_NET_ADMIN as the only capability left.

    Raises ``HostError``; then the process must not go on.
    """
    if not identity.wanted:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _call(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
        os.setgroups([])
        if identity.group is not None:
            os.setresgid(identity.group, identity.group, identity.group)
        if identity.user is not None:
            os.setresuid(identity.user, identity.user, identity.user)
        _set_capabilities(libc, 1 << CAP_NET_ADMIN)
        _call(libc.prctl(_PR_SET_KEEPCAPS, 0, 0, 0, 0), "prctl")
    except OSError as error:
        raise HostError("user/group", error.strerror or "", error.errno or 0) from None


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _set_capabilities(libc: ctypes.CDLL, mask: int) -> None:
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)(
        _Data(mask & 0xFFFFFFFF, mask & 0xFFFFFFFF, 0), _Data(mask >> 32, mask >> 32, 0)
    )
    _call(libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def _call(result: int, name: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
