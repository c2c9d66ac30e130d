"""What the host does for the sizes of single peers, kept apart from the plan.

A server has a thousand peers and fits one at each connect, so nothing here looks at all of them,
and no journal is written: the routes lead into the tunnel device, so they go with it or are found
by it (:mod:`ovpn6.netconf.undo`); the packet filter's table goes with our socket.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.records import replace
from ovpn6.model.specs import PeerFit
from ovpn6.netconf.fitting import Claims, Ground, fitted_routes, fitted_segments
from ovpn6.netconf.interface import Notice
from ovpn6.netconf.namespace import FragmentCounts, Namespace, PortGuard, SegmentLimits
from ovpn6.netconf.plan import KernelRoute, RouteKey


class PeerRoutes:
    """Routes to peers with networks of their own, in one device's namespace.

    Errors are ``HostError``; the next :meth:`fit` tries again what failed.
    """

    def __init__(self, namespace: Namespace, ground: Ground, notice: Notice) -> None:
        self._namespace = namespace
        self._ground = ground
        self._notice = notice
        self._fits: dict[PeerId, PeerFit] = {}
        """Without networks whose routes are not ours."""
        self._claims: Claims[RouteKey, KernelRoute] = Claims()
        self._standing: dict[RouteKey, KernelRoute] = {}

    @property
    def held(self) -> Iterable[RouteKey]:
        """Keys whose routes are not the plan's now."""
        return self._standing.keys()

    def fit(self, fit: PeerFit, elsewhere: frozenset[IPNetwork]) -> None:
        """Give a peer its routes, but for networks that are routed elsewhere."""
        if elsewhere:
            kept = tuple(network for network in fit.networks if network not in elsewhere)
            fit = replace(fit, networks=kept)
        self._fits[fit.peer] = fit
        self._stand(self._claims.replace(fit.peer, fitted_routes(fit, self._ground)))

    def release(self, peer: PeerId) -> None:
        """Take them back."""
        if self._fits.pop(peer, None) is not None:
            self._stand(self._claims.replace(peer, {}))

    def move(self, ground: Ground) -> None:
        """Another plan, or another device, is applied now."""
        self._ground = ground
        keys: list[RouteKey] = []
        for peer, fit in self._fits.items():
            keys += self._claims.replace(peer, fitted_routes(fit, ground))
        self._stand(dict.fromkeys((*self._standing, *keys)))

    def restore(self, present: Container[KernelRoute]) -> None:
        """Make again those that are not there."""
        missing = [key for key, route in self._standing.items() if route not in present]
        for key in missing:
            if not self._add(self._standing[key]):
                del self._standing[key]

    def device_gone(self) -> None:
        """The kernel removed its routes."""
        self._standing.clear()

    def _stand(self, keys: Iterable[RouteKey]) -> None:
        for key in keys:
            wanted, base = self._claims.newest(key), self._ground.base(key)
            now = self._standing.get(key, base)
            if wanted is None:
                self._withdraw(now, base)
                self._standing.pop(key, None)
            elif now is None:
                if self._add(wanted):
                    self._standing[key] = wanted
            elif now != wanted:
                self._namespace.replace_route(wanted)
                self._standing[key] = wanted

    def _withdraw(self, now: KernelRoute | None, base: KernelRoute | None) -> None:
        if now == base or now is None:
            return
        if base is None:
            self._namespace.remove_route(now)
        else:
            self._namespace.replace_route(base)

    def _add(self, route: KernelRoute) -> bool:
        try:
            self._namespace.add_route(route)
        except HostError as error:
            if error.errno != errno.EEXIST:
                raise
            self._notice(f"{error}; the host's own route is used, ours is left out")
            return False
        return True


class PeerSegments:
    """The largest TCP segments of peers. Without the packet filter there are none, which is told
    once."""

    def __init__(self, open_limits: Callable[[], SegmentLimits], notice: Notice) -> None:
        self._open = open_limits
        self._notice = notice
        self._limits: SegmentLimits | None = None
        self._refused = False
        self._claims: Claims[IPNetwork, int] = Claims()
        self._standing: dict[IPNetwork, int] = {}

    def prepare(self) -> None:
        """Make ready what takes a while, before a peer waits for it."""
        if self._limits is None and not self._refused:
            with self._refusal():
                self._limits = self._open()

    def grows(self, fit: PeerFit) -> bool:
        """Whether a peer gets larger segments than it has."""
        standing = self._standing
        return any(size > standing.get(n, size) for n, size in fitted_segments(fit).items())

    def fit(self, fit: PeerFit) -> None:
        """Limit a peer's segments."""
        self._stand(self._claims.replace(fit.peer, fitted_segments(fit)))

    def release(self, peer: PeerId) -> None:
        """No more."""
        self._stand(self._claims.replace(peer, {}))

    def close(self) -> None:
        """None of them any more."""
        if self._limits is not None:
            self._limits.close()

    def _stand(self, networks: Iterable[IPNetwork]) -> None:
        wanted = {network: self._claims.newest(network) for network in networks}
        todo = {n: size for n, size in wanted.items() if size != self._standing.get(n)}
        if not todo:
            return
        self.prepare()
        if self._limits is None or self._refused:
            return
        with self._refusal():
            self._limits.change(todo)
            for network, size in todo.items():
                if size is None:
                    del self._standing[network]
                else:
                    self._standing[network] = size

    @contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except HostError as error:
            self._refused = True
            self._notice(f"{error}; TCP segments are not limited to what the path carries")


