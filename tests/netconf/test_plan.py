"""The diff: what it leads to, its order, and that it comes to rest."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.addresses import IPInterface, IPNetwork
from ovpn6.model.specs import HostPlan, Route, RouteVia
from ovpn6.netconf.plan import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    Change,
    EnableForwarding,
    Hop,
    KernelRoute,
    ObservedState,
    RemoveAddress,
    RemoveRoute,
    ReplaceRoute,
    RestoreForwarding,
    SetMtu,
    SetUp,
    changes,
    inverse,
    wanted_routes,
)

BARE = ObservedState(tunnel_namespace=1, underlay_namespace=1, device=7, mtu=1500, up=False)
UNDERLAY = Hop(3, ip_address("fe80::1"))

INTERFACES = st.sampled_from(
    [
        ip_interface(text)
        for text in (
            "fd00:6::2/64",
            "fd00:6::3/64",
            "fd00:7::1/128",
            "10.8.0.2/24",
            "10.8.0.3/24",
            "10.9.0.1/32",
        )
    ]
)
NETWORKS = st.sampled_from(
    [
        ip_network(text)
        for text in ("::/0", "2001:db8:9::9/128", "fd00:6::/64", "0.0.0.0/0", "10.8.0.0/24")
    ]
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(NETWORKS)
    gateways = ("fd00:6::1", "fe80::9") if destination.version == 6 else ("10.8.0.1", "fd00:6::1")
    via = draw(st.sampled_from(RouteVia))
    gateway = draw(st.none() | st.sampled_from(gateways)) if via is RouteVia.TUNNEL else None
    return Route(
        destination,
        via,
        ip_address(gateway) if gateway else None,
        metric=draw(st.sampled_from([None, 0, 50])),
        table=draw(st.sampled_from([0, 1000])),
        mtu=draw(st.sampled_from([None, 1300])),
    )


PLANS = st.builds(
    HostPlan,
    mtu=st.sampled_from([1280, 1420, 1500]),
    addresses=st.lists(INTERFACES, max_size=4).map(tuple),
    routes=st.lists(routes(), max_size=6).map(tuple),
    forwarding=st.booleans(),
)
HOPS = st.dictionaries(NETWORKS, st.sampled_from([None, UNDERLAY, Hop(4)]))


def carried_out(observed: ObservedState, todo: tuple[Change, ...]) -> ObservedState:
    """A host that does as it is told and refuses what a kernel would."""
    state = observed
    for change in todo:
        state = _step(state, change)
    return state


def _step(state: ObservedState, change: Change) -> ObservedState:
    match change:
        case SetMtu(before, after):
            assert state.mtu == before
            return replace(state, mtu=after)
        case SetUp(up):
            assert state.up is not up
            return replace(state, up=up)
        case AddAddress(address):
            assert address not in state.addresses
            return _with_addresses(state, state.addresses | {address}, {address})
        case RemoveAddress(address):
            assert address in state.own_addresses
            return _with_addresses(state, state.addresses - {address}, frozenset())
        case AddRoute(route):
            assert route.key not in {present.key for present in state.routes}
            return replace(state, routes=state.routes | {route})
        case ReplaceRoute(old, new):
            assert old in state.routes
            assert old.key == new.key
            return replace(state, routes=state.routes - {old} | {new})
        case RemoveRoute(route):
            assert route in state.routes
            return replace(state, routes=state.routes - {route})
        case EnableForwarding(version):
            assert version not in state.forwarding
            return replace(state, forwarding=state.forwarding | {version})
        case RestoreForwarding(version):
            assert version in state.forwarding
            return replace(state, forwarding=state.forwarding - {version})


def _with_addresses(
    state: ObservedState,
    now: frozenset[IPInterface],
    made: frozenset[IPInterface] | set[IPInterface],
) -> ObservedState:
    return replace(state, addresses=now, own_addresses=(state.own_addresses | made) & now)


@given(PLANS, PLANS, HOPS, HOPS)
def test_carrying_the_changes_out_gives_the_plan_and_then_nothing_is_left(
    first: HostPlan,
    second: HostPlan,
    first_hops: dict[IPNetwork, Hop | None],
    second_hops: dict[IPNetwork, Hop | None],
) -> None:
    state = BARE
    for plan, hops in ((first, first_hops), (second, second_hops)):
        state = carried_out(state, changes(state, plan, hops))
        assert (state.mtu, state.up) == (plan.mtu, True)
        assert state.addresses == frozenset(plan.addresses)
        assert state.routes == frozenset(wanted_routes(state, plan, hops).values())
        families = {address.version for address in plan.addresses}
        assert state.forwarding == (families if plan.forwarding else set())
        assert changes(state, plan, hops) == ()


@given(PLANS, PLANS, HOPS)
def test_the_inverses_in_reverse_lead_back(
    first: HostPlan, second: HostPlan, hops: dict[IPNetwork, Hop | None]
) -> None:
    before = carried_out(BARE, changes(BARE, first, hops))
    todo = changes(before, second, hops)
    after = carried_out(before, todo)
    back = tuple(inverse(change) for change in reversed(todo))
    assert carried_out(after, back) == before


@given(PLANS, st.sets(INTERFACES))
def test_an_address_that_is_not_ours_is_neither_added_nor_removed(
    plan: HostPlan, foreign: set[IPInterface]
) -> None:
    todo = changes(replace(BARE, addresses=frozenset(foreign)), plan, {})
    touched = {c.address for c in todo if isinstance(c, AddAddress | RemoveAddress)}
    assert not touched & foreign


def test_new_comes_before_old_goes() -> None:
    old = HostPlan(1420, (ip_interface("fd00:6::2/64"),), (Route(ip_network("fd77::/48")),))
    new = HostPlan(1420, (ip_interface("fd00:7::2/64"),), (Route(ip_network("fd78::/48")),))
    state = carried_out(BARE, changes(BARE, old, {}))
    kinds = [type(change) for change in changes(state, new, {})]
    assert kinds == [AddAddress, AddRoute, AddRoute, RemoveRoute, RemoveRoute, RemoveAddress]


def test_the_first_ipv4_address_of_a_subnet_goes_before_its_successor_comes() -> None:
    state = carried_out(BARE, changes(BARE, HostPlan(1420, (ip_interface("10.8.0.2/24"),)), {}))
    todo = changes(state, HostPlan(1420, (ip_interface("10.8.0.3/24"),)), {})
    assert [type(change) for change in todo] == [RemoveAddress, AddAddress]


def test_a_route_with_another_hop_is_replaced_in_one_step() -> None:
    server = ip_network("2001:db8:9::9/128")
    plan = HostPlan(1500, (), (Route(server, RouteVia.UNDERLAY),))
    state = carried_out(BARE, changes(BARE, plan, {server: UNDERLAY}))
    (change,) = changes(state, plan, {server: Hop(4)})
    assert change == ReplaceRoute(
        KernelRoute(1, server, MAIN_TABLE, 1024, UNDERLAY),
        KernelRoute(1, server, MAIN_TABLE, 1024, Hop(4)),
    )


def test_a_pin_wins_over_a_tunnel_route_to_the_same_place() -> None:
    server = ip_network("2001:db8:9::9/128")
    plan = HostPlan(1500, (), (Route(server), Route(server, RouteVia.UNDERLAY)))
    (route,) = wanted_routes(BARE, plan, {server: UNDERLAY}).values()
    assert route.hop == UNDERLAY


def test_in_separate_namespaces_both_exist() -> None:
    server = ip_network("2001:db8:9::9/128")
    plan = HostPlan(1500, (), (Route(server), Route(server, RouteVia.UNDERLAY)))
    split = replace(BARE, tunnel_namespace=2)
    found = wanted_routes(split, plan, {server: UNDERLAY}).values()
    assert {(route.namespace, route.hop) for route in found} == {(1, UNDERLAY), (2, Hop(7))}
