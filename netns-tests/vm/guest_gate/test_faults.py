"""Memory that is not there: every request, packet and device is refused whole or served whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

import pytest
from vm.guest_gate.ends import (
    CLIENT,
    LOOPBACK,
    Pair,
    close_quietly,
    device,
    endpoint_of,
    flooded,
    turns,
    udp,
)
from vm.guest_gate.faults import Nth, module_only

from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.lab import Lab
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import Keepalive
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

MOST = 200
"""Allocations of one request; more would mean that nothing fails."""
NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
SECOND = PeerId(2)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A device with many peers, two of which are there, one with a key."""
    with Lab() as lab, udp() as outer:
        made = device("gate-f", lab.namespace("f"), many=True)
        try:
            made.peers.new_peer(order(CLIENT), outer.fileno())
            made.peers.new_key(CLIENT, KeySlot.PRIMARY, key_pair(0))
            yield made
        finally:
            close_quietly(made)


def order(peer: PeerId, keepalive: Keepalive | None = None) -> PeerOrder:
    """A peer that is nowhere."""
    inner = IPv6Address(int(IPv6Address("fd00:2::")) + peer)
    return PeerOrder(peer, Endpoint(LOOPBACK, 9), vpn_ipv6=inner, keepalive=keepalive)


def until_all_is_there(work: Callable[[], object], check: Callable[[], None]) -> int:
    """Fail each allocation of ``work`` in turn; ``check`` what is left each time. How many."""
    nth = Nth()
    try:
        with module_only():
            for number in range(1, MOST):
                with nth.failing(number):
                    try:
                        work()
                        error = 0
                    except HostError as raised:
                        error = raised.errno or 0
                if not nth.happened:
                    assert not error, os.strerror(error)
                    return number - 1
                # What is not needed for the answer may fail in silence: a notification.
                assert error in (0, *NO_MEMORY, errno.ENOENT), os.strerror(error)
                check()
    finally:
        nth.close()
    raise AssertionError("there is no end of it")


def test_a_peer_is_there_or_not(kernel: Kernel) -> None:
    with udp() as outer:
        wanted = order(SECOND, Keepalive(10, 60))

        def check() -> None:
            found = [state.peer for state in kernel.peers.peers()]
            assert found in ([CLIENT], [CLIENT, SECOND])
            kernel.peers.delete_peer(SECOND)
            # The socket is its own again, and can go to another device.
            assert outer.getsockopt(17, 100) == 0

        def work() -> None:
            kernel.peers.new_peer(wanted, outer.fileno())

        failed = until_all_is_there(work, check)
        assert kernel.peers.peer(SECOND) is not None
    print(f"{failed} allocations failed")
    assert failed > 3


def test_a_peer_of_a_device_for_one_is_there_or_not() -> None:
    with Lab() as lab, udp() as outer, udp() as far:
        made = device("gate-f", lab.namespace("f"), many=False)
        try:
            wanted = PeerOrder(SECOND, endpoint_of(far))
            failed = until_all_is_there(
                lambda: made.peers.new_peer(wanted, outer.fileno()),
                lambda: made.peers.delete_peer(SECOND),
            )
            assert [state.peer for state in made.peers.peers()] == [SECOND]
        finally:
            close_quietly(made)
    print(f"{failed} allocations failed")
    assert failed > 3


def test_a_change_is_made_or_not(kernel: Kernel) -> None:
    here, there = (
        order(CLIENT),
        PeerOrder(
            CLIENT,
            Endpoint(LOOPBACK, 10),
            vpn_ipv6=IPv6Address("fd00:2::ffff"),
            keepalive=Keepalive(20, 120),
        ),
    )

    def check() -> None:
        state = kernel.peers.peer(CLIENT)
        assert state is not None
        assert (state.remote, state.vpn_ipv6) in (
            (here.remote, here.vpn_ipv6),
            (there.remote, there.vpn_ipv6),
        )
        kernel.peers.set_peer(here)

    failed = until_all_is_there(lambda: kernel.peers.set_peer(there), check)
    print(f"{failed} allocations failed")
    assert failed


@pytest.mark.parametrize("cipher", ["AES-256-GCM", "CHACHA20-POLY1305"])
def test_a_key_is_there_or_not(kernel: Kernel, cipher: str) -> None:
    def check() -> None:
        old = kernel.peers.key(CLIENT, KeySlot.PRIMARY)
        assert old is not None
        assert old.key_id in (0, 3)
        kernel.peers.new_key(CLIENT, KeySlot.PRIMARY, key_pair(0))

    wanted = key_pair(0, 3, cipher)
    failed = until_all_is_there(
        lambda: kernel.peers.new_key(CLIENT, KeySlot.PRIMARY, wanted), check
    )
    state = kernel.peers.key(CLIENT, KeySlot.PRIMARY)
    assert state is not None
    assert state.key_id == 3
    print(f"{failed} allocations failed")
    assert failed > 3


def test_questions_are_answered_or_not(kernel: Kernel) -> None:
    for ask in (
        lambda: kernel.peers.peer(CLIENT),
        lambda: kernel.peers.peers(),
        lambda: kernel.peers.key(CLIENT, KeySlot.PRIMARY),
    ):
        print(f"{until_all_is_there(ask, lambda: None)} allocations failed")


def test_a_peer_goes_without_memory(kernel: Kernel) -> None:
    with udp() as outer:

        def work() -> None:
            kernel.peers.delete_peer(SECOND)

        def check() -> None:
            assert kernel.peers.peer(SECOND) is None
            kernel.peers.new_peer(order(SECOND), outer.fileno())

        kernel.peers.new_peer(order(SECOND), outer.fileno())
        print(f"{until_all_is_there(work, check)} allocations failed")


def test_a_device_is_there_or_not() -> None:
    with Lab() as lab:
        space = lab.namespace("f")

        def work() -> None:
            close_quietly(device("gate-f", space, many=True))

        def check() -> None:
            assert not space.tunnels()

        print(f"{until_all_is_there(work, check)} allocations failed")


def test_packets_are_lost_and_nothing_else() -> None:
    """Every fifth allocation for a packet or a request fails, in whichever context."""
    with Lab() as lab, udp() as outer:
        pair = Pair(lab)
        try:
            with flooded(pair), module_only(20):
                refused = served = 0
                for turn in turns():
                    try:
                        pair.install(KeySlot.SECONDARY, 1 + turn % 7)
                        pair.server.peers.new_peer(order(SECOND, Keepalive(1, 2)), outer.fileno())
                        served += 1
                    except HostError:
                        refused += 1
                    with contextlib.suppress(HostError):
                        pair.server.peers.delete_peer(SECOND)
            print(f"{served} requests served, {refused} refused")
            assert served
            assert refused
            pair.install(KeySlot.PRIMARY, 0)
            with flooded(pair):
                for _ in turns(1):
                    pair.server.peers.peers()
        finally:
            pair.close()
