"""The kernel's packet filter (nftables) by a plain blocking netlink socket, in transactions.

A table belongs to the socket that made it (``NFT_TABLE_F_OWNER``, Linux 5.12): nobody else can
change it, ``nft flush ruleset`` leaves it alone, and it goes when the socket is closed, however our
process ends. Source: ``linux/netfilter/nfnetlink.h``.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence

from ovpn6.model.errors import HostError
from ovpn6.netlink.conversation import open_socket, raise_error, split
from ovpn6.netlink.nft_messages import Order, counted_packets, get_element

NETFILTER = 12
"""``NETLINK_NETFILTER``."""

INET, NETDEV = 1, 5
"""Families of tables: IPv4 and IPv6; what passes one device."""

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_REQUEST, _ACK = 0x01, 0x04
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct(">BBH")
_TIMEVAL = struct.Struct("@ll")
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ANSWER_TIMEOUT = 30
"""Seconds until a request is given up. The kernel answers at once, except when memory is short."""
_LARGEST_ANSWER = 65536


class Filter:
    """Transactions: each is done whole or not at all. The tables made through it are its own.

    Belongs to the network namespace of the thread that makes it, but any thread may use it.
    """

    def __init__(self, family: int = INET) -> None:
        """``family`` of all its tables. Raises ``HostError``."""
        self._family = family
        self._socket = open_socket(NETFILTER)
        try:
            for option in (_CAP_ACK, _EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            timeout = _TIMEVAL.pack(_ANSWER_TIMEOUT, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            self._socket.bind((0, 0))
        except OSError as error:
            self._socket.close()
            raise _refused("open a netlink socket", error) from None
        self._sequence = 0

    def run(self, operation: str, orders: Sequence[Order]) -> None:
        """Do all of them. ``HostError`` names ``operation``; then nothing was done."""
        if not orders:
            return
        begin = self._message(_BATCH_BEGIN, _REQUEST, b"", resource=_SUBSYSTEM)
        first, messages = self._sequence, [begin]
        for number, order in enumerate(orders, 1):
            # One answer will do: a refusal is told without being asked for.
            flags = order.flags | _REQUEST | (_ACK if number == len(orders) else 0)
            messages.append(self._message(_SUBSYSTEM << 8 | order.kind, flags, order.attributes))
        last = self._sequence
        messages.append(self._message(_BATCH_END, _REQUEST, b"", resource=_SUBSYSTEM))
        self._send(operation, b"".join(messages))
        refusal: HostError | None = None
        while True:
            for kind, flags, sequence, packet in self._receive(operation):
                if sequence < first:
                    continue
                try:
                    raise_error(operation, kind, flags, packet)
                except HostError as error:
                    refusal = refusal or error
                # What is refused as a whole is answered for its first message alone.
                if sequence == last or (refusal is not None and sequence == first):
                    if refusal is not None:
                        raise refusal
                    return

    def counted(self, operation: str, table: str, name: str, key: bytes) -> int:
        """Packets that found a key in a counted set, 0 when it is not there."""
        order = get_element(table, name, key)
        kind = _SUBSYSTEM << 8 | order.kind
        self._send(operation, self._message(kind, _REQUEST, order.attributes))
        while True:
            for kind, flags, sequence, packet in self._receive(operation):
                if sequence != self._sequence:
                    continue
                try:
                    raise_error(operation, kind, flags, packet)
                except HostError as error:
                    if error.errno == errno.ENOENT:
                        return 0
                    raise
                return counted_packets(packet)

    def close(self) -> None:
        """Its tables go with it. May be called twice."""
        self._socket.close()

    def _message(self, kind: int, flags: int, attributes: bytes, resource: int = 0) -> bytes:
        self._sequence += 1
        family = 0 if resource else self._family
        length = _HEADER.size + _GENERIC.size + len(attributes)
        head = _HEADER.pack(length, kind, flags, self._sequence, 0)
        return head + _GENERIC.pack(family, 0, resource) + attributes

    def _send(self, operation: str, data: bytes | bytearray) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise _refused(operation, error) from None

    def _receive(self, operation: str) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            return split(self._socket.recv(_LARGEST_ANSWER))
        except BlockingIOError:
            raise HostError(operation, "the kernel did not answer", errno.ETIMEDOUT) from None
        except OSError as error:
            raise _refused(operation, error) from None


def _refused(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
