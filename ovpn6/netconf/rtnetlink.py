"""One blocking rtnetlink socket: send a request, read its answers, raise its error.

pyroute2's own sockets run an event loop inside each call, ten times what the kernel needs to
answer. Source: ``linux/netlink.h``; RFC 3549 section 2.3.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ovpn6.model.errors import HostError

Attributes = Mapping[str, Any]

CREATE, EXCLUSIVE, REPLACE = 0x400, 0x200, 0x100
"""``NLM_F_CREATE``, ``NLM_F_EXCL``, ``NLM_F_REPLACE``."""
DUMP = 0x300
"""``NLM_F_DUMP``: everything that matches."""

_REQUEST, _ACK = 0x01, 0x04
_INTERRUPTED = 0x10
_HAS_TLVS = 0x200
_ERROR, _DONE = 2, 3
_MESSAGE_TLV = 1
_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _STRICT_CHECK = 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")
_TLV = struct.Struct("=HH")
_LARGEST_ANSWER = 65536
_DUMP_ATTEMPTS = 5


class RouteSocket:
    """Belongs to the network namespace of the thread that makes it; one caller at a time."""

    def __init__(self) -> None:
        """Raises ``HostError``."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.bind((0, 0))
        except OSError as error:
            text = error.strerror or str(error)
            raise HostError("open a netlink socket", text, error.errno or 0) from None
        self._sequence = 0

    def request(
        self,
        operation: str,
        kind: int,
        message: type[Any],
        fields: Mapping[str, int],
        attributes: Attributes | None = None,
        flags: int = 0,
    ) -> list[Any]:
        """Send one message of the class ``message`` and type ``kind``; the decoded answers.

        Only attributes that are not None are sent. ``HostError`` names ``operation`` and gives the
        kernel's reason.
        """
        request = message()
        for name, value in fields.items():
            request[name] = value
        request["attrs"] = [pair for pair in (attributes or {}).items() if pair[1] is not None]
        request["header"]["type"] = kind
        request["header"]["flags"] = _REQUEST | _ACK | flags
        self._sequence += 1
        request["header"]["sequence_number"] = self._sequence
        request.encode()
        for _ in range(_DUMP_ATTEMPTS):
            try:
                self._socket.send(request.data)
                return self._answers(operation, message)
            except _TableChanged:
                continue
            except OSError as error:
                text = error.strerror or str(error)
                raise HostError(operation, text, error.errno or 0) from None
        raise HostError(operation, "the table changes too often to be read", errno.EINTR)

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()

    def _answers(self, operation: str, message: type[Any]) -> list[Any]:
        """Until the kernel says that it was all."""
        found: list[Any] = []
        interrupted = False
        while True:
            for kind, flags, sequence, packet in _split(self._socket.recv(_LARGEST_ANSWER)):
                if sequence != self._sequence:
                    continue
                interrupted |= bool(flags & _INTERRUPTED)
                if kind in (_ERROR, _DONE):
                    _raise_error(operation, kind, flags, packet)
                    if interrupted:
                        raise _TableChanged
                    return found
                answer = message(packet)
                answer.decode()
                found.append(answer)


class _TableChanged(Exception):
    """While it was read: some of it may be there twice, or not at all."""


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and the whole of each message."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset : offset + length]
        offset += max(length + 3 & ~3, _HEADER.size)


def _raise_error(operation: str, kind: int, flags: int, packet: bytes) -> None:
    """What an ``NLMSG_ERROR`` or ``NLMSG_DONE`` reports; nothing when that is success."""
    if len(packet) < _HEADER.size + _CODE.size:
        return
    (code,) = _CODE.unpack_from(packet, _HEADER.size)
    if code >= 0:
        return
    # An error repeats the header of the request before its attributes.
    start = _HEADER.size + _CODE.size + (_HEADER.size if kind == _ERROR else 0)
    text = _message(packet[start:]) if flags & _HAS_TLVS else ""
    raise HostError(operation, text or os.strerror(-code), -code)


def _message(attributes: bytes) -> str:
    """The kernel's own words (``NLMSGERR_ATTR_MSG``), "" without them."""
    offset = 0
    while offset + _TLV.size <= len(attributes):
        length, kind = _TLV.unpack_from(attributes, offset)
        if kind == _MESSAGE_TLV:
            return attributes[offset + _TLV.size : offset + length].rstrip(b"\0").decode()
        offset += max(length + 3 & ~3, _TLV.size)
    return ""
