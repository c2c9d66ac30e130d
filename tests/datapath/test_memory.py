"""The fake data path passes the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

import pytest

from ovpn6.datapath.interface import Datapath, Report
from ovpn6.datapath.memory import MemoryDatapath, MemoryNetwork
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import KeyConfirmed, LinkAccepted, LinkClosed
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec, PeerSpec
from tests.datapath.contract import DOWN, DatapathContract, Rig
from tests.datapath.packets import ip_packet, key_pair

HOSTS = (IPv6Address("2001:db8:ffff::1"), IPv6Address("2001:db8:ffff::2"))


class MemoryRig:
    """Two fakes on one network; things happen at once."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.reports: tuple[list[Report], list[Report]] = ([], [])
        ids = iter(range(100, 200))
        self.ends = [
            MemoryDatapath(reports.append, self.network, host, lambda: LinkId(next(ids)))
            for reports, host in zip(self.reports, HOSTS, strict=True)
        ]
        self.datapaths: tuple[Datapath, Datapath] = (self.ends[0], self.ends[1])
        self.locals = [self.open_link(end, 1) for end in (0, 1)]
        for end in self.ends:
            end.open_device(DeviceSpec(), 1420)

    def open_link(self, end: int, link: int) -> Endpoint:
        return run(self.ends[end], link, LinkSpec(Transport.UDP))

    def local(self, end: int) -> Endpoint:
        return self.locals[end]

    def enter(self, end: int, packet: bytes) -> None:
        self.ends[end].enter(packet)

    def delivered(self, end: int) -> list[bytes]:
        return self.ends[end].delivered

    def until(self, condition: Callable[[], bool]) -> None:
        self.network.deliver()
        assert condition(), [end.drops().counts for end in self.ends]

    def close(self) -> None:
        for end in self.ends:
            end.close()


def run(datapath: MemoryDatapath, link: int, spec: LinkSpec) -> Endpoint:
    return asyncio.run(datapath.open_link(LinkId(link), spec))


class TestMemory(DatapathContract):
    def make_rig(self) -> Rig:
        return MemoryRig()


def test_a_lossy_network_loses_what_it_is_told_to() -> None:
    rig = MemoryRig()
    sent: list[bytes] = []

    def lose(source: Endpoint, target: Endpoint, datagram: bytes) -> bool:
        sent.append(datagram)
        return len(sent) % 2 == 1

    rig.network.lose = lose
    for text in (b"\x38one", b"\x38two", b"\x38three"):
        rig.ends[1].send_control(Path(LinkId(1), rig.local(0)), text)
    assert rig.network.deliver() == 1
    assert len(rig.reports[0]) == 1


def test_tcp_accepts_carries_and_ends() -> None:
    rig = MemoryRig()
    server, client = rig.ends
    at = run(server, 2, LinkSpec(Transport.TCP, local_port=443))
    ours = run(client, 2, LinkSpec(Transport.TCP, remote=at))
    accepted = rig.reports[0][0]
    assert accepted == LinkAccepted(LinkId(2), LinkId(100), ours)
    networks = (ip_network("::/0"),)
    server.add_peer(PeerSpec(PeerId(5), 5, Path(LinkId(100), ours), networks))
    client.add_peer(PeerSpec(PeerId(5), 5, Path(LinkId(2), at), networks))
    server.install_key(PeerId(5), KeySlot.PRIMARY, key_pair(0))
    client.install_key(PeerId(5), KeySlot.PRIMARY, key_pair(1))
    server.enter(DOWN)
    rig.network.deliver()
    assert client.delivered == [DOWN]
    assert rig.reports[1] == [KeyConfirmed(PeerId(5), KeyId(0))]
    client.close_link(LinkId(2))
    assert rig.reports[0][-1] == LinkClosed(LinkId(100), "closed by the remote end")
    server.enter(ip_packet("2001:db8::1", "2001:db8::5"))
    assert server.drops().counts == {"send closed link": 1}


def test_a_connection_to_nobody_is_refused() -> None:
    rig = MemoryRig()
    nowhere = Endpoint(HOSTS[0], 444)
    with pytest.raises(HostError):
        run(rig.ends[1], 2, LinkSpec(Transport.TCP, remote=nowhere))


def test_a_port_is_bound_once() -> None:
    rig = MemoryRig()
    with pytest.raises(HostError):
        run(rig.ends[0], 2, LinkSpec(Transport.UDP, local_port=rig.local(0).port))
