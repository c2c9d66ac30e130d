"""The fake, under the contract of the real thing, and what only a fake can show."""

from __future__ import annotations

import errno
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ovpn6.model.addresses import IPInterface, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.specs import FamilyFit, HostPlan, PeerFit
from ovpn6.netconf.memory import RA_PROTOCOL, MemoryHost, MemoryNamespace, MemoryWorld
from ovpn6.netconf.plan import MAIN_TABLE, Hop, KernelRoute
from tests.netconf.contract import (
    ADDRESSES,
    FULL,
    GATEWAY4,
    LINK_LOCAL_GATEWAY,
    HostStateContract,
    plan,
)
from tests.netconf.fit_contract import ROUTER, FitContract


class MemoryBench:
    """See ``tests.netconf.contract.Bench``."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.notices: list[str] = []
        self.space = self.world.own
        self.other_space = MemoryNamespace(identity=2)
        self.other_netns = "inside"
        self.world.namespaces["inside"] = self.other_space
        self.other_space.add_device("tun7")
        underlay = self.space.add_device("u0", up=True)
        self.space.add_device("tun0")
        for text in ("2001:db8:1::2/64", "192.0.2.2/24"):
            address = ip_interface(text)
            self.space.add_foreign_address(underlay, address)
            metric = 256 if address.version == 6 else 0
            self.space.add_foreign_route(
                KernelRoute(1, address.network, MAIN_TABLE, metric, Hop(underlay)), protocol=2
            )
        self.add_default_route("fe80::1")
        self.add_default_route("192.0.2.1")

    def host(self) -> MemoryHost:
        return MemoryHost(self.world, self.notices.append)

    def snapshot(self) -> object:
        return [
            (
                dict(space.links),
                {index: space.addresses(index) for index in space.links},
                dict(space.fib),
                dict(space.settings),
            )
            for space in (self.space, self.other_space)
        ]

    def foreign_route(self, route: KernelRoute) -> None:
        self.space.add_foreign_route(route)

    def foreign_address(self, device: str, address: IPInterface) -> None:
        self.space.add_foreign_address(self._index(device), address)

    def remove_default_routes(self) -> None:
        for key, entry in list(self.space.fib.items()):
            if entry.route.destination.prefixlen == 0:
                del self.space.fib[key]

    def add_default_route(self, gateway: str) -> None:
        six = ":" in gateway
        address = ip_interface(gateway).ip
        hop = Hop(self._index("u0"), address)
        network = ip_network("::/0" if six else "0.0.0.0/0")
        metric = 1024 if six else 100
        route = KernelRoute(1, network, MAIN_TABLE, metric, hop)
        self.space.add_foreign_route(route, RA_PROTOCOL if six else 4)

    def remove_device(self, name: str) -> None:
        self.space.remove_device(name)

    def add_device(self, name: str) -> None:
        self.space.add_device(name)

    def send_fragments(self, address: str, number: int) -> None:
        counted = self.world.own.fragments
        if ip_address(address) in counted:
            counted[ip_address(address)] += number

    def guarded(self, device: str) -> frozenset[int]:
        return self.world.own.guarded.get(device, frozenset())

    def segments(self, device: str) -> dict[IPNetwork, int]:
        return dict(self.world.own.segments.get(device, {}))

    def apply_and_die(self, wanted: HostPlan, *fits: PeerFit) -> None:
        survivors = list(self.world.live)
        self.world.live.clear()
        host = self.host()
        # A daemon sees the others.
        self.world.live += survivors
        host.open("tun0", "", "victim")
        host.apply(wanted)
        for fit in fits:
            host.fit(fit)
        self.world.live[:] = [j for j in self.world.live if j not in survivors]
        self.world.kill()
        self.world.live += survivors

    def recover(self) -> None:
        self.world.recover()

    def _index(self, device: str) -> int:
        link = self.space.link(device)
        assert link is not None
        return link.index


@pytest.fixture
def bench() -> MemoryBench:
    return MemoryBench()


class TestMemoryHost(HostStateContract, FitContract):
    """The contract."""


def test_the_same_plan_again_asks_nothing_of_the_kernel(bench: MemoryBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(FULL)
    bench.space.log.clear()
    host.apply(FULL)
    assert bench.space.log == []


def test_addresses_come_before_routes_and_pins_before_what_covers_them(bench: MemoryBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(FULL)
    log = bench.space.log
    first_route = next(i for i, line in enumerate(log) if line.startswith("add route"))
    assert max(i for i, line in enumerate(log) if line.startswith("add address")) < first_route
    pinned = [i for i, line in enumerate(log) if str(GATEWAY4) in line]
    pinned += [i for i, line in enumerate(log) if str(LINK_LOCAL_GATEWAY) in line]
    covering = next(i for i, line in enumerate(log) if "2000::/4" in line)
    assert max(pinned) < covering


@pytest.mark.parametrize(
    "operation",
    [
        "set mtu 1420",
        "set link up",
        "set net/ipv6",
        "set net/ipv4",
        "add address fd00:6::2",
        "add address 10.8.0.2",
        "add route 2001:db8:9::9",
        "add route unreachable fd78::/48",
    ],
)
def test_whatever_is_refused_everything_before_it_is_undone(
    bench: MemoryBench, operation: str
) -> None:
    before = bench.snapshot()
    host = bench.host()
    host.open("tun0", "", "")
    bench.space.refuse[operation] = errno.EPERM
    with pytest.raises(HostError) as caught:
        host.apply(FULL)
    assert caught.value.errno == errno.EPERM
    bench.space.refuse.clear()
    assert bench.snapshot() == before
    host.apply(FULL)
    host.close()
    assert bench.snapshot() == before


def test_a_refusal_half_way_through_the_settings_undoes_the_half(bench: MemoryBench) -> None:
    before = bench.snapshot()
    host = bench.host()
    host.open("tun0", "", "")
    bench.space.refuse["set net/ipv6/conf/u0"] = errno.EROFS
    with pytest.raises(HostError):
        host.apply(plan(addresses=ADDRESSES[:1], forwarding=True))
    bench.space.refuse.clear()
    assert bench.snapshot() == before


def test_what_cannot_be_undone_on_close_is_told_and_left_to_the_next_start(
    bench: MemoryBench,
) -> None:
    before = bench.snapshot()
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(FULL)
    bench.space.refuse["remove route"] = errno.EBUSY
    with pytest.raises(HostError):
        host.close()
    bench.space.refuse.clear()
    assert bench.snapshot() != before
    bench.recover()
    assert bench.snapshot() == before


class TestOlderKernels:
    """Before Linux 6.17: no ``force_forwarding``."""

    @pytest.fixture
    def bench(self) -> MemoryBench:
        bench = MemoryBench()
        settings = bench.space.settings
        for name in [name for name in settings if "force_forwarding" in name]:
            del settings[name]
        return bench

    def test_the_advertised_default_route_survives_both_ways(self, bench: MemoryBench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.apply(plan(forwarding=True))
        assert bench.space.read_setting("net/ipv6/conf/all/forwarding") == "1"
        assert bench.space.read_setting("net/ipv6/conf/u0/accept_ra") == "2"
        assert host.default_gateways().ipv6 is not None
        host.close()
        assert bench.snapshot() == before

    def test_an_interface_that_forwarded_before_still_does_after(self, bench: MemoryBench) -> None:
        bench.remove_default_routes()
        bench.space.settings["net/ipv6/conf/u0/forwarding"] = "1"
        bench.space.settings["net/ipv6/conf/u0/accept_ra"] = "0"
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.apply(plan(forwarding=True))
        host.close()
        assert bench.snapshot() == before

    def test_the_last_instance_restores_what_was_before_either(self, bench: MemoryBench) -> None:
        before = bench.snapshot()
        first, second = bench.host(), bench.host()
        first.open("tun0", "", "")
        second.open("u0", "", "")
        first.apply(plan(forwarding=True))
        second.apply(plan(addresses=(ip_interface("fd00:9::1/64"),), mtu=1500, forwarding=True))
        first.close()
        assert bench.space.read_setting("net/ipv6/conf/all/forwarding") == "1"
        assert bench.space.read_setting("net/ipv6/conf/u0/accept_ra") == "2"
        second.close()
        assert bench.snapshot() == before

    def test_a_killed_router_becomes_a_host_again(self, bench: MemoryBench) -> None:
        before = bench.snapshot()
        bench.apply_and_die(plan(forwarding=True))
        bench.recover()
        assert bench.snapshot() == before


class ForgetfulNamespace(MemoryNamespace):
    """Somebody takes each address but the first away again at once."""

    def add_address(self, index: int, address: IPInterface) -> None:
        super().add_address(index, address)
        if address != ADDRESSES[0]:
            self.remove_address(index, address)


def test_a_host_that_will_not_settle_is_told_of_and_not_fought_for_ever() -> None:
    host = MemoryHost(MemoryWorld({"": ForgetfulNamespace()}))
    host.world.own.add_device("tun0")
    host.open("tun0", "", "")
    host.apply(plan(addresses=ADDRESSES[:1]))
    assert not host.notices
    host.apply(plan(addresses=ADDRESSES[1:]))
    assert len(host.notices) == 1
    assert "tun0" in host.notices[0]
    host.close()


def test_segments_are_never_larger_than_what_the_routes_let_pass(bench: MemoryBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(ROUTER)
    peer = ip_network("fd00:6::9/128")

    def sizes(mtu: int) -> PeerFit:
        return PeerFit(PeerId(1), (peer,), FamilyFit(mtu, mtu - 60), FamilyFit(None, 0))

    host.fit(sizes(1300))
    bench.space.refuse["replace route"] = errno.EPERM
    with pytest.raises(HostError):
        host.fit(sizes(1400))
    assert bench.segments("tun0") == {peer: 1240}
    with pytest.raises(HostError):
        host.fit(sizes(1280))
    assert bench.segments("tun0") == {peer: 1220}
    bench.space.refuse.clear()
    host.fit(sizes(1400))
    assert bench.segments("tun0") == {peer: 1340}
    host.close()
