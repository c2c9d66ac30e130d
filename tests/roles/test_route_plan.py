"""Route lines and redirect-gateway against tables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.schema import RouteOrder
from ovpn6.model.specs import Route, RouteVia
from ovpn6.roles.route_plan import (
    IPV4_HALVES,
    IPV6_QUARTERS,
    RoutePlan,
    RouteSetting,
    bypass_for,
    plan_routes,
)

REMOTE6 = ip_address("2001:db8::1")
REMOTE4 = ip_address("192.0.2.1")
DUAL = RouteSetting(
    remote=REMOTE6,
    addresses=(ip_interface("fd00:6::5/64"), ip_interface("10.8.0.5/24")),
    gateway_ipv4=ip_address("10.8.0.1"),
    gateway_ipv6=ip_address("fd00:6::1"),
)
DUAL4 = replace(DUAL, remote=REMOTE4)
ONLY6 = replace(DUAL, addresses=DUAL.addresses[:1], gateway_ipv4=None)
ONLY4 = replace(DUAL, addresses=DUAL.addresses[1:], gateway_ipv6=None)


def order(destination: str = "", **fields: object) -> RouteOrder:
    network = ip_network(destination) if destination else None
    return RouteOrder(network, **fields)  # type: ignore[arg-type]


def shown(plan: RoutePlan) -> list[str]:
    """Routes as short texts: destination, way, gateway, metric, table."""
    lines = []
    for route in plan.routes:
        words = [str(route.destination), route.via.value]
        words += [f"via {route.gateway}"] if route.gateway else []
        words += [f"metric {route.metric}"] if route.metric is not None else []
        words += [f"table {route.table}"] if route.table else []
        lines.append(" ".join(words))
    return lines


LINES = [
    (DUAL, order("fd01::/48"), ["fd01::/48 tunnel"]),
    (DUAL, order("fd01::/48", metric=7), ["fd01::/48 tunnel metric 7"]),
    (DUAL, order("10.9.0.0/16"), ["10.9.0.0/16 tunnel via 10.8.0.1"]),
    (DUAL, order("10.9.0.0/16", gateway="vpn_gateway"), ["10.9.0.0/16 tunnel via 10.8.0.1"]),
    (DUAL, order("10.9.0.0/16", gateway="10.8.0.9"), ["10.9.0.0/16 tunnel via 10.8.0.9"]),
    (DUAL, order("10.9.0.0/16", gateway="net_gateway"), ["10.9.0.0/16 underlay"]),
    (DUAL, order("10.9.0.0/16", gateway="192.0.2.7"), []),
    (DUAL, order("fd01::/48", gateway="fd00:6::1"), ["fd01::/48 tunnel"]),
    (DUAL, order("fd01::/48", table=9), ["fd01::/48 tunnel table 9"]),
    (replace(DUAL, metric=50), order("fd01::/48"), ["fd01::/48 tunnel metric 50"]),
    (replace(DUAL, metric=50), order("fd01::/48", metric=0), ["fd01::/48 tunnel metric 0"]),
    (replace(DUAL, table=5), order("fd01::/48"), ["fd01::/48 tunnel table 5"]),
    (DUAL, order(host="remote_host", gateway="net_gateway"), ["2001:db8::1/128 underlay"]),
    (DUAL, order(host="vpn_gateway"), ["10.8.0.1/32 tunnel via 10.8.0.1"]),
    (replace(DUAL, gateway_ipv4=None), order("10.9.0.0/16"), ["10.9.0.0/16 tunnel"]),
    (replace(DUAL, gateway_ipv4=REMOTE4), order("10.9.0.0/16"), ["10.9.0.0/16 tunnel"]),
    (ONLY4, order("fd01::/48"), ["fd01::/48 tunnel"]),
    (ONLY6, order("10.9.0.0/16"), []),
    (DUAL, order(host="net_gateway"), []),
    (DUAL, order("10.9.0.0/16", gateway="2001:db8::7"), []),
]


@pytest.mark.parametrize(("setting", "line", "expected"), LINES)
def test_a_route_line_becomes_the_route_of_the_table(
    setting: RouteSetting, line: RouteOrder, expected: list[str]
) -> None:
    plan = plan_routes([line], setting)
    assert shown(plan) == expected
    has_no_ipv6_address = setting is ONLY4 and line.destination == ip_network("fd01::/48")
    assert bool(plan.notices) == (not expected or has_no_ipv6_address)


HALVES = ["0.0.0.0/1 tunnel via 10.8.0.1", "128.0.0.0/1 tunnel via 10.8.0.1"]
QUARTERS = [f"{network} tunnel" for network in IPV6_QUARTERS]
AROUND6 = "2001:db8::1/128 underlay"
AROUND4 = "192.0.2.1/32 underlay"

REDIRECTS = [
    (DUAL4, {"def1"}, [AROUND4, *HALVES]),
    (DUAL4, set(), [AROUND4, *HALVES]),
    (DUAL, {"def1"}, HALVES),
    (DUAL, {"ipv6", "!ipv4"}, [AROUND6, *QUARTERS]),
    (DUAL, {"def1", "ipv6"}, [AROUND6, *HALVES, *QUARTERS]),
    (DUAL4, {"def1", "ipv6"}, [AROUND4, *HALVES, *QUARTERS]),
    (DUAL4, {"def1", "local"}, HALVES),
    (DUAL, {"ipv6", "!ipv4", "local"}, QUARTERS),
    (DUAL4, {"def1", "autolocal"}, [AROUND4, *HALVES]),
    (DUAL4, {"def1", "bypass-dhcp", "bypass-dns"}, [AROUND4, *HALVES]),
    (replace(DUAL4, allow_recursive=True), {"def1"}, HALVES),
    (DUAL, {"private"}, [AROUND6]),
    (DUAL, {"private", "local"}, []),
    (ONLY6, {"def1"}, []),
    (
        ONLY4,
        {"ipv6", "!ipv4"},
        [AROUND6, *(f"{network} unreachable" for network in IPV6_QUARTERS)],
    ),
]


@pytest.mark.parametrize(("setting", "flags", "expected"), REDIRECTS)
def test_redirect_gateway_becomes_the_routes_of_the_table(
    setting: RouteSetting, flags: set[str], expected: list[str]
) -> None:
    plan = plan_routes([], replace(setting, redirect=frozenset(flags)))
    assert shown(plan) == expected
    assert plan.listed == ()


def test_any_route_that_would_swallow_outer_packets_gets_a_way_around() -> None:
    plan = plan_routes([order("2001:db8::/32")], DUAL)
    assert shown(plan) == [AROUND6, "2001:db8::/32 tunnel"]


def test_a_server_inside_the_tunnels_own_prefix_gets_a_way_around() -> None:
    plan = plan_routes([], replace(DUAL, remote=ip_address("fd00:6::1")))
    assert shown(plan) == ["fd00:6::1/128 underlay"]


def test_local_exempts_the_redirection_but_no_other_route() -> None:
    setting = replace(DUAL4, redirect=frozenset({"local"}))
    assert AROUND4 in shown(plan_routes([order("192.0.2.0/24")], setting))


def test_a_route_around_the_tunnel_that_was_written_by_hand_is_not_doubled() -> None:
    lines = [order(host="remote_host", gateway="net_gateway"), order("2001:db8::/32")]
    plan = plan_routes(lines, DUAL)
    assert shown(plan) == [AROUND6, "2001:db8::/32 tunnel"]


def test_block_ipv6_answers_unreachable_for_all_that_would_leave_and_nothing_else() -> None:
    setting = replace(DUAL4, redirect=frozenset({"ipv6", "def1"}), block_ipv6=True)
    plan = plan_routes([order("fd01::/48"), order("fd02::/48", gateway="net_gateway")], setting)
    assert shown(plan) == [
        AROUND4,
        *HALVES,
        *(f"{network} unreachable" for network in IPV6_QUARTERS),
        "fd01::/48 unreachable",
        "fd02::/48 underlay",
        "fd00:6::/64 unreachable metric 1",
    ]


def test_max_routes_keeps_the_first_and_says_how_many_are_left_out() -> None:
    lines = [order(f"fd01:{n:x}::/32") for n in range(1, 5)]
    plan = plan_routes(lines, replace(DUAL, max_routes=2))
    assert shown(plan) == ["fd01:1::/32 tunnel", "fd01:2::/32 tunnel"]
    assert plan.notices == ("2 routes left out: max-routes is 2",)


def test_a_route_given_twice_is_made_once_but_listed_twice() -> None:
    plan = plan_routes([order("fd01::/48"), order("fd01::/48")], DUAL)
    assert shown(plan) == ["fd01::/48 tunnel"]
    assert len(plan.listed) == 2


def test_block_local_is_not_passed_over_in_silence() -> None:
    plan = plan_routes([], replace(DUAL4, redirect=frozenset({"def1", "block-local"})))
    assert any("block-local" in notice for notice in plan.notices)


@given(st.ip_addresses(v=6), st.integers(0, 128), st.booleans())
def test_an_ipv6_route_never_swallows_the_way_to_the_server(
    remote: object, length: int, redirected: bool
) -> None:
    network = ip_network(f"{remote}/{length}", strict=False)
    setting = replace(
        DUAL,
        remote=ip_address(str(remote)),
        redirect=frozenset({"ipv6"}) if redirected else None,
    )
    routes = plan_routes([RouteOrder(network)], setting).routes
    covering = [r for r in routes if setting.remote in r.destination]
    longest = max(route.destination.prefixlen for route in covering)
    ways = {route.via for route in covering if route.destination.prefixlen == longest}
    assert ways == {RouteVia.UNDERLAY}


def test_the_halves_and_quarters_are_what_stock_uses() -> None:
    assert [str(n) for n in IPV4_HALVES] == ["0.0.0.0/1", "128.0.0.0/1"]
    assert [str(n) for n in IPV6_QUARTERS] == ["::/3", "2000::/4", "3000::/4", "fc00::/7"]


def test_a_bypass_is_asked_for_only_where_something_covers_the_address() -> None:
    routes = (Route(ip_network("2001:db8::/32")),)
    assert bypass_for(routes, (), REMOTE6) == Route(ip_network(REMOTE6), RouteVia.UNDERLAY)
    assert bypass_for(routes, (), REMOTE4) is None
    assert bypass_for((*routes, Route(ip_network(REMOTE6), RouteVia.UNDERLAY)), (), REMOTE6) is None
