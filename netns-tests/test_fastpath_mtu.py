"""Trains where their datagrams are larger than the path's MTU, which refuses them."""

from __future__ import annotations

import logging
import socket

import pytest

from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, Vnet
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.udp_link import UDP_SEGMENT, UdpLink
from ovpn6.lab.network import Lab
from ovpn6.model.names import LinkId
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


def test_a_train_of_the_python_link_goes_one_by_one_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")

    def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::1", 0))
        sock.settimeout(10)
        return sock

    with Lab() as lab:
        namespace = lab.namespace("a")
        namespace.set_up("lo", mtu=1280)
        with (
            in_netns(namespace.full_name, bound) as ours,
            in_netns(namespace.full_name, bound) as theirs,
        ):
            counts: dict[str, int] = {}
            link = UdpLink(LinkId(1), ours, lambda *received: None, counts)
            datagrams = [bytes([number]) * 1400 for number in range(20)]
            for _ in range(3):
                link.send(datagrams, theirs.getsockname())
                assert [theirs.recv(2000) for _ in datagrams] == datagrams
        assert counts == {}
    assert "one datagram a send call" not in caplog.text
