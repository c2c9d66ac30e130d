"""Rules as ``nft -j`` prints them, and whether they end "packet too big"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ovpn6.doctor.filters import icmp_filters

Rule = list[dict[str, Any]]


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def field(protocol: str, name: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": name}}, right, op)


def meta(key: str, right: Any) -> dict[str, Any]:
    return match({"meta": {"key": key}}, right)


DROP, ACCEPT, COUNT = {"drop": None}, {"accept": None}, {"counter": {"packets": 0, "bytes": 0}}
REJECT = {"reject": {"type": "icmpv6", "expr": "port-unreachable"}}
TOO_BIG = field("icmpv6", "type", "packet-too-big")
RELATED = match({"ct": {"key": "state"}}, ["established", "related"], "in")


def ruleset(*rules: Rule, policy: str = "accept", family: str = "inet", table: str = "f") -> str:
    named = {"family": family, "table": table}
    hooked = {"name": "i", "type": "filter", "hook": "input", "prio": 0, "policy": policy}
    return json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": "1.0.6"}},
                {"table": {"family": family, "name": table}},
                {"chain": {**named, "name": "not-a-base-chain"}},
                {"chain": {**named, **hooked}},
                *({"rule": {**named, "chain": "i", "expr": rule}} for rule in rules),
            ]
        }
    )


def families(text: str) -> list[int]:
    return [found.family for found in icmp_filters(text)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ([TOO_BIG, DROP], [6]),
        ([TOO_BIG, COUNT, REJECT], [6]),
        ([field("icmpv6", "type", {"set": ["packet-too-big", "echo-request"]}), DROP], [6]),
        ([field("icmpv6", "type", "echo-request", "!="), DROP], [6]),
        ([field("icmpv6", "type", "echo-request"), DROP], []),
        ([field("icmp", "type", "destination-unreachable"), DROP], [4]),
        (
            [
                field("icmp", "type", "destination-unreachable"),
                field("icmp", "code", "frag-needed"),
                DROP,
            ],
            [4],
        ),
        (
            [
                field("icmp", "type", "destination-unreachable"),
                field("icmp", "code", "host-unreachable"),
                DROP,
            ],
            [],
        ),
        ([meta("l4proto", "ipv6-icmp"), DROP], [6]),
        ([field("ip", "protocol", "icmp"), DROP], [4]),
        ([meta("nfproto", "ipv6"), DROP], [6]),
        ([DROP], [6, 4]),
        ([TOO_BIG, COUNT], []),
        ([field("tcp", "dport", 22), DROP], []),
        # It may mean others.
        ([TOO_BIG, field("ip6", "saddr", "2001:db8::1"), DROP], []),
        ([TOO_BIG, match({"payload": {"base": "th", "offset": 384, "len": 16}}, 1194), DROP], []),
    ],
)
def test_a_rule_is_accused_only_when_it_means_our_packet(rule: Rule, expected: list[int]) -> None:
    assert families(ruleset(rule)) == expected


@pytest.mark.parametrize("rule", [[TOO_BIG, ACCEPT], [RELATED, ACCEPT], [ACCEPT]])
def test_what_was_accepted_before_is_not_dropped(rule: Rule) -> None:
    assert 6 not in families(ruleset(rule, [TOO_BIG, DROP], policy="drop"))


def test_loopback_is_no_exception() -> None:
    lets_in = [meta("iifname", "lo"), ACCEPT]
    (found,) = icmp_filters(ruleset(lets_in, [TOO_BIG, DROP]))
    assert found.certain
    assert families(ruleset(lets_in, policy="drop")) == [6, 4]


def test_a_rule_behind_one_that_may_accept_is_suspected_and_a_policy_is_not() -> None:
    may = [field("ip6", "saddr", "2001:db8::1"), ACCEPT]
    (found,) = icmp_filters(ruleset(may, [TOO_BIG, DROP]))
    assert not found.certain
    assert families(ruleset(may, policy="drop")) == [4]


def test_a_policy_is_suspected_where_nothing_is_let_pass() -> None:
    first, second = icmp_filters(ruleset([field("tcp", "dport", 22), ACCEPT], policy="drop"))
    assert (first.family, second.family) == (6, 4)
    assert not first.certain
    assert "policy drop" in first.rule


def test_the_rule_is_said_in_words_and_with_its_place() -> None:
    (found,) = icmp_filters(ruleset([TOO_BIG, COUNT, DROP]))
    assert found.rule == "icmpv6 type packet-too-big drop"
    assert (found.where, found.hook) == ("table inet f chain i", "input")


def test_tables_of_one_family_are_about_that_one() -> None:
    assert families(ruleset([DROP], family="ip6")) == [6]
    assert families(ruleset([DROP], family="ip")) == [4]
    assert families(ruleset([DROP], family="bridge")) == []


def test_our_own_guard_is_not_accused() -> None:
    assert icmp_filters(ruleset([TOO_BIG, DROP], table="ovpn6_guard")) == ()
