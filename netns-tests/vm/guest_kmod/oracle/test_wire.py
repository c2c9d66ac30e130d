"""With the same keys both modules send the same octets, and take the same ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

import pytest
from vm.guest_kmod.oracle.scene import (
    BOTH,
    ETH_P_ALL,
    HERE,
    LOOPBACK,
    PACKET_OUTGOING,
    THERE,
    Scene,
    scene,
    seal,
    wait,
)

from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import Keepalive
from tests.datapath.packets import ip_packet, key_pair

pytestmark = [pytest.mark.root, pytest.mark.timeout(360)]

CIPHERS = ("AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305")
_PAYLOADS = (0, 1, 2, 15, 16, 17, 31, 100, 511, 1240, 1376)
_TX_ID = 0x123456
_NO_ID = 0xFFFFFF
_SHORTEST = 25
"""A data packet with one octet inside. Both drop what is shorter; mainline counts it before."""
_PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")

T = TypeVar("T")


def both(work: Callable[[Scene], T], *, many: bool = False) -> tuple[T, T]:
    """What is found with mainline's module and with ours."""
    found = []
    for name in BOTH:
        with scene(name, many=many) as world:
            found.append(work(world))
    return found[0], found[1]


def packets() -> list[bytes]:
    """Inner packets of both families and many lengths."""
    pairs = (("fd00::1", "fd00::2"), ("192.0.2.1", "192.0.2.2"))
    return [
        ip_packet(source, destination, random.Random(size).randbytes(size))
        for size in _PAYLOADS
        for source, destination in pairs
    ]


def counters(world: Scene) -> object:
    """Of the one peer: inner and outer, in and out."""
    (state,) = world.kernel.peers.peers()
    return state.counters


@pytest.mark.parametrize("cipher", CIPHERS)
def test_datagrams_are_equal_to_the_octet(cipher: str) -> None:
    def work(world: Scene) -> tuple[list[bytes], object]:
        peer = world.peer(tx_id=_TX_ID)
        world.key(peer, key_pair(0, 0, cipher))
        world.key(peer, key_pair(0, 7, cipher), KeySlot.SECONDARY)
        sent = []
        for _ in range(2):
            for packet in packets():
                world.enter(packet)
            sent += world.sent(len(packets()))
            world.kernel.peers.swap_keys(peer)
        return sent, counters(world)

    theirs, ours = both(work)
    assert theirs == ours
    first = theirs[0][0]
    assert first[:8].hex() == "4812345600000001"
    assert theirs[0][len(packets())][:8].hex() == "4f12345600000001"


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_ping_is_equal_to_the_octet(cipher: str) -> None:
    def work(world: Scene) -> tuple[list[bytes], object]:
        world.key(world.peer(keepalive=Keepalive(1, 60)), key_pair(0, 0, cipher))
        # The order for the peer may have been before its key: that ping is lost.
        return world.sent(2), counters(world)

    (pings, theirs), (our_pings, ours) = both(work)
    assert pings == our_pings
    assert theirs == ours


@pytest.mark.parametrize("remote", ["::1", "127.0.0.1"], ids=["ipv6", "ipv4"])
def test_whole_frames_are_equal(remote: str) -> None:
    """Outer headers too; an IPv4 header's id and checksum are each packet's own."""

    def work(world: Scene) -> list[bytes]:
        where = Endpoint(ip_address(remote), THERE)
        world.key(world.peer(remote=where), key_pair(0))
        kind = socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)
        with socket.socket(*kind) as wire:
            wire.bind(("lo", ETH_P_ALL))
            for packet in packets():
                world.enter(packet)
            world.sent(len(packets()))
            wire.setblocking(False)
            return list(_frames(wire))

    theirs, ours = both(work)
    assert len(theirs) == len(packets())
    assert theirs == ours


