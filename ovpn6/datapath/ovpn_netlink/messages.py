"""Generic netlink families ``ovpn`` and ``ovpn6``, version 1, in pyroute2's style: commands and
attributes. ``ovpn6`` is that of our own module (``kmod/``): the same, and prefixes.

Source: ``Documentation/netlink/specs/ovpn.yaml`` and ``linux/ovpn.h`` (Linux 6.16 and later), but
for ``OVPN_A_KEYCONF_KEY_ID`` in ``OVPN_CMD_KEY_SWAP_NTF``: the kernel sends 2 bytes of it where the
specification says 4, so numbers decode by their length here. Sequence of a request::

    msg = ovpnmsg()
    msg["cmd"], msg["version"] = Command.PEER_GET, VERSION
    msg["attrs"] = [("OVPN_A_IFINDEX", 7), ("OVPN_A_PEER", {"attrs": [("OVPN_A_PEER_ID", 5)]})]

The kernel wants CAP_NET_ADMIN for every command (``ovpn`` in the initial user namespace, ``ovpn6``
in the one that has the network namespace), checks strictly
(an attribute too many is EINVAL), and looks up ``OVPN_A_PEER_SOCKET`` in the process that sends.
"""

from __future__ import annotations

import sys
from enum import IntEnum

from ovpn6.netlink.parts import NLA_F_NESTED, genlmsg, nla, nla_string

FAMILY, OWN_FAMILY = "ovpn", "ovpn6"
VERSION = 1
GROUP = "peers"
"""The one multicast group. It is that of the network namespace of a peer's *socket*."""


class Command(IntEnum):
    """``OVPN_CMD_*``; those that end in ``NTF`` are notifications."""

    PEER_NEW = 1
    PEER_SET = 2
    PEER_GET = 3
    PEER_DEL = 4
    PEER_DEL_NTF = 5
    KEY_NEW = 6
    KEY_GET = 7
    KEY_SWAP = 8
    KEY_SWAP_NTF = 9
    KEY_DEL = 10
    PEER_FLOAT_NTF = 11
    PREFIX_NEW = 32
    PREFIX_DEL = 33
    PREFIX_GET = 34


class DeleteReason(IntEnum):
    """``OVPN_DEL_PEER_REASON_*``."""

    TEARDOWN = 0
    USERSPACE = 1
    EXPIRED = 2
    TRANSPORT_ERROR = 3
    TRANSPORT_DISCONNECT = 4


