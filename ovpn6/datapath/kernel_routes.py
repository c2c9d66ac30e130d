"""Networks behind a peer as kernel routes through its address on the device.

Linux' own ``ovpn`` module finds a packet's peer by the next hop of the packet's route, and takes a
packet from a peer only when the route back to its source has that peer as next hop. The routes go
with the device, and come again when it was down.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Mapping

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.netlink.conversation import CREATE, EXCLUSIVE, REPLACE, Conversation
from ovpn6.netlink.parts import rtmsg

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
METRICS = {4: None, 6: 1}
"""Before the operator's own route to the same network, which leads to the device alone: IPv4 puts
the newest of equal metric first, IPv6 (default 1024) takes the lowest metric."""
FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}

_MAIN_TABLE = 254
_UNICAST = 1
_ONLINK = 4
_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV)

log = logging.getLogger("ovpn6.datapath")


class KernelRoutes:
    """The routes of all peers of one device: :class:`~ovpn6.datapath.kernel_open.Behind`.

    ``protocol`` is the ``rtm_protocol`` of ours.
    """

    makes_routes = True

    def __init__(self, route: Conversation, index: int, protocol: int) -> None:
        self._route = route
        self._index = index
        self._protocol = protocol
        self._held: dict[IPNetwork, tuple[PeerId, IPAddress]] = {}
        self._asked: dict[PeerId, dict[IPNetwork, IPAddress | None]] = {}
        self._mtus: dict[PeerId, Mapping[int, int | None]] = {}

    def set(self, peer: PeerId, networks: dict[IPNetwork, IPAddress | None]) -> None:
        """A peer's networks, each with its own address of that family, None without one.

        A network that another peer held is this peer's now. Raises ``HostError``.
        """
        before = self._asked.pop(peer, {})
        if networks:
            self._asked[peer] = networks
        for network in before.keys() - networks.keys():
            if network in self._held and self._held[network][0] == peer:
                self._remove(network)
        for network, gateway in networks.items():
            if gateway is None:
                log.warning(
                    "peer %d has no IPv%d address: the kernel cannot route %s to it",
                    *(peer, network.version, network),
                )
            elif self._held.get(network) != (peer, gateway):
                self._add(network, peer, gateway)

    def fit(self, peer: PeerId, mtus: Mapping[int, int | None]) -> None:
        """The MTUs of a peer's routes by IP version, octets; None is the device's. They hold for
        routes to come as well, until there are none. Raises ``HostError``."""
        before = self._mtus.pop(peer, {})
        if any(mtu is not None for mtu in mtus.values()):
            self._mtus[peer] = mtus
        for network in self._asked.get(peer, ()):
            holder, gateway = self._held.get(network, (None, None))
            changed = before.get(network.version) != mtus.get(network.version)
            if holder == peer and gateway is not None and changed:
                self._add(network, peer, gateway)

    def again(self) -> None:
        """The device is up again: without it the kernel forgot all routes."""
        held, self._held = self._held, {}
        for network, (peer, gateway) in held.items():
            try:
                self._add(network, peer, gateway)
            except HostError as error:
                if error.errno == errno.EEXIST:  # it was not forgotten
                    self._held[network] = (peer, gateway)
                else:
                    log.warning("%s", error)

    def _add(self, network: IPNetwork, peer: PeerId, gateway: IPAddress) -> None:
        flags = CREATE
        if network in self._held:
            if network.version == 4:
                self._remove(network)
            else:
                flags |= REPLACE
        elif network.version == 6:
            # Else the kernel would make a second hop of somebody's route.
            flags |= EXCLUSIVE
        self._held[network] = (peer, gateway)
        try:
            mtu = self._mtus.get(peer, {}).get(network.version)
            self._request("add", RTM_NEWROUTE, network, gateway, flags, mtu)
        except HostError as error:
            if error.errno != errno.ENETDOWN:  # then :meth:`again` makes it
                del self._held[network]
                raise

    def _remove(self, network: IPNetwork) -> None:
        _, gateway = self._held.pop(network)
        try:
            self._request("remove", RTM_DELROUTE, network, gateway)
        except HostError as error:
            if error.errno not in _GONE:
                raise

    def _request(
        self,
        verb: str,
        kind: int,
        network: IPNetwork,
        gateway: IPAddress,
        flags: int = 0,
        mtu: int | None = None,
    ) -> None:
        self._route.request(
            f"{verb} route {network} via {gateway}",
            kind,
            rtmsg,
            {
                "family": FAMILIES[network.version],
                "dst_len": network.prefixlen,
                "table": _MAIN_TABLE,
                "proto": self._protocol,
                "type": _UNICAST,
                "flags": _ONLINK,
            },
            {
                "RTA_DST": str(network.network_address),
                "RTA_GATEWAY": str(gateway),
                "RTA_OIF": self._index,
                "RTA_PRIORITY": METRICS[network.version],
                "RTA_METRICS": mtu and {"attrs": [("RTAX_MTU", mtu)]},
            },
            flags,
        )
