"""The kernel's ciphers, by ``/proc/crypto``, and requests about them (``linux/cryptouser.h``)."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path

NEW, DELETE, UPDATE = 0x10, 0x11, 0x12
_NETLINK_CRYPTO = 21
_PRIORITY = 1
_NAME = 64
_AEAD, _TYPE_MASK = 3, 0xF


def order(command: int, name: str, driver: str, priority: int | None) -> int:
    """A request about a cipher; errno or 0."""
    user = name.encode().ljust(_NAME, b"\0") + driver.encode().ljust(_NAME, b"\0") + bytes(_NAME)
    user += struct.pack("=IIII", _AEAD, _TYPE_MASK, 0, 0)
    if priority is not None:
        user += struct.pack("=HHI", 8, _PRIORITY, priority)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_CRYPTO) as opened:
        opened.settimeout(60)
        opened.send(struct.pack("=IHHII", 16 + len(user), command, 5, 1, 0) + user)
        (code,) = struct.unpack_from("=i", opened.recv(4096), 16)
    return -int(code)


def registered() -> dict[str, dict[str, str]]:
    """What ``/proc/crypto`` says of each, by driver."""
    text = Path("/proc/crypto").read_text()
    stanzas = [dict(re.findall(r"^(\S+)\s*: (.*)$", part, re.M)) for part in text.split("\n\n")]
    return {stanza["driver"]: stanza for stanza in stanzas if stanza}


def best(name: str) -> dict[str, str]:
    """What the kernel takes for a name."""
    there = [stanza for stanza in registered().values() if stanza["name"] == name]
    return max(there, key=lambda stanza: int(stanza["priority"]))
