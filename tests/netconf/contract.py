"""What every :class:`HostState` does, in memory and on the running kernel.

A bench is a host with an underlay ``u0`` (2001:db8:1::2/64, 192.0.2.2/24, default routes by
fe80::1 and 192.0.2.1) and a tunnel device ``tun0`` that is down and bare.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

import pytest

from ovpn6.model.addresses import IPInterface, IPNetwork
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.specs import HostPlan, PeerFit, Route, RouteVia
from ovpn6.netconf.interface import Gateway, HostState
from ovpn6.netconf.namespace import Namespace
from ovpn6.netconf.plan import MAIN_TABLE, Hop, KernelRoute

LINK_LOCAL_GATEWAY = ip_address("fe80::1")
OTHER_LINK_LOCAL_GATEWAY = ip_address("fe80::2")
GATEWAY4 = ip_address("192.0.2.1")
SERVER6 = ip_network("2001:db8:9::9/128")
SERVER4 = ip_network("203.0.113.9/32")
ADDRESSES = (ip_interface("fd00:6::2/64"), ip_interface("10.8.0.2/24"))


class Bench(Protocol):
    """The host under test and what others do to it."""

    notices: list[str]

    @property
    def space(self) -> Namespace:
        """The host's namespace."""

    @property
    def other_space(self) -> Namespace:
        """A second namespace, which has a device ``tun7``."""

    @property
    def other_netns(self) -> str:
        """Its name."""

    def host(self) -> HostState:
        """A new one, as in a daemon of its own."""

    def snapshot(self) -> object:
        """All state of the host; equal means nothing changed."""

    def foreign_route(self, route: KernelRoute) -> None:
        """Somebody else makes a route."""

    def foreign_address(self, device: str, address: IPInterface) -> None:
        """Somebody else gives a device an address."""

    def remove_default_routes(self) -> None:
        """The underlay loses its way out."""

    def add_default_route(self, gateway: str) -> None:
        """It gets one, over u0."""

    def remove_device(self, name: str) -> None:
        """Somebody removes a device."""

    def add_device(self, name: str) -> None:
        """Somebody makes a tunnel device, down and bare."""

    def apply_and_die(self, plan: HostPlan, *fits: PeerFit) -> None:
        """A daemon on tun0 applies the plan, fits the peers and is killed."""

    def send_fragments(self, address: str, number: int) -> None:
        """The host sends one datagram in so many fragments."""

    def guarded(self, device: str) -> frozenset[int]:
        """UDP ports about which no router is believed, for the daemon with this device."""

    def segments(self, device: str) -> dict[IPNetwork, int]:
        """Largest TCP segments over a device, by network."""

    def recover(self) -> None:
        """The next start."""


def plan(
    *routes: Route,
    addresses: tuple[IPInterface, ...] = ADDRESSES,
    mtu: int = 1420,
    forwarding: bool = False,
) -> HostPlan:
    return HostPlan(mtu, addresses, routes, forwarding)


def route(
    destination: str, via: RouteVia = RouteVia.TUNNEL, gateway: str = "", **more: int
) -> Route:
    return Route(ip_network(destination), via, ip_address(gateway) if gateway else None, **more)


PINS = (
    Route(SERVER6, RouteVia.UNDERLAY),
    Route(SERVER4, RouteVia.UNDERLAY),
)
REDIRECT = (
    route("::/3"),
    route("2000::/4"),
    route("3000::/4"),
    route("fc00::/7"),
    route("0.0.0.0/1"),
    route("128.0.0.0/1"),
)
FULL = plan(
    *PINS,
    *REDIRECT,
    route("fd77::/48", gateway="fd00:6::1", metric=70, mtu=1300),
    route("10.77.0.0/16", gateway="10.8.0.1", metric=70),
    route("fd78::/48", RouteVia.UNREACHABLE),
    route("10.78.0.0/16", RouteVia.UNREACHABLE, table=1000),
    forwarding=True,
)


def index(space: Namespace, name: str) -> int:
    link = space.link(name)
    assert link is not None
    return link.index


def kernel_route(
    space: Namespace, destination: str, metric: int, hop: Hop | None, table: int = MAIN_TABLE
) -> KernelRoute:
    return KernelRoute(space.identity, ip_network(destination), table, metric, hop)


