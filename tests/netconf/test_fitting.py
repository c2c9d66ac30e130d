"""Which routes and segment sizes a peer's fit asks for."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from ovpn6.model.names import PeerId
from ovpn6.model.specs import FamilyFit, HostPlan, PeerFit, Route, RouteVia
from ovpn6.netconf.fitting import (
    Claims,
    Ground,
    fitted_plan,
    fitted_routes,
    fitted_segments,
    has_whole_device,
)
from ovpn6.netconf.plan import MAIN_TABLE, Hop, KernelRoute

TUNNEL, DEVICE = 7, 3


def kernel_route(
    destination: str,
    metric: int = 1024,
    mtu: int = 0,
    table: int = MAIN_TABLE,
    device: int = DEVICE,
) -> KernelRoute:
    return KernelRoute(TUNNEL, ip_network(destination), table, metric, Hop(device, mtu=mtu))


def peer_fit(*networks: str, mtu6: int | None = 1300, mtu4: int | None = 1208) -> PeerFit:
    return PeerFit(
        PeerId(1),
        tuple(ip_network(text) for text in networks),
        FamilyFit(mtu6, 1148),
        FamilyFit(mtu4, 1168),
    )


GROUND = Ground(
    TUNNEL,
    DEVICE,
    (
        kernel_route("fd00:6::/64", 256),
        kernel_route("10.8.0.0/24", 0),
        kernel_route("fd77::/48", 70),
        kernel_route("fd77::/48", 9, table=1000),
        kernel_route("fd78::/48", table=1000),
        kernel_route("fd79::/48", device=DEVICE + 1),
    ),
)


def test_an_address_in_a_network_of_the_tunnel_gets_a_route() -> None:
    assert set(fitted_routes(peer_fit("fd00:6::9/128", "10.8.0.9/32"), GROUND).values()) == {
        kernel_route("fd00:6::9/128", 1024, 1300),
        kernel_route("10.8.0.9/32", 0, 1208),
    }


def test_the_plans_own_routes_keep_all_but_the_mtu() -> None:
    assert set(fitted_routes(peer_fit("fd77::/48"), GROUND).values()) == {
        kernel_route("fd77::/48", 70, 1300),
        kernel_route("fd77::/48", 9, 1300, table=1000),
    }


@pytest.mark.parametrize("network", ["fd78::9/128", "fd79::9/128", "2001:db8::/32", "::/0"])
def test_what_does_not_lead_into_the_tunnel_gets_none(network: str) -> None:
    assert fitted_routes(peer_fit(network), GROUND) == {}


def test_a_family_without_an_mtu_gets_none() -> None:
    found = fitted_routes(peer_fit("fd00:6::9/128", "10.8.0.9/32", mtu6=None), GROUND)
    assert set(found.values()) == {kernel_route("10.8.0.9/32", 0, 1208)}


def test_segments_are_by_network_but_for_zero() -> None:
    fit = PeerFit(
        PeerId(1),
        (ip_network("fd00:6::9/128"), ip_network("10.8.0.9/32")),
        FamilyFit(None, 1148),
        FamilyFit(None, 0),
    )
    assert fitted_segments(fit) == {ip_network("fd00:6::9/128"): 1148}


def test_the_newest_claim_counts_and_the_one_before_comes_again() -> None:
    claims: Claims[str, int] = Claims()
    assert claims.replace(PeerId(1), {"a": 1, "b": 1}) == ["a", "b"]
    assert claims.replace(PeerId(2), {"a": 2}) == ["a"]
    assert (claims.newest("a"), claims.newest("b")) == (2, 1)
    assert list(claims.all("a")) == [1, 2]
    # Renewed, a claim keeps its place.
    assert claims.replace(PeerId(1), {"a": 3}) == ["a", "b"]
    assert (claims.newest("a"), claims.newest("b")) == (2, None)
    assert claims.replace(PeerId(2), {}) == ["a"]
    assert claims.newest("a") == 3


# --- the whole device -----------------------------------------------------------------------------

PLAN = HostPlan(
    1500,
    (ip_interface("fd00:6::2/64"), ip_interface("10.8.0.2/24"), ip_interface("10.9.0.2/32")),
    (
        Route(ip_network("::/1")),
        Route(ip_network("0.0.0.0/1")),
        Route(ip_network("10.7.0.0/16"), mtu=1100),
        Route(ip_network("192.0.2.1/32"), RouteVia.UNDERLAY),
    ),
)


def test_everything_is_the_whole_device() -> None:
    assert has_whole_device(peer_fit("0.0.0.0/0"))
    assert not has_whole_device(peer_fit("fd00:6::9/128"))


def test_from_1280_on_the_device_says_it_all() -> None:
    assert fitted_plan(PLAN, peer_fit("::/0", mtu6=1400, mtu4=1400)) == HostPlan(
        1400, PLAN.addresses, PLAN.routes
    )


def test_below_1280_ipv4_routes_say_less() -> None:
    fitted = fitted_plan(PLAN, peer_fit("::/0", mtu6=1280, mtu4=1208))
    assert fitted.mtu == 1280
    assert {route.destination: route.mtu for route in fitted.routes} == {
        ip_network("::/1"): None,
        ip_network("0.0.0.0/1"): 1208,
        ip_network("10.7.0.0/16"): 1100,
        ip_network("192.0.2.1/32"): None,
        ip_network("10.8.0.0/24"): 1208,
    }


def test_nothing_fitted_is_the_plan() -> None:
    assert fitted_plan(PLAN, peer_fit("::/0", mtu6=None, mtu4=None)) == PLAN
