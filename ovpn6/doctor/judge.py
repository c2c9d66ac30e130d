"""Facts in, findings out. PURE: the same facts give the same findings, in the same order.

A problem stops packets now or will; a note is worth knowing. Sources: RFC 4890 section 4.3.1
(ICMPv6 that must not be dropped), RFC 8200 section 5 (1280), RFC 8201, RFC 2923 (black holes).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from ovpn6.doctor.facts import (
    Facts,
    Filter,
    Hole,
    Interface,
    Known,
    Place,
    SegmentSize,
    Sweep,
)
from ovpn6.model.addresses import IPAddress
from ovpn6.model.records import dataclass
from ovpn6.mtu.overhead import IPV6_MINIMUM, Encapsulation

_PACKET_TOO_BIG = 2
_HEADERS = {6: 60, 4: 40}
"""IP and TCP: what a segment of the MSS gets in front."""
_LET_PASS = {
    6: "let ICMPv6 type 2 (packet too big) pass",
    4: "let ICMP type 3 code 4 (fragmentation needed) pass",
}


_DIRECTIONS = {
    (True, True): "both ways",
    (True, False): "on the way there",
    (False, True): "on the way back",
    (False, False): "there or back",
}


class Weight(Enum):
    """How bad it is."""

    PROBLEM = "problem"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is for programs and stays; ``what`` and ``advice`` are sentences for people."""

    weight: Weight
    code: str
    what: str
    advice: str = ""


def judge(facts: Facts) -> tuple[Finding, ...]:
    """What is wrong, problems first."""
    found = [
        *(finding for sweep in facts.sweeps for finding in _sweep(sweep)),
        *_filters(facts),
        *(finding for each in facts.interfaces for finding in _interface(each)),
        *_sysctls(facts),
        *(finding for each in facts.segments for finding in _segment(each, facts)),
        *(finding for each in facts.known for finding in _known(each, facts)),
    ]
    return tuple(sorted(found, key=lambda finding: finding.weight is Weight.NOTE))


# --- sweeps -------------------------------------------------------------------------------------


def _sweep(sweep: Sweep) -> Iterator[Finding]:
    where = f"{sweep.place.value} path to {sweep.target}"
    if not sweep.answered:
        yield _problem_or_note(
            sweep.place is Place.INNER,
            "no-answer",
            f"{where}: no echo request is answered",
            "see that the tunnel is up and that the other end lets echo requests in"
            if sweep.place is Place.INNER
            else "sizes cannot be told from here; let the other end answer echo requests",
        )
        return
    if sweep.lost is not None:
        yield from _lost(sweep, sweep.lost, where)
    if sweep.fragments is False:
        yield from _no_fragments(sweep, where)


def _lost(sweep: Sweep, lost: int, where: str) -> Iterator[Finding]:
    family = sweep.target.version
    if sweep.told is not None:
        if family == 6 and sweep.told.by is not None and sweep.told.mtu < IPV6_MINIMUM:
            yield _problem(
                "too-big-lies",
                f"{where}: {sweep.told.by} claims that {sweep.told.mtu} octets are the most, which "
                f"no IPv6 link may",
                "the claim is ignored; look what that router is, or who speaks in its name",
            )
        return
    there, back = _ways(sweep, lost)
    direction = _DIRECTIONS[there, back]
    place = _between(sweep.hole) if there else ""
    yield _problem(
        "black-hole",
        f"{where}: packets of more than {sweep.largest} octets vanish {direction} without a word"
        f"{place}",
        _black_hole_advice(sweep, there=there),
    )


def _ways(sweep: Sweep, lost: int) -> tuple[bool, bool]:
    """Whether the way there has a hole, and whether the way back has: by how far large packets
    come, and by answers to requests that went in fragments."""
    hole = sweep.hole
    seen_there = hole is not None and hole.beyond not in (None, sweep.target)
    if sweep.back is None:
        return seen_there, False
    return seen_there or sweep.back >= lost, sweep.back < lost


def _between(hole: Hole | None) -> str:
    if hole is None:
        return ""
    reached = "this host" if hole.reached is None else str(hole.reached)
    beyond = "anything further" if hole.beyond is None else str(hole.beyond)
    return f", behind {reached} and before {beyond}"


def _black_hole_advice(sweep: Sweep, *, there: bool) -> str:
    if sweep.place is Place.INNER:
        return (
            "the other end's idea of the path is wrong: ovpn6 at both ends finds the size itself; "
            "elsewhere lower tun-mtu and mssfix"
        )
    router = sweep.hole.reached if sweep.hole and there else None
    whose = "the filters on the way" if router is None else f"the filters of {router}"
    return (
        f"{_LET_PASS[sweep.target.version]} in {whose}; ovpn6 finds the size itself, other "
        f"programs need an MTU of {sweep.largest} on {sweep.link}"
    )


def _no_fragments(sweep: Sweep, where: str) -> Iterator[Finding]:
    if sweep.place is not Place.OUTER:
        return
    need = IPV6_MINIMUM + Encapsulation(sweep.target.version, epoch=True).overhead
    if sweep.largest >= need:
        yield _note(
            "fragments-dropped",
            f"{where}: fragments do not arrive",
            "nothing depends on them: the path is wide enough for the tunnel",
        )
        return
    yield _problem(
        "fragments-dropped",
        f"{where}: fragments do not arrive, and only {sweep.largest} octets do in one piece",
        f"inner IPv6 needs 1280 octets, {need} with the tunnel's headers: let fragments pass, or "
        f"find a wider path",
    )


