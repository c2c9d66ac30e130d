"""The oracle of the size tests against the table of the specification, and against itself."""

from __future__ import annotations

import pytest
from fitting.rules import BelowIp, Packet, Passes, Pieces, Rules, TooBig
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.mtu.overhead import Encapsulation

V6, V6_EPOCH = Encapsulation(6), Encapsulation(6, epoch=True)
V4, V4_EPOCH = Encapsulation(4), Encapsulation(4, epoch=True)
WIDE = 65_535

# P and format: T, IPv6 MSS, IPv4 MSS; then the largest IPv6 packet and what is said beyond it.
TABLE = (
    (1280, V6, 1208, 1148, 1168, 1280),
    (1280, V6_EPOCH, 1204, 1144, 1164, 1280),
    (1280, V4, 1228, 1168, 1188, 1280),
    (1280, V4_EPOCH, 1224, 1164, 1184, 1280),
    (1400, V6, 1328, 1268, 1288, 1328),
    (1400, V4_EPOCH, 1344, 1284, 1304, 1344),
    (1492, V6_EPOCH, 1416, 1356, 1376, 1416),
    (1492, V4, 1440, 1380, 1400, 1440),
    (1500, V6, 1428, 1368, 1388, 1428),
    (9000, V6_EPOCH, 8924, 8864, 8884, 8924),
    (9000, V4, 8948, 8888, 8908, 8948),
)


@pytest.mark.parametrize(("path", "format_", "fits", "mss6", "mss4", "largest"), TABLE)
def test_every_border_is_where_the_table_has_it(
    path: int, format_: Encapsulation, fits: int, mss6: int, mss4: int, largest: int
) -> None:
    rules = Rules(path, format_, WIDE)
    assert (rules.tunnel, rules.mss(6), rules.mss(4)) == (fits, mss6, mss4)
    assert rules.verdict(Packet(6, fits)) == Passes()
    assert rules.verdict(Packet(4, fits)) == Passes()
    assert rules.verdict(Packet(6, largest + 1)) == TooBig(largest)
    assert rules.verdict(Packet(4, fits + 1)) == TooBig(fits)
    assert rules.verdict(Packet(4, fits + 1, df=False)) == Pieces(2)


@pytest.mark.parametrize(("path", "format_"), [(1280, V6), (1280, V4), (1351, V6), (1331, V4)])
def test_1280_octets_of_ipv6_pass_in_two_pieces_where_they_do_not_fit(
    path: int, format_: Encapsulation
) -> None:
    rules = Rules(path, format_, WIDE)
    assert rules.verdict(Packet(6, 1280)) == BelowIp(2)
    assert rules.verdict(Packet(6, 1281)) == TooBig(1280)


@pytest.mark.parametrize(("path", "format_"), [(1352, V6), (1356, V6_EPOCH), (1332, V4)])
def test_no_outer_fragment_from_1280_and_the_overhead_on(path: int, format_: Encapsulation) -> None:
    assert Rules(path, format_, WIDE).verdict(Packet(6, 1280)) == Passes()


def test_inner_pieces_are_counted_as_rfc_791_cuts_them() -> None:
    # T 1208: 1184 octets go into each but the last.
    rules = Rules(1280, V6, WIDE)
    assert rules.verdict(Packet(4, 20 + 2 * 1184, df=False)) == Pieces(2)
    assert rules.verdict(Packet(4, 21 + 2 * 1184, df=False)) == Pieces(3)


def test_the_device_is_a_border_too() -> None:
    rules = Rules(9000, V6, 1420)
    assert rules.verdict(Packet(6, 1421)) == TooBig(1420)
    assert rules.mss(6) == 1360


@given(
    st.integers(1280, 9000),
    st.sampled_from((V6, V6_EPOCH, V4, V4_EPOCH)),
    st.integers(1280, 9000),
    st.integers(41, 9000),
)
def test_what_is_refused_passes_in_the_size_that_is_named(
    path: int, format_: Encapsulation, device: int, size: int
) -> None:
    rules = Rules(path, format_, device)
    for version in (6, 4):
        verdict = rules.verdict(Packet(version, size))
        if isinstance(verdict, TooBig):
            assert verdict.mtu < size
            again = rules.verdict(Packet(version, verdict.mtu))
            assert isinstance(again, (Passes, BelowIp))
        else:
            smaller = rules.verdict(Packet(version, size - 1))
            assert isinstance(smaller, (Passes, BelowIp))


@given(st.integers(1280, 9000), st.sampled_from((V6, V6_EPOCH, V4, V4_EPOCH)))
def test_a_full_segment_is_never_more_than_one_outer_packet(
    path: int, format_: Encapsulation
) -> None:
    rules = Rules(path, format_, WIDE)
    assert rules.verdict(Packet(6, rules.mss(6) + 60)) == Passes()
    assert rules.verdict(Packet(4, rules.mss(4) + 40)) == Passes()
