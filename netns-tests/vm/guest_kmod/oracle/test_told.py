"""Both modules tell the same, in the same octets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from vm.guest_kmod.oracle.raw import number
from vm.guest_kmod.oracle.scene import BOTH, HERE, Scene, scene, seal

from ovpn6.datapath.ovpn_netlink.messages import Command, DeleteReason
from ovpn6.model.names import PeerId
from ovpn6.model.specs import Keepalive
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

_DEL_REASON, _ID = 2 << 8 | 15, 2 << 8 | 1


def _removed(world: Scene) -> None:
    world.kernel.peers.delete_peer(world.peer())


def _replaced(world: Scene) -> None:
    world.peer(1)
    world.peer(2)


def _expired(world: Scene) -> None:
    world.key(world.peer(keepalive=Keepalive(1, 1)), key_pair(0))


def _closed(world: Scene) -> None:
    world.peer()
    world.outer.close()


def _gone(world: Scene) -> None:
    world.peer()
    world.kernel.device.remove()


_WAYS: dict[DeleteReason, Callable[[Scene], None]] = {
    DeleteReason.USERSPACE: _removed,
    DeleteReason.TEARDOWN: _replaced,
    DeleteReason.EXPIRED: _expired,
    DeleteReason.TRANSPORT_DISCONNECT: _closed,
}


@pytest.mark.parametrize("reason", _WAYS, ids=lambda reason: reason.name)
def test_the_end_of_a_peer_is_told_alike(reason: DeleteReason) -> None:
    told = []
    for name in BOTH:
        with scene(name) as world:
            _WAYS[reason](world)
            told.append(world.told(1))
    assert told[0] == told[1]
    said = ((_ID, number(1)), (_DEL_REASON, number(reason)))
    assert told[0] == [(Command.PEER_DEL_NTF, said)]


def test_peers_that_go_with_their_device_are_told_alike() -> None:
    told = []
    for name in BOTH:
        with scene(name) as world:
            _gone(world)
            told.append(world.told(1))
    assert told[0] == told[1]


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"], ids=["ipv6", "ipv4"])
def test_a_peer_that_moved_is_told_alike(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    told = []
    for name in BOTH:
        with scene(name) as world, socket.socket(family, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind((address, 40_003))
            world.key(world.peer(), key_pair(0))
            inside = ip_packet("fd00::2", "fd00::1")
            world.far.sendto(seal("AES-256-GCM", 1, 1, inside), ("::1", HERE))
            elsewhere.sendto(seal("AES-256-GCM", 1, 2, inside), (address, HERE))
            told.append(world.told(1))
            world.enter(ip_packet("fd00::1", "fd00::2"))
            elsewhere.settimeout(20)
            told[-1].append((0, elsewhere.recv(65536)))
            world.kernel.peers.delete_peer(PeerId(1))
    assert told[0] == told[1]
    ((command, said), _) = told[0]
    assert command == Command.PEER_FLOAT_NTF
    assert dict(said)[2 << 8 | 5] == struct.pack(">H", 40_003)  # type: ignore[call-overload]
