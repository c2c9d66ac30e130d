"""One of the two modules with all that a test needs: a device, sockets, places to capture."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from vm.guest_kmod.oracle.raw import RawFamily, parse

from ovpn6.datapath.kernel_open import Kernel, open_kernel
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.lab.process import run
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive, KeyMaterial
from ovpn6.netlink.conversation import GENERIC, Conversation, Listener, split
from tests.datapath.packets import key_pair

MAINLINE, OURS = "ovpn", "ovpn6"
BOTH = (MAINLINE, OURS)

HERE, THERE = 40_001, 40_002
"""Ports of the peers' socket and of what stands for the remote end."""
LOOPBACK = IPv6Address("::1")
PATIENCE = 20.0
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
PACKET_OUTGOING = 4
_HEADERS = 20
_SO_RCVBUFFORCE = 33


@dataclass(slots=True)
class Scene:
    """``wire``: what comes to the remote end. ``told``: notifications, as command and attributes.
    Everything is on loopback of the test's own namespace."""

    name: str
    kernel: Kernel
    family: RawFamily
    outer: socket.socket
    far: socket.socket
    tap: socket.socket
    device: str
    _listener: Listener
    _told: list[tuple[int, object]] = field(default_factory=list)

    def peer(
        self,
        number: int = 1,
        *,
        keepalive: Keepalive | None = None,
        vpn: IPv6Address | None = None,
        tx_id: int | None = None,
        remote: Endpoint | None = None,
    ) -> PeerId:
        """A peer at the remote end."""
        peer = PeerId(number)
        where = remote or Endpoint(LOOPBACK, THERE)
        order = PeerOrder(peer, where, vpn_ipv6=vpn, tx_id=tx_id)
        self.kernel.peers.new_peer(order, self.outer.fileno())
        # Mainline's worker may look before a new peer is there, and then never again.
        if keepalive is not None:
            self.kernel.peers.set_peer(PeerOrder(peer, keepalive=keepalive))
        return peer

    def key(self, peer: PeerId, material: KeyMaterial, slot: KeySlot = KeySlot.PRIMARY) -> None:
        """Into a slot."""
        self.kernel.peers.new_key(peer, slot, material)

    def enter(self, packet: bytes) -> None:
        """An inner packet goes into the device, and no other: IPv6 is off there."""
        kind = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
        self.tap.sendto(packet, (self.device, kind))

    def sent(self, count: int) -> list[bytes]:
        """The next datagrams at the remote end."""
        return [self.far.recv(65536) for _ in range(count)]

    def came_out(self, count: int) -> list[bytes]:
        """The next inner packets that came out of the device."""
        found: list[bytes] = []
        end = time.monotonic() + PATIENCE
        while len(found) < count and time.monotonic() < end:
            packet, address = self.tap.recvfrom(65536)
            if address[2] != PACKET_OUTGOING:
                found.append(packet)
        return found

    def told(self, count: int) -> list[tuple[int, object]]:
        """The first notifications, when there are so many."""
        wait(lambda: len(self._read()) >= count, f"{self.name} tells {count} times")
        return self._told[:count]

    def _read(self) -> list[tuple[int, object]]:
        for kind, packet in self._listener.read():
            if kind == self.family.number:
                for _, _, _, message in split(packet):
                    self._told.append((message[16], parse(message[_HEADERS:])))
        return self._told


def wait(condition: Callable[[], bool], what: str) -> None:
    """Until it is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.01)


@contextmanager
def scene(name: str, *, many: bool = False) -> Iterator[Scene]:
    """A device of a module, alone on its ports."""
    with ExitStack() as stack:
        spec = DeviceSpec(f"{name}-one")
        kernel = open_kernel(spec, many_peers=many, route_protocol=54, name=name)
        stack.enter_context(closing(kernel))
        device = f"{name}-one"
        # Nothing of its own gets among what is counted.
        Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")
        run(["ip", "link", "set", device, "up", "mtu", "1416"])
        with closing(Conversation(GENERIC)) as conversation:
            found = find_family(conversation, name)
        assert found is not None
        listener = stack.enter_context(closing(Listener(GENERIC, found.group)))
        raw = stack.enter_context(closing(RawFamily(found.number)))
        outer, far = (stack.enter_context(udp(port)) for port in (HERE, THERE))
        tap = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
        tap.bind((device, ETH_P_ALL))
        tap.settimeout(PATIENCE)
        yield Scene(name, kernel, raw, outer, far, tap, device, listener)


def udp(port: int) -> socket.socket:
    """A socket of both families."""
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    opened.settimeout(PATIENCE)
    # Small datagrams take much room.
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
    opened.bind(("::", port))
    return opened


def seal(cipher: str, peer: int, packet_id: int, payload: bytes, key_id: int = 0) -> bytes:
    """A data packet of the remote end, by another implementation, under ``key_pair(1)``."""
    material = key_pair(1, key_id, cipher)
    kind = ChaCha20Poly1305 if cipher.startswith("CHACHA") else AESGCM
    head = struct.pack(">II", (9 << 3 | key_id) << 24 | peer, packet_id)
    nonce = head[4:] + material.send_iv.reveal()
    sealed = kind(material.send_key.reveal()).encrypt(nonce, payload, head)
    return head + sealed[-16:] + sealed[:-16]
