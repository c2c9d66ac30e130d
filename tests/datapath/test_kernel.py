"""What the kernel's data path makes of what the kernel says, over a fake of the kernel."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest

from ovpn6.datapath.interface import Report
from ovpn6.datapath.kernel import KernelDatapath
from ovpn6.datapath.ovpn_netlink.messages import DeleteReason
from ovpn6.datapath.ovpn_netlink.records import KeyUsedUp, PeerDeleted, PeerMoved
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    DeviceLost,
    FloatConflict,
    KeyWornOut,
    PeerExpired,
    PeerFloated,
    PeerInactive,
)
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import (
    DataFormat,
    DeviceSpec,
    FamilyFit,
    Keepalive,
    LinkSpec,
    PeerCounters,
    PeerFit,
    PeerSpec,
)
from tests.datapath.kernel_fake import INDEX, FakeKernel, HandLoop
from tests.datapath.packets import key_pair

LOOPBACK = IPv6Address("::1")
LINK = LinkId(1)
ONE, TWO = PeerId(1), PeerId(2)


class Rig:
    """A data path with one UDP socket over a fake kernel."""

    def __init__(
        self,
        *,
        many_peers: bool = True,
        floats: bool = True,
        makes_routes: bool = True,
        name: str = "ovpn",
    ) -> None:
        self.loop = HandLoop()
        self.kernel = FakeKernel(many_peers=many_peers, floats=floats, makes_routes=makes_routes)
        self.reports: list[Report] = []
        opened: Any = self.kernel
        self.path = KernelDatapath(
            self.reports.append,
            self.loop,
            lambda spec: opened,
            lambda: LinkId(99),
            many_peers=many_peers,
            name=name,
        )
        self.path.open_device(DeviceSpec(), 1420)
        spec = LinkSpec(Transport.UDP, local_address=LOOPBACK)
        asyncio.run(self.path.open_link(LINK, spec))

    def tell(self, *notifications: PeerDeleted | KeyUsedUp | PeerMoved) -> None:
        """The kernel says so."""
        self.kernel.news.waiting.extend(notifications)
        self.loop.readers[self.kernel.news.fileno()]()

    def device_happens(self) -> None:
        self.loop.readers[self.kernel.device.fileno()]()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.path.close()


def remote(number: int) -> Endpoint:
    return Endpoint(LOOPBACK, 20_000 + number)


def spec_of(number: PeerId, *more: str) -> PeerSpec:
    """A client with both addresses, and what is behind it."""
    texts = (f"2001:db8::{number}/128", f"192.0.2.{number}/32", *more)
    networks = tuple(ip_network(text) for text in texts)
    return PeerSpec(number, int(number), Path(LINK, remote(number)), networks)


# --- what the kernel is told --------------------------------------------------------------------


def test_a_client_is_known_by_its_first_address_of_each_family(rig: Rig) -> None:
    more = ("2001:db8:5::/48", "198.51.100.0/24", "2001:db8:6::1/128")
    rig.path.add_peer(spec_of(ONE, *more))
    state = rig.kernel.peers.states[ONE]
    assert (state.vpn_ipv6, state.vpn_ipv4) == (
        IPv6Address("2001:db8::1"),
        IPv4Address("192.0.2.1"),
    )
    assert rig.kernel.routes.held[ONE] == {
        ip_network("2001:db8:5::/48"): IPv6Address("2001:db8::1"),
        ip_network("198.51.100.0/24"): IPv4Address("192.0.2.1"),
        ip_network("2001:db8:6::1/128"): IPv6Address("2001:db8::1"),
    }


def test_networks_behind_a_client_get_the_mtus_of_its_path(rig: Rig) -> None:
    behind = ("2001:db8:5::/48", "198.51.100.0/24", "2001:db8:6::1/128")
    networks = spec_of(ONE, *behind).networks
    fit = PeerFit(ONE, networks, FamilyFit(1300, 1240), FamilyFit(None, 1260))
    # Before the client is known, so that no packet goes without.
    assert rig.path.fit_routes(ONE, fit) == {ip_network(text) for text in behind}
    assert rig.kernel.routes.mtus == {ONE: {6: 1300, 4: None}}
    assert rig.path.fit_routes(ONE, None) == frozenset()
    assert rig.kernel.routes.mtus == {ONE: {}}


def test_where_the_module_knows_prefixes_the_host_has_all_routes() -> None:
    rig = Rig(makes_routes=False, name="ovpn6")
    assert rig.path.capabilities.name == "kernel (ovpn6)"
    spec = spec_of(ONE, "2001:db8:5::/48")
    rig.path.add_peer(spec)
    assert ip_network("2001:db8:5::/48") in rig.kernel.routes.held[ONE]
    fit = PeerFit(ONE, spec.networks, FamilyFit(1300, 1240), FamilyFit(None, 1260))
    assert rig.path.fit_routes(ONE, fit) == frozenset()
    assert rig.kernel.routes.mtus == {}
    rig.path.close()


def test_a_clients_only_peer_leaves_all_routes_to_the_host() -> None:
    rig = Rig(many_peers=False)
    fit = PeerFit(ONE, (ip_network("::/0"),), FamilyFit(1300, 1240), FamilyFit(None, 1260))
    assert rig.path.fit_routes(ONE, fit) == frozenset()
    assert rig.kernel.routes.mtus == {}
    rig.path.close()


def test_a_clients_only_peer_has_no_addresses_and_no_routes() -> None:
    rig = Rig(many_peers=False)
    everything = (ip_network("::/0"), ip_network("0.0.0.0/0"))
    rig.path.add_peer(replace(spec_of(ONE), networks=everything))
    assert rig.kernel.peers.states[ONE].vpn_ipv6 is None
    assert rig.kernel.routes.held == {}
    rig.path.close()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Keepalive(10, 60), Keepalive(10, 60)),
        (Keepalive(0, 0), Keepalive(0, 0)),
        (Keepalive(10, 0), Keepalive(10, 86_400)),
        (Keepalive(0, 60), Keepalive(86_400, 60)),
        (Keepalive(10, 100_000), Keepalive(10, 86_400)),
    ],
)
def test_keepalive_times_are_told_as_a_pair(rig: Rig, asked: Keepalive, told: Keepalive) -> None:
    rig.path.add_peer(replace(spec_of(ONE), keepalive=asked))
    assert rig.kernel.peers.states[ONE].keepalive == told


def test_the_kernel_is_told_of_keepalive_again_once_the_peer_is_there(rig: Rig) -> None:
    rig.path.add_peer(replace(spec_of(ONE), keepalive=Keepalive(10, 60)))
    assert not rig.kernel.peers.keepalive_works
    rig.loop.pass_time(0.2)
    assert rig.kernel.peers.keepalive_works
    assert rig.kernel.peers.states[ONE].keepalive == Keepalive(10, 60)


def test_one_word_of_keepalive_does_for_all_that_came_together(rig: Rig) -> None:
    for number in range(1, 50):
        rig.path.add_peer(replace(spec_of(PeerId(number)), keepalive=Keepalive(10, 60)))
    rig.loop.pass_time(5)
    assert rig.kernel.peers.changes == 1
    rig.path.add_peer(replace(spec_of(PeerId(50)), keepalive=Keepalive(10, 60)))
    rig.loop.pass_time(5)
    assert rig.kernel.peers.changes == 2


def test_without_keepalive_there_is_no_word_of_it(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.loop.pass_time(5)
    assert rig.kernel.peers.changes == 0


def test_a_peer_that_went_at_once_does_not_keep_the_others_from_keepalive(rig: Rig) -> None:
    for number in (ONE, TWO):
        rig.path.add_peer(replace(spec_of(number), keepalive=Keepalive(10, 60)))
    del rig.kernel.peers.states[ONE]
    rig.loop.pass_time(0.2)
    assert rig.kernel.peers.keepalive_works


def test_a_device_that_is_closed_at_once_is_asked_nothing(rig: Rig) -> None:
    rig.path.add_peer(replace(spec_of(ONE), keepalive=Keepalive(10, 60)))
    rig.path.close_device()
    rig.loop.pass_time(5)
    assert rig.kernel.peers.changes == 0


def test_a_peer_that_the_kernel_refuses_is_not_known(rig: Rig) -> None:
    rig.kernel.peers.refusal = HostError("add peer 1", "no memory", errno.ENOMEM)
    with pytest.raises(HostError, match="no memory"):
        rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.refusal = None
    rig.path.add_peer(spec_of(ONE))


def test_a_peer_without_a_link_is_known_and_dead(rig: Rig) -> None:
    spec = spec_of(ONE)
    rig.path.add_peer(replace(spec, path=replace(spec.path, link=LinkId(55))))
    assert rig.kernel.peers.states == {}
    assert rig.path.drops().counts == {"send closed link": 1}
    with pytest.raises(HostError):
        rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0))
    assert rig.path.remove_peer(ONE) == PeerCounters()


def test_an_update_says_only_what_changed(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.move(ONE, remote(50))  # not yet noticed
    rig.path.update_peer(replace(spec_of(ONE), keepalive=Keepalive(5, 20)))
    state = rig.kernel.peers.states[ONE]
    assert state.keepalive == Keepalive(5, 20)
    assert state.remote == remote(50)


def test_a_removal_that_fails_is_no_error(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.refusal = HostError("remove peer 1", "no such device", errno.ENODEV)
    assert rig.path.remove_peer(ONE) == PeerCounters()


# --- peers that go ------------------------------------------------------------------------------


def test_a_peer_that_the_kernel_removed_has_expired(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    del rig.kernel.peers.states[ONE]
    rig.tell(PeerDeleted(INDEX, ONE, DeleteReason.EXPIRED))
    assert rig.reports == [PeerExpired(ONE)]
    with pytest.raises(HostError, match="removed"):
        rig.path.swap_keys(ONE)


def test_news_of_a_peer_that_is_there_is_old(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.tell(PeerDeleted(INDEX, ONE, DeleteReason.USERSPACE))
    assert rig.reports == []
    rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0))


def test_news_of_another_device_is_nothing(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    del rig.kernel.peers.states[ONE]
    rig.tell(PeerDeleted(INDEX + 1, ONE, DeleteReason.EXPIRED))
    assert rig.reports == []


def test_lost_news_make_it_read_all_peers(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.path.add_peer(spec_of(TWO))
    del rig.kernel.peers.states[ONE]
    rig.kernel.peers.move(TWO, remote(50))
    rig.kernel.news.overrun = True
    rig.tell()
    assert rig.reports == [PeerExpired(ONE), PeerFloated(TWO, Path(LINK, remote(50)))]
    assert rig.path.drops().counts["netlink notifications lost"] == 1


def test_a_peer_that_went_without_a_word_is_found_in_turn(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    del rig.kernel.peers.states[ONE]
    rig.loop.pass_time(31.0)
    assert rig.reports == [PeerExpired(ONE)]


def test_closing_a_link_keeps_its_peers_last_counters(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.count(ONE, PeerCounters(link_in=100, packets_in=3))
    rig.path.close_link(LINK)
    del rig.kernel.peers.states[ONE]
    rig.tell(PeerDeleted(INDEX, ONE, DeleteReason.TRANSPORT_DISCONNECT))
    assert rig.reports == []
    assert rig.path.remove_peer(ONE).packets_in == 3


# --- moves --------------------------------------------------------------------------------------


def test_a_move_is_told_once(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.move(ONE, remote(50))
    rig.tell(PeerMoved(INDEX, ONE, remote(50)))
    rig.loop.pass_time(31.0)
    assert rig.reports == [PeerFloated(ONE, Path(LINK, remote(50)))]


def test_a_storm_of_moves_costs_eight_reads_a_second(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    for number in range(1000):
        rig.kernel.peers.move(ONE, remote(50 + number % 2))
        rig.tell(PeerMoved(INDEX, ONE, remote(50 + number % 2)))
        rig.loop.pass_time(0.001)
    assert rig.kernel.peers.reads <= 10
    rig.loop.pass_time(1.0)
    assert rig.reports[-1] == PeerFloated(ONE, Path(LINK, remote(51)))


def test_an_older_kernel_is_asked_for_moves() -> None:
    rig = Rig(floats=False)
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.peers.move(ONE, remote(50))
    rig.loop.pass_time(6.0)
    assert rig.reports == [PeerFloated(ONE, Path(LINK, remote(50)))]
    rig.path.close()


def test_a_move_to_another_peers_path_is_undone_and_told(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.path.add_peer(spec_of(TWO))
    rig.kernel.peers.move(ONE, remote(TWO))
    rig.tell(PeerMoved(INDEX, ONE, remote(TWO)))
    assert rig.reports == [FloatConflict(ONE, Path(LINK, remote(TWO)), TWO)]
    assert rig.kernel.peers.states[ONE].remote == remote(ONE)


def test_without_leave_to_float_a_move_is_undone(rig: Rig) -> None:
    rig.path.add_peer(replace(spec_of(ONE), float_allowed=False))
    rig.kernel.peers.move(ONE, remote(50))
    rig.tell(PeerMoved(INDEX, ONE, remote(50)))
    assert rig.reports == []
    assert rig.kernel.peers.states[ONE].remote == remote(ONE)
    assert rig.path.drops().counts == {"data from another address": 1}


# --- keys ---------------------------------------------------------------------------------------


def test_a_used_up_key_is_worn_out_once(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0, 3))
    rig.tell(KeyUsedUp(INDEX, ONE, KeyId(3)))
    assert rig.reports == []  # that was another device: ours still has it
    rig.kernel.peers.delete_key(ONE, KeySlot.PRIMARY)
    rig.tell(KeyUsedUp(INDEX, ONE, KeyId(3)), KeyUsedUp(INDEX, ONE, KeyId(3)))
    assert rig.reports == [KeyWornOut(ONE, KeyId(3))]


@pytest.mark.parametrize(
    ("cipher", "counters", "worn_out"),
    [
        ("AES-256-GCM", PeerCounters(link_out=1 << 30, packets_out=1 << 20), False),
        ("AES-256-GCM", PeerCounters(link_out=1 << 40, packets_out=1 << 30), True),
        ("AES-256-GCM", PeerCounters(link_in=1 << 40, packets_in=1 << 30), True),
        ("CHACHA20-POLY1305", PeerCounters(link_out=1 << 40, packets_out=1 << 30), False),
        ("CHACHA20-POLY1305", PeerCounters(link_out=1 << 40, packets_out=0xF800_0000), True),
    ],
)
def test_a_key_near_a_limit_is_worn_out(
    rig: Rig, cipher: str, counters: PeerCounters, worn_out: bool
) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0, 0, cipher))
    rig.kernel.peers.count(ONE, counters)
    rig.loop.pass_time(100.0)
    assert rig.reports == ([KeyWornOut(ONE, KeyId(0))] if worn_out else [])


def test_keys_of_the_epoch_format_are_not_for_the_kernel(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    with pytest.raises(UsageError, match="epoch"):
        rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0, data_format=DataFormat.EPOCH))
    assert rig.path.keys(ONE) == {}


def test_a_new_key_counts_from_its_swap(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0, 0))
    rig.kernel.peers.count(ONE, PeerCounters(link_out=1 << 40, packets_out=1 << 30))
    rig.loop.pass_time(31.0)
    rig.path.install_key(ONE, KeySlot.SECONDARY, key_pair(0, 1))
    rig.path.swap_keys(ONE)
    rig.loop.pass_time(100.0)
    assert rig.reports == [KeyWornOut(ONE, KeyId(0))]
    assert rig.path.keys(ONE) == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


# --- inactive, counters, device -----------------------------------------------------------------


def test_a_peer_that_moves_too_little_is_inactive(rig: Rig) -> None:
    rig.path.add_peer(replace(spec_of(ONE), inactive_after=5, inactive_bytes=100))
    for octets in (200, 400, 600):
        rig.kernel.peers.count(ONE, PeerCounters(bytes_in=octets))
        rig.loop.pass_time(4.0)
    assert rig.reports == []
    rig.kernel.peers.count(ONE, PeerCounters(bytes_in=650))
    rig.loop.pass_time(20.0)
    assert rig.reports == [PeerInactive(ONE)]


def test_the_counters_of_many_peers_are_one_dump(rig: Rig) -> None:
    for number in range(1, 101):
        rig.path.add_peer(spec_of(PeerId(number)))
        rig.kernel.peers.count(PeerId(number), PeerCounters(packets_in=number))
    found = [rig.path.counters(PeerId(number)).packets_in for number in range(1, 101)]
    assert found == list(range(1, 101))
    assert (rig.kernel.peers.reads, rig.kernel.peers.dumps) == (0, 1)


def test_nobody_is_asked_for_while_there_is_nobody(rig: Rig) -> None:
    rig.loop.pass_time(1000.0)
    assert rig.kernel.peers.dumps == 0


def test_a_lost_device_is_told_once_and_leaves_peers_without_keys(rig: Rig) -> None:
    rig.path.add_peer(spec_of(ONE))
    rig.kernel.device.lost = "deleted"
    rig.device_happens()
    assert rig.reports == [DeviceLost("deleted")]
    assert rig.kernel.closed
    with pytest.raises(HostError):
        rig.path.install_key(ONE, KeySlot.PRIMARY, key_pair(0))
    assert rig.path.remove_peer(ONE) == PeerCounters()
    rig.loop.pass_time(100.0)
    assert rig.reports == [DeviceLost("deleted")]


def test_routes_come_again_when_the_device_was_down(rig: Rig) -> None:
    rig.kernel.device.is_up = False

    def up() -> str:
        rig.kernel.device.is_up = True
        return ""

    rig.kernel.device.look = up  # type: ignore[method-assign]
    rig.device_happens()
    rig.device_happens()
    assert rig.kernel.routes.again_called == 1
