"""Everything that the host does for the sizes of single peers, and its order."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.names import PeerId
from ovpn6.model.specs import PeerFit
from ovpn6.netconf.fits import GuardedPorts, PeerFragments, PeerRoutes, PeerSegments
from ovpn6.netconf.fitting import Ground, has_whole_device
from ovpn6.netconf.interface import Notice
from ovpn6.netconf.namespace import Namespace
from ovpn6.netconf.outer_routes import OuterRoutes
from ovpn6.netconf.plan import KernelRoute, RouteKey


class PeerSizes:
    """Of one device in the namespace ``tunnel``, whose sockets are in ``underlay``."""

    def __init__(
        self,
        underlay: Namespace,
        tunnel: Namespace,
        device: str,
        ground: Ground,
        outer: OuterRoutes,
        notice: Notice,
    ) -> None:
        self._underlay = underlay
        self._outer = outer
        self._routes = PeerRoutes(tunnel, ground, notice)
        self._segments = PeerSegments(lambda: tunnel.limit_segments(device), notice)
        self._fragments = PeerFragments(lambda: underlay.count_fragments(device), notice)
        self._ports = GuardedPorts(lambda: underlay.guard_ports(device), notice)
        self._device_names: dict[int, str] = {}

    def prepare(self) -> None:
        """Make ready what takes a while, before a peer waits for it."""
        self._segments.prepare()
        self._fragments.prepare()
        self._device_names = self._underlay.link_names()

    @property
    def held(self) -> frozenset[RouteKey]:
        """Keys whose routes are not the plan's now."""
        return frozenset((*self._routes.held, *self._outer.held))

    @property
    def outer_routes(self) -> frozenset[KernelRoute]:
        """Those that stand, which do not go with the device."""
        return self._outer.routes

    def fit(
        self, fit: PeerFit, elsewhere: frozenset[IPNetwork], resize: Callable[[], None]
    ) -> None:
        """Give a peer its sizes. ``resize`` does so for a peer that has the whole device.

        Segments never exceed what the routes let pass, not for a moment: whoever is told of a
        smaller MTU in between keeps to it for ten minutes.
        """
        grows = self._segments.grows(fit)
        if not grows:
            self._segments.fit(fit)
        if has_whole_device(fit):
            resize()
        else:
            self._routes.fit(fit, elsewhere)
        if grows:
            self._segments.fit(fit)
        self._ports.fit(fit)
        # Last: a peer that nothing leads to is an error.
        self._outer.fit(fit)
        self._fragments.fit(fit, self._way_out(fit.outer))

    def release(self, peer: PeerId) -> None:
        """Take them back."""
        self._segments.release(peer)
        self._ports.release(peer)
        self._outer.release(peer)
        self._fragments.release(peer)
        self._routes.release(peer)

    def fragments(self, peer: PeerId) -> int | None:
        """Sent to a peer's outer address so far; None when nobody counts."""
        return self._fragments.count(peer)

    def guard(self, ports: frozenset[int]) -> None:
        """UDP ports about which no router is believed."""
        self._ports.change(ports)

    def move(self, ground: Ground, pins: Mapping[RouteKey, KernelRoute], look: bool) -> None:
        """The plan leads this into the tunnel now, and has these host routes in the underlay. To
        ``look`` is to ask anew where the underlay leads."""
        self._routes.move(ground)
        self._outer.move(pins, look)

    def restore(self, present: Container[KernelRoute]) -> None:
        """Make routes again that are not there."""
        self._routes.restore(present)
        self._outer.restore(present)

    def device_gone(self) -> None:
        """The kernel removed what led there."""
        self._routes.device_gone()

    def close(self) -> None:
        """The packet filter's part; routes are in the ledger, or found by their device."""
        self._segments.close()
        self._ports.close()
        self._fragments.close()

    def _way_out(self, address: IPAddress | None) -> str:
        """The device to an outer address whose route is ours; "" without such a route."""
        index = self._outer.device(address) if address is not None else 0
        if index and index not in self._device_names:
            self._device_names[index] = self._underlay.link_name(index)
        return self._device_names.get(index, "")
