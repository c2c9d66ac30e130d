"""The kernel's ``ovpn`` module as the data path sees it, and an event loop with a clock by hand."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ovpn6.datapath.ovpn_netlink.records import KeyState, Notification, PeerOrder, PeerState
from ovpn6.model.addresses import Endpoint, IPAddress, IPNetwork
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import Keepalive, KeyMaterial, PeerCounters
from ovpn6.netlink.conversation import Overrun

INDEX = 7


class HandLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as a data path uses; nothing happens but by :meth:`pass_time`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.readers: dict[int, Callable[[], None]] = {}
        self._timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self.now + delay, callback, args, self)
        self._timers.append(timer)
        return timer

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self.readers[_number(fd)] = lambda: callback(*args) and None

    def remove_reader(self, fd: Any) -> bool:
        return self.readers.pop(_number(fd), None) is not None

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers.remove(handle)

    def pass_time(self, seconds: float) -> None:
        """Let the clock run; what is due is called at its moment."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.when() <= end]:
            timer = min(due, key=lambda timer: timer.when())
            self._timers.remove(timer)
            self.now = max(self.now, timer.when())
            timer._run()
        self.now = end


class FakeDevice:
    """A device; ``lost`` is what :meth:`look` says."""

    name = "tun0"
    index = INDEX

    def __init__(self) -> None:
        self.is_up = True
        self.lost = ""

    def fileno(self) -> int:
        return 9001

    def look(self) -> str:
        return self.lost


class FakeNews:
    """Notifications that wait; ``overrun``: some were lost."""

    def __init__(self) -> None:
        self.waiting: deque[Notification] = deque()
        self.overrun = False

    def fileno(self) -> int:
        return 9002

    def read(self) -> Iterator[Notification]:
        while self.waiting:
            yield self.waiting.popleft()
        if self.overrun:
            self.overrun = False
            raise Overrun("No buffer space available")


class FakePeers:
    """Peers and keys by the module's rules. ``sockets``: which descriptor each came with.

    ``keepalive_works``: the module's own work on keepalive times. It is started before a new peer
    can be found, and ends when it finds nobody. ``changes``: how often a peer was changed.
    """

    def __init__(self, many_peers: bool) -> None:
        self.states: dict[PeerId, PeerState] = {}
        self.slots: dict[tuple[PeerId, KeySlot], KeyState] = {}
        self.behind: dict[IPNetwork, PeerId] = {}
        self.sockets: dict[PeerId, int] = {}
        self.reads = self.dumps = self.changes = 0
        self.keepalive_works = False
        self.refusal: HostError | None = None
        self._many_peers = many_peers

    def new_peer(self, order: PeerOrder, socket: int) -> None:
        self._refuse()
        if order.peer in self.states:
            raise HostError(f"add peer {order.peer}", "exists", errno.EEXIST)
        addressed = order.vpn_ipv4 is not None or order.vpn_ipv6 is not None
        if addressed is not self._many_peers:
            raise HostError(f"add peer {order.peer}", "VPN addresses", errno.EINVAL)
        self._start_keepalive(order)
        self.sockets[order.peer] = socket
        self.states[order.peer] = PeerState(
            order.peer,
            order.remote,
            order.local,
            order.vpn_ipv4,
            order.vpn_ipv6,
            order.keepalive or Keepalive(),
            PeerCounters(),
        )

    def set_peer(self, order: PeerOrder) -> None:
        self._refuse()
        state = self._state(order.peer)
        self.changes += 1
        self.states[order.peer] = replace(
            state,
            remote=order.remote or state.remote,
            vpn_ipv4=order.vpn_ipv4 or state.vpn_ipv4,
            vpn_ipv6=order.vpn_ipv6 or state.vpn_ipv6,
            keepalive=order.keepalive or state.keepalive,
        )
        self._start_keepalive(order)

    def peer(self, peer: PeerId) -> PeerState | None:
        self._refuse()
        self.reads += 1
        return self.states.get(peer)

    def peers(self) -> list[PeerState]:
        self._refuse()
        self.dumps += 1
        return list(self.states.values())

    def delete_peer(self, peer: PeerId) -> None:
        self._refuse()
        self.states.pop(peer, None)
        self.behind = {n: holder for n, holder in self.behind.items() if holder != peer}

    def new_key(self, peer: PeerId, slot: KeySlot, key: KeyMaterial) -> None:
        self._state(peer)
        self.slots[peer, slot] = KeyState(peer, slot, key.key_id, CIPHERS[key.cipher].netlink_id)

    def key(self, peer: PeerId, slot: KeySlot) -> KeyState | None:
        return self.slots.get((peer, slot))

    def swap_keys(self, peer: PeerId) -> None:
        pair = [self.slots.pop((peer, slot), None) for slot in KeySlot]
        for slot, state in zip(reversed(KeySlot), pair, strict=True):
            if state is not None:
                self.slots[peer, slot] = replace(state, slot=slot)

    def delete_key(self, peer: PeerId, slot: KeySlot) -> None:
        self.slots.pop((peer, slot), None)

    def new_prefix(self, peer: PeerId, network: IPNetwork) -> None:
        self._refuse()
        self.changes += 1
        self._state(peer)
        self.behind[network] = peer

    def delete_prefix(self, peer: PeerId, network: IPNetwork) -> None:
        self._refuse()
        self.changes += 1
        if self.behind.get(network) == peer:
            del self.behind[network]

    def move(self, peer: PeerId, remote: Endpoint) -> None:
        """An authentic packet came from there."""
        self.states[peer] = replace(self.states[peer], remote=remote)

    def count(self, peer: PeerId, counters: PeerCounters) -> None:
        """Traffic."""
        self.states[peer] = replace(self.states[peer], counters=counters)

    def _start_keepalive(self, order: PeerOrder) -> None:
        if order.keepalive is not None:
            kept = [state for state in self.states.values() if state.keepalive != Keepalive()]
            self.keepalive_works = bool(kept)

    def _state(self, peer: PeerId) -> PeerState:
        if peer not in self.states:
            raise HostError(f"change peer {peer}", "cannot find peer", errno.ENOENT)
        return self.states[peer]

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


class FakeRoutes:
    """Networks by peer."""

    def __init__(self, *, makes_routes: bool) -> None:
        self.makes_routes = makes_routes
        self.held: dict[PeerId, dict[IPNetwork, IPAddress | None]] = {}
        self.mtus: dict[PeerId, dict[int, int | None]] = {}
        self.again_called = 0

    def fit(self, peer: PeerId, mtus: dict[int, int | None]) -> None:
        self.mtus[peer] = mtus

    def set(self, peer: PeerId, networks: dict[IPNetwork, IPAddress | None]) -> None:
        self.held[peer] = dict(networks)

    def again(self) -> None:
        self.again_called += 1


class FakeKernel:
    """A :class:`ovpn6.datapath.kernel_open.Kernel`."""

    def __init__(
        self, *, many_peers: bool = True, floats: bool = True, makes_routes: bool = True
    ) -> None:
        self.device = FakeDevice()
        self.peers = FakePeers(many_peers)
        self.routes = FakeRoutes(makes_routes=makes_routes)
        self.news = FakeNews()
        self.floats = floats
        self.closed = False

    def close(self) -> None:
        self.closed = True


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())
