"""Paths that change under a running tunnel: narrower, wider, another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fitting.rules import Packet, Passes, TooBig
from fitting.tcp import talk
from fitting.tunnel import Fitted, Row, fitted, wrong_sizes, wrong_streams
from interop.ends import make_authority

from ovpn6.lab import Lab, StockOpenVPN, Underlay, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.protocol.probing import LINGER

pytestmark = pytest.mark.root

PROBE, CONFIRM = 0.2, 1.0
TIMERS = f"path-mtu-timers {PROBE} {CONFIRM} 600"
RISING = f"path-mtu-timers {PROBE} {CONFIRM} 2"
RECOVERY = CONFIRM + 3 * PROBE
"""Seconds; the round trips here are none."""
SLACK = 1.5
WIDE, NARROW = 1500, 1400


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("changes"))


def row(path: int, outer: Underlay = Underlay.IPV6, *, black_hole: bool = True) -> Row:
    """A row whose sizes are those of a path; both ends believe in 1500."""
    return Row(path, outer, black_hole)


@pytest.mark.parametrize("outer", [Underlay.IPV6, Underlay.IPV4], ids=["ipv6", "ipv4"])
@pytest.mark.parametrize("black_hole", [True, False], ids=["silent", "told"])
def test_a_path_that_becomes_narrow_is_noticed_in_time(
    lab: Lab, authority: Authority, outer: Underlay, black_hole: bool
) -> None:
    narrow = row(NARROW, outer).rules
    with fitted(lab, authority, row(WIDE, outer, black_hole=black_hole), TIMERS) as tunnel:
        tunnel.settle()
        tunnel.net.set_path(NARROW)
        fallen = time.monotonic()
        if not black_hole:
            # Who says "packet too big" is asked by a packet that is; nobody else speaks.
            tunnel.crossing.send([Packet(6, WIDE - 76)], ("udp",), limit=0.1)
            tunnel.crossing.send([Packet(6, WIDE - 76)], ("udp",), back=True, limit=0.1)
        tunnel.settle(narrow, RECOVERY + SLACK)
        assert time.monotonic() - fallen < RECOVERY + SLACK
        assert wrong_sizes(tunnel, narrow) == []


@pytest.mark.parametrize("version", [6, 4], ids=["ipv6", "ipv4"])
@pytest.mark.parametrize("black_hole", [True, False], ids=["silent", "told"])
def test_a_connection_goes_on_when_the_path_becomes_narrow_under_it(
    lab: Lab, authority: Authority, version: int, black_hole: bool
) -> None:
    with fitted(lab, authority, row(WIDE, black_hole=black_hole), TIMERS) as tunnel:
        tunnel.settle()
        cross = tunnel.crossing
        seen = talk(cross.a, cross.b, version, limit=20, midway=lambda: tunnel.net.set_path(NARROW))
        assert seen.complete, seen


def test_a_path_that_becomes_wide_is_used_after_a_while(lab: Lab, authority: Authority) -> None:
    with fitted(lab, authority, row(NARROW), RISING) as tunnel:
        tunnel.settle()
        tunnel.net.set_path(WIDE)
        wide = row(WIDE).rules
        tunnel.settle(wide, limit=2 + 3 * PROBE + SLACK)
        assert wrong_sizes(tunnel, wide) == []


def test_a_narrow_path_to_openvpn_is_found_and_lost_again(lab: Lab, authority: Authority) -> None:
    stock = Row(WIDE, server=StockOpenVPN)
    with fitted(lab, authority, stock, RISING) as tunnel:
        tunnel.settle()
        tunnel.net.set_path(NARROW)
        tunnel.settle(row(NARROW).rules, RECOVERY + SLACK)
        tunnel.net.set_path(WIDE)
        # Messages that stand for probes which the narrow path ate are free again after a while.
        tunnel.settle(row(WIDE).rules, limit=2 + 3 * PROBE + LINGER + SLACK)


@pytest.mark.parametrize(
    ("first", "second"), [(WIDE, NARROW), (NARROW, WIDE)], ids=["narrower", "wider"]
)
def test_a_client_that_moves_to_another_path_has_that_ones_sizes(
    lab: Lab, authority: Authority, first: int, second: int
) -> None:
    with fitted(lab, authority, row(first), RISING) as tunnel, _another_way(tunnel, second):
        tunnel.settle()
        _move(tunnel)
        there = row(second).rules
        tunnel.settle(there, limit=10)
        assert wrong_sizes(tunnel, there) == []
        # The tunnel is the same one.
        assert tunnel.client.log().count("Initialization Sequence Completed") == 1


@contextmanager
def _another_way(tunnel: Fitted, path: int) -> Iterator[None]:
    """A second link from a, past r, to q. Q has it as narrow as ``path`` in its own direction, and
    between a and q lies a router that has the other one so, and says nothing."""
    net = tunnel.net
    lab = net.line.lab
    s = lab.router("s")
    lab.link(net.a, s, ["2001:db8:c:1::2/64"], ["2001:db8:c:1::1/64"])
    lab.link(s, net.q, ["2001:db8:91::1/64"], ["2001:db8:91::2/64"], mtu=path)
    s.add_route("default6", "2001:db8:91::2")
    net.q.add_route("2001:db8:c:1::/64", "2001:db8:91::1")
    silent = (
        "table inet silent {\nchain out {\ntype filter hook output priority 0\n"
        "icmpv6 type packet-too-big drop\n}\n}"
    )
    s.nft(silent)
    yield


def _move(tunnel: Fitted) -> None:
    net = tunnel.net
    net.a.add_route("default6", "2001:db8:c:1::1")
    net.a.remove_address("to-r", "2001:db8:c::2/64")
    wait_for(
        lambda: "2001:db8:c:1::2" in tunnel.server.status_path.read_text(),
        20,
        "the client at its new address",
        [tunnel.server.process],
    )


def test_a_path_that_drops_fragments_is_as_good_as_any_where_1280_octets_fit(
    lab: Lab, authority: Authority
) -> None:
    with fitted(lab, authority, row(NARROW)) as tunnel:
        tunnel.net.drop_fragments(on=True)
        tunnel.settle()
        assert wrong_sizes(tunnel) == []
        assert wrong_streams(tunnel, (tunnel.row.rules,), exact=True) == []


def test_a_narrower_path_that_drops_fragments_loses_just_what_needs_them(
    lab: Lab, authority: Authority
) -> None:
    with fitted(lab, authority, row(1280)) as tunnel:
        tunnel.net.drop_fragments(on=True)
        fits = tunnel.row.rules.tunnel
        packets = [Packet(6, size) for size in (fits, fits + 1, 1280, 1281)]
        for back in (False, True):
            fates = tunnel.crossing.send(packets, ("udp",), back=back, limit=0.5)
            assert [fate.verdict for fate in fates] == [Passes(), None, None, TooBig(1280)]
        assert wrong_streams(tunnel, (tunnel.row.rules,), exact=True) == []


def test_what_is_too_big_is_said_with_the_tunnels_own_address(
    lab: Lab, authority: Authority
) -> None:
    """RFC 4443 section 2.2: of the router that refuses, not of the packet's destination."""
    with fitted(lab, authority, row(NARROW)) as tunnel:
        tunnel.settle()
        packets = [Packet(6, 1450), Packet(4, 1450)]
        there = tunnel.crossing.send(packets, ("udp",))
        assert all(isinstance(fate.verdict, TooBig) for fate in there)
        own = {address.ip for address in tunnel.net.a.addresses()}
        assert {fate.told_by for fate in there} <= own
