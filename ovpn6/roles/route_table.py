"""Which peer owns which tunnel address: longest prefix first. PURE.

Host addresses and iroutes are the same thing here: a network with an owner. The datapath keeps a
table of its own, built from what this one says.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.names import PeerId


class RouteTable:
    """Networks of both families, each with one owner."""

    def __init__(self) -> None:
        self._owners: dict[IPNetwork, PeerId] = {}
        self._owned: dict[PeerId, list[IPNetwork]] = {}
        self._lengths: dict[int, dict[int, int]] = {4: {}, 6: {}}
        """For each family: how many networks have a prefix length."""

    def claim(self, peer: PeerId, network: IPNetwork) -> PeerId | None:
        """Make ``peer`` the owner; returns who was it before, None when nobody or itself.

        The newest claim wins, as in OpenVPN (``multi_learn_addr``): a client that comes back under
        a new peer id must not wait for its old self to be noticed missing.
        """
        previous = self._owners.get(network)
        if previous == peer:
            return None
        if previous is not None:
            self._owned[previous].remove(network)
        else:
            lengths = self._lengths[network.version]
            lengths[network.prefixlen] = lengths.get(network.prefixlen, 0) + 1
        self._owners[network] = peer
        self._owned.setdefault(peer, []).append(network)
        return previous

    def withdraw(self, peer: PeerId, network: IPNetwork) -> bool:
        """Give up one network; False when ``peer`` does not own it."""
        if self._owners.get(network) != peer:
            return False
        del self._owners[network]
        self._owned[peer].remove(network)
        lengths = self._lengths[network.version]
        lengths[network.prefixlen] -= 1
        if not lengths[network.prefixlen]:
            del lengths[network.prefixlen]
        return True

    def release(self, peer: PeerId) -> tuple[IPNetwork, ...]:
        """Give up all that ``peer`` owns; returns it, in the order it was claimed."""
        networks = self.networks(peer)
        for network in networks:
            self.withdraw(peer, network)
        self._owned.pop(peer, None)
        return networks

    def networks(self, peer: PeerId) -> tuple[IPNetwork, ...]:
        """What ``peer`` owns, in the order it was claimed."""
        return tuple(self._owned.get(peer, ()))

    def owner_of(self, network: IPNetwork) -> PeerId | None:
        """Who owns exactly this network."""
        return self._owners.get(network)

    def lookup(self, address: IPAddress) -> PeerId | None:
        """Who owns the longest prefix that holds ``address``."""
        for length in sorted(self._lengths[address.version], reverse=True):
            owner = self._owners.get(_network_of(address, length))
            if owner is not None:
                return owner
        return None


def host_network(address: IPAddress) -> IPNetwork:
    """The /128 or /32 of one address."""
    return _network_of(address, address.max_prefixlen)


def _network_of(address: IPAddress, length: int) -> IPNetwork:
    kind = IPv4Network if isinstance(address, IPv4Address) else IPv6Network
    return kind((address, length), strict=False)
