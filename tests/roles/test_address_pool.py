"""The pool: one offset for both families, claims that outlast a lease."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import UsageError
from ovpn6.roles.address_pool import POOL_MAX, AddressPool, Lease, PoolRange

FIRST, LAST = IPv4Address("192.0.2.2"), IPv4Address("192.0.2.5")
DUAL = PoolRange.of((FIRST, LAST), IPv6Interface("2001:db8::1000/64"))
IPV6_ONLY = PoolRange.of(None, IPv6Interface("2001:db8::1000/64"))


def test_one_offset_serves_both_families() -> None:
    lease = AddressPool(DUAL).acquire("alice")
    assert lease == Lease(0, FIRST, IPv6Address("2001:db8::1000"))


def test_ipv6_only_pool_leases_no_ipv4() -> None:
    pool = AddressPool(IPV6_ONLY)
    assert pool.acquire("alice") == Lease(0, None, IPv6Address("2001:db8::1000"))
    assert pool.addresses.size == POOL_MAX


def test_ipv4_only_pool_leases_no_ipv6() -> None:
    assert AddressPool(PoolRange.of((FIRST, LAST), None)).acquire("a") == Lease(0, FIRST, None)


def test_smaller_family_limits_both() -> None:
    assert DUAL.size == 4
    assert PoolRange.of((FIRST, LAST), IPv6Interface("2001:db8::fffd/112")).size == 3


@pytest.mark.parametrize(
    ("first", "expected"), [("2001:db8::/64", "2001:db8::1"), ("2001:db8::5/64", "2001:db8::5")]
)
def test_subnet_router_anycast_address_is_never_leased(first: str, expected: str) -> None:
    lease = AddressPool(PoolRange.of(None, IPv6Interface(first))).acquire("alice")
    assert lease is not None
    assert lease.ipv6 == IPv6Address(expected)


def test_a_range_without_a_family_is_empty() -> None:
    assert AddressPool(PoolRange.of(None, None)).acquire("alice") is None


def test_offset_of_an_address_outside_is_none() -> None:
    assert DUAL.offset_of(IPv4Address("192.0.2.3")) == 1
    assert DUAL.offset_of(IPv4Address("192.0.2.6")) is None
    assert DUAL.offset_of(IPv4Address("192.0.2.1")) is None
    assert IPV6_ONLY.offset_of(FIRST) is None


def test_who_comes_back_gets_the_old_addresses() -> None:
    pool = AddressPool(DUAL)
    alice, bob = pool.acquire("alice"), pool.acquire("bob")
    assert alice is not None
    assert bob is not None
    pool.release(alice)
    pool.release(bob)
    assert pool.acquire("bob") == bob
    assert pool.acquire("carol") == DUAL.lease(2)
    assert pool.acquire("alice") == alice


def test_the_longest_free_claim_is_given_up_first_when_nothing_else_is_free() -> None:
    pool = AddressPool(DUAL)
    leases = {name: pool.acquire(name) for name in "abcd"}
    for name in "cab":
        lease = leases[name]
        assert lease is not None
        pool.release(lease)
    assert pool.acquire("x") == leases["c"]
    assert pool.acquire("c") == leases["a"]
    assert [name for name, _ in pool.entries()] == ["c", "b", "x", "d"]


def test_full_pool_gives_nothing() -> None:
    pool = AddressPool(DUAL)
    assert all(pool.acquire(name) for name in "abcd")
    assert pool.acquire("e") is None


def test_same_name_twice_gets_two_leases() -> None:
    pool = AddressPool(DUAL)
    first, second = pool.acquire("a"), pool.acquire("a")
    assert first is not None
    assert second is not None
    assert first != second
    pool.release(first)
    pool.release(second)
    assert pool.acquire("a") == second


def test_without_names_the_lowest_free_offset_is_given() -> None:
    pool = AddressPool(DUAL, remember_names=False)
    leases = [pool.acquire("a") for _ in range(3)]
    assert leases[1] is not None
    pool.release(leases[1])
    assert pool.acquire("b") == leases[1]
    assert pool.entries() == []


def test_static_and_own_addresses_are_passed_over() -> None:
    pool = AddressPool(DUAL, reserved=[ip_address("2001:db8::1000")])
    lease = pool.acquire("alice", lambda address: address == IPv4Address("192.0.2.3"))
    assert lease == DUAL.lease(2)
    assert pool.acquire("bob") == DUAL.lease(1)


def test_a_claim_whose_address_is_taken_is_left_alone() -> None:
    pool = AddressPool(DUAL)
    alice = pool.acquire("alice")
    assert alice is not None
    pool.release(alice)
    other = pool.acquire("alice", lambda address: address == alice.ipv4)
    assert other is not None
    assert other != alice
    assert pool.acquire("bob") == alice


def test_suggestions_hold_until_the_offset_is_needed() -> None:
    pool = AddressPool(DUAL)
    pool.suggest("alice", 2)
    pool.suggest("bob", 0)
    assert pool.acquire("carol") == DUAL.lease(1)
    assert pool.acquire("alice") == DUAL.lease(2)
    assert pool.acquire("dave") == DUAL.lease(3)
    assert pool.acquire("erin") == DUAL.lease(0)
    assert pool.acquire("bob") is None


def test_fixed_suggestions_hold_for_ever() -> None:
    pool = AddressPool(DUAL)
    pool.suggest("alice", 0, fixed=True)
    assert [pool.acquire(name) for name in "bcd"] == [DUAL.lease(n) for n in (1, 2, 3)]
    assert pool.acquire("e") is None
    alice = pool.acquire("alice")
    assert alice == DUAL.lease(0)
    pool.release(alice)
    assert pool.acquire("e") is None


def test_later_suggestion_replaces_an_earlier_one() -> None:
    pool = AddressPool(DUAL)
    pool.suggest("alice", 0)
    pool.suggest("alice", 1)
    pool.suggest("bob", 1)
    assert pool.entries() == [("bob", DUAL.lease(1))]


def test_misuse_is_refused() -> None:
    pool = AddressPool(DUAL)
    with pytest.raises(UsageError):
        pool.suggest("alice", 4)
    with pytest.raises(UsageError):
        pool.release(DUAL.lease(0))
    with pytest.raises(UsageError):
        DUAL.lease(-1)
    pool.acquire("alice")
    with pytest.raises(UsageError):
        pool.suggest("bob", 1)


NAMES = st.sampled_from(["", "alice", "bob", "carol", "dave"])
TAKEN = st.sets(st.integers(0, 5), max_size=2)


class PoolMachine(RuleBasedStateMachine):
    """The pool against a set of what is leased."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.range = PoolRange.of(None, IPv6Interface("2001:db8::fff9/112"))
        self.pool = AddressPool(self.range, reserved=[self.range.lease(3).addresses[0]])
        self.held: dict[int, str] = {}
        self.fixed: dict[str, int] = {}

    def _address(self, offset: int) -> IPAddress:
        return self.range.lease(offset).addresses[0]

    @rule(name=st.sampled_from(["alice", "bob"]), offset=st.integers(0, 5), fixed=st.booleans())
    def suggest(self, name: str, offset: int, fixed: bool) -> None:
        if self.held:
            return
        self.pool.suggest(name, offset, fixed=fixed)
        self.fixed = {n: o for n, o in self.fixed.items() if n != name and o != offset}
        if fixed:
            self.fixed[name] = offset

    @rule(target=leases, name=NAMES, taken=TAKEN)
    def acquire(self, name: str, taken: set[int]) -> Lease | None:
        unavailable = {self._address(offset) for offset in taken}
        lease = self.pool.acquire(name, lambda address: address in unavailable)
        others = {offset for owner, offset in self.fixed.items() if owner != name}
        usable = set(range(self.range.size)) - set(self.held) - taken - {3} - others
        if lease is None:
            assert not usable - set(self.fixed.values())
            return None
        assert lease.offset in usable
        if name in self.fixed and self.fixed[name] in usable:
            assert lease.offset == self.fixed[name]
        self.held[lease.offset] = name
        return lease

    @rule(lease=consumes(leases))
    def release(self, lease: Lease | None) -> None:
        if lease is not None:
            self.pool.release(lease)
            del self.held[lease.offset]

    @rule(lease=consumes(leases))
    def come_back(self, lease: Lease | None) -> None:
        if lease is None or not self.held[lease.offset]:
            return
        name = self.held.pop(lease.offset)
        self.pool.release(lease)
        again = self.pool.acquire(name)
        assert again is not None
        self.held[again.offset] = name
        self.pool.release(again)
        del self.held[again.offset]

    @invariant()
    def entries_name_each_offset_once(self) -> None:
        offsets = [lease.offset for _, lease in self.pool.entries()]
        assert offsets == sorted(set(offsets))


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
