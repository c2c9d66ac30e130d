"""Networks behind peers, as our own kernel module is told of them."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from typing import Any

import pytest

from ovpn6.datapath.kernel_prefixes import KernelPrefixes
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from tests.datapath.kernel_fake import FakePeers

ONE, TWO = PeerId(1), PeerId(2)
SITE, PART, SITE4 = map(ip_network, ("2001:db8:5::/48", "2001:db8:5:7::/64", "198.51.100.0/24"))


class Rig:
    """Prefixes of a device with two peers."""

    def __init__(self) -> None:
        self.module = FakePeers(many_peers=True)
        for number in (ONE, TWO):
            address: Any = ip_network(f"fd00::{number}").network_address
            self.module.new_peer(PeerOrder(number, vpn_ipv6=address), 3)
        device: Any = self.module
        self.prefixes = KernelPrefixes(device)

    def set(self, peer: PeerId, *networks: IPNetwork) -> int:
        """How many requests it took."""
        before = self.module.changes
        self.prefixes.set(peer, networks)
        return self.module.changes - before


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_only_what_changes_is_ordered(rig: Rig) -> None:
    assert rig.set(ONE, SITE, SITE4) == 2
    assert rig.set(ONE, SITE, SITE4) == 0
    assert rig.set(ONE, SITE4, PART) == 2
    assert rig.module.behind == {SITE4: ONE, PART: ONE}
    assert rig.set(ONE) == 2
    assert rig.module.behind == {}


def test_a_network_that_another_peer_held_moves(rig: Rig) -> None:
    rig.set(ONE, SITE, PART)
    assert rig.set(TWO, PART) == 1
    assert rig.module.behind == {SITE: ONE, PART: TWO}
    # The former one says later that it has it no more: nothing is to be done.
    assert rig.set(ONE, SITE) == 0
    assert rig.set(TWO) == 1
    assert rig.set(ONE, SITE, PART) == 1
    assert rig.module.behind == {SITE: ONE, PART: ONE}


def test_what_the_kernel_took_away_with_a_peer_is_not_missed(rig: Rig) -> None:
    rig.set(ONE, SITE)
    rig.module.delete_peer(ONE)
    rig.set(ONE)
    rig.set(TWO, SITE)
    assert rig.module.behind == {SITE: TWO}


def test_what_was_refused_is_ordered_again(rig: Rig) -> None:
    rig.set(ONE, SITE)
    rig.module.refusal = HostError("lead it there", "no room", errno.ENOSPC)
    with pytest.raises(HostError, match="no room"):
        rig.set(ONE, SITE, PART)
    rig.module.refusal = None
    assert rig.set(ONE, SITE, PART) == 1
    assert rig.module.behind == {SITE: ONE, PART: ONE}


def test_a_removal_that_was_refused_is_ordered_again(rig: Rig) -> None:
    rig.set(ONE, SITE)
    rig.module.refusal = HostError("lead it there", "no memory", errno.ENOMEM)
    with pytest.raises(HostError, match="no memory"):
        rig.set(ONE)
    rig.module.refusal = None
    assert rig.set(ONE) == 1
    assert rig.module.behind == {}


def test_routes_are_the_hosts() -> None:
    assert not KernelPrefixes.makes_routes
