"""The policies as C compiles them: each attribute's bounds in each request are the contract's."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import pytest

from tests.kmod.pure_files import is_lawful, request_names

NESTED = 0x8000
LARGEST = 0xFFFFFFFF


@pytest.fixture
def contract(netlink: dict[str, ModuleType]) -> ModuleType:
    """``kmod/netlink/contract.py``."""
    return netlink["contract"]


def attribute(number: int, payload: bytes, *, nested: bool = False) -> bytes:
    """With its header, and what it lacks to four bytes."""
    kind = number | NESTED if nested else number
    packed = struct.pack("=HH", 4 + len(payload), kind) + payload
    return packed + bytes(-len(packed) % 4)


def good(row: Any) -> list[bytes]:
    """What an attribute may just hold."""
    high = LARGEST if row.high is None else row.high
    match row.kind.name:
        case "U32" | "S32":
            return [struct.pack("=I", value) for value in (row.low, high)]
        case "PORT":
            return [struct.pack(">H", value) for value in (row.low, 0xFFFF)]
        case "IPV4":
            return [bytes(4), b"\xff" * 4]
        case "IPV6":
            return [bytes(16), b"\xff" * 16]
        case "COUNTER":
            return [bytes(4), bytes(8)]
        case "BYTES":
            return [bytes(row.low), bytes(row.high)]
    return []


def bad(row: Any) -> list[bytes]:
    """What it may just not hold."""
    match row.kind.name:
        case "U32" if row.high is not None:
            return [struct.pack("=I", row.high + 1), struct.pack("=I", LARGEST), b"", bytes(5)]
        case "U32" | "S32" | "IPV4":
            return [b"", bytes(3), bytes(5)]
        case "PORT":
            return [struct.pack(">H", low) for low in range(row.low)] + [bytes(1), bytes(3)]
        case "IPV6":
            return [bytes(15), bytes(17)]
        case "COUNTER":
            return [bytes(3), bytes(9)]
        case "BYTES":
            return [bytes(row.high + 1)] + [bytes(size) for size in range(row.low)]
    return []


def around(contract: ModuleType, request: str, inner: bytes) -> bytes:
    """A request with this in its nest."""
    tops = {row.name: row for row in contract.TOP}
    last = {"peer": "PEER", "key": "KEYCONF", "prefix": "PREFIX"}[request.partition("_")[0]]
    device = attribute(tops["IFINDEX"].number, struct.pack("=I", 7))
    return device + attribute(tops[last].number, inner, nested=True)


def test_each_request_of_the_contract_has_its_policy(contract: ModuleType) -> None:
    assert [*request_names()] == [name.lower() for name in (*contract.REQUESTS, *contract.DUMPS)]


def test_each_bound_is_the_contracts(contract: ModuleType) -> None:
    tried = 0
    for policy in contract.POLICIES:
        if policy.name == "keydir":
            continue
        nests = dict(policy.nests)
        for row in contract.SETS[policy.set]:
            if row.name in nests:
                continue
            chosen = row.name in policy.names
            for payload in (*good(row), *bad(row)):
                lawful = chosen and payload in good(row)
                said = around(contract, policy.name, attribute(row.number, payload))
                assert is_lawful(policy.name, said) == lawful, (policy.name, row.name, payload)
                wrong = attribute(row.number, payload, nested=True)
                assert not is_lawful(policy.name, around(contract, policy.name, wrong))
                tried += 1
    assert tried > 300


def test_each_bound_of_a_key_is_the_contracts(contract: ModuleType) -> None:
    directions = [row for row in contract.KEYCONF if row.kind.name == "NEST"]
    assert len(directions) == 2
    for direction in directions:
        for row in contract.KEYDIR:
            for payload in (*good(row), *bad(row)):
                inner = attribute(row.number, payload)
                for nested in (True, False):
                    key = attribute(direction.number, inner, nested=nested)
                    lawful = nested and payload in good(row)
                    assert is_lawful("key_new", around(contract, "key_new", key)) == lawful


def test_no_request_has_more_than_its_own(contract: ModuleType) -> None:
    for request in request_names():
        names = {
            name for policy in contract.POLICIES if policy.name == request for name in policy.names
        }
        sets = [contract.SETS[policy.set] for policy in contract.POLICIES if policy.name == request]
        known = {row.number for rows in sets for row in rows if row.name in names}
        for number in set(range(70)) - known:
            inner = attribute(number, bytes(4))
            assert not is_lawful(request, around(contract, request, inner)), (request, number)
        tops = {1} if request == "prefix_get" else {1, 2, 3, 32}
        for number in set(range(70)) - tops:
            assert not is_lawful(request, attribute(number, bytes(4)))


@pytest.mark.parametrize("spoilt", [b"\0", b"\x03\0\x01\0", b"\x0c\0\x01\0\0\0\0\0", bytes(4)])
def test_what_is_cut_or_lies_about_its_length_is_refused(spoilt: bytes) -> None:
    whole = attribute(1, struct.pack("=I", 7))
    for request in request_names():
        assert is_lawful(request, whole)
        assert not is_lawful(request, whole + spoilt)