def pins(space: Namespace, gateway6: object = LINK_LOCAL_GATEWAY) -> set[KernelRoute]:
    underlay = index(space, "u0")
    assert gateway6 is None or isinstance(gateway6, type(LINK_LOCAL_GATEWAY))
    return {
        kernel_route(space, str(SERVER6), 1024, Hop(underlay, gateway6)),
        kernel_route(space, str(SERVER4), 0, Hop(underlay, GATEWAY4)),
    }


def on_link(space: Namespace, device: str = "tun0") -> set[KernelRoute]:
    hop = Hop(index(space, device))
    return {
        kernel_route(space, "fd00:6::/64", 256, hop),
        kernel_route(space, "10.8.0.0/24", 0, hop),
    }


def addresses(space: Namespace, device: str = "tun0") -> set[IPInterface]:
    return {a for a in space.addresses(index(space, device)) if not a.ip.is_link_local}


class HostStateContract:
    """Subclasses give the fixture ``bench``."""

    @pytest.fixture
    def untouched(self, bench: Bench) -> object:
        """The host before :meth:`host` took charge of anything."""
        return bench.snapshot()

    @pytest.fixture
    def host(self, bench: Bench, untouched: object) -> Iterator[HostState]:
        host = bench.host()
        host.open("tun0", "", "contract")
        yield host
        host.close()

    # --- applying --------------------------------------------------------------------------------

    def test_a_plan_becomes_link_addresses_and_on_link_routes(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        link = bench.space.link("tun0")
        assert link is not None
        assert (link.mtu, link.up) == (1420, True)
        assert addresses(bench.space) == set(ADDRESSES)
        assert bench.space.own_routes() == on_link(bench.space)

    def test_routes_get_metric_table_mtu_gateway_and_unreachable(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(
            plan(
                route("fd77::/48", gateway="fd00:6::1", metric=70, mtu=1300),
                route("10.77.0.0/16", gateway="10.8.0.1", table=1000),
                route("10.79.0.0/16", gateway="fd00:6::1"),
                route("fd78::/48", RouteVia.UNREACHABLE),
                route("10.78.0.0/16", RouteVia.UNREACHABLE, metric=5),
            )
        )
        space, tun = bench.space, index(bench.space, "tun0")
        gateway6, gateway4 = ip_address("fd00:6::1"), ip_address("10.8.0.1")
        assert space.own_routes() - on_link(space) == {
            kernel_route(space, "fd77::/48", 70, Hop(tun, gateway6, mtu=1300)),
            kernel_route(space, "10.77.0.0/16", 0, Hop(tun, gateway4), table=1000),
            kernel_route(space, "10.79.0.0/16", 0, Hop(tun, gateway6)),
            kernel_route(space, "fd78::/48", 1024, None),
            kernel_route(space, "10.78.0.0/16", 5, None),
        }

    def test_the_same_plan_again_changes_nothing(self, bench: Bench, host: HostState) -> None:
        host.apply(FULL)
        before = bench.snapshot()
        host.apply(FULL)
        host.open("tun0", "", "contract")
        host.apply(FULL)
        assert bench.snapshot() == before
        assert bench.notices == []

    def test_another_plan_replaces_what_differs(self, bench: Bench, host: HostState) -> None:
        host.apply(FULL)
        new = (ip_interface("fd00:7::2/64"),)
        host.apply(plan(route("fd78::/48"), addresses=new, mtu=1300))
        space, hop = bench.space, Hop(index(bench.space, "tun0"))
        assert addresses(space) == set(new)
        assert space.own_routes() == {
            kernel_route(space, "fd00:7::/64", 256, hop),
            kernel_route(space, "fd78::/48", 1024, hop),
        }

    def test_a_new_address_in_the_same_ipv4_subnet_keeps_the_routes(
        self, bench: Bench, host: HostState
    ) -> None:
        routes = (route("10.77.0.0/16", gateway="10.8.0.1"), route("0.0.0.0/1"))
        host.apply(plan(*routes))
        before = bench.space.own_routes()
        moved = (ADDRESSES[0], ip_interface("10.8.0.3/24"))
        host.apply(plan(*routes, addresses=moved))
        assert addresses(bench.space) == set(moved)
        assert bench.space.own_routes() == before

    def test_a_secondary_ipv4_address_outlives_the_first(
        self, bench: Bench, host: HostState
    ) -> None:
        second = ip_interface("10.8.0.3/24")
        host.apply(plan(addresses=(*ADDRESSES, second)))
        host.apply(plan(addresses=(ADDRESSES[0], second)))
        assert addresses(bench.space) == {ADDRESSES[0], second}
        assert bench.space.own_routes() == on_link(bench.space)

    def test_an_explicit_on_link_route_stands_for_the_implied_one(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(route("fd00:6::/64", metric=9), addresses=ADDRESSES[:1]))
        hop = Hop(index(bench.space, "tun0"))
        assert bench.space.own_routes() == {kernel_route(bench.space, "fd00:6::/64", 9, hop)}

    def test_txqueuelen_is_set_and_comes_back(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "", txqueuelen=77)
        link = bench.space.link("tun0")
        assert link is not None
        assert link.txqueuelen == 77
        host.close()
        assert bench.snapshot() == before

    # --- removal ---------------------------------------------------------------------------------

    def test_close_leaves_the_host_as_it_was(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.apply(FULL)
        assert bench.snapshot() != before
        host.close()
        host.close()
        assert bench.snapshot() == before

    def test_forgetting_the_device_leaves_nothing_and_another_may_be_opened(
        self, bench: Bench, host: HostState, untouched: object
    ) -> None:
        host.apply(FULL)
        host.forget_device()
        assert bench.snapshot() == untouched
        bench.add_device("tun1")
        host.open("tun1", "", "contract")
        host.apply(FULL)
        assert addresses(bench.space, "tun1") == set(ADDRESSES)

    def test_what_a_killed_daemon_left_is_undone_at_the_next_start(self, bench: Bench) -> None:
        before = bench.snapshot()
        bench.apply_and_die(FULL)
        assert bench.snapshot() != before
        bench.recover()
        assert bench.snapshot() == before

    def test_recovery_leaves_a_live_instance_alone(self, bench: Bench, host: HostState) -> None:
        bench.add_device("tun1")
        host.forget_device()
        host.open("tun1", "", "live")
        host.apply(plan(*PINS, forwarding=True))
        alive = bench.snapshot()
        bench.apply_and_die(plan(*PINS, addresses=(ip_interface("fd00:8::2/64"),), forwarding=True))
        bench.recover()
        assert bench.snapshot() == alive

    def test_a_device_removed_underneath_is_an_error_and_the_rest_still_goes(
        self, bench: Bench
    ) -> None:
        bench.add_device("tun1")
        host = bench.host()
        host.open("tun1", "", "")
        host.apply(FULL)
        bench.remove_device("tun1")
        with pytest.raises(HostError) as caught:
            host.apply(FULL)
        assert caught.value.errno == errno.ENODEV
        host.close()
        assert bench.space.own_routes() == set()

    def test_a_device_made_anew_under_the_same_name_gets_everything_again(
        self, bench: Bench
    ) -> None:
        bench.add_device("tun1")
        host = bench.host()
        host.open("tun1", "", "")
        host.apply(plan(*PINS))
        bench.remove_device("tun1")
        bench.add_device("tun1")
        host.open("tun1", "", "")
        host.apply(plan(*PINS))
        assert addresses(bench.space, "tun1") == set(ADDRESSES)
        assert bench.space.own_routes() == on_link(bench.space, "tun1") | pins(bench.space)
        host.close()

    # --- what is not ours ------------------------------------------------------------------------

    def test_somebody_elses_route_is_left_alone_and_told_once(self, bench: Bench) -> None:
        underlay = Hop(index(bench.space, "u0"))
        bench.foreign_route(kernel_route(bench.space, "10.77.0.0/16", 0, underlay))
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "contract")
        wanted = plan(route("10.77.0.0/16"))
        host.apply(wanted)
        host.apply(wanted)
        assert len(bench.notices) == 1
        assert "10.77.0.0/16" in bench.notices[0]
        assert bench.space.own_routes() == on_link(bench.space)
        host.close()
        assert bench.snapshot() == before

    def test_somebody_elses_addresses_stay(self, bench: Bench, host: HostState) -> None:
        foreign = (ip_interface("10.99.0.1/24"), ADDRESSES[1])
        for address in foreign:
            bench.foreign_address("tun0", address)
        host.apply(plan())
        host.apply(plan(addresses=()))
        assert addresses(bench.space) == set(foreign)
        host.close()
        assert addresses(bench.space) == set(foreign)

    def test_two_instances_share_a_pinned_route(self, bench: Bench, host: HostState) -> None:
        bench.add_device("tun1")
        second = bench.host()
        second.open("tun1", "", "second")
        host.apply(plan(*PINS))
        second.apply(plan(*PINS, addresses=()))
        host.close()
        assert bench.space.own_routes() == pins(bench.space)
        second.close()
        assert bench.space.own_routes() == set()
        assert bench.notices == []

    # --- the underlay ----------------------------------------------------------------------------

    def test_underlay_routes_follow_the_default_gateways(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(*REDIRECT, *PINS))
        assert pins(bench.space) <= bench.space.own_routes()
        host.apply(plan(*REDIRECT, *PINS))
        host.refresh_underlay()
        assert pins(bench.space) <= bench.space.own_routes()

    def test_an_on_link_destination_is_pinned_to_the_link(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(route("2001:db8:1::9/128", RouteVia.UNDERLAY), addresses=()))
        hop = Hop(index(bench.space, "u0"))
        assert bench.space.own_routes() == {
            kernel_route(bench.space, "2001:db8:1::9/128", 1024, hop)
        }

    def test_an_address_of_the_host_itself_is_not_pinned(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(route("2001:db8:1::2/128", RouteVia.UNDERLAY), addresses=()))
        assert bench.space.own_routes() == set()

    def test_a_refresh_moves_the_pin_to_the_new_gateway(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(*REDIRECT, *PINS))
        bench.remove_default_routes()
        bench.add_default_route("fe80::2")
        bench.add_default_route("192.0.2.1")
        host.refresh_underlay()
        assert pins(bench.space, OTHER_LINK_LOCAL_GATEWAY) <= bench.space.own_routes()
        assert not pins(bench.space) <= bench.space.own_routes()
        host.close()
        assert bench.space.own_routes() == set()

    def test_a_refresh_without_any_way_keeps_the_pin(self, bench: Bench, host: HostState) -> None:
        host.apply(plan(*REDIRECT, *PINS))
        bench.remove_default_routes()
        host.refresh_underlay()
        assert pins(bench.space) <= bench.space.own_routes()
        assert len(bench.notices) == len(PINS)

    def test_a_plan_whose_server_has_no_route_is_refused(
        self, bench: Bench, host: HostState
    ) -> None:
        bench.remove_default_routes()
        before = bench.snapshot()
        with pytest.raises(HostError) as caught:
            host.apply(plan(*PINS))
        assert caught.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
        assert bench.snapshot() == before

    def test_default_gateways_are_those_of_the_underlay(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(route("::/0", metric=1), route("0.0.0.0/0", metric=0, table=0)))
        found = host.default_gateways()
        assert found.ipv6 == Gateway(LINK_LOCAL_GATEWAY, "u0")
        assert found.ipv4 == Gateway(GATEWAY4, "u0")

    def test_no_default_route_is_no_gateway(self, bench: Bench) -> None:
        bench.remove_default_routes()
        found = bench.host().default_gateways()
        assert (found.ipv4, found.ipv6) == (None, None)

    # --- refusals --------------------------------------------------------------------------------

    def test_a_refused_plan_leaves_the_one_before(self, bench: Bench, host: HostState) -> None:
        host.apply(plan(*PINS, route("fd78::/48", RouteVia.UNREACHABLE), forwarding=True))
        before = bench.snapshot()
        bad = route("fd79::/48", gateway="fd00:abcd::1")
        with pytest.raises(HostError) as caught:
            host.apply(plan(bad, addresses=(ip_interface("fd00:7::2/64"),), mtu=1300))
        assert "fd79::/48" in str(caught.value)
        assert caught.value.errno != 0
        assert bench.snapshot() == before

    def test_ipv6_needs_1280_octets(self, bench: Bench, host: HostState) -> None:
        before = bench.snapshot()
        with pytest.raises(HostError, match="1280"):
            host.apply(plan(mtu=1279))
        assert bench.snapshot() == before
        host.apply(plan(addresses=ADDRESSES[1:], mtu=1000))

    def test_there_must_be_a_device(self, bench: Bench) -> None:
        with pytest.raises(HostError) as caught:
            bench.host().open("tun99", "", "")
        assert caught.value.errno == errno.ENODEV

    def test_there_must_be_a_namespace(self, bench: Bench) -> None:
        with pytest.raises(HostError) as caught:
            bench.host().open("tun0", "ovpn6-test-no-such", "")
        assert caught.value.errno == errno.ENOENT

    def test_one_device_at_a_time(self, bench: Bench, host: HostState) -> None:
        with pytest.raises(UsageError):
            host.open("u0", "", "contract")

    @pytest.mark.parametrize(
        "call", [lambda host: host.apply(plan()), lambda host: host.refresh_underlay()]
    )
    def test_nothing_without_open(self, bench: Bench, call: Callable[[HostState], None]) -> None:
        with pytest.raises(UsageError):
            call(bench.host())

    # --- forwarding ------------------------------------------------------------------------------

    def test_forwarding_follows_the_families_of_the_addresses(
        self, bench: Bench, host: HostState, untouched: object
    ) -> None:
        host.apply(plan(addresses=ADDRESSES[1:], forwarding=True))
        assert bench.space.read_setting("net/ipv4/conf/u0/forwarding") == "1"
        assert bench.space.read_setting("net/ipv6/conf/u0/force_forwarding") == "0"
        host.apply(plan(addresses=ADDRESSES[:1], forwarding=True))
        assert bench.space.read_setting("net/ipv4/conf/u0/forwarding") == "0"
        assert bench.space.read_setting("net/ipv6/conf/u0/force_forwarding") == "1"
        host.close()
        assert bench.snapshot() == untouched

    def test_the_last_instance_turns_forwarding_off(self, bench: Bench, host: HostState) -> None:
        bench.add_device("tun1")
        second = bench.host()
        second.open("tun1", "", "second")
        host.apply(plan(forwarding=True))
        second.apply(plan(addresses=(ip_interface("fd00:8::2/64"),), forwarding=True))
        host.close()
        assert bench.space.read_setting("net/ipv6/conf/u0/force_forwarding") == "1"
        assert bench.space.read_setting("net/ipv4/conf/u0/forwarding") == "0"
        second.close()
        assert bench.space.read_setting("net/ipv6/conf/u0/force_forwarding") == "0"

    def test_forwarding_that_was_on_stays_on(self, bench: Bench) -> None:
        bench.space.write_setting("net/ipv4/conf/all/forwarding", "1")
        bench.space.write_setting("net/ipv6/conf/u0/force_forwarding", "1")
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "contract")
        host.apply(plan(forwarding=True))
        host.close()
        assert bench.snapshot() == before

    def test_a_setting_changed_by_the_operator_meanwhile_stays(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(forwarding=True))
        bench.space.write_setting("net/ipv6/conf/u0/force_forwarding", "0")
        bench.space.write_setting("net/ipv4/conf/u0/forwarding", "0")
        host.close()
        assert bench.space.read_setting("net/ipv6/conf/u0/force_forwarding") == "0"
        assert bench.space.read_setting("net/ipv4/conf/u0/forwarding") == "0"

    def test_an_interface_that_came_later_does_not_go_on_forwarding(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(forwarding=True))
        bench.add_device("tun1")
        assert bench.space.read_setting("net/ipv6/conf/tun1/force_forwarding") == "1"
        host.close()
        assert bench.space.read_setting("net/ipv6/conf/tun1/force_forwarding") == "0"
        assert bench.space.read_setting("net/ipv4/conf/tun1/forwarding") == "0"

    # --- a device elsewhere ----------------------------------------------------------------------

    def test_a_device_in_another_namespace_keeps_the_pins_in_ours(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun7", bench.other_netns, "")
        host.apply(plan(*PINS, route("::/0"), forwarding=True))
        assert bench.space.own_routes() == pins(bench.space)
        assert addresses(bench.other_space, "tun7") == set(ADDRESSES)
        hop = Hop(index(bench.other_space, "tun7"))
        assert bench.other_space.own_routes() == on_link(bench.other_space, "tun7") | {
            kernel_route(bench.other_space, "::/0", 1024, hop)
        }
        name = "net/ipv6/conf/tun7/force_forwarding"
        assert bench.other_space.read_setting(name) == "1"
        host.close()
        assert bench.snapshot() == before
