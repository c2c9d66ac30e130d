"""Quick encoding and decoding of route messages: ``struct rtmsg`` and the attributes that we know.

pyroute2's class makes an object of every attribute: 600 microseconds for one answer, of which the
kernel takes five. Names and shapes are its own, but for addresses, which are packed octets here;
tests hold both equal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=8BI")
_ATTRIBUTE = struct.Struct("=HH")
_HOP = struct.Struct("=HBBi")
_UINT32 = struct.Struct("=I")
_FAMILY = struct.Struct("=H")
_FIELDS = ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags")
_TYPE_MASK = 0x3FFF
_NESTED = 0x8000

_NUMBERS = {"RTA_OIF": 4, "RTA_PRIORITY": 6, "RTA_TABLE": 15}
_ADDRESSES = {"RTA_DST": 1, "RTA_GATEWAY": 5, "RTA_PREFSRC": 7}
_METRICS, _MULTIPATH, _VIA, _PREFERENCE = 8, 9, 18, 20
_MTU = 2
_KNOWN = {number: name for name, number in (*_NUMBERS.items(), *_ADDRESSES.items())}


class RouteCodec:
    """For :meth:`ovpn6.netlink.conversation.Conversation.request`."""

    def encode(
        self,
        kind: int,
        flags: int,
        sequence: int,
        fields: Mapping[str, int],
        attributes: list[tuple[str, Any]],
    ) -> bytes:
        """A whole message; fields that are not given are 0."""
        body = b"".join(_encoded(name, value) for name, value in attributes)
        length = _HEADER.size + _ROUTE.size + len(body)
        route = _ROUTE.pack(*(fields.get(name, 0) for name in _FIELDS))
        return _HEADER.pack(length, kind, flags, sequence, 0) + route + body

    def decode(self, packet: bytes) -> dict[str, Any]:
        """Of a whole message. Raises ``ValueError`` when it is cut short."""
        if len(packet) < _HEADER.size + _ROUTE.size:
            raise ValueError("a route message cut short")
        message: dict[str, Any] = dict(
            zip(_FIELDS, _ROUTE.unpack_from(packet, _HEADER.size), strict=True)
        )
        try:
            message["attrs"] = _decoded(packet[_HEADER.size + _ROUTE.size :])
        except (struct.error, IndexError):
            raise ValueError("an attribute cut short") from None
        return message


ROUTE_CODEC = RouteCodec()


def _attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(-length & 3)


def _encoded(name: str, value: Any) -> bytes:
    if name in _NUMBERS:
        return _attribute(_NUMBERS[name], _UINT32.pack(value))
    if name in _ADDRESSES:
        return _attribute(_ADDRESSES[name], value)
    if name == "RTA_VIA":
        return _attribute(_VIA, _FAMILY.pack(value["family"]) + value["addr"])
    if name == "RTA_METRICS":
        inside = b"".join(_attribute(_MTU, _UINT32.pack(mtu)) for _, mtu in value["attrs"])
        return _attribute(_METRICS | _NESTED, inside)
    raise TypeError(f"no codec for {name}")


def _decoded(data: bytes) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for kind, value in _attributes(data):
        name = _KNOWN.get(kind)
        if name in _NUMBERS:
            found.append((name, _number(value)))
        elif name is not None:
            found.append((name, value))
        elif kind == _METRICS:
            mtus = [("RTAX_MTU", _number(v)) for k, v in _attributes(value) if k == _MTU]
            found.append(("RTA_METRICS", {"attrs": mtus}))
        elif kind == _MULTIPATH:
            found.append(("RTA_MULTIPATH", list(_hops(value))))
        elif kind == _VIA:
            (family,) = _FAMILY.unpack_from(value)
            found.append(("RTA_VIA", {"family": family, "addr": value[_FAMILY.size :]}))
        elif kind == _PREFERENCE:
            found.append(("RTA_PREF", value[0]))
    return found


def _hops(data: bytes) -> Iterator[dict[str, Any]]:
    offset = 0
    while offset + _HOP.size <= len(data):
        length, flags, _, index = _HOP.unpack_from(data, offset)
        inside = data[offset + _HOP.size : offset + length]
        yield {"oif": index, "flags": flags, "attrs": _decoded(inside)}
        offset += max(length + 3 & ~3, _HOP.size)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            raise ValueError("an attribute cut short")
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def _number(value: bytes) -> int:
    if len(value) != _UINT32.size:
        raise ValueError(f"{len(value)} octets where 4 belong")
    number: int = _UINT32.unpack(value)[0]
    return number
