"""The clock of the wall is nobody's business here: it may go forth and back under a tunnel."""

from __future__ import annotations

import time

import pytest
from vm.guest_kmod.oracle.scene import HERE, OURS, THERE, scene, seal

from ovpn6.model.specs import Keepalive
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root

DAY = 86_400.0
INSIDE = ip_packet("fd00::2", "fd00::1")


def test_a_step_of_the_clock_disturbs_neither_keepalive_nor_replay() -> None:
    with scene(OURS) as world:
        world.key(world.peer(keepalive=Keepalive(1, 3600)), key_pair(0))
        began = time.monotonic()
        real = time.clock_gettime(time.CLOCK_REALTIME)
        try:
            for number, step in enumerate((2 * DAY, -2 * DAY, 0.0)):
                now = real + step + time.monotonic() - began
                time.clock_settime(time.CLOCK_REALTIME, now)
                ids = (3 * number + 3, 3 * number + 2, 3 * number + 3)
                for packet_id in ids:
                    datagram = seal("AES-256-GCM", 1, packet_id, INSIDE)
                    world.far.sendto(datagram, ("::1", HERE))
                # The newer and the older one; the third was seen.
                assert world.came_out(2) == [INSIDE, INSIDE]
                world.sent(1)
        finally:
            time.clock_settime(time.CLOCK_REALTIME, real + time.monotonic() - began)
        (state,) = world.kernel.peers.peers()
        assert state.counters.packets_in == 6
        assert state.remote is not None
        assert state.remote.port == THERE
