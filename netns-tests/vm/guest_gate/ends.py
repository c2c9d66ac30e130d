"""Two ends of a tunnel on our module, both in the guest, and traffic that does not stop.

    namespace s: many peers, fd00:1::1, 192.0.2.1  ==  namespace c: one peer, fd00:1::2, 192.0.2.2

The outer sockets are on loopback in the test's own namespace.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from ovpn6.datapath.kernel_open import Kernel, open_kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Lab
from ovpn6.lab.namespace import Namespace
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive
from tests.datapath.packets import key_pair

SECONDS = float(os.environ.get("GATE_SECONDS", "600"))
"""How long each fuzzer runs; a storm has a tenth of it."""
STORM = SECONDS / 10
SEED = int(os.environ.get("GATE_SEED", "0"))
"""What the fuzzers draw depends on it."""
NAME = "ovpn6"
"""Of both the netlink family and the link kind."""
LOOPBACK = IPv6Address("::1")
CLIENT = PeerId(1)
NO_ID = PeerId(0xFFFFFF)
"""In packets of a peer that is known by where it is."""
SERVER_INSIDE = ("fd00:1::1", "192.0.2.1")
CLIENT_INSIDE = ("fd00:1::2", "192.0.2.2")
ROUTE_PROTOCOL = 54
_UDP_SEGMENT = 103
_DISCARD = 9


def turns(seconds: float = STORM) -> Iterator[int]:
    """0, 1, 2 ... until the time is over."""
    end = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < end:
        yield turn
        turn += 1


def udp(port: int = 0, address: str = "::1") -> socket.socket:
    """A socket of both families, or of one where ``address`` says so."""
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    opened.bind((address, port))
    return opened


def endpoint_of(opened: socket.socket) -> Endpoint:
    """Where packets to a socket go on loopback."""
    return Endpoint(LOOPBACK, opened.getsockname()[1])


def device(name: str, namespace: Namespace | None, *, many: bool, kind: str = NAME) -> Kernel:
    """A device of our module, up; without a namespace in the test's own."""
    spec = DeviceSpec(name, netns=namespace.full_name if namespace else "")
    made = open_kernel(spec, many_peers=many, route_protocol=ROUTE_PROTOCOL, name=kind)
    if namespace:
        namespace.set_up(name, mtu=1400)
    return made


def close_quietly(kernel: Kernel) -> None:
    """What is left of a device that may be gone already."""
    with contextlib.suppress(HostError):
        kernel.device.remove()
    for part in (kernel.news, kernel.peers, kernel.device):
        part.close()


class Pair:
    """The two ends, with keys. ``outside``: where the outer sockets are if not here."""

    def __init__(
        self, lab: Lab, cipher: str = "AES-256-GCM", outside: Namespace | None = None
    ) -> None:
        self.cipher = cipher
        self.server_space, self.client_space = lab.namespace("s"), lab.namespace("c")
        self.server_outer, self.client_outer = (
            in_netns(outside.full_name, udp) if outside else udp() for _ in range(2)
        )
        self.server = device("gate-s", self.server_space, many=True)
        self.client = device("gate-c", self.client_space, many=False)
        for space, name, addresses in (
            (self.server_space, "gate-s", SERVER_INSIDE),
            (self.client_space, "gate-c", CLIENT_INSIDE),
        ):
            space.add_address(name, f"{addresses[0]}/64")
            space.add_address(name, f"{addresses[1]}/24")
        self.meet()

    def meet(self) -> None:
        """Make the peers and give them keys."""
        self.server.peers.new_peer(
            PeerOrder(
                CLIENT,
                endpoint_of(self.client_outer),
                vpn_ipv6=IPv6Address(CLIENT_INSIDE[0]),
                vpn_ipv4=IPv4Address(CLIENT_INSIDE[1]),
                keepalive=Keepalive(1, 3600),
            ),
            self.server_outer.fileno(),
        )
        self.client.peers.new_peer(
            PeerOrder(CLIENT, endpoint_of(self.server_outer), keepalive=Keepalive(1, 3600)),
            self.client_outer.fileno(),
        )
        self.install(KeySlot.PRIMARY, 0)

    def install(self, slot: KeySlot, key_id: int) -> None:
        """A key in a slot of both ends."""
        self.server.peers.new_key(CLIENT, slot, key_pair(0, key_id, self.cipher))
        self.client.peers.new_key(CLIENT, slot, key_pair(1, key_id, self.cipher))

    def received(self) -> int:
        """Inner packets that came out at both ends."""
        return sum(
            state.counters.packets_in
            for end in (self.server, self.client)
            for state in end.peers.peers()
        )

    def close(self) -> None:
        for kernel in (self.server, self.client):
            close_quietly(kernel)
        for opened in (self.server_outer, self.client_outer):
            opened.close()


class Flood:
    """Sends without pause to inner addresses: single packets and large ones that the kernel cuts.

    Whatever the other end has no use for comes back as ICMP, so both ways are busy.
    """

    def __init__(self, space: Namespace, destinations: Callable[[random.Random], str]) -> None:
        self.sent = 0
        self._destinations = destinations
        self._sockets = {
            family: in_netns(space.full_name, maker) for family, maker in _SENDERS.items()
        }
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        dice = random.Random(1)
        while not self._ending.is_set():
            address = self._destinations(dice)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            size = dice.choice((0, 1, 12, 500, 1300, 1450, 4000, 20000))
            with contextlib.suppress(OSError):
                sender = self._sockets[family]
                sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, dice.choice((0, 600, 1200)))
                sender.sendto(bytes(size), (address, _DISCARD))
                self.sent += 1

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        for opened in self._sockets.values():
            opened.close()


@contextlib.contextmanager
def flooded(pair: Pair, more: Callable[[random.Random], str] | None = None) -> Iterator[None]:
    """Traffic of both families both ways while the block runs. Says how much there was.

    ``more``: other destinations behind the server's device, half of the time.
    """

    def from_server(dice: random.Random) -> str:
        return more(dice) if more and dice.random() < 0.5 else dice.choice(CLIENT_INSIDE)

    before = pair.received()
    floods = (
        Flood(pair.server_space, from_server),
        Flood(pair.client_space, lambda dice: dice.choice(SERVER_INSIDE)),
    )
    try:
        yield
    finally:
        for flood in floods:
            flood.end()
        crossed = pair.received() - before
        print(f"sent {[flood.sent for flood in floods]}, came out {crossed}")
    assert crossed


def _sender(family: int) -> Callable[[], socket.socket]:
    return lambda: socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


_SENDERS = {family: _sender(family) for family in (socket.AF_INET, socket.AF_INET6)}
