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
from functools import partial
from typing import Any

from ovpn6.model.addresses import IPAddress
from ovpn6.netlink.parts import NLA_F_NESTED

Pairs = list[tuple[str, Any]]

_HEADER = struct.Struct("=IHHIIBBH")
"""``struct nlmsghdr`` and ``struct genlmsghdr``."""
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF

_Encode = Callable[[Any], bytes]
"""From a value to the whole attribute: header, value, padding."""
_Decode = Callable[[bytes], Any]
_Atom = tuple[Callable[[int], _Encode], _Decode]
"""What makes the encoder for an attribute's number, and the decoder."""


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
        self._encoders: dict[str, _Encode] = {}
        self._decoders: dict[int, tuple[str, _Decode]] = {}
        for number, name, kind in message.nla_map:
            inner = getattr(message, kind, None)
            if kind in _ATOMS:
                make_encoder, decode = _ATOMS[kind]
                encode = make_encoder(number)
            elif inner is not None and inner.nla_map:
                nest = _Nest(inner)
                encode, decode = _framed(number | NLA_F_NESTED, nest.encode), nest.decode
            else:
                raise TypeError(f"no codec for {kind}")
            self._encoders[name] = encode
            self._decoders[number] = (name, decode)

    def encode(self, value: Mapping[str, Any]) -> bytes:
        return self.encode_pairs(value["attrs"])

    def decode(self, data: bytes) -> dict[str, Any]:
        return {"attrs": self.decode_pairs(data, 0)}

    def encode_pairs(self, pairs: Pairs) -> bytes:
        encoders = self._encoders
        return b"".join([encoders[name](value) for name, value in pairs])

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


def _framed(number: int, encode: Callable[[Any], bytes]) -> _Encode:
    """Header and padding around a value of any length."""

    def encode_attribute(value: Any) -> bytes:
        data = encode(value)
        length = _ATTRIBUTE.size + len(data)
        return _ATTRIBUTE.pack(length, number) + data + bytes(-length & 3)

    return encode_attribute


def _any_length(encode: Callable[[Any], bytes], decode: _Decode) -> _Atom:
    return lambda number: _framed(number, encode), decode


def _integer(layout: str) -> _Atom:
    """Header and value are one structure, so that encoding is one call."""
    code = struct.Struct(f"={layout}")
    whole = struct.Struct(f"=HH{layout}")

    def decode(data: bytes) -> int:
        _check_length(data, code.size)
        number: int = code.unpack(data)[0]
        return number

    return lambda number: partial(whole.pack, whole.size, number), decode


def _port() -> _Atom:
    code = struct.Struct(">H")
    whole = struct.Struct(">4sHxx")

    def encoder(number: int) -> _Encode:
        return partial(whole.pack, _ATTRIBUTE.pack(_ATTRIBUTE.size + code.size, number))

    def decode(data: bytes) -> int:
        _check_length(data, code.size)
        port: int = code.unpack(data)[0]
        return port

    return encoder, decode


def _address(family: int, size: int) -> _Atom:
    def encoder(number: int) -> _Encode:
        header = _ATTRIBUTE.pack(_ATTRIBUTE.size + size, number)

        def encode(address: str | IPAddress) -> bytes:
            # Text is pyroute2's way; to and from text takes ten times as long.
            if isinstance(address, str):
                return header + socket.inet_pton(family, address)
            return header + address.packed

        return encode

    def decode(data: bytes) -> str:
        return socket.inet_ntop(family, data)

    return encoder, decode


def _check_length(data: bytes, size: int) -> None:
    if len(data) != size:
        raise ValueError(f"{len(data)} octets where {size} belong")


def _encode_number(number: int) -> bytes:
    return number.to_bytes(4 if number < 1 << 32 else 8, sys.byteorder)


def _decode_number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


_ATOMS: dict[str, _Atom] = {
    "none": _any_length(bytes, bytes),
    "uint32": _integer("I"),
    "int32": _integer("i"),
    "be16": _port(),
    "ip4addr": _address(socket.AF_INET, 4),
    "ip6addr": _address(socket.AF_INET6, 16),
    "cdata": _any_length(bytes, bytes),
    "number": _any_length(_encode_number, _decode_number),
}
"""pyroute2's names for simple values, and ``number`` of :mod:`..ovpn_netlink.messages`."""
