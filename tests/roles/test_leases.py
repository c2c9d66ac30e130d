"""The persistence file, as OpenVPN 2.6 writes and reads it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.roles.address_pool import AddressPool, PoolRange
from ovpn6.roles.leases import StoredLease, format_leases, load_leases, parse_leases

RANGE = PoolRange.of(
    (IPv4Address("192.0.2.2"), IPv4Address("192.0.2.9")), IPv6Interface("2001:db8::1000/64")
)
IPV6_ONLY = PoolRange.of(None, IPv6Interface("2001:db8::1000/64"))
FILE = "alice,192.0.2.2,2001:db8::1000\nbob,192.0.2.5,2001:db8::1003\n"


def test_dual_stack_file_is_read() -> None:
    leases, notices = parse_leases(FILE, RANGE)
    assert leases == [StoredLease("alice", 0), StoredLease("bob", 3)]
    assert notices == []


def test_either_family_alone_is_enough() -> None:
    text = "alice,192.0.2.3,\nbob,,2001:db8::1002\ncarol,192.0.2.7\n"
    assert [lease.offset for lease in parse_leases(text, RANGE)[0]] == [1, 2, 5]


def test_ipv6_only_pool_reads_a_file_of_a_dual_stack_one() -> None:
    assert [lease.offset for lease in parse_leases(FILE, IPV6_ONLY)[0]] == [0, 3]


def test_comments_and_empty_lines_are_passed_over() -> None:
    assert parse_leases("# by hand\n\n;old\n", RANGE) == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        ",192.0.2.2,",
        "alice,,",
        "alice,not-an-address,",
        "alice,198.51.100.1,2001:db8:9::1",
        "alice,192.0.2.2,2001:db8::1000,more",
    ],
)
def test_lines_that_do_not_fit_are_named(line: str) -> None:
    leases, notices = parse_leases(f"{line}\n", RANGE)
    assert leases == []
    assert len(notices) == 1
    assert "line 1" in notices[0]


def test_file_round_trips_through_a_pool() -> None:
    pool = AddressPool(RANGE)
    assert load_leases(pool, FILE, fixed=False) == []
    assert format_leases(pool) == FILE


def test_ipv6_only_pool_writes_no_ipv4() -> None:
    pool = AddressPool(IPV6_ONLY)
    pool.acquire("alice")
    assert format_leases(pool) == "alice,,2001:db8::1000\n"


def test_read_only_file_binds_addresses() -> None:
    pool = AddressPool(RANGE)
    load_leases(pool, "alice,192.0.2.2,\n", fixed=True)
    assert pool.acquire("bob") == RANGE.lease(1)


@given(st.text(max_size=200))
def test_any_text_is_read_without_error(text: str) -> None:
    pool = AddressPool(RANGE)
    load_leases(pool, text, fixed=False)
