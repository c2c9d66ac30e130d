"""The module's longest-prefix trie beside a dictionary that is searched from end to end."""

from __future__ import annotations

import errno
from ipaddress import IPv6Network, ip_network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ovpn6.model.addresses import IPAddress
from tests.kmod.pure_files import Network, Prefixes, address_of


class PrefixModel(RuleBasedStateMachine):
    """Prefixes that meet: few distinct bits, every length."""

    @initialize(bits=st.sampled_from([32, 128]))
    def begin(self, bits: int) -> None:
        self.bits = bits
        self.trie = Prefixes(bits)
        self.owned: dict[Network, int] = {}

    @rule(pattern=st.integers(0, 0xFFFF), length=st.integers(0, 128), owner=st.integers(1, 4))
    def give(self, pattern: int, length: int, owner: int) -> None:
        network = self.network(pattern, length)
        result = self.trie.add(network, owner)
        if self.owned.get(network, owner) != owner:
            assert result == -errno.EADDRINUSE
        else:
            assert result == 0
            self.owned[network] = owner
        assert self.trie.exact(network) == self.owned[network]

    @rule(pattern=st.integers(0, 0xFFFF), length=st.integers(0, 128))
    def take(self, pattern: int, length: int) -> None:
        network = self.network(pattern, length)
        assert self.trie.remove(network) == self.owned.pop(network, None)
        assert self.trie.exact(network) is None
        assert self.trie.is_empty == (not self.owned)

    @rule(pattern=st.integers(0, 0xFFFF), length=st.integers(0, 128), owner=st.integers(1, 4))
    def move(self, pattern: int, length: int, owner: int) -> None:
        network = self.network(pattern, length)
        former = self.owned.get(network)
        assert self.trie.move(network, owner) == former
        if former is not None:
            self.owned[network] = owner
        assert self.trie.exact(network) == self.owned.get(network)

    @rule(pattern=st.integers(0, 0xFFFF), low=st.integers(0, 3))
    def ask(self, pattern: int, low: int) -> None:
        address = address_of(self.spread(pattern) ^ low, self.bits)
        assert self.trie.find(address) == self.answer(address)

    def teardown(self) -> None:
        if hasattr(self, "trie"):
            self.trie.close()

    def answer(self, address: IPAddress) -> int | None:
        found = [network for network in self.owned if address in network]
        return self.owned[max(found, key=lambda n: n.prefixlen)] if found else None

    def network(self, pattern: int, length: int) -> Network:
        address = address_of(self.spread(pattern), self.bits)
        return ip_network((address, min(length, self.bits)), strict=False)

    def spread(self, pattern: int) -> int:
        """Few patterns over all the bits of an address."""
        text = f"{pattern & 0xFF:08b}" * (self.bits // 8)
        return int(text, 2) ^ (pattern >> 8) << (self.bits // 2)


TestPrefixes = PrefixModel.TestCase


def test_a_prefix_in_use_is_not_given_away() -> None:
    trie = Prefixes(128)
    network = IPv6Network("2001:db8::/64")
    assert trie.add(network, 1) == 0
    assert trie.add(network, 2) == -errno.EADDRINUSE
    assert trie.find(network[5]) == 1
    trie.close()


def test_a_prefix_moves_only_where_somebody_has_it() -> None:
    trie = Prefixes(128)
    wide, narrow = IPv6Network("2001:db8::/32"), IPv6Network("2001:db8::/64")
    assert trie.add(wide, 1) == 0
    assert trie.move(narrow, 2) is None
    assert trie.find(narrow[5]) == 1
    assert trie.move(wide, 2) == 1
    assert trie.find(narrow[5]) == 2
    # One that only parts two others is nobody's.
    assert trie.add(IPv6Network("2001:db9::/32"), 3) == 0
    assert trie.move(IPv6Network("2001:db8::/31"), 4) is None
    trie.close()


@pytest.mark.parametrize("bits", [32, 128])
def test_the_longest_of_nested_prefixes_counts(bits: int) -> None:
    trie = Prefixes(bits)
    base = "2001:db8::" if bits == 128 else "192.0.2.0"
    for length in range(bits + 1):
        assert trie.add(ip_network((base, length), strict=False), length + 1) == 0
    address = ip_network((base, bits)).network_address
    assert trie.find(address) == bits + 1
    for length in range(bits, 0, -1):
        assert trie.remove(ip_network((base, length), strict=False)) == length + 1
        assert trie.find(address) == length
    trie.close()
