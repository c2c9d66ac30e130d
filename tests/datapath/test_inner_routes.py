"""Longest-prefix match against the slow way."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.datapath.inner_routes import MEMO_SIZE, InnerRoutes, is_reserved
from ovpn6.model.addresses import IPNetwork


def network6(bits: int, length: int) -> IPNetwork:
    return IPv6Network((0x2001 << 112 | bits << (128 - 16 - 8), length), strict=False)


def network4(bits: int, length: int) -> IPNetwork:
    return IPv4Network((10 << 24 | bits << 16, length), strict=False)


networks = st.builds(network6, st.integers(0, 255), st.integers(0, 24)) | st.builds(
    network4, st.integers(0, 255), st.integers(0, 16)
)


@given(
    claims=st.lists(st.tuples(networks, st.integers(1, 4)), max_size=12),
    leavers=st.sets(st.integers(0, 11)),
    bits=st.integers(0, 255),
)
def test_the_longest_prefix_wins_and_the_latest_of_equals(
    claims: list[tuple[IPNetwork, int]], leavers: set[int], bits: int
) -> None:
    routes: InnerRoutes[str] = InnerRoutes()
    owners = [f"{owner}.{index}" for index, (_, owner) in enumerate(claims)]
    for (network, _), owner in zip(claims, owners, strict=True):
        routes.add(network, owner)
    addresses = (network6(bits, 128).network_address, network4(bits, 32).network_address)
    for address in addresses:
        routes.find(address.packed)  # fills the memo, which removals must clear
    staying = []
    for index, ((network, _), owner) in enumerate(zip(claims, owners, strict=True)):
        if index in leavers:
            routes.remove(network, owner)
        else:
            staying.append((network.prefixlen, index, network, owner))
    for address in addresses:
        matching = [
            claim
            for claim in staying
            if claim[2].version == address.version and address in claim[2]
        ]
        expected = max(matching, key=lambda claim: claim[:2])[3] if matching else None
        assert routes.find(address.packed) == expected
        assert routes.find(address.packed) == expected


def test_the_memo_is_bounded() -> None:
    routes: InnerRoutes[str] = InnerRoutes()
    routes.add(ip_network("::/0"), "everything")
    for number in range(3 * MEMO_SIZE):
        routes.find((0x2001 << 112 | number).to_bytes(16, "big"))
    assert 0 < len(routes.memo) <= MEMO_SIZE


@pytest.mark.parametrize(
    ("address", "reserved"),
    [
        ("::", True),
        ("::1", True),
        ("fe80::1", True),
        ("febf::1", True),
        ("ff02::1", True),
        ("::2", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("2001:db8::1", False),
        ("0.0.0.0", True),
        ("127.0.0.1", True),
        ("169.254.3.4", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("10.8.0.2", False),
        ("169.255.0.1", False),
        ("223.255.255.255", False),
    ],
)
def test_reserved_addresses_have_no_owner(address: str, reserved: bool) -> None:
    packed = ip_address(address).packed
    routes: InnerRoutes[str] = InnerRoutes()
    routes.add(ip_network("::/0"), "everything")
    routes.add(ip_network("0.0.0.0/0"), "everything")
    assert is_reserved(packed) == reserved
    assert routes.find(packed) == (None if reserved else "everything")
