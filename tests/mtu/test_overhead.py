"""The table of the specification, row by row, and what holds for every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import UsageError
from ovpn6.mtu.overhead import Encapsulation, largest_useful_path, sizes

# P: (v6 classic, v6 epoch, v4 classic, v4 epoch), each T / IPv6 MSS / IPv4 MSS.
ROWS = {
    1280: ((1208, 1148, 1168), (1204, 1144, 1164), (1228, 1168, 1188), (1224, 1164, 1184)),
    1400: ((1328, 1268, 1288), (1324, 1264, 1284), (1348, 1288, 1308), (1344, 1284, 1304)),
    1492: ((1420, 1360, 1380), (1416, 1356, 1376), (1440, 1380, 1400), (1436, 1376, 1396)),
    1500: ((1428, 1368, 1388), (1424, 1364, 1384), (1448, 1388, 1408), (1444, 1384, 1404)),
    9000: ((8928, 8868, 8888), (8924, 8864, 8884), (8948, 8888, 8908), (8944, 8884, 8904)),
}
COLUMNS = (
    Encapsulation(6),
    Encapsulation(6, epoch=True),
    Encapsulation(4),
    Encapsulation(4, epoch=True),
)
encapsulations = st.builds(
    Encapsulation,
    ip_version=st.sampled_from((4, 6)),
    epoch=st.booleans(),
    has_peer_id=st.booleans(),
    framing=st.integers(0, 2),
)


@pytest.mark.parametrize("path", ROWS)
def test_the_sizes_are_those_of_the_table(path: int) -> None:
    for encapsulation, row in zip(COLUMNS, ROWS[path], strict=True):
        found = sizes(path, encapsulation, device=65_535)
        assert (found.tunnel, found.mss_ipv6, found.mss_ipv4) == row


def test_only_a_path_too_narrow_for_1280_inside_has_a_route_of_its_own() -> None:
    encapsulation = Encapsulation(6)
    assert sizes(1280 + 71, encapsulation, 1500).outer_route == 1280 + 71
    assert sizes(1280 + 72, encapsulation, 1500).outer_route is None


def test_the_device_is_a_limit_too() -> None:
    found = sizes(1500, Encapsulation(6), device=1400)
    assert (found.tunnel, found.route_ipv6, found.mss_ipv6) == (1400, 1400, 1340)


def test_a_device_for_ipv4_alone_may_be_smaller_than_1280() -> None:
    found = sizes(1280, Encapsulation(4), device=1000)
    assert (found.tunnel, found.outer_route) == (1000, None)


def test_a_compression_stub_costs_its_octet() -> None:
    assert Encapsulation(6, framing=1).overhead == Encapsulation(6).overhead + 1


def test_without_a_peer_id_three_octets_are_won() -> None:
    assert Encapsulation(4, has_peer_id=False).overhead == 49


def test_an_ip_version_that_is_none_is_our_mistake() -> None:
    with pytest.raises(UsageError):
        _ = Encapsulation(5).overhead


@given(encapsulations, st.integers(1280, 9000), st.integers(1280, 9000))
def test_a_full_inner_packet_fills_the_path_and_no_more(
    encapsulation: Encapsulation, path: int, device: int
) -> None:
    found = sizes(path, encapsulation, device)
    assert found.tunnel + encapsulation.overhead <= path
    assert found.tunnel == device or found.tunnel + encapsulation.overhead == path
    assert found.route_ipv6 >= 1280
    needs_fragments = found.route_ipv6 + encapsulation.overhead > path
    assert needs_fragments == (found.outer_route is not None)


@given(encapsulations, st.integers(1280, 9000), st.integers(1280, 9000))
def test_a_larger_path_than_the_useful_one_changes_nothing(
    encapsulation: Encapsulation, device: int, link: int
) -> None:
    useful = largest_useful_path(encapsulation, device, link)
    assert sizes(useful, encapsulation, device).tunnel == sizes(link, encapsulation, device).tunnel
