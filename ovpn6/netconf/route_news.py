"""Tells that somebody else has changed the routes of a network namespace."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable

from ovpn6.model.errors import HostError
from ovpn6.netconf.interface import ROUTE_PROTOCOL
from ovpn6.netlink.conversation import ROUTE, open_socket, split
from ovpn6.netlink.socket_filter import attach_filter

_IPV4_ROUTES, _IPV6_ROUTES = 1 << 6, 1 << 10
"""``RTMGRP_IPV4_ROUTE``, ``RTMGRP_IPV6_ROUTE``."""
_DELETED = 25
_PROTOCOL_OFFSET = 21
"""Of ``rtm_protocol`` in a message."""
_PORT_OFFSET = 12
"""Of ``nlmsg_pid``: who asked for the change."""
_LOAD_WORD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_WHOLE = 0xFFFF
_INSTRUCTION = struct.Struct("=HBBI")
_LARGEST = 65_536
_MOST = 1024
"""Messages looked at in one go."""


class RouteNews:
    """Belongs to the network namespace of the thread that makes it."""

    def __init__(self, ours: Iterable[int]) -> None:
        """``ours``: netlink ports of sockets whose changes are no news. Raises ``HostError``."""
        self._socket = open_socket(ROUTE, socket.SOCK_NONBLOCK)
        try:
            attach_filter(self._socket, _not_from(sorted(ours)))
            self._socket.bind((0, _IPV4_ROUTES | _IPV6_ROUTES))
        except OSError as error:
            self._socket.close()
            raise HostError("listen to netlink", error.strerror or "", error.errno or 0) from None

    def fileno(self) -> int:
        """For an event loop."""
        return self._socket.fileno()

    def read(self) -> tuple[bool, bool]:
        """Whether a route of ours may be gone, and whether anything else may have changed; takes
        all that waits."""
        gone = other = False
        for _ in range(_MOST):
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return gone, other
            except OSError:  # some were lost
                gone = other = True
                continue
            for kind, _flags, _sequence, packet in split(data):
                if packet[_PROTOCOL_OFFSET : _PROTOCOL_OFFSET + 1] != bytes((ROUTE_PROTOCOL,)):
                    other = True
                elif kind == _DELETED:
                    gone = True
        return gone, other

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


def _not_from(ports: list[int]) -> bytes:
    """Compared as the filter loads them: in network order."""
    swapped = [int.from_bytes(port.to_bytes(4, sys.byteorder), "big") for port in ports]
    steps = [
        (_LOAD_WORD, 0, 0, _PORT_OFFSET),
        *((_EQUAL, len(ports) - number, 0, port) for number, port in enumerate(swapped)),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)