class GuardedPorts:
    """Ports for which the kernel believes no router, and the peers' outer addresses. Without the
    packet filter it does, which is told once."""

    def __init__(self, open_guard: Callable[[], PortGuard], notice: Notice) -> None:
        self._open = open_guard
        self._notice = notice
        self._guard: PortGuard | None = None
        self._refused = False
        self._claims: Claims[IPAddress, PeerId] = Claims()
        self._known: set[IPAddress] = set()

    def change(self, ports: frozenset[int]) -> None:
        """These and no others; the first time takes a while."""
        if self._refused:
            return
        with self._refusal():
            if self._guard is None:
                self._guard = self._open()
                for address in self._known:
                    self._guard.know(address)
            self._guard.change(ports)

    def fit(self, fit: PeerFit) -> None:
        """Where a peer is reached."""
        self._stand(self._claims.replace(fit.peer, {fit.outer: fit.peer} if fit.outer else {}))

    def release(self, peer: PeerId) -> None:
        """Nowhere any more."""
        self._stand(self._claims.replace(peer, {}))

    def close(self) -> None:
        """None of them any more."""
        if self._guard is not None:
            self._guard.close()

    def _stand(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            wanted = self._claims.newest(address) is not None
            if wanted == (address in self._known):
                continue
            (self._known.add if wanted else self._known.discard)(address)
            if self._guard is not None and not self._refused:
                with self._refusal():
                    (self._guard.know if wanted else self._guard.forget)(address)

    @contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except HostError as error:
            self._refused = True
            self._notice(f"{error}; the kernel believes any Packet Too Big about our packets")


class PeerFragments:
    """Fragments to outer addresses, counted from the first time that a peer's path was too narrow.
    Without the packet filter nobody knows, which is told once."""

    def __init__(self, open_counts: Callable[[], FragmentCounts], notice: Notice) -> None:
        self._open = open_counts
        self._notice = notice
        self._counts: FragmentCounts | None = None
        self._refused = False
        self._claims: Claims[IPAddress, PeerId] = Claims()
        self._of_peer: dict[PeerId, IPAddress] = {}

    def prepare(self) -> None:
        """Make ready what takes a while, before a peer waits for it."""
        if self._counts is None and not self._refused:
            with self._refusal():
                self._counts = self._open()

    def fit(self, fit: PeerFit, device: str) -> None:
        """Count what leaves for a peer by the device that leads to it, "" when nothing does so in
        fragments."""
        if self._of_peer.get(fit.peer) not in (None, fit.outer):
            self.release(fit.peer)
        if fit.outer is None or not device or self._refused:
            return
        self._of_peer[fit.peer] = fit.outer
        self._claims.replace(fit.peer, {fit.outer: fit.peer})
        self.prepare()
        if self._counts is not None:
            with self._refusal():
                self._counts.add(fit.outer, device)

    def release(self, peer: PeerId) -> None:
        """No more."""
        address = self._of_peer.pop(peer, None)
        self._claims.replace(peer, {})
        if address is None or self._counts is None or self._claims.newest(address) is not None:
            return
        try:
            self._counts.drop(address)
        except HostError as error:
            self._notice(str(error))

    def count(self, peer: PeerId) -> int | None:
        """So far; None when nobody counts. ``HostError`` when it cannot be read."""
        address = self._of_peer.get(peer)
        if self._refused:
            return None
        return self._counts.count(address) if address is not None and self._counts else 0

    def close(self) -> None:
        """Nobody counts any more."""
        if self._counts is not None:
            self._counts.close()

    @contextmanager
    def _refusal(self) -> Iterator[None]:
        try:
            yield
        except HostError as error:
            self._refused = True
            self._notice(f"{error}; outer fragments are not counted")