class ovpnmsg(genlmsg):  # type: ignore[misc]
    """Every request, answer and notification.

    ``OVPN_A_IFINDEX``: u32, of the device; missing in answers. ``OVPN_A_PEER`` in the commands
    about peers, ``OVPN_A_KEYCONF`` in those about keys, ``OVPN_A_PREFIX`` in those about networks
    behind peers. A dump (``PEER_GET``, ``PREFIX_GET``) takes nothing but ``OVPN_A_IFINDEX``.
    """

    __slots__ = ()
    prefix = "OVPN_A_"
    nla_map = (
        (0, "OVPN_A_UNSPEC", "none"),
        (1, "OVPN_A_IFINDEX", "uint32"),
        (2, "OVPN_A_PEER", "peer"),
        (3, "OVPN_A_KEYCONF", "keyconf"),
        (32, "OVPN_A_PREFIX", "network"),
    )

    class number(nla_string):  # type: ignore[misc]
        """An unsigned integer in host byte order of as many bytes as there are (``NLA_UINT``: 4
        or 8; ``KEY_ID`` 2 or 4). Encodes 4 bytes, or 8 when it must."""

        def encode(self) -> None:
            """From ``int`` in ``value``."""
            value = self["value"]
            self["value"] = value.to_bytes(4 if value < 1 << 32 else 8, sys.byteorder)
            nla_string.encode(self)

        def decode(self) -> None:
            """To ``int``."""
            nla_string.decode(self)
            self.value = int.from_bytes(self["value"], sys.byteorder)

    class peer(nla):  # type: ignore[misc]
        """One peer.

        ``ID``, ``TX_ID``: 0 to 0xFFFFFF, in packets to us and from us. ``REMOTE_*``: outer address
        and port (1 to 65535) of a UDP peer, never of a TCP one; ``SCOPE_ID`` an ifindex.
        ``LOCAL_*``: our outer address; ``LOCAL_PORT`` and ``SOCKET_NETNSID`` come in answers only.
        ``SOCKET``: file descriptor, in PEER_NEW only. ``VPN_*``: the peer's addresses in the
        tunnel, for devices with many peers. ``KEEPALIVE_*``: seconds, up to 86400, only both
        together. ``DEL_REASON``: :class:`DeleteReason`. ``VPN_{RX,TX}_*`` count inner packets and
        their octets, ``LINK_*`` outer ones: cumulative, in answers only.
        """

        __slots__ = ()
        prefix = "OVPN_A_PEER_"
        nla_flags = NLA_F_NESTED
        nla_map = (
            (0, "OVPN_A_PEER_UNSPEC", "none"),
            (1, "OVPN_A_PEER_ID", "uint32"),
            (2, "OVPN_A_PEER_REMOTE_IPV4", "ip4addr"),
            (3, "OVPN_A_PEER_REMOTE_IPV6", "ip6addr"),
            (4, "OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID", "uint32"),
            (5, "OVPN_A_PEER_REMOTE_PORT", "be16"),
            (6, "OVPN_A_PEER_SOCKET", "uint32"),
            (7, "OVPN_A_PEER_SOCKET_NETNSID", "int32"),
            (8, "OVPN_A_PEER_VPN_IPV4", "ip4addr"),
            (9, "OVPN_A_PEER_VPN_IPV6", "ip6addr"),
            (10, "OVPN_A_PEER_LOCAL_IPV4", "ip4addr"),
            (11, "OVPN_A_PEER_LOCAL_IPV6", "ip6addr"),
            (12, "OVPN_A_PEER_LOCAL_PORT", "be16"),
            (13, "OVPN_A_PEER_KEEPALIVE_INTERVAL", "uint32"),
            (14, "OVPN_A_PEER_KEEPALIVE_TIMEOUT", "uint32"),
            (15, "OVPN_A_PEER_DEL_REASON", "uint32"),
            (16, "OVPN_A_PEER_VPN_RX_BYTES", "number"),
            (17, "OVPN_A_PEER_VPN_TX_BYTES", "number"),
            (18, "OVPN_A_PEER_VPN_RX_PACKETS", "number"),
            (19, "OVPN_A_PEER_VPN_TX_PACKETS", "number"),
            (20, "OVPN_A_PEER_LINK_RX_BYTES", "number"),
            (21, "OVPN_A_PEER_LINK_TX_BYTES", "number"),
            (22, "OVPN_A_PEER_LINK_RX_PACKETS", "number"),
            (23, "OVPN_A_PEER_LINK_TX_PACKETS", "number"),
            (24, "OVPN_A_PEER_TX_ID", "uint32"),
        )

    class keyconf(nla):  # type: ignore[misc]
        """One key of a peer.

        ``SLOT``: 0 primary (seals), 1 secondary. ``KEY_ID``: 0 to 7. ``CIPHER_ALG``: 0 none,
        1 AES-GCM, 2 ChaCha20-Poly1305. Answers never hold key octets.
        """

        __slots__ = ()
        prefix = "OVPN_A_KEYCONF_"
        nla_flags = NLA_F_NESTED
        nla_map = (
            (0, "OVPN_A_KEYCONF_UNSPEC", "none"),
            (1, "OVPN_A_KEYCONF_PEER_ID", "uint32"),
            (2, "OVPN_A_KEYCONF_SLOT", "uint32"),
            (3, "OVPN_A_KEYCONF_KEY_ID", "number"),
            (4, "OVPN_A_KEYCONF_CIPHER_ALG", "uint32"),
            (5, "OVPN_A_KEYCONF_ENCRYPT_DIR", "keydir"),
            (6, "OVPN_A_KEYCONF_DECRYPT_DIR", "keydir"),
        )

        class keydir(nla):  # type: ignore[misc]
            """One direction: ``CIPHER_KEY`` of up to 256 octets, ``NONCE_TAIL`` of exactly 8."""

            __slots__ = ()
            prefix = "OVPN_A_KEYDIR_"
            nla_flags = NLA_F_NESTED
            nla_map = (
                (0, "OVPN_A_KEYDIR_UNSPEC", "none"),
                (1, "OVPN_A_KEYDIR_CIPHER_KEY", "cdata"),
                (2, "OVPN_A_KEYDIR_NONCE_TAIL", "cdata"),
            )

    class network(nla):  # type: ignore[misc]
        """A network behind a peer: ``IPV4`` or ``IPV6``, with nothing but zeros behind the first
        ``LENGTH`` bits."""

        __slots__ = ()
        prefix = "OVPN_A_PREFIX_"
        nla_flags = NLA_F_NESTED
        nla_map = (
            (0, "OVPN_A_PREFIX_UNSPEC", "none"),
            (1, "OVPN_A_PREFIX_PEER_ID", "uint32"),
            (2, "OVPN_A_PREFIX_IPV4", "ip4addr"),
            (3, "OVPN_A_PREFIX_IPV6", "ip6addr"),
            (4, "OVPN_A_PREFIX_LENGTH", "uint32"),
        )

    # pyroute2 looks nested classes up by name in the class that names them.
    peer.number = number
    keyconf.number = number
