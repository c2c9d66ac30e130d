"""Packets of every shape: from strangers, from peers who lie, and from this machine's own stack."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address

import pytest
from vm.guest_gate import packets
from vm.guest_gate.ends import NO_ID, SECONDS, SEED, close_quietly, device, turns, udp

from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Lab
from ovpn6.lab.namespace import Namespace
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.protocol.data_channel import SendKey
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

CIPHERS = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
LOOPBACK = {6: "::1", 4: "127.0.0.1"}
HERE = {6: "fd00:3::1", 4: "192.0.2.1"}
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETHERTYPES = (0x0800, 0x86DD, 0x0806, 0x88CC, 0)


def address(peer: int, version: int) -> str:
    """A peer's address in the tunnel."""
    return f"fd00:3::{peer + 10}" if version == 6 else f"192.0.2.{peer + 10}"


class Scene:
    """A device with a peer for each cipher behind outer packets that are cut in pieces of 1280.

    The last of many says no id in its packets.
    """

    def __init__(self, space: Namespace, *, many: bool) -> None:
        self.many = many
        space.set_up("lo", mtu=1280)
        self.outer = in_netns(space.full_name, lambda: udp(address="::"))
        self.kernel: Kernel = device("gate-p", space, many=many)
        space.add_address("gate-p", f"{HERE[6]}/64")
        space.add_address("gate-p", f"{HERE[4]}/24")
        self.seals: list[Callable[[bytes], bytes]] = []
        self.senders: list[socket.socket] = []
        for number, cipher in enumerate(CIPHERS if many else CIPHERS[:1]):
            self.senders.append(in_netns(space.full_name, lambda: udp(address="::")))
            self._add(number, cipher)
        self.raw = in_netns(space.full_name, _packet_socket)

    def _add(self, number: int, cipher: str) -> None:
        remote = Endpoint(IPv6Address("::1"), self.senders[number].getsockname()[1])
        inner: dict[str, object] = {}
        if self.many:
            inner["vpn_ipv6"] = IPv6Address(address(number, 6))
            inner["vpn_ipv4"] = IPv4Address(address(number, 4))
        order = PeerOrder(PeerId(number), remote, **inner)  # type: ignore[arg-type]
        self.kernel.peers.new_peer(order, self.outer.fileno())
        self.kernel.peers.new_key(PeerId(number), KeySlot.PRIMARY, key_pair(0, 0, cipher))
        says = NO_ID if self.many and cipher == CIPHERS[-1] else number
        self.seals.append(SendKey(key_pair(1, 0, cipher), says).seal)

    def send(self, number: int, datagram: bytes, version: int = 6) -> None:
        """From a peer's place; IPv4 now and then, which makes it move."""
        port = self.outer.getsockname()[1]
        there = "::1" if version == 6 else "::ffff:127.0.0.1"
        with contextlib.suppress(OSError):
            self.senders[number].sendto(datagram, (there, port))

    def answers(self, number: int) -> bool:
        """Whether a lawful packet of a peer still comes out."""
        before = self._opened(number)
        for _ in turns(60):
            self.send(number, self.seals[number](packets.lawful(address(number, 6), HERE[6])))
            if self._opened(number) > before:
                return True
        return False

    def _opened(self, number: int) -> int:
        state = self.kernel.peers.peer(PeerId(number))
        assert state is not None
        return state.counters.packets_in

    def close(self) -> None:
        close_quietly(self.kernel)
        for opened in (self.outer, *self.senders, self.raw):
            opened.close()


@pytest.fixture(params=["many", "one"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A device for many peers, and one for one."""
    with Lab() as lab, ExitStack() as stack:
        made = Scene(lab.namespace("p"), many=request.param == "many")
        stack.callback(made.close)
        yield made


@pytest.mark.timeout(SECONDS + 600)
def test_no_packet_hurts(scene: Scene) -> None:
    ending = threading.Event()
    out = threading.Thread(target=from_the_stack, args=(scene, ending))
    out.start()
    dice = random.Random(f"network {SEED}")
    counts = {"authentic": 0, "spoilt": 0, "noise": 0}
    try:
        # Half of the time for each kind of device.
        for _ in turns(SECONDS / 2):
            counts[from_the_network(scene, dice)] += 1
    finally:
        ending.set()
        out.join()
    print(counts)
    assert all(counts.values())
    assert all(scene.answers(number) for number in range(len(scene.seals)))


def from_the_network(scene: Scene, dice: random.Random) -> str:
    """One datagram; what kind it was."""
    number = dice.randrange(len(scene.seals))
    version = dice.choice((6, 6, 4))
    kind = dice.choice(("authentic", "authentic", "spoilt", "noise"))
    if kind == "noise":
        octets = dice.randbytes(dice.choice((0, 1, 2, 5, 24, 25, 100, 1400)))
        # Most with an opcode that is the module's.
        first = bytes((dice.choice((0x48, 0x49, 0x4F, 0x30, 0x38, dice.randrange(256))),))
        scene.send(number, first + octets, version)
        return kind
    family = dice.choice((6, 4))
    claimed = dice.choice((number, number, number, 77))
    inner = packets.inner(dice, address(claimed, family), HERE[family])
    sealed = scene.seals[number](inner[:65000])
    scene.send(number, packets.spoilt(dice, sealed) if kind == "spoilt" else sealed, version)
    return kind


def from_the_stack(scene: Scene, ending: threading.Event) -> None:
    """Whole and broken packets, with and without wishes for checksums and cutting."""
    dice = random.Random(f"stack {SEED}")
    sent = refused = 0
    while not ending.is_set():
        family = dice.choice((6, 4))
        number = dice.randrange(len(scene.seals) + 1)
        packet = packets.inner(dice, HERE[family], address(number, family))
        ethertype = dice.choice((0x86DD if family == 6 else 0x0800, dice.choice(_ETHERTYPES)))
        try:
            scene.raw.sendto(packets.virtio_header(dice, packet) + packet, ("gate-p", ethertype))
            sent += 1
        except OSError:
            refused += 1
    print(f"{sent} packets from the stack, {refused} refused")


def _packet_socket() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    return opened
