"""The slow clock in virtual time, over the memory data path."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv6Address, ip_network

import pytest

from ovpn6.datapath.interface import Report
from ovpn6.datapath.keepalive import Keepalive as Clock
from ovpn6.datapath.memory import MemoryDatapath, MemoryNetwork
from ovpn6.datapath.peers import KeyPair, PeerTable
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import KeyWornOut, PeerExpired, PeerInactive
from ovpn6.model.names import Instant, KeyId, KeySlot, LinkId, PacketId, PeerId, Transport
from ovpn6.model.specs import DataFormat, DeviceSpec, Framing, Keepalive, LinkSpec, PeerSpec
from ovpn6.protocol.data_channel import (
    PING,
    ReceiveKey,
    ReplayWindow,
    SendKey,
    UsageLimits,
    frame,
)
from ovpn6.protocol.epoch_channel import RENEGOTIATE_EPOCH, EpochSendKey
from tests.datapath.packets import ip_packet, key_pair

HERE, THERE = IPv6Address("2001:db8:ffff::1"), IPv6Address("2001:db8:ffff::2")
REMOTE = Endpoint(THERE, 1194)
SPEC = PeerSpec(PeerId(5), 5, Path(LinkId(1), REMOTE), (ip_network("::/0"),))
DOWN = ip_packet("2001:db8::1", "2001:db8::5")
UP = ip_packet("2001:db8::5", "2001:db8::1")


class Bench:
    """One data path; what it sends is caught, what it hears is made by hand."""

    def __init__(self, spec: PeerSpec) -> None:
        self.sent: list[bytes] = []
        self.reports: list[Report] = []
        self.now = 0
        network = MemoryNetwork()
        network.lose = self._catch
        self.network = network
        self.path = MemoryDatapath(self.reports.append, network, HERE, lambda: LinkId(9))
        self.path.open_device(DeviceSpec(), 1420)
        self.local = asyncio.run(self.path.open_link(LinkId(1), LinkSpec(Transport.UDP)))
        self.other = MemoryDatapath(lambda report: None, network, THERE, lambda: LinkId(9))
        at = LinkSpec(Transport.UDP, local_port=REMOTE.port)
        asyncio.run(self.other.open_link(LinkId(1), at))
        self.path.add_peer(spec)
        self.path.install_key(PeerId(5), KeySlot.PRIMARY, key_pair(0))
        self.remote_key = SendKey(key_pair(1), 5)

    def _catch(self, source: Endpoint, target: Endpoint, datagram: bytes) -> bool:
        if target == REMOTE:
            self.sent.append(datagram)
            return True
        return False

    def hear(self, payload: bytes) -> None:
        """The peer sends something authentic."""
        datagram = self.remote_key.seal(payload)
        self.other.send_control(Path(LinkId(1), self.local), datagram)
        self.network.deliver()

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.path.tick(Instant(self.now))
            self.network.deliver()

    def count(self, kind: type[Report]) -> int:
        return sum(isinstance(report, kind) for report in self.reports)


def test_silence_is_filled_with_pings() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(interval=10)))
    bench.run(35)
    opener = ReceiveKey(key_pair(1))
    assert [opener.open(datagram) for datagram in bench.sent] == [PING] * 3


def test_traffic_takes_the_place_of_pings() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(interval=10)))
    for _ in range(10):
        bench.path.enter(DOWN)
        bench.run(5)
    opener = ReceiveKey(key_pair(1))
    assert [opener.open(datagram) for datagram in bench.sent] == [DOWN] * 10


@pytest.mark.parametrize("framing", list(Framing))
def test_pings_are_framed_like_packets(framing: Framing) -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(interval=1), framing=framing))
    bench.run(2)
    assert ReceiveKey(key_pair(1)).open(bench.sent[0]) == frame(framing, PING)
    assert bench.path.counters(PeerId(5)).packets_out == 0
    assert bench.path.counters(PeerId(5)).bytes_out == 0


def test_pings_do_not_count_as_packets() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(interval=1)))
    bench.run(5)
    counters = bench.path.counters(PeerId(5))
    assert len(bench.sent) > 2
    assert (counters.packets_out, counters.bytes_out) == (0, 0)
    assert counters.link_out == 40 * len(bench.sent)


def test_a_silent_peer_expires_once_and_again_after_a_sign_of_life() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(timeout=30)))
    bench.run(29)
    assert bench.count(PeerExpired) == 0
    bench.run(30)
    assert bench.reports == [PeerExpired(PeerId(5))]
    bench.hear(PING)
    bench.run(29)
    assert bench.count(PeerExpired) == 1
    bench.run(5)
    assert bench.count(PeerExpired) == 2


def test_a_forged_packet_is_no_sign_of_life() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(timeout=30)))
    for _ in range(40):
        forged = b"\x48\0\0\x05" + bytes(60)
        bench.other.send_control(Path(LinkId(1), bench.local), forged)
        bench.run(1)
    assert bench.count(PeerExpired) == 1


def test_a_peer_without_a_key_has_no_clock() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(1, 5)))
    bench.path.drop_key(PeerId(5), KeySlot.PRIMARY)
    bench.run(60)
    assert bench.reports == []
    assert bench.sent == []


def test_pings_keep_a_peer_alive_but_not_active() -> None:
    bench = Bench(replace(SPEC, keepalive=Keepalive(timeout=30), inactive_after=20))
    for _ in range(60):
        bench.hear(PING)
        bench.run(1)
    assert bench.count(PeerExpired) == 0
    assert bench.count(PeerInactive) == 1


def test_too_little_traffic_is_inactivity_and_enough_is_not() -> None:
    for octets, expected in ((len(DOWN) * 10, 0), (len(DOWN) * 10 + 1, 1)):
        bench = Bench(replace(SPEC, inactive_after=20, inactive_bytes=octets))
        for _ in range(30):
            bench.path.enter(DOWN)
            bench.run(2)
        assert min(1, bench.count(PeerInactive)) == expected


def test_a_key_in_a_late_epoch_is_worn_out() -> None:
    reports: list[Report] = []
    peers = PeerTable()
    peer = peers.add(SPEC, None)
    clock = Clock(peers, reports.append, lambda peer, datagrams: None, {})
    key = KeyPair(key_pair(0, data_format=DataFormat.EPOCH), 5, ReplayWindow)
    peer.install(KeySlot.PRIMARY, key)
    clock.tick(Instant(1))
    assert reports == []
    assert isinstance(key.send, EpochSendKey)
    key.send.reach(RENEGOTIATE_EPOCH)
    clock.tick(Instant(2))
    assert reports == [KeyWornOut(PeerId(5), KeyId(0))]


def test_overuse_by_the_other_end_is_noticed_within_a_second() -> None:
    peers = PeerTable()
    peer = peers.add(SPEC, None)
    clock = Clock(peers, lambda event: None, lambda peer, datagrams: None, {})
    material = key_pair(0, data_format=DataFormat.EPOCH)
    key = KeyPair(material, 5, ReplayWindow, UsageLimits(usage=10))
    peer.install(KeySlot.PRIMARY, key)
    remote = EpochSendKey(key_pair(1, data_format=DataFormat.EPOCH), 5, UsageLimits(usage=None))
    key.receive.open(remote.seal(bytes(1000)))
    clock.tick(Instant(1))
    assert isinstance(key.send, EpochSendKey)
    assert key.send.epoch == 2


def test_a_worn_out_key_is_reported_once() -> None:
    reports: list[Report] = []
    peers = PeerTable()
    peer = peers.add(SPEC, None)
    clock = Clock(peers, reports.append, lambda peer, datagrams: None, {})
    old, new = (KeyPair(key_pair(0, key_id), 5, ReplayWindow) for key_id in (0, 1))
    peer.install(KeySlot.PRIMARY, old)
    clock.tick(Instant(1))
    assert reports == []
    assert isinstance(old.send, SendKey)
    old.send.packet_id = PacketId(0xFF000000)
    clock.tick(Instant(2))
    clock.tick(Instant(3))
    assert reports == [KeyWornOut(PeerId(5), KeyId(0))]
    peer.install(KeySlot.SECONDARY, new)
    peer.swap()
    clock.tick(Instant(4))
    assert len(reports) == 1


def test_a_packet_that_was_overtaken_long_ago_is_dropped() -> None:
    bench = Bench(SPEC)
    late = bench.remote_key.seal(UP)
    bench.hear(UP)
    bench.run(40)
    bench.other.send_control(Path(LinkId(1), bench.local), late)
    bench.network.deliver()
    assert bench.path.drops().counts["data replay"] == 1
