"""Netlink by plain blocking sockets: requests with their answers, and multicast listeners.

The kernel carries a request out inside ``send``, so the answer is there when ``send`` returns: a
blocking socket never waits, may be used from inside a running event loop, and takes a tenth of the
time of pyroute2's own sockets. Source: ``linux/netlink.h``; RFC 3549 section 2.3.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ovpn6.model.errors import HostError
from ovpn6.netlink.codec import Pairs

CREATE, EXCLUSIVE, REPLACE = 0x400, 0x200, 0x100
"""``NLM_F_CREATE``, ``NLM_F_EXCL``, ``NLM_F_REPLACE``."""
ECHO = 0x08
"""``NLM_F_ECHO``: answer with what was made."""
DUMP = 0x300
"""``NLM_F_DUMP``: everything that matches."""

ROUTE, GENERIC = socket.NETLINK_ROUTE, 16
"""Netlink protocols: ``NETLINK_ROUTE``, ``NETLINK_GENERIC``."""

_REQUEST, _ACK = 0x01, 0x04
_INTERRUPTED = 0x10
_HAS_TLVS = 0x200
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_TEXT, _MISSING_TYPE = 1, 5
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_CAP_ACK, _EXT_ACK, _STRICT_CHECK = 10, 11, 12
_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")
_TLV = struct.Struct("=HH")
_UINT32 = struct.Struct("=I")
_TIMEVAL = struct.Struct("@ll")
_LARGEST_ANSWER = 65536
_DUMP_ATTEMPTS = 5
_ANSWER_TIMEOUT = 30
"""Seconds until a request is given up. The kernel answers at once, except when memory is short."""
_LISTEN_OCTETS = 1 << 20
_LISTEN_BUDGET = 64
"""Reads in one go before other sockets get their turn."""


class Coding(Protocol):
    """What makes messages of one class quickly, as :class:`ovpn6.netlink.codec.Codec` does."""

    def encode(
        self, kind: int, flags: int, sequence: int, fields: Mapping[str, int], attributes: Pairs
    ) -> bytes:
        """A whole message."""

    def decode(self, packet: bytes) -> Any:
        """Of a whole message. Raises ``ValueError``."""


class Conversation:
    """Requests over one netlink socket; one caller at a time.

    Belongs to the network namespace of the thread that makes it, but any thread may use it.
    """

    def __init__(self, protocol: int) -> None:
        """``protocol``: :data:`ROUTE` or :data:`GENERIC`. Raises ``HostError``."""
        self._socket = open_socket(protocol)
        try:
            for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            timeout = _TIMEVAL.pack(_ANSWER_TIMEOUT, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            self._socket.bind((0, 0))
        except OSError as error:
            self._socket.close()
            raise _host_error("open a netlink socket", error) from None
        self._sequence = 0
        self.port: int = self._socket.getsockname()[0]
        """By which the kernel tells of what this socket changed."""

    def request(
        self,
        operation: str,
        kind: int,
        message: type[Any] | Coding,
        fields: Mapping[str, int],
        attributes: Mapping[str, Any] | None = None,
        flags: int = 0,
    ) -> list[Any]:
        """Send one message of the class ``message`` and type ``kind``; the decoded answers.

        ``message``: a class of pyroute2's, or what stands for one. Only attributes that are not
        None are sent. ``HostError`` names ``operation`` and gives the kernel's own reason where it
        has one.
        """
        said = [pair for pair in (attributes or {}).items() if pair[1] is not None]
        flags |= _REQUEST | _ACK
        self._sequence += 1
        encode = _encoder(message) if isinstance(message, type) else message.encode
        data = encode(kind, flags, self._sequence, fields, said)
        for _ in range(_DUMP_ATTEMPTS):
            try:
                self._socket.send(data)
                return self._answers(operation, message)
            except _TableChanged:
                continue
            except BlockingIOError:
                raise HostError(operation, "the kernel did not answer", errno.ETIMEDOUT) from None
            except OSError as error:
                raise _host_error(operation, error) from None
            except ValueError as error:
                raise HostError(operation, str(error), errno.EBADMSG) from None
        raise HostError(operation, "the table changes too often to be read", errno.EINTR)

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()

    def _answers(self, operation: str, message: type[Any] | Coding) -> list[Any]:
        """Until the kernel says that it was all."""
        decode = _decoder(message) if isinstance(message, type) else message.decode
        found: list[Any] = []
        interrupted = False
        while True:
            for kind, flags, sequence, packet in split(self._socket.recv(_LARGEST_ANSWER)):
                if sequence != self._sequence:
                    continue
                interrupted |= bool(flags & _INTERRUPTED)
                if kind in (_ERROR, _DONE):
                    raise_error(operation, kind, flags, packet)
                    if interrupted:
                        raise _TableChanged
                    return found
                found.append(decode(packet))


class Overrun(Exception):
    """Messages were lost: whoever listens must look at the state itself."""


class Listener:
    """A non-blocking netlink socket that is a member of one multicast group.

    Belongs to the network namespace of the thread that makes it.
    """

    def __init__(self, protocol: int, group: int) -> None:
        """``group`` is its number, not a bit. Raises ``HostError``."""
        self._socket = open_socket(protocol, socket.SOCK_NONBLOCK)
        try:
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _LISTEN_OCTETS)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            raise _host_error("listen to netlink", error) from None

    def fileno(self) -> int:
        """For an event loop."""
        return self._socket.fileno()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Type and whole of each message that waits, up to a budget. Raises ``Overrun``."""
        for _ in range(_LISTEN_BUDGET):
            try:
                data = self._socket.recv(_LARGEST_ANSWER)
            except BlockingIOError:
                return
            except OSError as error:
                raise Overrun(error.strerror) from None
            for kind, _flags, _sequence, packet in split(data):
                if kind == _OVERRUN:
                    raise Overrun("netlink overrun")
                yield kind, packet

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


