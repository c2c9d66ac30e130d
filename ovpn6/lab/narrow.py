"""A narrow link between two routers, for what depends on sizes: the topology, and its switches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from ovpn6.lab.capture import Capture
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.lab.topologies import Line, Underlay
from ovpn6.model.addresses import IPInterface
from ovpn6.model.errors import UsageError

SMALLEST_PATH = 1280
"""Octets: less is no link for IPv6 (RFC 8200 section 5)."""
USUAL_LINK = 1500

HOST_A = (IPv6Interface("2001:db8:a::2/64"), IPv4Interface("203.0.113.2/26"))
HOST_B = (IPv6Interface("2001:db8:b::2/64"), IPv4Interface("203.0.113.66/26"))
"""The hosts behind the tunnel's ends."""

_A_AT_HOME = (IPv6Interface("2001:db8:a::1/64"), IPv4Interface("203.0.113.1/26"))
_B_AT_HOME = (IPv6Interface("2001:db8:b::1/64"), IPv4Interface("203.0.113.65/26"))
_A = (IPv6Interface("2001:db8:c::2/64"), IPv4Interface("192.0.2.2/30"))
_R_TO_A = (IPv6Interface("2001:db8:c::1/64"), IPv4Interface("192.0.2.1/30"))
_R_TO_Q = (IPv6Interface("2001:db8:90::1/64"), IPv4Interface("192.0.2.129/30"))
_Q_TO_R = (IPv6Interface("2001:db8:90::2/64"), IPv4Interface("192.0.2.130/30"))
_Q_TO_B = (IPv6Interface("2001:db8:5::1/64"), IPv4Interface("198.51.100.1/24"))
_B = (IPv6Interface("2001:db8:5::2/64"), IPv4Interface("198.51.100.2/24"))

_BLACK_HOLE = """
table inet black_hole {
    chain out {
        type filter hook output priority 0
        icmpv6 type packet-too-big counter drop
        icmp type destination-unreachable icmp code frag-needed counter drop
    }
}
"""
# Before the table "no_fragments", so that what that one drops is counted.
_WATCH = """
table inet watch {
    counter fragments {}
    chain forward {
        type filter hook forward priority -10
        exthdr frag exists counter name fragments
        ip frag-off & 0x3fff != 0 counter name fragments
    }
}
"""
_NO_FRAGMENTS = """
table inet no_fragments {
    chain forward {
        type filter hook forward priority 0
        exthdr frag exists drop
        ip frag-off & 0x3fff != 0 drop
    }
}
"""


@dataclass(frozen=True, slots=True)
class Narrow:
    """The namespaces of :func:`narrow`, and what can be changed while traffic runs."""

    line: Line
    """The tunnel's ends as the ends of a line: ``a`` is its client, ``b`` its server."""
    host_a: Namespace
    host_b: Namespace
    r: Namespace
    q: Namespace

    @property
    def a(self) -> Namespace:
        return self.line.client

    @property
    def b(self) -> Namespace:
        return self.line.server

    def set_path(self, octets: int) -> None:
        """The narrow link's MTU from now on; both routers see it, nobody else is told."""
        self._check_path(octets)
        self.r.set_up("to-q", mtu=octets)
        self.q.set_up("to-r", mtu=octets)

    def black_hole(self, *, on: bool) -> None:
        """Whether the routers keep silent about what is too big for the narrow link."""
        for router in (self.r, self.q):
            _switch(router, "black_hole", _BLACK_HOLE, on=on)

    def drop_fragments(self, *, on: bool) -> None:
        """Whether fragments of both families end at R, as in some networks."""
        _switch(self.r, "no_fragments", _NO_FRAGMENTS, on=on)

    def outer_fragments(self) -> int:
        """Fragments that came to R so far, both ways and families; Q's are seen as well."""
        listed = self.r.run(["nft", "-j", "list", "counters", "table", "inet", "watch"]).stdout
        objects = json.loads(listed)["nftables"]
        return sum(int(each["counter"]["packets"]) for each in objects if "counter" in each)

    def capture(self, filter_text: str = "") -> Capture:
        """What passes the narrow link, from now on."""
        return Capture(self.r, "to-q", filter_text)

    def _check_path(self, octets: int) -> None:
        edge = self.a.device("to-r").mtu
        if not SMALLEST_PATH <= octets <= edge:
            raise UsageError(f"the narrow link has {SMALLEST_PATH} to {edge} octets, not {octets}")


def narrow(
    lab: Lab,
    families: Underlay = Underlay.IPV6,
    *,
    path: int = USUAL_LINK,
    edge: int | None = None,
    black_hole: bool = False,
) -> Narrow:
    """Two routers around a narrow link, the tunnel's ends beside them, hosts behind these.

        host-a ──── a ════ r ──(path)── q ════ b ──── host-b
         ::2     ::1 ::2 ::1 ::1      ::2 ::1 ::2 ::1     ::2
         2001:db8:a:: :c::      :90::       :5::  2001:db8:b::      /64 each
         .2       .1 .2   .1 .129   .130 .1   .2 .65      .66
         203.0.113.0/26         192.0.2.0/24   198.51.100.0/24, 203.0.113.64/26 of host-b

    ``path`` is the MTU of the link between r and q, ``edge`` that of all others: at least
    1500, what everybody believes. The hosts have both families whatever ``families`` says of the
    outer network. Every size is real: no link has offloads. A router on each side says "packet too
    big" in its own direction, unless ``black_hole``.
    """
    edge = max(path, USUAL_LINK) if edge is None else edge
    a, b = lab.namespace("a"), lab.namespace("b")
    r, q = lab.router("r"), lab.router("q")
    for left, right, near, far in ((a, r, _A, _R_TO_A), (r, q, _R_TO_Q, _Q_TO_R)):
        lab.link(left, right, _of(near, families), _of(far, families), mtu=edge)
    lab.link(q, b, _of(_Q_TO_B, families), _of(_B, families), mtu=edge)
    for namespace, gateways in ((a, _R_TO_A), (r, _Q_TO_R), (q, _R_TO_Q), (b, _Q_TO_B)):
        for gateway in _of(gateways, families):
            namespace.add_route(f"default{gateway.version}", gateway.ip)
    made = Narrow(
        line=Line(
            lab=lab,
            client=a,
            underlay=r,
            server=b,
            client_addresses=tuple(end.ip for end in _of(_A, families)),
            server_addresses=tuple(end.ip for end in _of(_B, families)),
        ),
        host_a=_host(lab, "host-a", a, HOST_A, _A_AT_HOME, edge),
        host_b=_host(lab, "host-b", b, HOST_B, _B_AT_HOME, edge),
        r=r,
        q=q,
    )
    r.nft(_WATCH)
    made.set_path(path)
    made.black_hole(on=black_hole)
    return made


def _host(
    lab: Lab,
    name: str,
    gateway: Namespace,
    own: tuple[IPInterface, ...],
    gateways: tuple[IPInterface, ...],
    mtu: int,
) -> Namespace:
    host = lab.namespace(name)
    gateway.forward()
    lab.link(gateway, host, gateways, own, mtu=mtu)
    for address in gateways:
        host.add_route(f"default{address.version}", address.ip)
    return host


def _of(ends: tuple[IPInterface, ...], families: Underlay) -> tuple[IPInterface, ...]:
    return tuple(end for end in ends if end.version in families.value)


def _switch(router: Namespace, table: str, rules: str, *, on: bool) -> None:
    # Declared first, so that it can be deleted whether it was there or not.
    empty = f"table inet {table} {{}}\ndelete table inet {table}\n"
    router.nft(empty + (rules if on else ""))
