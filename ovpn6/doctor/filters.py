"""Reads ``nft -j list table``: which rules end "packet too big". PURE.

Rules of a base chain are read in order; chains that they jump to are not. A rule that looks at
anything else as well (an address, an interface) is not accused: it may mean others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ovpn6.doctor.facts import Filter
from ovpn6.model.records import dataclass

_HOOKS = ("input", "output", "forward")
_FAMILIES = {"inet": (6, 4), "ip6": (6,), "ip": (4,)}
_PROTOCOLS = {6: ("ipv6-icmp", "icmpv6"), 4: ("icmp",)}
_TYPE = {6: "packet-too-big", 4: "destination-unreachable"}
_OTHERS = {
    6: ("ip", "icmp", "arp", "tcp", "udp", "sctp"),
    4: ("ip6", "icmpv6", "arp", "tcp", "udp", "sctp"),
}
"""Headers that our packet does not have."""
OWN_TABLES = "ovpn6"
"""What our tables' names begin with: they keep forged ones from the kernel's routes."""

_Rule = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Chain:
    """A base chain: where, and what becomes of a packet that no rule decides about."""

    family: str
    table: str
    name: str
    hook: str
    policy: str
    rules: tuple[_Rule, ...]


def icmp_filters(text: str) -> tuple[Filter, ...]:
    """Rules and policies that end packet too big (IPv6) or fragmentation needed (IPv4)."""
    return tuple(
        found
        for chain in _base_chains(json.loads(text)["nftables"])
        for family in _FAMILIES.get(chain.family, ())
        if (found := _ends(chain, family)) is not None
    )


def _base_chains(objects: Sequence[Mapping[str, Any]]) -> Iterator[_Chain]:
    rules: dict[tuple[str, str, str], list[_Rule]] = {}
    for entry in objects:
        if (rule := entry.get("rule")) is not None:
            rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(
                rule.get("expr", ())
            )
    for entry in objects:
        chain = entry.get("chain")
        if (
            chain is None
            or chain.get("hook") not in _HOOKS
            or chain["table"].startswith(OWN_TABLES)
        ):
            continue
        key = (chain["family"], chain["table"], chain["name"])
        yield _Chain(*key, chain["hook"], chain.get("policy", "accept"), tuple(rules.get(key, ())))


def _ends(chain: _Chain, family: int) -> Filter | None:
    """The first rule that decides about our packet, if it ends it; else the policy."""
    doubt = False
    for rule in chain.rules:
        verdict = next((word for word in ("drop", "reject", "accept") if _has(rule, word)), None)
        parts = [_matches(part, family) for part in rule]
        if verdict is None or False in parts:
            continue
        if None in parts:
            # It lets some packets through that we might mean; some that it drops are not ours.
            doubt = doubt or verdict == "accept"
        elif verdict == "accept":
            return None
        else:
            words = f"{_words(rule)} {verdict}".strip()
            return _filter(chain, family, words, certain=not doubt)
    if chain.policy == "drop" and not doubt:
        return _filter(chain, family, "policy drop, and no rule lets it pass", certain=False)
    return None


def _filter(chain: _Chain, family: int, rule: str, *, certain: bool) -> Filter:
    where = f"table {chain.family} {chain.table} chain {chain.name}"
    return Filter(family, chain.hook, where, rule, certain)


def _matches(part: Mapping[str, Any], family: int) -> bool | None:
    """Whether one expression of a rule is true of our packet; None: that depends on the packet."""
    match = part.get("match")
    if match is None:
        return True
    name = _field(match["left"])
    if name.split(" ")[0] in _OTHERS[family]:
        # To look at a header is to ask for it, also where the value is to be another.
        return False
    meant = _meant(name, _values(match["right"]), family)
    return not meant if match["op"] == "!=" and meant is not None else meant


def _meant(field: str, values: Sequence[Any], family: int) -> bool | None:
    if field in ("icmpv6 type", "icmp type"):
        return _TYPE[family] in values
    if field == "icmp code":
        return "frag-needed" in values or 4 in values
    if field in ("meta l4proto", "ip6 nexthdr", "ip protocol"):
        return any(word in values for word in _PROTOCOLS[family])
    if field == "meta nfproto":
        return f"ipv{family}" in values
    if field == "ct state":
        return "related" in values
    if field in ("meta iif", "meta iifname", "meta oif", "meta oifname") and values == ["lo"]:
        return False
    return None


def _field(left: Mapping[str, Any]) -> str:
    """``ip6 nexthdr``, ``meta l4proto``; "" for what has no such name."""
    for kind, inner in left.items():
        if kind == "payload" and "field" in inner:
            return f"{inner['protocol']} {inner['field']}"
        if kind in ("meta", "ct"):
            return f"{kind} {inner['key']}"
    return ""


def _values(right: Any) -> list[Any]:
    if isinstance(right, Mapping):
        right = right.get("set", right)
    if not isinstance(right, list):
        right = [right]
    return [value for value in right if isinstance(value, (str, int))]


def _has(rule: _Rule, verdict: str) -> bool:
    return any(verdict in part for part in rule)


def _words(rule: _Rule) -> str:
    said = []
    for part in rule:
        if (match := part.get("match")) is not None:
            values = ", ".join(str(value) for value in _values(match["right"]))
            said.append(f"{_field(match['left'])} {values}")
    return " ".join(said)
