"""What every :class:`HostState` does for the sizes of peers; a part of the contract."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.specs import FamilyFit, HostPlan, PeerFit
from ovpn6.netconf.interface import HostState
from ovpn6.netconf.plan import Hop, KernelRoute
from tests.netconf.contract import (
    ADDRESSES,
    OTHER_LINK_LOCAL_GATEWAY,
    PINS,
    REDIRECT,
    SERVER6,
    Bench,
    addresses,
    index,
    kernel_route,
    on_link,
    pins,
    plan,
    route,
)

ONE, TWO = PeerId(1), PeerId(2)
ROUTER = plan(
    route("fd77::/48", metric=70),
    addresses=(ip_interface("fd00:6::2/64"), ip_interface("10.8.0.2/24")),
)


def fit(*networks: str, peer: PeerId = ONE, mtu6: int | None, mtu4: int | None) -> PeerFit:
    return PeerFit(
        peer,
        tuple(ip_network(text) for text in networks),
        FamilyFit(mtu6, 1200),
        FamilyFit(mtu4, 1220),
    )


def everything(mtu6: int | None, mtu4: int | None) -> PeerFit:
    return fit("::/0", "0.0.0.0/0", mtu6=mtu6, mtu4=mtu4)


def outer(address: str, mtu: int | None, peer: PeerId = ONE) -> PeerFit:
    nothing = FamilyFit(None, 0)
    return PeerFit(peer, (), nothing, nothing, ip_address(address), mtu)


def pinned(bench: Bench, mtu6: int, mtu4: int) -> set[KernelRoute]:
    """The way to the two servers, with MTUs."""
    mtus = {6: mtu6, 4: mtu4}
    return {
        replace(route, hop=replace(route.hop, mtu=mtus[route.destination.version]))
        for route in pins(bench.space)
        if route.hop
    }


def mtus_to(bench: Bench, destination: str) -> list[int]:
    routes = (r for r in bench.space.own_routes() if r.destination == ip_network(destination))
    return [route.hop.mtu for route in routes if route.hop]


def through(bench: Bench, destination: str, mtu: int, metric: int = 1024) -> KernelRoute:
    hop = Hop(index(bench.space, "tun0"), mtu=mtu)
    return kernel_route(bench.space, destination, metric, hop)


class FitContract:
    """Subclasses give the fixtures ``bench`` and ``host``."""

    def test_a_peers_addresses_get_route_mtus(self, bench: Bench, host: HostState) -> None:
        host.apply(plan())
        host.fit(fit("fd00:6::9/128", "10.8.0.9/32", mtu6=1300, mtu4=1208))
        assert bench.space.own_routes() - on_link(bench.space) == {
            through(bench, "fd00:6::9/128", 1300),
            through(bench, "10.8.0.9/32", 1208, metric=0),
        }
        host.fit(fit("fd00:6::9/128", "10.8.0.9/32", mtu6=1350, mtu4=None))
        assert bench.space.own_routes() - on_link(bench.space) == {
            through(bench, "fd00:6::9/128", 1350),
        }
        host.release(ONE)
        assert bench.space.own_routes() == on_link(bench.space)
        host.release(ONE)

    def test_a_fit_before_the_plan_waits_for_it(self, bench: Bench, host: HostState) -> None:
        host.fit(fit("fd00:6::9/128", mtu6=1300, mtu4=None))
        assert bench.space.own_routes() == set()
        host.apply(plan())
        assert through(bench, "fd00:6::9/128", 1300) in bench.space.own_routes()

    def test_a_network_that_does_not_lead_into_the_tunnel_gets_no_route(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        host.fit(fit("2001:db8:5::/48", "10.99.0.0/16", mtu6=1300, mtu4=1208))
        assert bench.space.own_routes() == on_link(bench.space)

    def test_networks_that_are_routed_elsewhere_get_segments_alone(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(ROUTER)
        before = bench.space.own_routes()
        behind = ip_network("fd77::/48")
        both = fit("fd00:6::9/128", "fd77::/48", mtu6=1300, mtu4=None)
        host.fit(both, frozenset({behind}))
        assert bench.space.own_routes() - before == {through(bench, "fd00:6::9/128", 1300)}
        assert bench.segments("tun0")[behind] == 1200
        host.release(ONE)
        assert bench.space.own_routes() == before

    def test_the_plans_own_route_gets_the_mtu_and_loses_it(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(ROUTER)
        before = bench.space.own_routes()
        host.fit(fit("fd77::/48", mtu6=1300, mtu4=None))
        fitted = on_link(bench.space) | {through(bench, "fd77::/48", 1300, metric=70)}
        assert bench.space.own_routes() == fitted
        host.apply(ROUTER)
        host.refresh_underlay()
        assert bench.space.own_routes() == fitted
        host.release(ONE)
        assert bench.space.own_routes() == before
        host.fit(fit("fd77::/48", mtu6=1300, mtu4=None))
        host.fit(fit("fd77::/48", mtu6=None, mtu4=None))
        assert bench.space.own_routes() == before

    def test_a_route_that_leaves_the_plan_takes_its_mtu_along(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(ROUTER)
        host.fit(fit("fd77::/48", mtu6=1300, mtu4=None))
        host.apply(plan())
        assert bench.space.own_routes() == on_link(bench.space)
        host.apply(ROUTER)
        assert through(bench, "fd77::/48", 1300, metric=70) in bench.space.own_routes()

    def test_of_two_peers_with_one_address_the_later_counts(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        host.fit(fit("fd00:6::9/128", mtu6=1300, mtu4=None))
        host.fit(fit("fd00:6::9/128", mtu6=1340, mtu4=None, peer=TWO))
        added = bench.space.own_routes() - on_link(bench.space)
        assert added == {through(bench, "fd00:6::9/128", 1340)}
        host.release(ONE)
        assert bench.space.own_routes() - on_link(bench.space) == added
        host.fit(fit("fd00:6::9/128", mtu6=1300, mtu4=None))
        host.release(ONE)
        assert bench.space.own_routes() - on_link(bench.space) == added

    def test_closing_takes_the_routes_of_peers_too(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.apply(ROUTER)
        host.fit(fit("fd00:6::9/128", "fd77::/48", "10.8.0.9/32", mtu6=1300, mtu4=1208))
        host.close()
        assert bench.snapshot() == before

    # --- outer addresses -------------------------------------------------------------------------

    def test_an_outer_address_gets_a_route_where_the_host_reaches_it(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(*REDIRECT))
        before = bench.space.own_routes()
        host.fit(outer("2001:db8:9::9", 1280))
        host.fit(outer("203.0.113.9", 1290, peer=TWO))
        assert bench.space.own_routes() - before == pinned(bench, 1280, 1290)
        host.fit(outer("2001:db8:9::9", 1300))
        host.apply(plan(*REDIRECT))
        assert bench.space.own_routes() - before == pinned(bench, 1300, 1290)
        host.fit(outer("2001:db8:9::9", None))
        host.release(TWO)
        assert bench.space.own_routes() == before

    def test_the_plans_own_pin_gets_the_mtu_and_loses_it(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(*PINS, *REDIRECT))
        before = bench.space.own_routes()
        host.fit(outer("2001:db8:9::9", 1280))
        host.refresh_underlay()
        fitted = bench.space.own_routes()
        assert fitted - before == {r for r in pinned(bench, 1280, 0) if r.hop and r.hop.mtu}
        assert len(fitted) == len(before)
        host.release(ONE)
        assert bench.space.own_routes() == before

    def test_peers_behind_one_address_share_the_smallest_mtu(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        for peer, mtu in ((ONE, 1300), (TWO, 1280)):
            host.fit(outer("2001:db8:9::9", mtu, peer=peer))
        assert mtus_to(bench, "2001:db8:9::9/128") == [1280]
        host.release(TWO)
        assert mtus_to(bench, "2001:db8:9::9/128") == [1300]

    def test_a_pin_in_whose_place_a_peers_route_stood_goes_at_the_end(
        self, bench: Bench, host: HostState, untouched: object
    ) -> None:
        host.fit(outer("2001:db8:9::9", 1280))
        host.apply(plan(*PINS))
        host.release(ONE)
        assert pins(bench.space) <= bench.space.own_routes()
        host.close()
        assert bench.snapshot() == untouched

    def test_outer_routes_follow_the_default_gateway(self, bench: Bench, host: HostState) -> None:
        host.apply(plan())
        host.fit(outer("2001:db8:9::9", 1280))
        bench.remove_default_routes()
        bench.add_default_route("fe80::2")
        host.refresh_underlay()
        (route,) = (r for r in bench.space.own_routes() if r.destination == SERVER6)
        assert route.hop is not None
        assert (route.hop.gateway, route.hop.mtu) == (OTHER_LINK_LOCAL_GATEWAY, 1280)

    def test_no_route_leads_to_ourselves_or_replaces_somebody_elses(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        theirs = kernel_route(bench.space, str(SERVER6), 1024, Hop(index(bench.space, "u0")))
        bench.foreign_route(theirs)
        host.fit(outer("2001:db8:1::2", 1280))
        host.fit(outer("2001:db8:9::9", 1280, peer=TWO))
        host.fit(outer("fe80::9", 1280, peer=PeerId(3)))
        assert bench.space.own_routes() == on_link(bench.space)

    def test_a_peer_that_cannot_be_reached_is_an_error(self, bench: Bench, host: HostState) -> None:
        host.apply(plan())
        bench.remove_default_routes()
        with pytest.raises(HostError):
            host.fit(outer("2001:db8:9::9", 1280))
        bench.add_default_route("fe80::1")
        host.fit(outer("2001:db8:9::9", 1280))
        assert mtus_to(bench, "2001:db8:9::9/128") == [1280]

    def test_a_killed_daemons_routes_of_peers_are_undone(self, bench: Bench) -> None:
        before = bench.snapshot()
        bench.apply_and_die(
            ROUTER,
            fit("fd00:6::9/128", "fd77::/48", mtu6=1300, mtu4=None),
            outer("2001:db8:9::9", 1280, peer=TWO),
            outer("203.0.113.9", 1280, peer=PeerId(3)),
            outer("2001:db8:9::9", 1300, peer=TWO),
        )
        assert bench.snapshot() != before
        bench.recover()
        assert bench.snapshot() == before

    def test_fragments_are_counted_from_the_first_narrow_path_on(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        assert host.outer_fragments(ONE) == 0
        host.fit(outer("2001:db8:9::9", 1280))
        host.fit(outer("203.0.113.9", 1290, peer=TWO))
        bench.send_fragments("2001:db8:9::9", 3)
        bench.send_fragments("203.0.113.9", 5)
        bench.send_fragments("203.0.113.10", 2)
        assert (host.outer_fragments(ONE), host.outer_fragments(TWO)) == (3, 5)
        host.fit(outer("2001:db8:9::9", None))
        assert host.outer_fragments(ONE) == 3
        host.release(ONE)
        assert host.outer_fragments(ONE) == 0
        host.fit(outer("2001:db8:9::9", 1280))
        assert host.outer_fragments(ONE) == 0
        assert bench.notices == []

    # --- TCP segments ----------------------------------------------------------------------------

    def test_segments_are_limited_by_network_and_by_default(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(ROUTER)
        host.fit(fit("fd00:6::9/128", "10.8.0.9/32", "fd77::/48", mtu6=1300, mtu4=None))
        host.fit(fit("fd00:6::a/128", "::/0", peer=TWO, mtu6=None, mtu4=None))
        assert bench.segments("tun0") == networks(
            {"fd00:6::9/128": 1200, "10.8.0.9/32": 1220, "fd77::/48": 1200}
            | {"fd00:6::a/128": 1200, "::/0": 1200}
        )
        host.release(ONE)
        assert bench.segments("tun0") == networks({"fd00:6::a/128": 1200, "::/0": 1200})
        host.release(TWO)
        assert bench.segments("tun0") == {}

    def test_networks_may_touch_and_lie_inside_one_another(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        texts = ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.0.0.0/8", "10.2.3.0/24")
        top = ("255.255.0.0/16", "fd77::/48", "fd77:0:1::/48", "ff00::/8")
        host.fit(fit(*texts, *top, mtu6=None, mtu4=None))
        sizes = {text: 1200 if ":" in text else 1220 for text in (*texts, *top)}
        assert bench.segments("tun0") == networks(sizes)
        host.fit(fit("10.2.0.0/16", "fd77:0:1::/48", mtu6=None, mtu4=None))
        assert bench.segments("tun0") == networks({"10.2.0.0/16": 1220, "fd77:0:1::/48": 1200})
        host.release(ONE)
        assert bench.segments("tun0") == {}

    def test_another_fit_changes_the_segments(self, bench: Bench, host: HostState) -> None:
        host.apply(plan())
        host.fit(everything(1300, 1300))
        smaller = PeerFit(ONE, (ip_network("::/0"),), FamilyFit(1280, 1148), FamilyFit(1208, 1168))
        host.fit(smaller)
        assert bench.segments("tun0") == networks({"::/0": 1148})
        host.fit(replace(smaller, ipv6=FamilyFit(1280, 0)))
        assert bench.segments("tun0") == {}

    def test_segments_go_with_the_host_state_or_its_process(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.fit(everything(1300, 1300))
        assert bench.segments("tun0")
        host.close()
        assert bench.snapshot() == before
        bench.apply_and_die(plan(), everything(1300, 1300))
        assert bench.segments("tun0") == {}

    # --- mending ---------------------------------------------------------------------------------

    def test_routes_that_somebody_deleted_are_made_again(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(*PINS, *REDIRECT, route("fd77::/48", metric=70)))
        host.fit(fit("fd00:6::9/128", "fd77::/48", "10.8.0.9/32", mtu6=1300, mtu4=1208))
        host.fit(outer("2001:db8:9::9", 1280, peer=TWO))
        host.news()
        before = bench.space.own_routes()
        for one in before:
            bench.space.remove_route(one)
        host.mend()
        assert bench.space.own_routes() == before
        host.mend()
        host.release(ONE)
        host.release(TWO)
        assert len(bench.space.own_routes()) == len(before) - 2

    def test_a_device_that_was_set_down_is_left_down_and_mended_when_up(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan())
        host.fit(fit("10.8.0.9/32", mtu6=None, mtu4=1208))
        host.news()
        before = bench.space.own_routes()
        tunnel = index(bench.space, "tun0")
        bench.space.set_up(tunnel, False)
        host.mend()
        link = bench.space.link("tun0")
        assert link is not None
        assert not link.up
        bench.space.set_up(tunnel, True)
        host.mend()
        assert bench.space.own_routes() == before
        assert set(ADDRESSES) <= addresses(bench.space)

    # --- ports -----------------------------------------------------------------------------------

    def test_ports_are_guarded_until_they_are_not(self, bench: Bench, host: HostState) -> None:
        host.guard(frozenset())
        assert bench.guarded("tun0") == frozenset()
        host.guard(frozenset({1194, 40_000}))
        assert bench.guarded("tun0") == {1194, 40_000}
        host.guard(frozenset({1194, 1195}))
        assert bench.guarded("tun0") == {1194, 1195}
        host.guard(frozenset())
        assert bench.guarded("tun0") == frozenset()

    def test_the_guard_goes_with_the_host_state(self, bench: Bench) -> None:
        before = bench.snapshot()
        host = bench.host()
        host.open("tun0", "", "")
        host.guard(frozenset({1194}))
        host.close()
        host.guard(frozenset())
        assert bench.snapshot() == before

    # --- one peer that has the whole device ------------------------------------------------------

    def test_the_only_peers_sizes_are_the_devices(self, bench: Bench, host: HostState) -> None:
        host.apply(plan(mtu=1500))
        host.fit(everything(1300, 1300))
        assert mtu_of(bench) == 1300
        assert bench.space.own_routes() == on_link(bench.space)
        host.fit(everything(1428, 1428))
        assert mtu_of(bench) == 1428
        host.release(ONE)
        assert mtu_of(bench) == 1500

    def test_below_1280_only_ipv4_gets_less(self, bench: Bench, host: HostState) -> None:
        wanted = plan(route("10.77.0.0/16", gateway="10.8.0.1"), route("fd77::/48"), mtu=1500)
        host.apply(wanted)
        before = bench.space.own_routes()
        host.fit(everything(1280, 1208))
        assert mtu_of(bench) == 1280
        mtus = {r.destination: r.hop.mtu for r in bench.space.own_routes() if r.hop}
        assert mtus == {
            ip_network("fd00:6::/64"): 0,
            ip_network("fd77::/48"): 0,
            ip_network("10.8.0.0/24"): 1208,
            ip_network("10.77.0.0/16"): 1208,
        }
        host.fit(everything(None, None))
        assert (mtu_of(bench), bench.space.own_routes()) == (1500, before)

    def test_a_fit_known_before_the_plan_is_applied_with_it(
        self, bench: Bench, host: HostState
    ) -> None:
        host.fit(everything(1280, 1208))
        host.apply(plan(mtu=1500))
        assert mtu_of(bench) == 1280
        assert through(bench, "10.8.0.0/24", 1208, metric=0) in bench.space.own_routes()

    def test_a_device_never_gets_more_than_the_plan_says(
        self, bench: Bench, host: HostState
    ) -> None:
        host.apply(plan(mtu=1400))
        host.fit(everything(1428, 1428))
        assert mtu_of(bench) == 1400

    def test_a_device_without_ipv6_may_have_less(self, bench: Bench, host: HostState) -> None:
        host.apply(HostPlan(1000, (ip_interface("10.8.0.2/24"),)))
        host.fit(everything(None, None))
        assert mtu_of(bench) == 1000
        host.fit(everything(1280, 1208))
        assert mtu_of(bench) == 1000


def networks(sizes: dict[str, int]) -> dict[IPNetwork, int]:
    return {ip_network(text): size for text, size in sizes.items()}


def mtu_of(bench: Bench) -> int:
    link = bench.space.link("tun0")
    assert link is not None
    return link.mtu
