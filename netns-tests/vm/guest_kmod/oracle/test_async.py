"""A cipher that completes later: packets, keys and peers come and go meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from vm.guest_kmod.kernel_ciphers import DELETE, NEW, best, order, registered
from vm.guest_kmod.oracle.scene import HERE, MAINLINE, OURS, scene, seal, wait

from ovpn6.lab.process import run
from ovpn6.model.names import KeySlot
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

CIPHERS = {"AES-256-GCM": "gcm(aes)", "CHACHA20-POLY1305": "rfc7539(chacha20,poly1305)"}
WRAPPERS = ("cryptd", "pcrypt")
"""What makes another cipher asynchronous; a kernel has the one, the other, or both."""
PACKETS = 300


@pytest.fixture(params=CIPHERS)
def asynchronous(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A cipher's name in OpenVPN, and the driver that the kernel takes for it: one that is
    asynchronous and comes before all others."""
    cipher = str(request.param)
    name = CIPHERS[cipher]
    run(["modprobe", "crypto_user"])
    # What is best is there when it was used once.
    with scene(OURS) as world:
        world.key(world.peer(), key_pair(0, 0, cipher))
    for wrapper in WRAPPERS:
        run(["modprobe", "-q", wrapper], check=False)
        driver = f"{wrapper}({best(name)['driver']})"
        error = order(NEW, name, driver, 1_000_000)
        if not error:
            break
        assert error == errno.ENOENT, os.strerror(error)
    else:
        pytest.fail(f"this kernel has neither of {WRAPPERS}")
    chosen = best(name)
    assert chosen["async"] == "yes", chosen
    yield cipher, chosen["driver"]
    # Keys are freed a while after they went.
    wait(lambda: order(DELETE, name, chosen["driver"], None) == 0, "the cipher goes")


def _users(driver: str) -> int:
    return int(registered()[driver]["refcnt"])


@pytest.mark.parametrize("module", [OURS, MAINLINE])
def test_packets_cross_where_the_cipher_completes_later(
    asynchronous: tuple[str, str], module: str
) -> None:
    cipher, driver = asynchronous
    inside = [ip_packet("fd00::2", "fd00::1", b"%d" % number) for number in range(PACKETS)]
    out = [ip_packet("fd00::1", "fd00::2", b"%d" % number) for number in range(PACKETS)]
    with scene(module) as world:
        before = _users(driver)
        peer = world.peer()
        world.key(peer, key_pair(0, 0, cipher))
        assert _users(driver) == before + 2
        for number, packet in enumerate(inside, start=1):
            world.far.sendto(seal(cipher, 1, number, packet), ("::1", HERE))
            if number % 20 == 0:
                assert sorted(world.came_out(20)) == sorted(inside[number - 20 : number])
        for number, packet in enumerate(out, start=1):
            world.enter(packet)
            if number % 20 == 0:
                ids = sorted(int.from_bytes(sent[4:8], "big") for sent in world.sent(20))
                assert ids == list(range(number - 19, number + 1))
        (state,) = world.kernel.peers.peers()
        assert (state.counters.packets_in, state.counters.packets_out) == (PACKETS, PACKETS)


def test_keys_and_peers_go_while_packets_are_with_the_cipher(
    asynchronous: tuple[str, str],
) -> None:
    cipher, driver = asynchronous
    before = _users(driver)
    inside = ip_packet("fd00::2", "fd00::1", bytes(1300))
    for _ in range(10):
        with scene(OURS) as world:
            peer = world.peer()
            world.key(peer, key_pair(0, 0, cipher))
            for number in range(1, 40):
                world.far.sendto(seal(cipher, 1, number, inside), ("::1", HERE))
                world.enter(inside)
                if number % 10 == 0:
                    world.key(peer, key_pair(0, 0, cipher))
                    world.kernel.peers.delete_key(peer, KeySlot.SECONDARY)
            world.kernel.peers.delete_peer(peer)
    run(["rmmod", "ovpn6"])
    assert _users(driver) == before
    run(["insmod", f"{os.environ['VM_RESULTS']}/ovpn6.ko"])
