"""Generic netlink octet by octet: any request, and everything that an answer says."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ovpn6.netlink.conversation import GENERIC, split

IFINDEX, PEER, KEYCONF = 1, 2, 3
NESTED = 0x8000
DUMP = 0x300

_REQUEST, _ACK, _ERROR, _DONE = 1, 4, 2, 3
_HAS_TLVS = 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_TEXT, _OFFSET, _MISSING_TYPE, _MISSING_NEST = 1, 2, 5, 6

Pair = tuple[int, bytes]
"""An attribute's number and what it holds."""
Said = tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """``error``: errno or 0. ``place``: which attribute is wrong, as an offset into the request;
    ``missing``: which one is not there, ``missing_in``: the offset of its nest. ``said``: the
    attributes of each message, in the order of their numbers. ``has_text``: the error is explained.
    """

    error: int
    place: int | None
    missing: int | None
    missing_in: int | None
    has_text: bool
    said: tuple[Said, ...]


class RawFamily:
    """A family by number. Belongs to the network namespace that it is made in."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(30)
        self._socket.bind((0, 0))

    def ask(self, command: int, attributes: bytes, flags: int = 0) -> Answer:
        """A request with any attributes, as it is answered."""
        body = _GENERIC.pack(command, 1, 0) + attributes
        head = _HEADER.pack(_HEADER.size + len(body), self.number, _REQUEST | _ACK | flags, 1, 0)
        self._socket.send(head + body)
        said: list[Said] = []
        while True:
            for kind, message_flags, _, packet in split(self._socket.recv(65536)):
                if kind in (_ERROR, _DONE):
                    return _ended(message_flags, packet, tuple(said))
                said.append(parse(packet[_HEADER.size + _GENERIC.size :]))

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


def pack(pairs: Iterable[Pair]) -> bytes:
    """Attributes one behind the other."""
    return b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)
        for number, value in pairs
    )


def number(value: int) -> bytes:
    """A ``u32``."""
    return struct.pack("=I", value)


def about(index: int, nest: int, pairs: Iterable[Pair]) -> bytes:
    """A device's number and one nest."""
    return pack([(IFINDEX, number(index)), (nest | NESTED, pack(pairs))])


def parse(data: bytes) -> Said:
    """Attributes by number, a nest's ones numbered behind it: ``(2 << 8 | 1, ...)`` is the first of
    the second. A device's number is left out: each has its own."""
    found: list[Pair] = []
    for kind, value in _attributes(data):
        if kind & 0x3FFF in (PEER, KEYCONF):
            outer = (kind & 0x3FFF) << 8
            found += [(outer | inner & 0x3FFF, held) for inner, held in _attributes(value)]
        elif kind != IFINDEX:
            found.append((kind, value))
    return tuple(sorted(found))


def _attributes(data: bytes) -> Iterable[Pair]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _ended(flags: int, packet: bytes, said: tuple[Said, ...]) -> Answer:
    (code,) = struct.unpack_from("=i", packet, _HEADER.size)
    # Behind an error stands the header of what was asked.
    behind = _HEADER.size + 4 + (_HEADER.size if _kind(packet) == _ERROR else 0)
    told = dict(_attributes(packet[behind:])) if flags & _HAS_TLVS else {}

    def value(kind: int) -> int | None:
        return struct.unpack("=I", told[kind])[0] if kind in told else None

    return Answer(
        -code, value(_OFFSET), value(_MISSING_TYPE), value(_MISSING_NEST), _TEXT in told, said
    )


def _kind(packet: bytes) -> int:
    return int(_HEADER.unpack_from(packet)[1])
