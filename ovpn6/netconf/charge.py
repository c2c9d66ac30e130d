"""One device in our charge: observe, plan, write down, change, and settle.

Knows no netlink and no files: those are behind :class:`Namespace` and :class:`Journal`, so the fake
and the real host state share every decision. ``ledger`` is at any time what is ours. What a change
is about to add goes to the journal *before* the host is changed, so the journal may say more than
is true, never less.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.records import replace
from ovpn6.model.specs import HostPlan, PeerFit, RouteVia
from ovpn6.netconf.claiming import ReadOthers, believed, claiming
from ovpn6.netconf.fitting import Ground, fitted_plan, has_whole_device
from ovpn6.netconf.forwarding import (
    of_version,
    restore_settings,
    write_settings,
)
from ovpn6.netconf.interface import ROUTE_PROTOCOL, Notice
from ovpn6.netconf.journal import Journal
from ovpn6.netconf.ledger import Ledger, LinkState, without_device
from ovpn6.netconf.namespace import FibEntry, Link, Namespace, RouteNews
from ovpn6.netconf.outer_routes import OuterRoutes
from ovpn6.netconf.peer_sizes import PeerSizes
from ovpn6.netconf.plan import (
    AddAddress,
    AddRoute,
    Change,
    EnableForwarding,
    Hop,
    KernelRoute,
    ObservedState,
    RemoveAddress,
    RemoveRoute,
    ReplaceRoute,
    RestoreForwarding,
    RouteKey,
    SetMtu,
    SetUp,
    changes,
    inverse,
    wanted_routes,
)
from ovpn6.netconf.underlay import find_hop, find_hop_again
from ovpn6.netconf.undo import Undoing, claimed_routes, claimed_settings

_ROUNDS = 3
"""Times the host is looked at, when addresses were removed: with the last IPv4 address Linux drops
routes too. Everything else the kernel does as it is told, or says that it did not."""


class Charge:
    """Everything that one instance holds between ``open`` and ``close``."""

    def __init__(
        self,
        underlay: Namespace,
        tunnel: Namespace,
        journal: Journal,
        ledger: Ledger,
        notice: Notice,
    ) -> None:
        self.underlay = underlay
        self.ledger = ledger
        self._tunnel = tunnel
        self._journal = journal
        self._notice = notice
        self._namespaces = {space.identity: space for space in (underlay, tunnel)}
        self._news: list[RouteNews] = []
        self._owed = False
        self._plan: HostPlan | None = None
        self._applied: HostPlan | None = None
        self._known_hops: dict[IPNetwork, Hop | None] = {}
        self._whole: dict[PeerId, PeerFit] = {}
        outer = OuterRoutes(
            underlay,
            lambda destination: find_hop(underlay, destination, self._is_ours),
            lambda destination: find_hop_again(underlay, destination, self._is_ours),
            self._add_to_journal,
            journal.drop,
            notice,
        )
        self._sizes = PeerSizes(underlay, tunnel, ledger.device, self._ground({}), outer, notice)
        self._written: Ledger | None = None
        self._told: set[KernelRoute] = set()

    def follow_device(self) -> Link:
        """A device of the same name may have taken the place of the one we knew."""
        link = existing_link(self._tunnel, self.ledger.device)
        if link.index != self.ledger.index:
            now = link_state(link)
            kept = without_device(self.ledger)
            self._sizes.device_gone()
            self.ledger = replace(kept, index=link.index, link_before=now, link_ours=now)
        return link

    def prepare(self) -> None:
        """Make ready what takes a while, before a peer waits for it.

        It is written down where the device is before anything is changed: who is killed now may
        leave it behind in a namespace that the next start does not know of.
        """
        if self._written is None:
            with self._journal.exclusive():
                self._journal.write(self.ledger)
                self._written = self.ledger
        self._sizes.prepare()

    def set_txqueuelen(self, packets: int) -> None:
        """Of the device."""
        link = existing_link(self._tunnel, self.ledger.device)
        if link.txqueuelen == packets:
            return
        ours = replace(self.ledger.link_ours, txqueuelen=packets)
        with self._journal.exclusive():
            self._write_down(replace(self.ledger, link_ours=ours))
            self._tunnel.set_txqueuelen(link.index, packets)
            self.ledger = replace(self.ledger, link_ours=ours)

    def apply(self, plan: HostPlan) -> None:
        """Make the plan true; what was done of it is undone when it cannot be."""
        link = self.follow_device()
        with self._journal.exclusive():
            self._converge(self._fitted(plan), link, keep_unreachable=False)
        self._plan = plan
        self._move_fits(look=False)

    def refresh(self) -> None:
        """Look the underlay up again; a destination without a way keeps what it has."""
        link = self.follow_device()
        if self._plan is not None:
            with self._journal.exclusive():
                self._converge(self._fitted(self._plan), link, keep_unreachable=True)
            self._move_fits(look=True)

    def fit(self, fit: PeerFit, elsewhere: frozenset[IPNetwork]) -> None:
        """Give a peer its sizes; before the first plan, together with that."""
        if has_whole_device(fit):
            self._whole.pop(fit.peer, None)
            self._whole[fit.peer] = fit
        self._sizes.fit(fit, elsewhere, self._resize)

    def release(self, peer: PeerId) -> None:
        """Take them back."""
        self._sizes.release(peer)
        if self._whole.pop(peer, None) is not None:
            self._resize()

    def outer_fragments(self, peer: PeerId) -> int | None:
        """Sent to a peer's outer address so far; None when nobody counts."""
        return self._sizes.fragments(peer)

    def listen(self) -> tuple[int, ...]:
        """Files that tell of others' changes."""
        if not self._news:
            self._news = [space.route_news() for space in self._namespaces.values()]
        return tuple(file for one in self._news if (file := one.fileno()) >= 0)

    def mend(self) -> None:
        """Make again what somebody else deleted. A look is taken only after news of it, or of a
        change that may concern outer routes; a device that was set down is left so."""
        for one in self._news:
            gone, other = one.read()
            self._owed |= gone or (other and bool(self._sizes.outer_routes))
        if self._plan is None or not self._owed or not self.follow_device().up:
            return
        self.refresh()
        self._sizes.restore(self._routes_present())
        self._owed = False

    def guard(self, ports: frozenset[int]) -> None:
        """UDP ports of ours."""
        self._sizes.guard(ports)

    def give_up(self) -> None:
        """Undo everything. ``HostError`` after all was tried; the journal then stays."""
        with self._journal.exclusive():
            undoing = Undoing(
                self._namespaces, self._with_outer_routes(self.ledger), self._journal.others()
            )
            undoing.run()
            self._journal.close(keep=bool(undoing.errors))
        self._sizes.close()
        for news in self._news:
            news.close()
        for namespace in self._namespaces.values():
            namespace.close()
        if undoing.errors:
            raise undoing.errors[0]

    # --- the device's only peer ------------------------------------------------------------------

    def _fitted(self, plan: HostPlan) -> HostPlan:
        newest = next(reversed(self._whole.values()), None)
        return plan if newest is None else fitted_plan(plan, newest)

    def _resize(self) -> None:
        """A few changes that follow from what we made: nobody is asked what is there."""
        if self._plan is None or self._fitted(self._plan) == self._applied:
            return
        plan = self._fitted(self._plan)
        with self._journal.exclusive():
            self._converge(plan, None, keep_unreachable=True, assumed=believed(self.ledger, plan))

    def _wanted_routes(self) -> dict[RouteKey, KernelRoute]:
        assert self._applied is not None
        return wanted_routes(believed(self.ledger, self._applied), self._applied, self._known_hops)

    def _move_fits(self, look: bool) -> None:
        wanted = self._wanted_routes()
        pins = {key: r for key, r in wanted.items() if not self._leads_into_tunnel(r) and r.hop}
        self._sizes.move(self._ground(wanted), pins, look)

    def _ground(self, routes: dict[RouteKey, KernelRoute]) -> Ground:
        return Ground(self.ledger.tunnel_namespace, self.ledger.index, routes.values())

    # --- one convergence -------------------------------------------------------------------------

    def _converge(
        self,
        plan: HostPlan,
        link: Link | None,
        keep_unreachable: bool,
        assumed: ObservedState | None = None,
    ) -> None:
        """``link`` is what was seen of the device just now, ``assumed`` stands for a look."""
        others = cache(self._journal.others)
        done: list[Change] = []
        occupied: set[KernelRoute] = set()
        try:
            hops = self._known_hops if assumed else self._hops(plan, keep_unreachable)
            for _ in range(_ROUNDS):
                observed, link = assumed or self._observe(link), None
                assumed = None
                wanted = changes(observed, plan, hops, self._sizes.held)
                todo = [c for c in wanted if not (isinstance(c, AddRoute) and c.route in occupied)]
                if not todo:
                    self._settle(observed)
                    break
                claims = claiming(self.ledger, todo, self._tunnel, others)
                self._write_down(claims)
                for change in todo:
                    if self._perform(change, claims, others):
                        done.append(change)
                    elif isinstance(change, AddRoute):
                        occupied.add(change.route)
                if not any(isinstance(change, RemoveAddress) for change in done):
                    self._write_down(self.ledger)
                    break
            else:
                self._settle(self._observe())
                self._notice(f"somebody else keeps changing {self.ledger.device} or its routes")
        except HostError:
            self._revert(done, others)
            with suppress(HostError):  # the device may be gone
                self._settle(self._observe())
            raise
        self._told &= occupied
        self._applied, self._known_hops = plan, hops
        self._own_what_peers_hold()

    def _own_what_peers_hold(self) -> None:
        """Routes of the plan in whose place a peer's stand: they come when that one goes, and are
        ours then."""
        held = self._sizes.held
        wanted = {key: r for key, r in self._wanted_routes().items() if key in held}
        if not self.ledger.routes.issuperset(wanted.values()):
            others = frozenset(r for r in self.ledger.routes if r.key not in wanted)
            self.ledger = replace(self.ledger, routes=others.union(wanted.values()))
            self._write_down(self.ledger)

    def _observe(self, link: Link | None = None) -> ObservedState:
        ledger = self.ledger
        link = link or existing_link(self._tunnel, ledger.device)
        present = self._tunnel.addresses(link.index)
        return ObservedState(
            tunnel_namespace=ledger.tunnel_namespace,
            underlay_namespace=ledger.underlay_namespace,
            device=link.index,
            mtu=link.mtu,
            up=link.up,
            addresses=present,
            own_addresses=present & ledger.addresses,
            routes=self._standing(self._routes_present()),
            forwarding=ledger.forwarding,
        )

    def _hops(self, plan: HostPlan, keep_unreachable: bool) -> dict[IPNetwork, Hop | None]:
        wanted = {r.destination for r in plan.routes if r.via is RouteVia.UNDERLAY}
        hops: dict[IPNetwork, Hop | None] = {}
        for destination in sorted(wanted, key=str):
            try:
                hops[destination] = find_hop(self.underlay, destination, self._is_ours)
            except HostError as error:
                if not keep_unreachable:
                    raise
                hops[destination] = self._pinned_hop(destination)
                self._notice(f"{error}; what there is stays")
        return hops

    def _perform(self, change: Change, claims: Ledger, others: ReadOthers) -> bool:
        """Carry one change out and note it; False when somebody else's route is in the way."""
        tunnel, ledger = self._tunnel, self.ledger
        match change:
            case SetMtu(_, mtu):
                tunnel.set_mtu(ledger.index, mtu)
                self.ledger = replace(ledger, link_ours=replace(ledger.link_ours, mtu=mtu))
            case SetUp(up):
                tunnel.set_up(ledger.index, up)
                self.ledger = replace(ledger, link_ours=replace(ledger.link_ours, up=up))
            case AddAddress(address):
                tunnel.add_address(ledger.index, address)
                self.ledger = replace(ledger, addresses=ledger.addresses | {address})
            case RemoveAddress(address):
                tunnel.remove_address(ledger.index, address)
                self.ledger = replace(ledger, addresses=ledger.addresses - {address})
            case AddRoute(route):
                return self._add_route(route)
            case ReplaceRoute(old, new):
                self._namespaces[new.namespace].replace_route(new)
                self.ledger = replace(ledger, routes=ledger.routes - {old} | {new})
            case RemoveRoute(route):
                if route not in claimed_routes(others()):
                    self._namespaces[route.namespace].remove_route(route)
                self.ledger = replace(ledger, routes=ledger.routes - {route})
            case EnableForwarding(version):
                self._enable_forwarding(version, claims, others)
            case RestoreForwarding(version):
                self._restore_forwarding(version, claims, others)
        return True

    def _add_route(self, route: KernelRoute) -> bool:
        namespace = self._namespaces[route.namespace]
        try:
            namespace.add_route(route)
        except HostError as error:
            if error.errno != errno.EEXIST:
                raise
            # Another instance may have pinned the same server. Then both own the route, and the
            # last one removes it.
            if route not in namespace.own_routes():
                if route not in self._told:
                    self._told.add(route)
                    self._notice(f"{error}; the host's own route is used, ours is left out")
                return False
        self.ledger = replace(self.ledger, routes=self.ledger.routes | {route})
        return True

    def _enable_forwarding(self, version: int, claims: Ledger, others: ReadOthers) -> None:
        settings = of_version(claims.settings, version)
        try:
            write_settings(self._tunnel, settings)
        except HostError:
            self._restore_forwarding(version, claims, others)
            raise
        self.ledger = replace(
            self.ledger,
            forwarding=self.ledger.forwarding | {version},
            settings=self.ledger.settings + settings,
        )

    def _restore_forwarding(self, version: int, claims: Ledger, others: ReadOthers) -> None:
        gone = of_version(claims.settings, version)
        needed = claimed_settings(others(), self.ledger.tunnel_namespace)
        restore_settings(self._tunnel, gone, needed)
        self.ledger = replace(
            self.ledger,
            forwarding=self.ledger.forwarding - {version},
            settings=tuple(s for s in self.ledger.settings if s not in gone),
        )

    def _revert(self, done: Iterable[Change], others: ReadOthers) -> None:
        claims = self._written or self.ledger
        for change in reversed(list(done)):
            # What cannot be taken back now stays in the ledger, and so is undone on close.
            with suppress(HostError):
                self._perform(inverse(change), claims, others)

    # --- ledger and journal ----------------------------------------------------------------------

    def _write_down(self, ledger: Ledger) -> None:
        if ledger == self._written or (self._written is None and ledger.is_empty):
            return
        self._journal.write(self._with_outer_routes(ledger))
        self._written = ledger

    def _with_outer_routes(self, ledger: Ledger) -> Ledger:
        return replace(ledger, routes=ledger.routes | self._sizes.outer_routes)

    def _add_to_journal(self, route: KernelRoute) -> None:
        if self._written is None:
            self._journal.write(self.ledger)
            self._written = self.ledger
        self._journal.add(route)

    def _settle(self, observed: ObservedState) -> None:
        """Cut the ledger down to what is there, and write that down."""
        self.ledger = replace(self.ledger, addresses=observed.own_addresses, routes=observed.routes)
        self._write_down(self.ledger)

    # --- routes ----------------------------------------------------------------------------------

    def _standing(self, present: frozenset[KernelRoute]) -> frozenset[KernelRoute]:
        """Ours that are there, or would be if a peer's did not stand in their place."""
        held = self._sizes.held
        return frozenset(r for r in self.ledger.routes if r in present or r.key in held)

    def _routes_present(self) -> frozenset[KernelRoute]:
        present: frozenset[KernelRoute] = frozenset()
        for namespace in self._namespaces.values():
            present |= namespace.own_routes()
        return present

    def _pinned_hop(self, destination: IPNetwork) -> Hop | None:
        for route in self.ledger.routes & self._routes_present():
            if route.destination == destination and not self._leads_into_tunnel(route):
                return route.hop
        return None

    def _leads_into_tunnel(self, route: KernelRoute) -> bool:
        device = route.hop and route.hop.device
        return route.namespace == self.ledger.tunnel_namespace and device == self.ledger.index

    def _is_ours(self, entry: FibEntry) -> bool:
        """Never a way to the remote end: this tunnel's routes, and any instance's host route to
        the very same address, which may be as stale as ours. Another tunnel's prefix may be."""
        route = entry.route
        if self._leads_into_tunnel(route) or route in self.ledger.routes:
            return True
        host_route = route.destination.prefixlen == route.destination.max_prefixlen
        return entry.protocol == ROUTE_PROTOCOL and host_route


def existing_link(namespace: Namespace, device: str) -> Link:
    """The device; ``HostError`` ENODEV without it."""
    link = namespace.link(device)
    if link is None:
        raise HostError(f"look up {device}", "no such device", errno.ENODEV)
    return link


def link_state(link: Link) -> LinkState:
    """The part of a link that we may change."""
    return LinkState(link.mtu, link.up, link.txqueuelen)
