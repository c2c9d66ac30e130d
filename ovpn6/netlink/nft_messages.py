"""Messages to the kernel's packet filter (nftables): what its tables hold and its rules do. PURE.

Written here octet by octet: pyroute2's own classes for it bring its event loop along, and take
longer than the kernel does. Tests have pyroute2 read what is written. Source:
``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

INPUT, FORWARD, OUTPUT = 1, 2, 3
"""Hooks."""
EGRESS = 1
"""The hook of a device, in the family ``netdev``."""
RAW_PRIORITY, MANGLE_PRIORITY = -300, -150
IPV4_ADDRESS, IPV6_ADDRESS, PROTOCOL, SERVICE = 7, 8, 12, 13
"""What ``nft`` calls the type of a set's keys or values; the kernel looks at their length alone."""

_NEW_TABLE, _NEW_CHAIN, _NEW_RULE, _DELETE_RULE = 0, 3, 6, 8
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 9, 12, 13, 14
_OWNER = 2
_INTERVAL, _MAP = 4, 8
_INTERVAL_END = 1
_CREATE, _APPEND, _EXCLUSIVE = 0x400, 0x800, 0x200
_NESTED = 0x8000
_REGISTER = 1
_LIST_ELEMENT = 1
_HEADERS = 20
_ATTRIBUTE = struct.Struct("=HH")
_UINT32 = struct.Struct(">I")
_INT32 = struct.Struct(">i")


class Order(NamedTuple):
    """One message of a transaction."""

    kind: int
    flags: int
    attributes: bytes


Expression = bytes
"""One step of a rule: an ``nft_expr``."""


# --- orders ---------------------------------------------------------------------------------------


def new_table(table: str) -> Order:
    """Ours alone, for IPv4 and IPv6."""
    return Order(_NEW_TABLE, _CREATE | _EXCLUSIVE, _text(1, table) + _number(2, _OWNER))


def new_chain(table: str, chain: str) -> Order:
    """One that rules lead to."""
    return Order(_NEW_CHAIN, _CREATE, _text(1, table) + _text(3, chain))


def new_hook(table: str, chain: str, hook: int, priority: int, device: str = "") -> Order:
    """A chain that the kernel calls; what it does not decide goes on."""
    where = _text(3, device) if device else b""
    place = _nest(4, _number(1, hook) + _attribute(2, _INT32.pack(priority)) + where)
    return Order(
        _NEW_CHAIN,
        _CREATE,
        _text(1, table) + _text(3, chain) + place + _number(5, _ACCEPT) + _text(7, "filter"),
    )


def new_rule(table: str, chain: str, *steps: Expression) -> Order:
    """Behind the chain's other rules."""
    body = _text(1, table) + _text(2, chain) + _nest(4, b"".join(steps))
    return Order(_NEW_RULE, _CREATE | _APPEND, body)


def delete_rules(table: str, chain: str) -> Order:
    """All of a chain."""
    return Order(_DELETE_RULE, 0, _text(1, table) + _text(2, chain))


def new_set(table: str, name: str, kind: int, size: int, *, counted: bool = False) -> Order:
    """A set of keys of ``size`` octets; ``counted``: each counts the packets that find it."""
    counter = _nest(17, _text(1, "counter") + _nest(2, b"")) if counted else b""
    return Order(_NEW_SET, _CREATE, _set(table, name, kind, size, 0) + counter)


def new_map(table: str, name: str, kind: int, size: int, *, intervals: bool = False) -> Order:
    """From keys of ``size`` octets, or ``intervals`` of them, to integers of two octets."""
    value = _number(6, SERVICE) + _number(7, 2)
    flags = _MAP | (_INTERVAL if intervals else 0)
    return Order(_NEW_SET, _CREATE, _set(table, name, kind, size, flags) + value)


def add_elements(table: str, name: str, elements: Iterable[tuple[bytes, bytes]]) -> Order:
    """Keys with their values (b"" in a set). One that is there must have the same value."""
    return Order(_NEW_ELEMENT, _CREATE, _elements(table, name, elements))


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Order:
    """``HostError`` ENOENT when one is not there."""
    return Order(_DELETE_ELEMENT, 0, _elements(table, name, ((key, b"") for key in keys)))


def add_intervals(
    table: str, name: str, intervals: Iterable[tuple[bytes, bytes | None, bytes]]
) -> Order:
    """First keys, the keys behind the last (None: there is none), values. They do not overlap."""
    listed = b"".join(
        _element(first, value) + (_element(behind, b"", _INTERVAL_END) if behind else b"")
        for first, behind, value in intervals
    )
    return Order(_NEW_ELEMENT, _CREATE, _text(1, table) + _text(2, name) + _nest(3, listed))


def delete_intervals(
    table: str, name: str, intervals: Iterable[tuple[bytes, bytes | None]]
) -> Order:
    """``HostError`` ENOENT when one is not there."""
    listed = b"".join(
        _element(first, b"") + (_element(behind, b"", _INTERVAL_END) if behind else b"")
        for first, behind in intervals
    )
    return Order(_DELETE_ELEMENT, 0, _text(1, table) + _text(2, name) + _nest(3, listed))


