"""Quick encoding and decoding of generic netlink by the attribute maps of pyroute2's classes.

pyroute2 makes an object of every attribute; for one device with a thousand peers that takes longer
than all that the kernel does. The classes stay the one description, and tests hold both encodings
equal.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ovpn6.model.addresses import IPAddress
from ovpn6.netlink.parts import NLA_F_NESTED

Pairs = list[tuple[str, Any]]

_HEADER = struct.Struct("=IHHIIBBH")
"""``struct nlmsghdr`` and ``struct genlmsghdr``."""
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF

_Encode = Callable[[Any], bytes]
_Decode = Callable[[bytes], Any]


class Codec:
    """Of one generic netlink message class, as pyroute2 has them.

    Decoded messages look like pyroute2's: ``message["attrs"]`` is a list of names with values, a
    nest is ``{"attrs": [...]}``. Unknown attributes are left out.
    """

    def __init__(self, message: type[Any]) -> None:
        self._attributes = _Nest(message)

    def encode(
        self, kind: int, flags: int, sequence: int, fields: Mapping[str, int], attributes: Pairs
    ) -> bytes:
        """A whole message. ``fields``: ``cmd`` and ``version``."""
        body = self._attributes.encode_pairs(attributes)
        length = _HEADER.size + len(body)
        command, version = fields["cmd"], fields.get("version", 0)
        return _HEADER.pack(length, kind, flags, sequence, 0, command, version, 0) + body

    def decode(self, packet: bytes) -> dict[str, Any]:
        """Of a whole message. Raises ``ValueError`` when it is cut short."""
        if len(packet) < _HEADER.size:
            raise ValueError("a message cut short")
        _, _, _, _, _, command, version, _ = _HEADER.unpack_from(packet)
        said = self._attributes.decode_pairs(packet, _HEADER.size)
        return {"cmd": command, "version": version, "attrs": said}


class _Nest:
    """The attributes of one class that has a map of them."""

    def __init__(self, message: type[Any]) -> None:
        self._encoders: dict[str, tuple[int, _Encode]] = {}
        self._decoders: dict[int, tuple[str, _Decode]] = {}
        for number, name, kind in message.nla_map:
            inner = getattr(message, kind, None)
            flags = 0
            if kind in _ATOMS:
                encode, decode = _ATOMS[kind]
            elif inner is not None and inner.nla_map:
                nest = _Nest(inner)
                encode, decode = nest.encode, nest.decode
                flags = NLA_F_NESTED
            else:
                raise TypeError(f"no codec for {kind}")
            self._encoders[name] = (number | flags, encode)
            self._decoders[number] = (name, decode)

    def encode(self, value: Mapping[str, Any]) -> bytes:
        return self.encode_pairs(value["attrs"])

    def decode(self, data: bytes) -> dict[str, Any]:
        return {"attrs": self.decode_pairs(data, 0)}

    def encode_pairs(self, pairs: Pairs) -> bytes:
        pieces = []
        for name, value in pairs:
            kind, encode = self._encoders[name]
            data = encode(value)
            pieces.append(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind))
            pieces.append(data)
            if len(data) & 3:
                pieces.append(bytes(-len(data) & 3))
        return b"".join(pieces)

    def decode_pairs(self, data: bytes, offset: int) -> Pairs:
        found: Pairs = []
        end = len(data)
        while offset + _ATTRIBUTE.size <= end:
            length, kind = _ATTRIBUTE.unpack_from(data, offset)
            if length < _ATTRIBUTE.size or offset + length > end:
                raise ValueError("an attribute cut short")
            known = self._decoders.get(kind & _TYPE_MASK)
            if known is not None:
                name, decode = known
                found.append((name, decode(data[offset + _ATTRIBUTE.size : offset + length])))
            offset += length + 3 & ~3
        return found


def _fixed(layout: str) -> tuple[_Encode, _Decode]:
    code = struct.Struct(layout)

    def decode(data: bytes) -> int:
        if len(data) != code.size:
            raise ValueError(f"{len(data)} octets where {code.size} belong")
        number: int = code.unpack(data)[0]
        return number

    return code.pack, decode


def _address(family: int) -> tuple[_Encode, _Decode]:
    def decode(data: bytes) -> str:
        return socket.inet_ntop(family, data)

    def encode(address: str | IPAddress) -> bytes:
        # Text is pyroute2's way; to and from text takes ten times as long.
        return socket.inet_pton(family, address) if isinstance(address, str) else address.packed

    return encode, decode


def _encode_number(number: int) -> bytes:
    return number.to_bytes(4 if number < 1 << 32 else 8, sys.byteorder)


def _decode_number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


_ATOMS: dict[str, tuple[_Encode, _Decode]] = {
    "none": (bytes, bytes),
    "uint32": _fixed("=I"),
    "int32": _fixed("=i"),
    "be16": _fixed(">H"),
    "ip4addr": _address(socket.AF_INET),
    "ip6addr": _address(socket.AF_INET6),
    "cdata": (bytes, bytes),
    "number": (_encode_number, _decode_number),
}
"""pyroute2's names for simple values, and ``number`` of :mod:`..ovpn_netlink.messages`."""
