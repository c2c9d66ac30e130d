"""Outer flow labels of the native worker: the reference's, for each train and each flow."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from ovpn6.datapath.offload.flow_label import FlowLabels
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, WHOLE, Vnet
from tests.datapath.inner_packets import TCP, UDP, Inner
from tests.datapath.native_worker import Alone, alone

SECRET = bytes(range(16))
IPV6_FLOWINFO = 11


@pytest.fixture
def worker() -> Iterator[Alone]:
    with alone(flow_secret=SECRET) as made:
        made.outside.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO, 1)
        yield made


def labels(worker: Alone, count: int) -> list[int]:
    """Of so many datagrams, in the order they came."""
    taken: list[int] = []

    def enough() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, [(_, kind, info)], _, _ = worker.outside.recvmsg(1 << 16, 64)
                assert kind == IPV6_FLOWINFO
                taken.append(int.from_bytes(info, "big") & 0xFFFFF)
        return len(taken) >= count

    worker.until(enough, worker.outside)
    return taken


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_eight_flows_have_eight_labels_and_each_keeps_its_own(
    worker: Alone, version: int, protocol: int
) -> None:
    packets = [
        Inner(version, protocol, bytes(100), flow, sequence=number).encode()
        for number in range(3)
        for flow in range(8)
    ]
    for packet in packets:
        worker.inside.send(WHOLE + packet)
    expected = [FlowLabels(SECRET).label(packet) for packet in packets]
    # Flows of one turn may leave in one order only: that of the tunnel.
    assert labels(worker, len(packets)) == expected
    assert len(set(expected)) == 8


def test_all_segments_of_a_super_packet_have_one_label(worker: Alone) -> None:
    inner = Inner(payload=bytes(20_000), flow=2)
    vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 1000, inner.csum_start, 16)
    worker.inside.send(vnet.encode() + inner.super_packet())
    assert labels(worker, 20) == [FlowLabels(SECRET).label(inner.encode())] * 20


def test_a_super_packet_of_several_trains_has_one_label_too(worker: Alone) -> None:
    inner = Inner(payload=bytes(65_000), flow=2)
    vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 500, inner.csum_start, 16)
    worker.inside.send(vnet.encode() + inner.super_packet())
    assert labels(worker, 130) == [FlowLabels(SECRET).label(inner.encode())] * 130


def test_unasked_the_label_is_the_kernels_and_one_for_the_peer() -> None:
    with alone() as worker:
        worker.outside.setsockopt(socket.IPPROTO_IPV6, IPV6_FLOWINFO, 1)
        for flow in range(8):
            worker.inside.send(WHOLE + Inner(flow=flow).encode())
        assert len(set(labels(worker, 8))) == 1


def test_a_secret_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="arguments"):
        Alone(flow_secret=bytes(15))