def get_element(table: str, name: str, key: bytes) -> Order:
    """Answered by a message that :func:`counted_packets` reads."""
    return Order(_GET_ELEMENT, 0, _elements(table, name, ((key, b""),)))


def counted_packets(packet: bytes) -> int:
    """Of an element of a counted set, from the whole answer; 0 when it counts nothing."""
    found = packet[_HEADERS:]
    for kind in (3, _LIST_ELEMENT, 7, 2, 2):  # elements, the one, its expression, data, packets
        found = next((value for number, value in _attributes(found) if number == kind), b"")
    return int.from_bytes(found, "big")


# --- steps of rules -------------------------------------------------------------------------------

META_ETHER_TYPE, META_INPUT_NAME, META_OUTPUT_NAME, META_VERSION, META_PROTOCOL = 1, 6, 7, 15, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
EQUAL, DIFFERENT = 0, 1
_DROP, _ACCEPT, _JUMP, _GOTO, _RETURN = 0, 1, -3, -4, -5
_TCP_OPTION = 1


def load_meta(key: int) -> Expression:
    """What the kernel knows of the packet, into the register."""
    return _expression("meta", _number(1, _REGISTER) + _number(2, key))


def load_octets(base: int, offset: int, length: int) -> Expression:
    """Of the packet; without them the rule does not match."""
    return _expression(
        "payload",
        _number(1, _REGISTER) + _number(2, base) + _number(3, offset) + _number(4, length),
    )


def mask(octets: bytes) -> Expression:
    """The register and these octets."""
    return _expression(
        "bitwise",
        _number(1, _REGISTER)
        + _number(2, _REGISTER)
        + _number(3, len(octets))
        + _nest(4, _attribute(1, octets))
        + _nest(5, _attribute(1, bytes(len(octets)))),
    )


def compare(octets: bytes, how: int = EQUAL) -> Expression:
    """The rule goes on when the register is so."""
    data = _nest(3, _attribute(1, octets))
    return _expression("cmp", _number(1, _REGISTER) + _number(2, how) + data)


def find(name: str, *, value: bool = False) -> Expression:
    """The rule goes on when the set has the register; ``value``: what a map gives for it is in the
    register then."""
    said = _text(1, name) + _number(2, _REGISTER)
    return _expression("lookup", said + (_number(3, _REGISTER) if value else b""))


def load_value(octets: bytes) -> Expression:
    """Into the register."""
    data = _nest(2, _attribute(1, octets))
    return _expression("immediate", _number(1, _REGISTER) + data)


def limit_segments() -> Expression:
    """TCP's maximum segment size becomes the register's two octets, where that is less: the kernel
    raises none and adds none."""
    return _expression(
        "exthdr",
        _number(7, _REGISTER)
        + _attribute(2, b"\2")
        + _number(3, 2)
        + _number(4, 2)
        + _number(6, _TCP_OPTION),
    )


def drop() -> Expression:
    """The end of the packet."""
    return _verdict(_DROP)


def leave() -> Expression:
    """Back to the rule behind the jump."""
    return _verdict(_RETURN)


def jump(chain: str) -> Expression:
    """And go on here afterwards."""
    return _verdict(_JUMP, chain)


def go(chain: str) -> Expression:
    """And do not come back."""
    return _verdict(_GOTO, chain)


# --- octets ---------------------------------------------------------------------------------------


def _attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(-length & 3)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & ~_NESTED, data[offset + _ATTRIBUTE.size : offset + length]
        offset += max(length + 3 & ~3, _ATTRIBUTE.size)


def _nest(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind | _NESTED) + data


def _number(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(8, kind) + _UINT32.pack(value)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _expression(name: str, data: bytes) -> bytes:
    return _nest(_LIST_ELEMENT, _text(1, name) + _nest(2, data))


def _verdict(code: int, chain: str = "") -> bytes:
    said = _attribute(1, _INT32.pack(code)) + (_text(2, chain) if chain else b"")
    return _expression("immediate", _number(1, 0) + _nest(2, _nest(2, said)))


def _set(table: str, name: str, kind: int, size: int, flags: int) -> bytes:
    return (
        _text(1, table)
        + _text(2, name)
        + _number(3, flags)
        + _number(4, kind)
        + _number(5, size)
        + _number(10, 1)
    )


def _element(key: bytes, value: bytes, flags: int = 0) -> bytes:
    data = _nest(1, _attribute(1, key)) + (_nest(2, _attribute(1, value)) if value else b"")
    return _nest(_LIST_ELEMENT, data + (_number(3, flags) if flags else b""))


def _elements(table: str, name: str, elements: Iterable[tuple[bytes, bytes]]) -> bytes:
    listed = b"".join(_element(key, value) for key, value in elements)
    return _text(1, table) + _text(2, name) + _nest(3, listed)
