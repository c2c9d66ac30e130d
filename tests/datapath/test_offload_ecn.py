"""Congestion marks: RFC 6040's tables as they stand there, in Python and in C."""

from __future__ import annotations

import pytest

from ovpn6.datapath.offload.ecn import (
    CE,
    ECT0,
    ECT1,
    NOT_ECT,
    copied_bits,
    deliver,
    set_traffic_class,
    traffic_class,
)
from tests.datapath.inner_packets import Inner, words_sum
from tests.datapath.native_offload import library, native_deliver

FIGURE_4 = """
             Not-ECT  ECT(0)   ECT(1)   CE
    Not-ECT  Not-ECT  Not-ECT  Not-ECT  drop
    ECT(0)   ECT(0)   ECT(0)   ECT(1)   CE
    ECT(1)   ECT(1)   ECT(1)   ECT(1)   CE
    CE       CE       CE       CE       CE
"""
CODES = {"Not-ECT": NOT_ECT, "ECT(1)": ECT1, "ECT(0)": ECT0, "CE": CE}


def figure_4() -> list[tuple[str, str, str]]:
    """Inner, outer, after the tunnel."""
    head, *rows = (line.split() for line in FIGURE_4.strip().splitlines())
    return [(row[0], outer, after) for row in rows for outer, after in zip(head, row[1:])]  # noqa: B905


@pytest.mark.parametrize(("inner", "outer", "after"), figure_4())
@pytest.mark.parametrize("version", [4, 6])
def test_what_leaves_the_tunnel_is_figure_4_of_rfc_6040(
    version: int, inner: str, outer: str, after: str
) -> None:
    for dscp in (0, 0xB8):
        packet = Inner(version, payload=b"x", traffic_class=dscp | CODES[inner]).encode()
        made = deliver(packet, 0x28 | CODES[outer])
        assert native_deliver(packet, 0x28 | CODES[outer]) == made
        if after == "drop":
            assert made is None
        else:
            wanted = Inner(version, payload=b"x", traffic_class=dscp | CODES[after], label=0)
            assert made == wanted.encode()


@pytest.mark.parametrize("version", [4, 6])
def test_a_traffic_class_is_read_and_written(version: int) -> None:
    packet = Inner(version, traffic_class=0x5A, label=0xABCDE if version == 6 else 0).encode()
    for value in range(256):
        changed = set_traffic_class(packet, value)
        assert traffic_class(changed) == value
        assert set_traffic_class(changed, 0x5A) == packet
        if version == 4:
            assert words_sum(changed[:20]) == 0xFFFF


def test_a_wrong_ipv4_checksum_stays_wrong() -> None:
    packet = Inner(4, payload=b"x", traffic_class=ECT0, corrupt=10).encode()
    made = deliver(packet, CE)
    assert made is not None
    assert traffic_class(made) == CE
    assert words_sum(made[:20]) != 0xFFFF
    assert native_deliver(packet, CE) == made


@pytest.mark.parametrize("inner", [0x00, 0x01, 0x02, 0x03, 0xB9, 0xFF])
def test_nothing_is_copied_outside_but_what_was_agreed(inner: int) -> None:
    for ecn in (False, True):
        for dscp in (False, True):
            wanted = (inner & 3 if ecn else 0) | (inner & 0xFC if dscp else 0)
            assert inner & copied_bits(ecn, dscp) == wanted
            assert library().ovpn6_outer_class(inner, ecn, dscp) & 0xFF == wanted
