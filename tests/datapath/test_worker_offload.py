"""The Python worker with vnet headers: a socket pair of datagrams stands for the TUN device."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network

import pytest

from ovpn6.datapath.core import DatapathCore
from ovpn6.datapath.links import Link
from ovpn6.datapath.memory import CAPABILITIES, MemoryDatapath, MemoryLink, MemoryNetwork
from ovpn6.datapath.offload.vnet import (
    GSO_TCPV6,
    NEEDS_CSUM,
    VNET_SIZE,
    WHOLE,
    Vnet,
    decode_vnet,
)
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import Framing, PeerSpec
from ovpn6.protocol.data_channel import ReceiveKey, ReplayWindow, SendKey, unframe
from tests.datapath.inner_packets import ACK, PSH, UDP, Inner
from tests.datapath.packets import key_pair

HERE, THERE = Endpoint(IPv6Address("::1"), 1), Endpoint(IPv6Address("::2"), 2)


class RecordingLink(MemoryLink):
    """Keeps what is sent: the datagrams of each call and its traffic class."""

    def __init__(self) -> None:
        owner = MemoryDatapath(
            lambda report: None, MemoryNetwork(), HERE.address, lambda: LinkId(9)
        )
        super().__init__(owner, LinkId(1), Transport.UDP, HERE, None)
        self.sent: list[tuple[list[bytes], int]] = []

    def send(
        self,
        datagrams: Sequence[bytes],
        source: object,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        self.sent.append((list(datagrams), traffic_class))


class VnetDevice(DatapathCore):
    """A core with one peer; ``waiting`` is what the tunnel gives, ``written`` what it takes."""

    def __init__(self, **spec: object) -> None:
        self.waiting: list[bytes] = []
        self.written: list[bytes] = []
        self.link = RecordingLink()
        super().__init__(
            CAPABILITIES,
            lambda report: None,
            lambda: 0.0,
            ReplayWindow,
            lambda error: None,
            self._read,
            lambda descriptor, packet: len(packet),
        )
        self._worker.tunnel = 3
        self._worker.use_vnet(self._write, True)
        path = Path(LinkId(1), THERE)
        self.add_peer(PeerSpec(PeerId(5), 5, path, (ip_network("::/0"),), **spec))  # type: ignore[arg-type]
        self.install_key(PeerId(5), KeySlot.PRIMARY, key_pair(0))
        self.seal = SendKey(key_pair(1), 5).seal
        self.opened = ReceiveKey(key_pair(1))

    def enter(self, *reads: bytes) -> list[bytes]:
        """The inner packets that go out after these reads of the tunnel, in all."""
        self.waiting = list(reads)
        self._worker.tunnel_readable()
        return [self.opened.open(one) for sent, _ in self.link.sent for one in sent]

    def arrive(self, packets: Sequence[bytes], traffic_class: int = 0) -> None:
        datagrams = [self.seal(packet) for packet in packets]
        self._worker.received(self.link, datagrams, THERE, traffic_class)

    def flush(self) -> None:
        self._worker.flush()

    def copy_dscp(self) -> None:
        self._worker.copy_dscp = True

    def _find_link(self, link: LinkId) -> Link | None:
        return self.link

    def _read(self, descriptor: int, size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)

    def _write(self, descriptor: int, parts: Sequence[bytes]) -> int:
        self.written.append(b"".join(parts))
        return len(self.written[-1])


def super_read(payload: int, **fields: object) -> bytes:
    """A read of the tunnel with ``payload`` octets of TCP, to be cut into 1,000 each."""
    inner = Inner(payload=bytes(payload), **fields)  # type: ignore[arg-type]
    return Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 1000, 40, 16).encode() + inner.super_packet()


def segments(number: int, **fields: object) -> list[bytes]:
    return [
        Inner(payload=bytes(1000), sequence=1000 * at, **fields).encode()  # type: ignore[arg-type]
        for at in range(number)
    ]


def test_a_super_packet_goes_out_as_one_run_of_segments() -> None:
    device = VnetDevice()
    assert device.enter(super_read(10_000)) == segments(10)
    assert [len(sent) for sent, _ in device.link.sent] == [10]
    assert device.counters(PeerId(5)).packets_out == 10


def test_super_packets_of_one_peer_go_out_together() -> None:
    device = VnetDevice()
    device.enter(super_read(5000), super_read(5000), WHOLE + Inner().encode())
    assert [len(sent) for sent, _ in device.link.sent] == [11]


def test_a_checksum_that_is_wanted_is_completed() -> None:
    device = VnetDevice()
    inner = Inner(6, UDP, b"x")
    read = Vnet(NEEDS_CSUM, 0, 0, 0, 40, 6).encode() + inner.super_packet()
    assert device.enter(read) == [inner.encode()]


@pytest.mark.parametrize(
    "read", [b"", b"short", WHOLE, Vnet(gso_type=77).encode() + Inner().encode()]
)
def test_a_read_that_makes_no_sense_is_counted(read: bytes) -> None:
    device = VnetDevice()
    assert device.enter(read, WHOLE + Inner().encode()) == [Inner().encode()]
    assert device.drops().counts == {"tunnel not IP": 1}


def test_a_framed_peer_gets_each_segment_framed() -> None:
    device = VnetDevice(framing=Framing.STUB)
    payloads = device.enter(super_read(3000))
    assert [unframe(Framing.STUB, payload) for payload in payloads] == segments(3)


def test_segments_that_arrive_are_written_at_once_after_the_last_call() -> None:
    device = VnetDevice()
    packets = segments(10)
    device.arrive(packets[:6])
    device.arrive(packets[6:])
    assert device.written == []
    device.flush()
    [written] = device.written
    assert decode_vnet(written).gso_size == 1000
    assert len(written) == VNET_SIZE + 60 + 10_000
    assert device.counters(PeerId(5)).packets_in == 10


def test_a_pushed_segment_is_written_without_waiting() -> None:
    device = VnetDevice()
    device.arrive([Inner(payload=b"x", flags=ACK | PSH).encode()])
    assert len(device.written) == 1


def test_packets_outside_share_a_call_only_within_one_class() -> None:
    device = VnetDevice(copy_ecn=True)
    device.copy_dscp()
    reads = [super_read(2000, traffic_class=value) for value in (0xB8, 0xBA, 0xBA)]
    device.enter(*reads)
    assert [(len(sent), value) for sent, value in device.link.sent] == [(2, 0xB8), (4, 0xBA)]


def test_nothing_of_the_class_is_copied_unasked() -> None:
    device = VnetDevice()
    device.enter(super_read(2000, traffic_class=0xBB), super_read(2000))
    assert [(len(sent), value) for sent, value in device.link.sent] == [(4, 0)]


def test_congestion_outside_is_marked_inside_or_drops() -> None:
    device = VnetDevice()
    device.arrive([Inner(traffic_class=2).encode(), Inner(traffic_class=0).encode()], 3)
    assert device.written == [WHOLE + Inner(traffic_class=3).encode()]
    assert device.drops().counts == {"inner without ECN met congestion": 1}
