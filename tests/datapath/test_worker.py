"""The hot loop where a contract test cannot reach: errors of the device."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

import pytest

from ovpn6.datapath.core import DatapathCore
from ovpn6.datapath.links import Link
from ovpn6.datapath.memory import CAPABILITIES, MemoryDatapath, MemoryLink, MemoryNetwork
from ovpn6.datapath.worker import MOST_CONTROL, MOST_MOVES, TUNNEL_BUDGET
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import ControlReceived, Input, PeerFloated
from ovpn6.model.names import KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import PeerSpec
from ovpn6.protocol.data_channel import ReplayWindow, SendKey
from tests.datapath.packets import ip_packet, key_pair

HERE, THERE = Endpoint(IPv6Address("::1"), 1), Endpoint(IPv6Address("::2"), 2)


class FaultyDevice(DatapathCore):
    """A core whose device fails with ``error`` and otherwise always has a packet."""

    def __init__(self, error: int = 0) -> None:
        self.network = MemoryNetwork()
        self.error = error
        self.reads = 0
        self.writes = 0
        self.lost: list[int | None] = []
        self.reports: list[Input] = []
        owner = MemoryDatapath(lambda report: None, self.network, HERE.address, lambda: LinkId(9))
        self.link = MemoryLink(owner, LinkId(1), Transport.UDP, HERE, None)
        super().__init__(
            CAPABILITIES,
            self.reports.append,
            lambda: 0.0,
            ReplayWindow,
            self._device_lost,
            self._read,
            self._write,
        )
        self._worker.tunnel = 3
        self.readable: Callable[[], None] = self._worker.tunnel_readable
        self.add_peer(PeerSpec(PeerId(5), 5, Path(LinkId(1), THERE), (ip_network("::/0"),)))
        self.install_key(PeerId(5), KeySlot.PRIMARY, key_pair(0))

    def arrive(self, datagram: bytes, source: Endpoint = THERE, traffic_class: int = 0) -> None:
        self._worker.received(self.link, (datagram,), source, traffic_class)

    def _device_lost(self, error: OSError) -> None:
        self.lost.append(error.errno)
        self._worker.tunnel = -1

    def _find_link(self, link: LinkId) -> Link | None:
        return self.link

    def _read(self, descriptor: int, size: int) -> bytes:
        self.reads += 1
        if self.error:
            raise OSError(self.error, "injected")
        return ip_packet("2001:db8::1", "2001:db8::5")

    def _write(self, descriptor: int, packet: bytes) -> int:
        self.writes += 1
        raise OSError(self.error, "injected")


@pytest.mark.parametrize("number", [errno.EBADFD, errno.ENODEV])
def test_a_device_that_was_deleted_is_lost_at_once(number: int) -> None:
    device = FaultyDevice(number)
    device.readable()
    assert device.lost == [number]
    assert device.reads == 1


def test_a_device_that_was_deleted_is_noticed_on_writing_too() -> None:
    device = FaultyDevice(errno.EBADFD)
    seal = SendKey(key_pair(1), 5).seal
    for _ in range(3):
        device.arrive(seal(ip_packet("2001:db8::5", "2001:db8::1")))
    assert device.lost == [errno.EBADFD]


def test_a_device_that_is_down_only_drops() -> None:
    device = FaultyDevice(errno.EIO)
    seal = SendKey(key_pair(1), 5).seal
    device.arrive(seal(ip_packet("2001:db8::5", "2001:db8::1")))
    assert device.lost == []
    assert device.drops().counts == {"tunnel write EIO": 1}


def test_a_tunnel_that_is_never_empty_does_not_hold_the_loop() -> None:
    device = FaultyDevice()
    device.readable()
    assert device.reads == TUNNEL_BUDGET
    assert device.counters(PeerId(5)).packets_out == TUNNEL_BUDGET


def test_a_peer_that_keeps_moving_is_told_of_a_few_times_and_loses_nothing() -> None:
    device = FaultyDevice()
    seal = SendKey(key_pair(1), 5).seal
    for number in range(200):
        device.arrive(
            seal(ip_packet("2001:db8::5", "2001:db8::1")), Endpoint(THERE.address, 1 + number % 2)
        )
    moves = [report for report in device.reports if isinstance(report, PeerFloated)]
    assert len(moves) == MOST_MOVES
    assert device.drops().counts["data moves too often"] > 0
    assert device.writes == 200


def test_a_control_packet_longer_than_any_is_not_passed_on() -> None:
    device = FaultyDevice()
    device.arrive(b"\x38" + bytes(MOST_CONTROL - 1))
    device.arrive(b"\x38" + bytes(MOST_CONTROL))
    [passed] = device.reports
    assert isinstance(passed, ControlReceived)
    assert device.drops().counts == {"control packet too long": 1}