def open_socket(protocol: int, flags: int = 0) -> socket.socket:
    """A netlink socket, not yet bound. Raises ``HostError``."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags
    try:
        return socket.socket(socket.AF_NETLINK, kind, protocol)
    except OSError as error:
        raise _host_error("open a netlink socket", error) from None


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and the whole of each message in one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset : offset + length]
        offset += max(length + 3 & ~3, _HEADER.size)


def raise_error(operation: str, kind: int, flags: int, packet: bytes) -> None:
    """``HostError`` for what an ``NLMSG_ERROR`` or ``NLMSG_DONE`` reports, unless it is success."""
    if len(packet) < _HEADER.size + _CODE.size:
        return
    (code,) = _CODE.unpack_from(packet, _HEADER.size)
    if code >= 0:
        return
    # An error repeats the header of the request before its attributes.
    start = _HEADER.size + _CODE.size + (_HEADER.size if kind == _ERROR else 0)
    text = _explanation(packet[start:]) if flags & _HAS_TLVS else ""
    raise HostError(operation, text or os.strerror(-code), -code)


class _TableChanged(Exception):
    """While it was read: some of it may be there twice, or not at all."""


def _encoder(message: type[Any]) -> Callable[..., bytearray]:
    def encode(
        kind: int, flags: int, sequence: int, fields: Mapping[str, int], attributes: Pairs
    ) -> bytearray:
        request = message()
        for name, value in fields.items():
            request[name] = value
        request["attrs"] = attributes
        request["header"]["type"] = kind
        request["header"]["flags"] = flags
        request["header"]["sequence_number"] = sequence
        request.encode()
        encoded: bytearray = request.data
        return encoded

    return encode


def _decoder(message: type[Any]) -> Callable[[bytes], Any]:
    def decode(packet: bytes) -> Any:
        answer = message(packet)
        answer.decode()
        return answer

    return decode


def _explanation(attributes: bytes) -> str:
    """The kernel's own words (``NLMSGERR_ATTR_MSG``), or which attribute it misses; "" without."""
    text = missing = ""
    offset = 0
    while offset + _TLV.size <= len(attributes):
        length, kind = _TLV.unpack_from(attributes, offset)
        value = attributes[offset + _TLV.size : offset + length]
        if kind == _TEXT:
            text = value.rstrip(b"\0").decode("utf-8", "replace")
        elif kind == _MISSING_TYPE and len(value) >= _UINT32.size:
            missing = f"attribute {_UINT32.unpack_from(value)[0]} is missing"
        offset += max(length + 3 & ~3, _TLV.size)
    return text or missing


def _host_error(operation: str, error: OSError) -> HostError:
    return HostError(operation, error.strerror or str(error), error.errno or 0)
