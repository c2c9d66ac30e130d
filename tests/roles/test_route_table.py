"""Who owns an address: longest prefix, newest claim."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId
from ovpn6.roles.route_table import RouteTable, host_network

A, B = PeerId(1), PeerId(2)
LAN = IPv6Network("2001:db8:a::/48")


def test_longest_prefix_wins() -> None:
    table = RouteTable()
    table.claim(A, LAN)
    table.claim(B, IPv6Network("2001:db8:a:1::/64"))
    assert table.lookup(IPv6Address("2001:db8:a:1::5")) == B
    assert table.lookup(IPv6Address("2001:db8:a:2::5")) == A
    assert table.lookup(IPv6Address("2001:db8:b::5")) is None


def test_families_do_not_mix() -> None:
    table = RouteTable()
    table.claim(A, IPv6Network("::/0"))
    assert table.lookup(IPv4Address("192.0.2.1")) is None


def test_newest_claim_wins_and_names_the_loser() -> None:
    table = RouteTable()
    assert table.claim(A, LAN) is None
    assert table.claim(A, LAN) is None
    assert table.claim(B, LAN) == A
    assert table.networks(A) == ()
    assert table.networks(B) == (LAN,)
    assert not table.withdraw(A, LAN)


def test_release_gives_up_everything_in_order() -> None:
    table = RouteTable()
    host = host_network(IPv6Address("2001:db8::9"))
    table.claim(A, host)
    table.claim(A, LAN)
    assert table.release(A) == (host, LAN)
    assert table.release(A) == ()
    assert table.owner_of(LAN) is None


def test_host_network_is_the_whole_length() -> None:
    assert host_network(IPv6Address("2001:db8::9")) == IPv6Network("2001:db8::9/128")
    assert host_network(IPv4Address("192.0.2.9")) == IPv4Network("192.0.2.9/32")


NETWORKS = st.builds(
    lambda bits, length: IPv6Network((bits << 120, length), strict=False),
    st.integers(0, 255),
    st.integers(0, 8),
)
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from([A, B]), NETWORKS), max_size=25)


@given(STEPS, st.integers(0, 255))
def test_table_agrees_with_a_search_over_all_networks(
    steps: list[tuple[bool, PeerId, IPNetwork]], bits: int
) -> None:
    table = RouteTable()
    model: dict[IPNetwork, PeerId] = {}
    for claims, peer, network in steps:
        if claims:
            table.claim(peer, network)
            model[network] = peer
        else:
            assert table.withdraw(peer, network) == (model.get(network) == peer)
            if model.get(network) == peer:
                del model[network]
    address = IPv6Address(bits << 120)
    found = [network for network in model if address in network]
    expected = model[max(found, key=lambda network: network.prefixlen)] if found else None
    assert table.lookup(address) == expected
