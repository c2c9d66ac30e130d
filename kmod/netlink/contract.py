# SPDX-License-Identifier: GPL-2.0-only
"""The netlink contract of the module: the one source of its numbers and limits.

``generate.py`` writes the C headers from it, ``tests/kmod/test_contract.py`` holds them and the
Python binding equal to it. The contract is that of Linux' ``ovpn`` family, version 1; both families
of the module, ``ovpn6`` and the compatible ``ovpn``, speak it. What ``ovpn6`` alone has bears
numbers from ``FIRST_OWN`` on, far from those that Linux may give next. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

VERSION = 1
GROUP = "peers"
LARGEST_PEER_ID = 0xFFFFFF
"""Also what stands in a packet of a peer without an id."""
LONGEST_KEEPALIVE = 86400
LARGEST_KEY = 256
NONCE_TAIL = 8
MOST_PREFIXES = 4096
"""Networks behind one peer."""
FIRST_OWN = 32

COMMANDS = {
    "PEER_NEW": 1,
    "PEER_SET": 2,
    "PEER_GET": 3,
    "PEER_DEL": 4,
    "PEER_DEL_NTF": 5,
    "KEY_NEW": 6,
    "KEY_GET": 7,
    "KEY_SWAP": 8,
    "KEY_SWAP_NTF": 9,
    "KEY_DEL": 10,
    "PEER_FLOAT_NTF": 11,
    "PREFIX_NEW": 32,
    "PREFIX_DEL": 33,
    "PREFIX_GET": 34,
}
DELETE_REASONS = {
    "TEARDOWN": 0,
    "USERSPACE": 1,
    "EXPIRED": 2,
    "TRANSPORT_ERROR": 3,
    "TRANSPORT_DISCONNECT": 4,
}
CIPHERS = {"NONE": 0, "AES_GCM": 1, "CHACHA20_POLY1305": 2}
SLOTS = {"PRIMARY": 0, "SECONDARY": 1}
MODES = {"P2P": 0, "MP": 1}
LINK_ATTRIBUTES = {"MODE": 1}
"""In IFLA_INFO_DATA of the link kinds."""


class Kind(Enum):
    """What an attribute holds. A counter is only ever sent by us: four or eight bytes."""

    U8 = "NLA_U8"
    U32 = "NLA_U32"
    S32 = "NLA_S32"
    PORT = "NLA_BE16"
    IPV4 = "NLA_BE32"
    IPV6 = "ipv6"
    COUNTER = "counter"
    BYTES = "NLA_BINARY"
    NEST = "NLA_NESTED"


@dataclass(frozen=True, slots=True)
class Attribute:
    """``low`` and ``high`` bound the value, or for bytes their number."""

    number: int
    name: str
    kind: Kind
    low: int = 0
    high: int | None = None


PEER = (
    Attribute(1, "ID", Kind.U32, high=LARGEST_PEER_ID),
    Attribute(2, "REMOTE_IPV4", Kind.IPV4),
    Attribute(3, "REMOTE_IPV6", Kind.IPV6),
    Attribute(4, "REMOTE_IPV6_SCOPE_ID", Kind.U32),
    Attribute(5, "REMOTE_PORT", Kind.PORT, low=1),
    Attribute(6, "SOCKET", Kind.U32),
    Attribute(7, "SOCKET_NETNSID", Kind.S32),
    Attribute(8, "VPN_IPV4", Kind.IPV4),
    Attribute(9, "VPN_IPV6", Kind.IPV6),
    Attribute(10, "LOCAL_IPV4", Kind.IPV4),
    Attribute(11, "LOCAL_IPV6", Kind.IPV6),
    Attribute(12, "LOCAL_PORT", Kind.PORT),
    Attribute(13, "KEEPALIVE_INTERVAL", Kind.U32, high=LONGEST_KEEPALIVE),
    Attribute(14, "KEEPALIVE_TIMEOUT", Kind.U32, high=LONGEST_KEEPALIVE),
    Attribute(15, "DEL_REASON", Kind.U32, high=max(DELETE_REASONS.values())),
    Attribute(16, "VPN_RX_BYTES", Kind.COUNTER),
    Attribute(17, "VPN_TX_BYTES", Kind.COUNTER),
    Attribute(18, "VPN_RX_PACKETS", Kind.COUNTER),
    Attribute(19, "VPN_TX_PACKETS", Kind.COUNTER),
    Attribute(20, "LINK_RX_BYTES", Kind.COUNTER),
    Attribute(21, "LINK_TX_BYTES", Kind.COUNTER),
    Attribute(22, "LINK_RX_PACKETS", Kind.COUNTER),
    Attribute(23, "LINK_TX_PACKETS", Kind.COUNTER),
    Attribute(24, "TX_ID", Kind.U32, high=LARGEST_PEER_ID),
)
KEYCONF = (
    Attribute(1, "PEER_ID", Kind.U32, high=LARGEST_PEER_ID),
    Attribute(2, "SLOT", Kind.U32, high=max(SLOTS.values())),
    Attribute(3, "KEY_ID", Kind.U32, high=7),
    Attribute(4, "CIPHER_ALG", Kind.U32, high=max(CIPHERS.values())),
    Attribute(5, "ENCRYPT_DIR", Kind.NEST),
    Attribute(6, "DECRYPT_DIR", Kind.NEST),
)
KEYDIR = (
    Attribute(1, "CIPHER_KEY", Kind.BYTES, high=LARGEST_KEY),
    Attribute(2, "NONCE_TAIL", Kind.BYTES, low=NONCE_TAIL, high=NONCE_TAIL),
)
PREFIX = (
    Attribute(1, "PEER_ID", Kind.U32, high=LARGEST_PEER_ID),
    Attribute(2, "IPV4", Kind.IPV4),
    Attribute(3, "IPV6", Kind.IPV6),
    Attribute(4, "LENGTH", Kind.U32, high=128),
)
"""A network behind a peer: one address, and how many of its bits count."""
TOP = (
    Attribute(1, "IFINDEX", Kind.U32),
    Attribute(2, "PEER", Kind.NEST),
    Attribute(3, "KEYCONF", Kind.NEST),
    Attribute(32, "PREFIX", Kind.NEST),
)
SETS = {"": TOP, "PEER": PEER, "KEYCONF": KEYCONF, "KEYDIR": KEYDIR, "PREFIX": PREFIX}
"""By what follows ``OVPN_A_`` in the names of their attributes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What of a set a request may hold; ``nests``: the policies of its nests, by name."""

    name: str
    set: str
    names: tuple[str, ...]
    nests: tuple[tuple[str, str], ...] = ()


_SETTABLE = tuple(
    name
    for name in (attribute.name for attribute in PEER)
    if name.startswith(("REMOTE", "VPN_IPV", "KEEPALIVE"))
    or name in ("ID", "LOCAL_IPV4", "LOCAL_IPV6", "TX_ID")
)
_EVERYTHING_OF_A_KEY = tuple(attribute.name for attribute in KEYCONF)
_EVERYTHING_OF_A_PREFIX = tuple(attribute.name for attribute in PREFIX)
_DIRECTIONS = (("ENCRYPT_DIR", "keydir"), ("DECRYPT_DIR", "keydir"))
POLICIES = (
    Policy("keydir", "KEYDIR", ("CIPHER_KEY", "NONCE_TAIL")),
    Policy("peer_new", "PEER", ("SOCKET", *_SETTABLE)),
    Policy("peer_set", "PEER", _SETTABLE),
    Policy("peer_get", "PEER", tuple(attribute.name for attribute in PEER)),
    Policy("peer_del", "PEER", ("ID",)),
    Policy("key_new", "KEYCONF", _EVERYTHING_OF_A_KEY, _DIRECTIONS),
    Policy("key_get", "KEYCONF", ("PEER_ID", "SLOT")),
    Policy("key_swap", "KEYCONF", ("PEER_ID",)),
    Policy("key_del", "KEYCONF", ("PEER_ID", "SLOT")),
    Policy("prefix_new", "PREFIX", _EVERYTHING_OF_A_PREFIX),
    Policy("prefix_del", "PREFIX", _EVERYTHING_OF_A_PREFIX),
)
"""Nests before those that hold them."""

REQUESTS = (
    "PEER_NEW",
    "PEER_SET",
    "PEER_GET",
    "PEER_DEL",
    "KEY_NEW",
    "KEY_GET",
    "KEY_SWAP",
    "KEY_DEL",
    "PREFIX_NEW",
    "PREFIX_DEL",
)
"""Commands that user space sends; each has the policy of its name for its nest."""
DUMPS = ("PREFIX_GET",)
"""Commands that only ever ask for all there is on a device, which alone they name."""
