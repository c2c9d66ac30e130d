"""The life of a :class:`HostState`: which device is in our charge, over any namespaces."""

from __future__ import annotations

import errno
from ipaddress import IPv6Address

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.names import PeerId
from ovpn6.model.specs import HostPlan, PeerFit
from ovpn6.netconf.charge import Charge, existing_link, link_state
from ovpn6.netconf.interface import ROUTE_PROTOCOL, Gateway, Gateways, Notice
from ovpn6.netconf.journal import OpenJournal
from ovpn6.netconf.ledger import Ledger
from ovpn6.netconf.namespace import Namespace, OpenNamespace
from ovpn6.netconf.plan import MAIN_TABLE, MINIMUM_IPV6_MTU


class HostKeeper:
    """A :class:`ovpn6.netconf.interface.HostState`; the methods are documented there."""

    def __init__(
        self, open_namespace: OpenNamespace, open_journal: OpenJournal, notice: Notice
    ) -> None:
        self._open_namespace = open_namespace
        self._open_journal = open_journal
        self._notice = notice
        self._charge: Charge | None = None

    def open(self, device: str, netns: str, instance: str, txqueuelen: int = 0) -> None:
        """Take charge of a device, or find it again."""
        if self._charge is None:
            self._charge = self._start(device, netns, instance)
        ledger = self._charge.ledger
        if (ledger.device, ledger.netns) != (device, netns):
            raise UsageError(f"{ledger.device} is still open")
        self._charge.follow_device()
        self._charge.prepare()
        if txqueuelen:
            self._charge.set_txqueuelen(txqueuelen)

    def apply(self, plan: HostPlan) -> None:
        """Make the plan true."""
        charge = self._opened()
        _check_mtu(plan, charge.ledger.device)
        charge.apply(plan)

    def refresh_underlay(self) -> None:
        """Move the UNDERLAY routes."""
        self._opened().refresh()

    def fit(self, fit: PeerFit, elsewhere: frozenset[IPNetwork] = frozenset()) -> None:
        """Give a peer its sizes."""
        self._opened().fit(fit, elsewhere)

    def release(self, peer: PeerId) -> None:
        """Take them back."""
        if self._charge is not None:
            self._charge.release(peer)

    def outer_fragments(self, peer: PeerId) -> int | None:
        """Sent so far."""
        return self._charge.outer_fragments(peer) if self._charge is not None else 0

    def guard(self, ports: frozenset[int]) -> None:
        """Guard these and no others."""
        if self._charge is not None or ports:
            self._opened().guard(ports)

    def news(self) -> tuple[int, ...]:
        """From now on."""
        return self._opened().listen()

    def mend(self) -> None:
        """What is gone."""
        if self._charge is not None:
            self._charge.mend()

    def default_gateways(self) -> Gateways:
        """Also before :meth:`open`."""
        if self._charge is not None:
            return _gateways(self._charge.underlay)
        namespace = self._open_namespace("")
        try:
            return _gateways(namespace)
        finally:
            namespace.close()

    def forget_device(self) -> None:
        """All of it is taken back: what stays without a device serves nothing."""
        self.close()

    def close(self) -> None:
        """Take everything back."""
        charge, self._charge = self._charge, None
        if charge is not None:
            charge.give_up()

    def _opened(self) -> Charge:
        if self._charge is None:
            raise UsageError("no tunnel device was opened")
        return self._charge

    def _start(self, device: str, netns: str, instance: str) -> Charge:
        opened: list[Namespace] = []
        try:
            opened.append(self._open_namespace(""))
            if netns:
                opened.append(self._open_namespace(netns))
            underlay, tunnel = opened[0], opened[-1]
            link = existing_link(tunnel, device)
            before = link_state(link)
            ledger = Ledger(
                underlay.identity, tunnel.identity, netns, device, link.index, before, before
            )
            journal = self._open_journal(instance or device, underlay.inode)
            return Charge(underlay, tunnel, journal, ledger, self._notice)
        except HostError:
            for namespace in opened:
                namespace.close()
            raise


def _check_mtu(plan: HostPlan, device: str) -> None:
    if plan.mtu < MINIMUM_IPV6_MTU and any(isinstance(a.ip, IPv6Address) for a in plan.addresses):
        text = f"IPv6 needs an MTU of at least {MINIMUM_IPV6_MTU}"
        raise HostError(f"set mtu {plan.mtu} on {device}", text, errno.EINVAL)


def _gateways(namespace: Namespace) -> Gateways:
    return Gateways(ipv4=_gateway(namespace, 4), ipv6=_gateway(namespace, 6))


def _gateway(namespace: Namespace, version: int) -> Gateway | None:
    entries = [
        entry
        for entry in namespace.table_routes(version, MAIN_TABLE)
        if entry.route.destination.prefixlen == 0 and entry.protocol != ROUTE_PROTOCOL
    ]
    best = min(entries, key=lambda entry: (entry.route.metric, entry.preference), default=None)
    if best is None or best.route.hop is None:
        return None
    return Gateway(best.route.hop.gateway, namespace.link_name(best.route.hop.device))
