"""The native worker's clock: pings, silence, idleness, worn-out keys. A second or two each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ovpn6.model.addresses import Path
from ovpn6.model.flow import PeerExpired, PeerInactive
from ovpn6.model.names import KeySlot, LinkId, PeerId
from ovpn6.model.specs import Keepalive, PeerSpec
from ovpn6.protocol.data_channel import PING
from tests.datapath.loopback import LoopbackRig, natively
from tests.datapath.native_worker import PEER, WORN_OUT, alone
from tests.datapath.packets import ip_packet, key_pair

pytest.importorskip("ovpn6.datapath.fastpath._fastpath")

ID = PeerId(5)


@pytest.fixture
def rig() -> Iterator[LoopbackRig]:
    made = LoopbackRig(natively())
    for end in (0, 1):
        made.datapaths[end].add_peer(spec(made, end))
        made.datapaths[end].install_key(ID, KeySlot.PRIMARY, key_pair(end))
    yield made
    made.close()


def spec(rig: LoopbackRig, end: int) -> PeerSpec:
    return PeerSpec(ID, ID, Path(LinkId(1), rig.local(1 - end)), (ip_network("::/0"),))


def test_silence_is_broken_by_a_ping_that_keeps_the_other_end_quiet(rig: LoopbackRig) -> None:
    rig.datapaths[1].update_peer(replace(spec(rig, 1), keepalive=Keepalive(1, 0)))
    rig.datapaths[0].update_peer(replace(spec(rig, 0), keepalive=Keepalive(0, 3)))
    rig.until(lambda: rig.datapaths[0].counters(ID).link_in >= 3 * (24 + len(PING)))
    assert rig.datapaths[0].counters(ID).packets_in == 0
    assert rig.datapaths[1].counters(ID).packets_out == 0
    assert PeerExpired(ID) not in rig.reports[0]
    assert rig.delivered(0) == []


def test_a_peer_that_says_nothing_expires_once_and_again_after_it_spoke(rig: LoopbackRig) -> None:
    rig.datapaths[0].update_peer(replace(spec(rig, 0), keepalive=Keepalive(0, 1)))
    rig.until(lambda: PeerExpired(ID) in rig.reports[0])
    rig.enter(1, ip_packet("2001:db8::5", "2001:db8::1"))
    rig.until(lambda: rig.reports[0].count(PeerExpired(ID)) == 2)
    assert rig.reports[1] == []


def test_too_little_traffic_is_told(rig: LoopbackRig) -> None:
    idle = replace(spec(rig, 0), inactive_after=1, inactive_bytes=10_000)
    rig.datapaths[0].update_peer(idle)
    rig.enter(1, ip_packet("2001:db8::5", "2001:db8::1"))
    rig.until(lambda: PeerInactive(ID) in rig.reports[0])


def test_a_key_that_has_done_enough_is_told_once() -> None:
    with alone(vnet=False, usage=80) as worker:
        packet = ip_packet("2001:db8::1", "2001:db8::5", bytes(1000))
        worker.inside.send(packet)
        worker.opened(1)
        worker.inside.send(packet)
        worker.opened(1)
        told: list[tuple[object, ...]] = []
        worker.until(lambda: bool(told.extend(worker.reports(WORN_OUT)) or told))
        assert [(report[2], report[3]) for report in told] == [(PEER, 0)]