def _frames(wire: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            packet, address = wire.recvfrom(65536)
        except BlockingIOError:
            return found
        if address[2] == PACKET_OUTGOING:
            continue
        version = packet[0] >> 4
        ports = packet[40:44] if version == 6 else packet[20:24]
        if ports == HERE.to_bytes(2, "big") + THERE.to_bytes(2, "big"):
            plain = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
            found.append(packet if version == 6 else plain)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_comes_in_is_taken_alike(cipher: str) -> None:
    """The right ones, and those that were seen, are too old, changed, of no key or no peer."""
    end = ip_packet("fd00::2", "fd00::1", b"the last one")
    ids = (1, 2, 2, 1, 3000, 953, 952, 951, 2999, 2999, 1, 0, 5048, 3001, 3000, 2999, 9000, 4)

    def work(world: Scene) -> tuple[list[bytes], object]:
        peer = world.peer()
        world.key(peer, key_pair(0, 0, cipher))
        world.key(peer, key_pair(0, 1, cipher), KeySlot.SECONDARY)
        arrivals = [
            seal(cipher, 1, i, ip_packet("fd00::2", "fd00::1", b"%d" % position))
            for position, i in enumerate(ids)
        ]
        good = seal(cipher, 1, 9001, packets()[0])
        arrivals += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
        arrivals += [good[:length] for length in range(_SHORTEST, len(good))]
        arrivals += [seal(cipher, 1, 9002, payload) for payload in (b"\x45", _PING, bytes(50))]
        arrivals += [seal(cipher, 1, 1, packets()[2], key_id=key) for key in (1, 2, 7)]
        arrivals += [seal(cipher, 1, 9003 + i, packet) for i, packet in enumerate(packets())]
        arrivals.append(seal(cipher, 1, 10_000, end))
        for datagram in arrivals:
            world.far.sendto(datagram, ("::1", HERE))
        found: list[bytes] = []
        while end not in found:
            found += world.came_out(1)
        return found, counters(world)

    theirs, ours = both(work)
    assert theirs == ours
    assert len(theirs[0]) > len(packets())


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_packets_without_a_peer_id_are_known_by_where_they_are_from(many: bool) -> None:
    inside = [ip_packet("fd00::2", "fd00::1", b"%d" % number) for number in range(3)]

    def work(world: Scene) -> list[bytes]:
        world.key(world.peer(vpn=IPv6Address("fd00::2") if many else None), key_pair(0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(seal("AES-256-GCM", _NO_ID, 1, inside[0]), ("::1", HERE))
        world.far.sendto(seal("AES-256-GCM", _NO_ID, 2, inside[1]), ("::1", HERE))
        world.far.sendto(seal("AES-256-GCM", 1, 3, inside[2]), ("::1", HERE))
        return world.came_out(2)

    theirs, ours = both(work, many=many)
    assert theirs == ours == inside[1:]


def test_a_peer_without_an_id_is_where_it_was_last_seen_or_told_to_be() -> None:
    """On a device for many, with another peer that is somewhere else."""
    inside = [ip_packet("fd00::2", "fd00::1", b"%d" % number) for number in range(9)]

    def work(world: Scene) -> list[bytes]:
        peer = world.peer(vpn=IPv6Address("fd00::2"))
        world.key(peer, key_pair(0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind(("::1", 0))
            there = Endpoint(LOOPBACK, elsewhere.getsockname()[1])
            numbers = iter(range(len(inside)))

            def say(by: socket.socket, as_peer: int) -> None:
                number = next(numbers)
                by.sendto(seal("AES-256-GCM", as_peer, number + 1, inside[number]), ("::1", HERE))

            say(elsewhere, 1)
            say(elsewhere, _NO_ID)
            say(world.far, _NO_ID)
            world.kernel.peers.set_peer(PeerOrder(peer, remote=Endpoint(LOOPBACK, THERE)))
            say(world.far, _NO_ID)
            say(elsewhere, _NO_ID)
            world.peer(2, vpn=IPv6Address("fd00::3"), remote=there)
            say(elsewhere, _NO_ID)
            say(world.far, _NO_ID)
            world.kernel.peers.delete_peer(PeerId(2))
            say(elsewhere, _NO_ID)
            say(world.far, _NO_ID)
        return world.came_out(5)

    theirs, ours = both(work, many=True)
    assert theirs == ours == [inside[number] for number in (0, 1, 3, 6, 8)]


def test_what_is_too_short_is_dropped() -> None:
    good = seal("AES-256-GCM", 1, 1, packets()[0])

    def work(world: Scene) -> list[bytes]:
        world.key(world.peer(), key_pair(0))
        for length in range(4, _SHORTEST):
            world.far.sendto(good[:length], ("::1", HERE))
        # Mainline takes note of its id.
        world.far.sendto(seal("AES-256-GCM", 1, 2, b""), ("::1", HERE))
        world.far.sendto(good, ("::1", HERE))
        return world.came_out(1)

    theirs, ours = both(work)
    assert theirs == ours == packets()[:1]


def test_what_is_not_data_goes_to_user_space_alike() -> None:
    last = b"\x38 the last one"

    def work(world: Scene) -> list[bytes]:
        world.key(world.peer(), key_pair(0))
        for opcode in range(32):
            # Of less than four octets mainline gives nothing on, whatever it is.
            for length in (4, 8, 23, 24, 25, 40, 100):
                world.far.sendto(bytes([opcode << 3]) + bytes(length - 1), ("::1", HERE))
        world.far.sendto(last, ("::1", HERE))
        found = [b""]
        while found[-1] != last:
            found.append(world.outer.recv(65536))
        return found

    theirs, ours = both(work)
    assert theirs == ours


def test_sources_are_checked_alike() -> None:
    """Of a device for many: a peer's own address, another's, nobody's."""
    end = ip_packet("fd00::2", "fd00::1", b"the last one")
    sources = ("fd00::2", "fd00::3", "fd00::4", "::1", "fe80::2", "192.0.2.2")

    def work(world: Scene) -> tuple[list[bytes], list[object]]:
        for number in (2, 3):
            peer = world.peer(number, vpn=IPv6Address(f"fd00::{number}"))
            world.key(peer, key_pair(0))
        for position, source in enumerate(sources):
            there = "192.0.2.1" if "." in source else "fd00::1"
            datagram = seal("AES-256-GCM", 2, position + 1, ip_packet(source, there))
            world.far.sendto(datagram, ("::1", HERE))
        world.far.sendto(seal("AES-256-GCM", 4, 1, packets()[0]), ("::1", HERE))
        world.far.sendto(seal("AES-256-GCM", 2, 100, end), ("::1", HERE))
        found: list[bytes] = []
        while end not in found:
            found += world.came_out(1)
        states = sorted(world.kernel.peers.peers(), key=lambda state: state.peer)
        return found, [state.counters for state in states]

    theirs, ours = both(work, many=True)
    assert theirs == ours
    assert len(theirs[0]) == 2


def test_which_peer_a_packet_is_for_is_told_alike() -> None:
    inside = [ip_packet("fd00::1", f"fd00::{number}", b"%d" % number) for number in (2, 9, 3, 2)]

    def work(world: Scene) -> list[bytes]:
        for number in (2, 3):
            peer = world.peer(number, vpn=IPv6Address(f"fd00::{number}"))
            world.key(peer, key_pair(0))
        for packet in inside:
            world.enter(packet)
        return world.sent(3)

    theirs, ours = both(work, many=True)
    assert theirs == ours


def test_the_address_that_a_peer_sends_to_is_learnt_alike() -> None:
    def work(world: Scene) -> list[object]:
        world.key(world.peer(), key_pair(0))
        before = world.kernel.peers.peers()[0].local
        world.far.sendto(seal("AES-256-GCM", 1, 1, packets()[0]), ("::1", HERE))
        world.came_out(1)
        wait(lambda: world.kernel.peers.peers()[0].local != before, "an address of ours is known")
        return [before, world.kernel.peers.peers()[0].local]

    theirs, ours = both(work)
    assert theirs == ours