# --- the host -----------------------------------------------------------------------------------


def _filters(facts: Facts) -> Iterator[Finding]:
    if facts.filters is None:
        yield _note(
            "filters-unread",
            f"the host's packet filter could not be read: {facts.unread}",
            "run the doctor as root, with nftables installed",
        )
    for each in facts.filters or ():
        yield _filter(each)


def _filter(each: Filter) -> Finding:
    advice = f"{_LET_PASS[each.family]} before that rule"
    words = "fragmentation needed" if each.family == 4 else "packet too big"
    if each.certain:
        what = f"{each.where} ({each.hook}) drops IPv{each.family} {words}: {each.rule}"
        return _problem("icmp-filtered", what, advice)
    what = f"{each.where} ({each.hook}) seems to drop IPv{each.family} {words}: {each.rule}"
    return _problem("icmp-filtered", what, f"{_LET_PASS[each.family]}, or accept ct state related")


def _interface(each: Interface) -> Iterator[Finding]:
    if each.disable_ipv6 and each.tunnel:
        yield _problem(
            "ipv6-disabled",
            f"{each.name}: IPv6 is switched off on the tunnel device",
            f"sysctl net.ipv6.conf.{each.name}.disable_ipv6=0",
        )
    elif each.disable_ipv6 and each.name != "lo":
        yield _note(
            "ipv6-disabled",
            f"{each.name}: IPv6 is switched off",
            f"sysctl net.ipv6.conf.{each.name}.disable_ipv6=0",
        )
    if each.tunnel and each.mtu < IPV6_MINIMUM:
        yield _problem(
            "tunnel-too-small",
            f"{each.name}: with an MTU of {each.mtu} the kernel takes IPv6 off the device",
            f"tun-mtu {IPV6_MINIMUM} at least",
        )
    if each.learns_route and each.forwarding6 and each.accept_ra == 1:
        yield _problem(
            "router-advertisements-ignored",
            f"{each.name}: forwarding is on and accept_ra is 1, so the default route that a router "
            f"advertised is not renewed",
            f"sysctl net.ipv6.conf.{each.name}.accept_ra=2",
        )


def _sysctls(facts: Facts) -> Iterator[Finding]:
    found = facts.sysctls
    if found.disable_ipv6:
        yield _problem(
            "ipv6-disabled",
            "IPv6 is switched off for new interfaces, so for tunnel devices",
            "sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0",
        )
    if _PACKET_TOO_BIG in found.icmp6_limited and found.icmp6_ratelimit:
        yield _problem(
            "too-big-limited",
            f"the kernel says packet too big once in {found.icmp6_ratelimit} ms to each host",
            "sysctl net.ipv6.icmp.ratemask=0-1,3-127",
        )
    if found.no_pmtu_disc:
        yield _note(
            "no-path-discovery",
            "IPv4 path MTU discovery is switched off (ip_no_pmtu_disc)",
            "sysctl net.ipv4.ip_no_pmtu_disc=0",
        )
    if facts.server and found.forwarding6 == 0 and found.forwarding4 == 0:
        yield _note(
            "not-forwarding",
            "this host forwards nothing: clients reach the server and nothing behind it",
            "sysctl net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1, if that is wanted",
        )


def _segment(seen: SegmentSize, facts: Facts) -> Iterator[Finding]:
    inner = _inner_to(seen.target, facts)
    if seen.mss is None or inner is None or not inner.answered:
        return
    full = seen.mss + _HEADERS[seen.target.version]
    if full > inner.largest:
        yield _problem(
            "segments-too-large",
            f"TCP to {seen.target} announces segments of {seen.mss}, packets of {full} octets, and "
            f"{inner.largest} pass",
            "take away mssfix, so that ovpn6 sets it by the path; see that nftables works",
        )


def _known(each: Known, facts: Facts) -> Iterator[Finding]:
    if each.path is None:
        yield _note(
            "path-unknown",
            f"the daemon has found out nothing about the path to {each.outer} ({each.learned})",
            "see its log; with mtu-disc no, or over TCP, that is as it should be",
        )
        return
    outer = (sweep for sweep in facts.sweeps if sweep.place is Place.OUTER)
    swept = next((sweep for sweep in outer if sweep.target == each.outer), None)
    if swept is not None and swept.answered and each.path > swept.largest:
        yield _problem(
            "path-mistaken",
            f"the daemon takes {each.path} octets for the path to {each.outer}, and only "
            f"{swept.largest} pass",
            "it notices within its confirmation time (path-mtu-timers); run the doctor again",
        )


def _inner_to(target: IPAddress, facts: Facts) -> Sweep | None:
    inner = (sweep for sweep in facts.sweeps if sweep.place is Place.INNER)
    return next((sweep for sweep in inner if sweep.target == target), None)


def _problem(code: str, what: str, advice: str) -> Finding:
    return Finding(Weight.PROBLEM, code, what, advice)


def _note(code: str, what: str, advice: str) -> Finding:
    return Finding(Weight.NOTE, code, what, advice)


def _problem_or_note(problem: bool, code: str, what: str, advice: str) -> Finding:
    return Finding(Weight.PROBLEM if problem else Weight.NOTE, code, what, advice)
