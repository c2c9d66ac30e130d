"""The lab's narrow link, without any tunnel: what routers do, and what the tests see of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fitting.crossing import Crossing, cross
from fitting.rules import Packet, Passes, Pieces, TooBig
from fitting.tcp import talk

from ovpn6.lab import Lab, Underlay
from ovpn6.lab.narrow import HOST_A, HOST_B, Narrow, narrow
from ovpn6.model.errors import UsageError

pytestmark = pytest.mark.root

BOTH_WAYS = (False, True)


@pytest.fixture
def net(lab: Lab) -> Narrow:
    """1,400 octets wide; the hosts reach each other without a tunnel."""
    made = narrow(lab, Underlay.DUAL, path=1400)
    for router, gateways, there in (
        (made.a, ("2001:db8:c::1", "192.0.2.1"), HOST_B),
        (made.r, ("2001:db8:90::2", "192.0.2.130"), HOST_B),
        (made.q, ("2001:db8:5::2", "198.51.100.2"), HOST_B),
        (made.b, ("2001:db8:5::1", "198.51.100.1"), HOST_A),
        (made.q, ("2001:db8:90::1", "192.0.2.129"), HOST_A),
        (made.r, ("2001:db8:c::2", "192.0.2.2"), HOST_A),
    ):
        for gateway, address in zip(gateways, there, strict=True):
            router.add_route(str(address.network), gateway)
    return made


@pytest.fixture
def crossing(net: Narrow) -> Iterator[Crossing]:
    made = cross(net)
    yield made
    made.close()


@pytest.mark.parametrize("back", BOTH_WAYS)
def test_what_fits_passes_and_for_the_rest_the_router_says_so(
    crossing: Crossing, back: bool
) -> None:
    fates = crossing.send([Packet(6, 1400), Packet(4, 1400)], back=back)
    assert [fate.verdict for fate in fates] == [Passes()] * 4
    fates = crossing.send([Packet(6, 1401), Packet(4, 1401)], back=back)
    assert [fate.verdict for fate in fates] == [TooBig(1400)] * 4
    routers = {"2001:db8:90::1", "2001:db8:c::1", "192.0.2.1"}
    if back:
        routers = {"2001:db8:90::2", "2001:db8:5::1", "198.51.100.1"}
    assert {str(fate.told_by) for fate in fates} <= routers


def test_a_packet_that_may_be_cut_arrives_in_pieces_and_they_are_counted(
    net: Narrow, crossing: Crossing
) -> None:
    fates = crossing.send([Packet(4, 1500, df=False)])
    assert [fate.verdict for fate in fates] == [Pieces(2)] * 2
    # R itself makes them on the way there, behind where it counts; on the way back Q does.
    before = net.outer_fragments()
    crossing.send([Packet(4, 1500, df=False)], back=True)
    assert net.outer_fragments() == before + 4


@pytest.mark.parametrize("back", BOTH_WAYS)
def test_a_black_hole_is_silent_until_it_is_taken_away(
    net: Narrow, crossing: Crossing, back: bool
) -> None:
    net.black_hole(on=True)
    packets = [Packet(6, 1401), Packet(4, 1401), Packet(6, 1400)]
    fates = crossing.send(packets, ("udp",), back=back, limit=0.3)
    assert [fate.verdict for fate in fates] == [None, None, Passes()]
    net.black_hole(on=False)
    (fate,) = crossing.send([Packet(6, 1401)], ("udp",), back=back)
    assert fate.verdict == TooBig(1400)


def test_the_path_changes_under_way(net: Narrow, crossing: Crossing) -> None:
    net.set_path(1300)
    for back in BOTH_WAYS:
        (fate,) = crossing.send([Packet(6, 1400)], ("udp",), back=back)
        assert fate.verdict == TooBig(1300)
    net.set_path(1500)
    assert all(crossing.passes(Packet(6, 1500), back=back) for back in BOTH_WAYS)


def test_fragments_that_are_dropped_are_counted_all_the_same(
    net: Narrow, crossing: Crossing
) -> None:
    net.drop_fragments(on=True)
    (fate,) = crossing.send([Packet(4, 1500, df=False)], ("udp",), back=True, limit=0.3)
    assert fate.verdict is None
    assert net.outer_fragments() == 2


@pytest.mark.parametrize("octets", [1279, 1501])
def test_a_link_that_is_none_for_ipv6_or_wider_than_its_neighbours_is_refused(
    net: Narrow, octets: int
) -> None:
    with pytest.raises(UsageError, match="1280 to 1500"):
        net.set_path(octets)


def test_jumbo_packets_pass_where_every_link_is_as_wide(lab: Lab) -> None:
    net = narrow(lab, path=9000)
    edges = (net.host_a, net.a, net.r, net.q, net.b, net.host_b)
    for namespace in edges:
        widths = {each.mtu for each in namespace.devices().values() if each.kind == "veth"}
        assert widths == {9000}


@pytest.mark.parametrize("version", [6, 4])
def test_both_sides_of_a_connection_and_what_they_announce_are_seen(
    crossing: Crossing, version: int
) -> None:
    seen = talk(crossing.a, crossing.b, version)
    assert seen.complete
    assert seen.mss == (1440, 1440) if version == 6 else (1460, 1460)


def test_a_connection_through_a_black_hole_stalls(net: Narrow, crossing: Crossing) -> None:
    net.black_hole(on=True)
    seen = talk(crossing.a, crossing.b, 6, limit=1)
    assert not seen.complete
