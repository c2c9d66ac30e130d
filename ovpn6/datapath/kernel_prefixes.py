"""Networks behind a peer as prefixes that our own kernel module is told of.

It finds a packet's peer by the longest prefix that holds the packet's destination, and takes a
packet from a peer only when that of its source is the peer's. Routes to the device are the
operator's own, as with the data path in user space; these have no gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId


class KernelPrefixes:
    """The prefixes of all peers of one device: :class:`~ovpn6.datapath.kernel_open.Behind`."""

    makes_routes = False

    def __init__(self, device: OvpnDevice) -> None:
        self._device = device
        self._holders: dict[IPNetwork, PeerId] = {}
        self._held: dict[PeerId, set[IPNetwork]] = {}

    def set(self, peer: PeerId, networks: Iterable[IPNetwork]) -> None:
        """A peer's networks without its own addresses.

        One that another peer held is this peer's now. Raises ``HostError``.
        """
        held, wanted = self._held.setdefault(peer, set()), set(networks)
        for network in held - wanted:
            self._device.delete_prefix(peer, network)
            held.remove(network)
            del self._holders[network]
        for network in wanted - held:
            self._device.new_prefix(peer, network)
            former = self._holders.get(network)
            if former is not None:
                self._held[former].remove(network)
            self._holders[network] = peer
            held.add(network)
        if not held:
            del self._held[peer]

    def fit(self, peer: PeerId, mtus: Mapping[int, int | None]) -> None:
        """There are no routes to fit: the host's own get a peer's sizes."""

    def again(self) -> None:
        """A device that was down has forgotten nothing."""
