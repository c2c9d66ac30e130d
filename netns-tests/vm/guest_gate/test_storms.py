"""Everything at once, for as long as a storm lasts: who holds what while it goes?"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from vm.guest_gate.ends import (
    CLIENT,
    CLIENT_INSIDE,
    LOOPBACK,
    NAME,
    NO_ID,
    SERVER_INSIDE,
    Flood,
    Pair,
    close_quietly,
    device,
    endpoint_of,
    flooded,
    turns,
    udp,
)

from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.lab import Lab
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.process import run
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import Keepalive
from ovpn6.protocol.data_channel import SendKey
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

THOUSAND = 1000
STRANGER = 9
"""A port."""
INNER = int(IPv6Address("fd00:1::1000"))
CIPHERS = ("AES-256-GCM", "CHACHA20-POLY1305")
SLOTS = (KeySlot.PRIMARY, KeySlot.SECONDARY)


@pytest.fixture(params=CIPHERS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two ends that reach each other."""
    with Lab() as lab:
        made = Pair(lab, request.param)
        try:
            yield made
        finally:
            made.close()


def inside(number: int) -> IPv6Address:
    """The address in the tunnel of one of the thousand."""
    return IPv6Address(INNER + number)


def order(number: int, keepalive: Keepalive | None = None) -> PeerOrder:
    """One of the thousand: all are said to be where nobody but a stranger is."""
    return PeerOrder(
        PeerId(THOUSAND + number),
        Endpoint(LOOPBACK, STRANGER),
        vpn_ipv6=inside(number),
        keepalive=keepalive,
    )


def test_a_thousand_peers_come_and_go_under_traffic(pair: Pair) -> None:
    dice = random.Random(2)
    there: set[int] = set()
    added = removed = 0
    growing = True

    def to_any(other: random.Random) -> str:
        return str(inside(other.randrange(THOUSAND)))

    nameless = SendKey(key_pair(1, 0, pair.cipher), NO_ID).seal
    with flooded(pair, to_any), udp(STRANGER) as stranger:
        for _ in turns():
            with contextlib.suppress(OSError):
                stranger.sendto(nameless(bytes(40)), pair.server_outer.getsockname()[:2])
            growing = not there or (growing and len(there) < THOUSAND)
            if growing:
                number = next(n for n in range(THOUSAND) if n not in there)
                pair.server.peers.new_peer(
                    order(number, Keepalive(1, 2 + number % 5)), pair.server_outer.fileno()
                )
                if number % 10 == 0:
                    key = key_pair(0, number % 8, pair.cipher)
                    with contextlib.suppress(HostError):
                        # It may have expired already.
                        pair.server.peers.new_key(PeerId(THOUSAND + number), SLOTS[0], key)
                there.add(number)
                added += 1
            else:
                number = dice.choice(sorted(there))
                pair.server.peers.delete_peer(PeerId(THOUSAND + number))
                there.remove(number)
                removed += 1
    print(f"{added} peers came, {removed} were told to go")
    assert added


def test_keys_come_and_go_under_traffic(pair: Pair) -> None:
    dice = random.Random(3)
    done = {"new": 0, "swap": 0, "delete": 0}
    ends = ((pair.server.peers, 0), (pair.client.peers, 1))
    with flooded(pair):
        for turn in turns():
            peers, end = ends[turn % 2]
            what = dice.choice(("new", "new", "swap", "delete"))
            if what == "new":
                key = key_pair(end, dice.randrange(8), pair.cipher)
                peers.new_key(CLIENT, dice.choice(SLOTS), key)
            elif what == "swap":
                peers.swap_keys(CLIENT)
            else:
                peers.delete_key(CLIENT, dice.choice(SLOTS))
            done[what] += 1
        # Once more with keys that fit, so that something crosses at the end too.
        pair.install(KeySlot.PRIMARY, 0)
    print(done)


