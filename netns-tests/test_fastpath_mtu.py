"""The native worker where its datagrams are larger than the path's MTU, which refuses trains."""

from __future__ import annotations

import socket

import pytest

from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, Vnet
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.udp_link import UDP_SEGMENT
from ovpn6.lab.network import Lab
from tests.datapath.inner_packets import Inner
from tests.datapath.native_worker import Alone

NOTICE = 11


def test_a_train_beyond_the_path_mtu_goes_one_by_one_and_is_fragmented() -> None:
    with Lab() as lab:
        namespace = lab.namespace("a")
        namespace.set_up("lo", mtu=1280)
        worker = in_netns(namespace.full_name, Alone)
        with socket.socket(fileno=worker.outside.dup().detach()) as probe:
            probe.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1400)
            with pytest.raises(OSError, match=r"too long|Invalid argument"):
                probe.sendto(bytes(2800), worker.link.getsockname())
            probe.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 0)
        inner = Inner(payload=bytes(range(250)) * 100)
        vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 1340, inner.csum_start, 16)
        packet = inner.super_packet()
        expected = cut(vnet, packet)
        for _ in range(3):
            worker.inside.send(vnet.encode() + packet)
            assert worker.opened(len(expected)) == expected
        assert worker.worker.errors() == {}
        # Another peer's path may be wider: trains are not given up.
        assert worker.reports(NOTICE) == []
        worker.close()
