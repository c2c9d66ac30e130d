"""Findings from facts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ovpn6.doctor.facts import (
    Facts,
    Filter,
    Hole,
    Interface,
    Known,
    Place,
    SegmentSize,
    Sweep,
    Sysctls,
    Told,
)
from ovpn6.doctor.judge import Finding, Weight, judge
from ovpn6.doctor.report import healthy

B, B4 = ip_address("2001:db8:5::2"), ip_address("198.51.100.2")
R, Q = ip_address("2001:db8:90::1"), ip_address("2001:db8:90::2")
PEER = ip_address("fd42:6f76:706e:36::1")
WIDE = Sweep(Place.OUTER, B, "eth0", 1500, largest=1500, fragments=True)
HOLE = replace(WIDE, largest=1400, lost=1401, hole=Hole(R, Q), back=1500)
INNER = Sweep(Place.INNER, PEER, "tun0", 1420, largest=1420)
TUN = Interface("tun0", 1420, tunnel=True, ipv6=True, ipv4=True)
UPLINK = Interface("eth0", 1500, tunnel=False, ipv6=True, ipv4=False, learns_route=True)
WELL = Facts((WIDE, INNER), (TUN, UPLINK), Sysctls())


def only(facts: Facts) -> Finding:
    (finding,) = judge(facts)
    return finding


def of(sweep: Sweep) -> Facts:
    return replace(WELL, sweeps=(sweep,))


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert judge(WELL) == ()
    assert healthy(())


def test_a_black_hole_is_named_with_its_size_its_place_and_its_direction() -> None:
    finding = only(of(HOLE))
    assert (finding.weight, finding.code) == (Weight.PROBLEM, "black-hole")
    for words in ("1400 octets", "on the way there", f"behind {R} and before {Q}"):
        assert words in finding.what
    assert f"the filters of {R}" in finding.advice
    assert "ICMPv6 type 2" in finding.advice


def test_a_hole_on_the_way_back_is_told_from_one_on_the_way_there() -> None:
    back_only = replace(HOLE, back=1400, hole=Hole(Q, B))
    finding = only(of(back_only))
    assert "on the way back" in finding.what
    # Where large packets came to is not where their answers were lost.
    assert "behind" not in finding.what


def test_a_hole_that_swallows_both_requests_and_answers_is_one_both_ways() -> None:
    assert "both ways" in only(of(replace(HOLE, back=1400))).what


def test_a_hole_whose_direction_is_not_known_claims_none() -> None:
    assert "there or back" in only(of(replace(HOLE, back=None, fragments=None, hole=None))).what


def test_the_family_decides_which_icmp_is_asked_for() -> None:
    assert "ICMP type 3 code 4" in only(of(replace(HOLE, target=B4))).advice


def test_a_narrow_path_that_says_so_is_well() -> None:
    assert judge(of(replace(HOLE, told=Told(R, 1400), hole=None, back=None))) == ()


def test_a_claim_below_what_ipv6_allows_is_a_lie() -> None:
    assert only(of(replace(HOLE, told=Told(R, 1000)))).code == "too-big-lies"
    assert judge(of(replace(HOLE, target=B4, told=Told(R, 1000)))) == ()


def test_silence_outside_is_a_note_and_inside_a_problem() -> None:
    silent = replace(WIDE, largest=0, fragments=None)
    assert only(of(silent)).weight is Weight.NOTE
    assert only(of(replace(silent, place=Place.INNER))).weight is Weight.PROBLEM


@pytest.mark.parametrize(
    ("largest", "weight"), [(1355, Weight.PROBLEM), (1356, Weight.NOTE), (1500, Weight.NOTE)]
)
def test_lost_fragments_matter_where_1280_octets_inside_need_them(
    largest: int, weight: Weight
) -> None:
    finding = only(of(replace(WIDE, largest=largest, fragments=False)))
    assert (finding.code, finding.weight) == ("fragments-dropped", weight)


def test_a_rule_is_quoted_and_a_policy_only_suspected() -> None:
    rule = Filter(6, "input", "table inet f chain i", "icmpv6 type packet-too-big drop")
    assert rule.rule in only(replace(WELL, filters=(rule,))).what
    policy = replace(rule, certain=False)
    assert "seems to" in only(replace(WELL, filters=(policy,))).what


def test_unread_filters_are_a_note() -> None:
    finding = only(replace(WELL, filters=None, unread="there is no nft program"))
    assert (finding.weight, finding.code) == (Weight.NOTE, "filters-unread")


def test_ipv6_that_is_off_on_the_tunnel_is_worse_than_elsewhere() -> None:
    found = judge(
        replace(WELL, interfaces=(replace(UPLINK, disable_ipv6=1), replace(TUN, disable_ipv6=1)))
    )
    assert [(each.weight, each.code) for each in found] == [
        (Weight.PROBLEM, "ipv6-disabled"),
        (Weight.NOTE, "ipv6-disabled"),
    ]


def test_a_tunnel_device_below_1280_is_a_problem() -> None:
    assert only(replace(WELL, interfaces=(replace(TUN, mtu=1200),))).code == "tunnel-too-small"


@pytest.mark.parametrize(
    ("accept", "forwarding", "learned", "expected"),
    [(1, 1, True, 1), (2, 1, True, 0), (1, 0, True, 0), (1, 1, False, 0)],
)
def test_a_learned_route_is_lost_when_forwarding_stops_its_renewal(
    accept: int, forwarding: int, learned: bool, expected: int
) -> None:
    uplink = replace(UPLINK, accept_ra=accept, forwarding6=forwarding, learns_route=learned)
    assert len(judge(replace(WELL, interfaces=(uplink,)))) == expected


@pytest.mark.parametrize(
    ("sysctls", "code"),
    [
        (Sysctls(disable_ipv6=1), "ipv6-disabled"),
        (Sysctls(icmp6_ratelimit=1000, icmp6_limited=(0, 1, 2)), "too-big-limited"),
        (Sysctls(no_pmtu_disc=1), "no-path-discovery"),
    ],
)
def test_sysctls_that_matter_are_named(sysctls: Sysctls, code: str) -> None:
    assert only(replace(WELL, sysctls=sysctls)).code == code


def test_a_limit_that_leaves_packet_too_big_alone_is_well() -> None:
    kernel_default = Sysctls(icmp6_ratelimit=1000, icmp6_limited=(0, 1, *range(3, 128)))
    assert judge(replace(WELL, sysctls=kernel_default)) == ()


def test_only_a_server_that_does_not_forward_is_mentioned() -> None:
    still = Sysctls(forwarding6=0, forwarding4=0)
    assert judge(replace(WELL, sysctls=still)) == ()
    assert only(replace(WELL, sysctls=still, server=True)).code == "not-forwarding"


@pytest.mark.parametrize(("mss", "found"), [(1360, 0), (1361, 1)])
def test_segments_must_fit_into_what_passes_inside(mss: int, found: int) -> None:
    assert len(judge(replace(WELL, segments=(SegmentSize(PEER, mss),)))) == found


def test_problems_come_first() -> None:
    facts = replace(WELL, sweeps=(replace(WIDE, largest=0, fragments=None), HOLE))
    assert [each.weight for each in judge(facts)] == [Weight.PROBLEM, Weight.NOTE]


@pytest.mark.parametrize(
    ("path", "expected"), [(1500, []), (1501, ["path-mistaken"]), (None, ["path-unknown"])]
)
def test_what_the_daemon_believes_is_held_against_what_passes(
    path: int | None, expected: list[str]
) -> None:
    facts = replace(WELL, known=(Known(B, path, 1420, "probe"),))
    assert [finding.code for finding in judge(facts)] == expected
