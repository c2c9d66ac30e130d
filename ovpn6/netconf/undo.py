"""Taking back what a ledger says was made: the same on close and after a crash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address

from ovpn6.model.errors import HostError
from ovpn6.netconf.forwarding import restore_settings
from ovpn6.netconf.ledger import Ledger, LinkState
from ovpn6.netconf.namespace import Link, Namespace
from ovpn6.netconf.plan import KernelRoute


class Undoing:
    """One run over a ledger. Goes on after an error; ``errors`` are those that were met."""

    def __init__(
        self, namespaces: Mapping[int, Namespace], ledger: Ledger, others: Iterable[Ledger]
    ) -> None:
        """``namespaces`` by identity; what is in one that is missing has gone with it."""
        self.errors: list[HostError] = []
        self._namespaces = namespaces
        self._ledger = ledger
        self._others = tuple(others)

    def run(self) -> None:
        """Tunnel routes first, so that nothing is sent there any more; then the rest."""
        ledger = self._ledger
        claimed = claimed_routes(self._others)
        routes = sorted(ledger.routes, key=lambda route: route.namespace != ledger.tunnel_namespace)
        for route in routes:
            if route not in claimed:
                self._remove_route(route)
        tunnel = self._namespaces.get(ledger.tunnel_namespace)
        if tunnel is None:
            return
        self._attempt_device(tunnel)
        try:
            restore_settings(
                tunnel, ledger.settings, claimed_settings(self._others, ledger.tunnel_namespace)
            )
        except HostError as error:
            self.errors.append(error)

    def _remove_route(self, route: KernelRoute) -> None:
        namespace = self._namespaces.get(route.namespace)
        if namespace is None:
            return
        try:
            namespace.remove_route(route)
        except HostError as error:
            self.errors.append(error)

    def _attempt_device(self, tunnel: Namespace) -> None:
        """Its addresses and link settings, if it is still the device that we were given."""
        ledger = self._ledger
        try:
            link = tunnel.link(ledger.device)
            if link is None or link.index != ledger.index:
                return
            for route in tunnel.own_routes():
                # Peers' routes are in no ledger (:mod:`ovpn6.netconf.fits`).
                if route.hop is not None and route.hop.device == link.index:
                    tunnel.remove_route(route)
            for address in ledger.addresses:
                tunnel.remove_address(link.index, address)
            _restore_link(tunnel, link, ledger.link_before, ledger.link_ours)
        except HostError as error:
            self.errors.append(error)


def claimed_routes(others: Iterable[Ledger]) -> frozenset[KernelRoute]:
    """What other live instances count on."""
    return frozenset(route for ledger in others for route in ledger.routes)


def claimed_settings(others: Iterable[Ledger], namespace: int) -> frozenset[str]:
    """Names of the settings that other live instances of a namespace need."""
    return frozenset(
        setting.name
        for ledger in others
        if ledger.tunnel_namespace == namespace
        for setting in ledger.settings
    )


def _restore_link(tunnel: Namespace, link: Link, before: LinkState, ours: LinkState) -> None:
    # Down takes every IPv6 address along: not while somebody else's is there.
    if ours.up and not before.up and link.up and not _has_addresses(tunnel, link.index):
        tunnel.set_up(link.index, False)
    if ours.mtu != before.mtu and link.mtu == ours.mtu:
        tunnel.set_mtu(link.index, before.mtu)
    if ours.txqueuelen != before.txqueuelen and link.txqueuelen == ours.txqueuelen:
        tunnel.set_txqueuelen(link.index, before.txqueuelen)


def _has_addresses(tunnel: Namespace, index: int) -> bool:
    return any(
        not (isinstance(address.ip, IPv6Address) and address.ip.is_link_local)
        for address in tunnel.addresses(index)
    )