def test_sockets_close_while_peers_are_made_on_them(pair: Pair) -> None:
    opened: list[socket.socket] = []
    made = refused = 0
    ending = threading.Event()

    def close_them() -> None:
        while not ending.is_set():
            with contextlib.suppress(IndexError):
                opened.pop().close()

    closer = threading.Thread(target=close_them)
    closer.start()
    try:
        with flooded(pair):
            for turn in turns():
                outer = udp()
                number = outer.fileno()
                opened.append(outer)
                try:
                    pair.server.peers.new_peer(order(turn % THOUSAND, Keepalive(1, 60)), number)
                    made += 1
                except HostError:
                    refused += 1
    finally:
        ending.set()
        closer.join()
        for left in opened:
            left.close()
    print(f"{made} peers made, {refused} refused")
    assert made


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_peer_moves_with_every_packet(cipher: str) -> None:
    """Authentic packets from many ports while packets go to wherever it is. After each one
    another that says no id."""
    with Lab() as lab, contextlib.ExitStack() as stack:
        space = lab.namespace("s")
        outer = stack.enter_context(udp())
        sources = [stack.enter_context(udp()) for _ in range(40)]
        kernel = device("gate-s", space, many=True)
        stack.callback(close_quietly, kernel)
        space.add_address("gate-s", "fd00:1::1/64")
        peer = PeerOrder(CLIENT, endpoint_of(sources[0]), vpn_ipv6=IPv6Address("fd00:1::2"))
        kernel.peers.new_peer(peer, outer.fileno())
        kernel.peers.new_key(CLIENT, KeySlot.PRIMARY, key_pair(0, 0, cipher))
        kernel.peers.new_key(CLIENT, KeySlot.SECONDARY, key_pair(0, 1, cipher))
        seal = SendKey(key_pair(1, 0, cipher), CLIENT).seal
        nameless = SendKey(key_pair(1, 1, cipher), NO_ID).seal
        payload = ip_packet("fd00:1::2", "fd00:1::1", bytes(200))
        flood = Flood(space, lambda dice: "fd00:1::2")
        stack.callback(flood.end)
        for turn in turns():
            for sealed in (seal(payload), nameless(payload)):
                with contextlib.suppress(OSError):
                    sources[turn % len(sources)].sendto(sealed, outer.getsockname()[:2])
        (state,) = kernel.peers.peers()
        print(f"{turn + 1} pairs of packets sent, {state.counters.packets_in} opened")
        assert state.counters.packets_in
        assert state.remote is not None
        assert state.remote.port in {source.getsockname()[1] for source in sources}


@pytest.mark.parametrize("cipher", CIPHERS)
def test_devices_go_under_traffic(cipher: str) -> None:
    gone = 0
    for _ in turns():
        with busy(cipher) as pair:
            for space in (pair.client_space, pair.server_space):
                space.run(["ip", "link", "del", f"gate-{space.name}"])
                gone += 1
    print(f"{gone} devices went")


def test_namespaces_of_devices_go_under_traffic() -> None:
    gone = 0
    for _ in turns():
        with busy() as pair:
            pair.server_space.remove()
        gone += 1
    print(f"{gone} namespaces went")


def test_namespaces_of_sockets_go_under_traffic() -> None:
    gone = 0
    for _ in turns():
        with Lab() as lab:
            outside = lab.namespace("u")
            with busy(outside=outside) as pair:
                outside.remove()
                pair.server_outer.close()
                pair.client_outer.close()
                assert pair.client.peers.peers() == pair.server.peers.peers() == []
        gone += 1
    print(f"{gone} namespaces went")


def test_the_module_goes_under_traffic_and_comes_back() -> None:
    times = 0
    for _ in turns():
        with busy() as pair:
            for end in (pair.server, pair.client):
                for part in (end.news, end.peers, end.device):
                    part.close()
            run(["rmmod", NAME])
            assert not Path(f"/sys/module/{NAME}").exists()
        run(["insmod", f"{os.environ['VM_RESULTS']}/ovpn6.ko", "compat=1"])
        times += 1
    print(f"{times} times")


@contextlib.contextmanager
def busy(cipher: str = CIPHERS[0], outside: Namespace | None = None) -> Iterator[Pair]:
    """A pair with more peers than one and traffic; either may be gone at the end."""
    with Lab() as lab, contextlib.ExitStack() as stack:
        pair = Pair(lab, cipher, outside)
        stack.callback(pair.close)
        fill(pair.server, pair.server_outer)
        for space, there in (
            (pair.server_space, CLIENT_INSIDE),
            (pair.client_space, SERVER_INSIDE),
        ):
            stack.callback(Flood(space, lambda dice, there=there: dice.choice(there)).end)  # type: ignore[misc]
        crossed_at_least_once(pair)
        yield pair


def fill(kernel: Kernel, outer: socket.socket) -> None:
    """A few peers more, with keepalive, some with keys."""
    for number in range(20):
        kernel.peers.new_peer(order(number, Keepalive(1, 60)), outer.fileno())
        if number % 4 == 0:
            kernel.peers.new_key(PeerId(THOUSAND + number), SLOTS[number % 8 // 4], key_pair(0))


def crossed_at_least_once(pair: Pair) -> None:
    """Wait for the first packet from the server."""
    for _ in turns(60):
        if any(state.counters.packets_in for state in pair.client.peers.peers()):
            return
    raise AssertionError("nothing crosses")
