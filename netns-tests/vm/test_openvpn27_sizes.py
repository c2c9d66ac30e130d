"""Rows of the size matrix with OpenVPN 2.7 in user space at either end: its format has epochs."""

from __future__ import annotations

import os
from itertools import product

import pytest
from fitting.tunnel import Row, fitted, wrong_outer_pieces, wrong_sizes, wrong_streams
from interop.ends import make_authority

from ovpn6.lab import Lab, Underlay
from ovpn6.pki.authority import Authority
from vm.openvpn27 import StockOpenVPN27
from vm.root import why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]

FULL = "OVPN6_MTU_MATRIX"
SHORT = (
    Row(1280, epoch=True, server=StockOpenVPN27),
    Row(1400, Underlay.IPV4, epoch=True, client=StockOpenVPN27),
    Row(1500, client=StockOpenVPN27),
)
ALL = tuple(
    Row(path, outer, silent, epoch, **{end: StockOpenVPN27})
    for path, outer, silent, epoch, end in product(
        (1280, 1400, 1492, 1500, 9000),
        (Underlay.IPV6, Underlay.IPV4),
        (True, False),
        (True, False),
        ("server", "client"),
    )
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("sizes27"))


@pytest.mark.parametrize("row", ALL, ids=str)
def test_every_size_has_the_fate_that_the_rules_give_it(
    lab: Lab, authority: Authority, row: Row
) -> None:
    if row not in SHORT and not os.environ.get(FULL):
        pytest.skip("not in the short form: make mtu-matrix runs all rows")
    with fitted(lab, authority, row) as tunnel:
        base = Row(1280, row.outer, epoch=row.epoch).rules
        found = wrong_streams(tunnel, (base, row.rules), exact=False)
        tunnel.settle()
        found += wrong_sizes(tunnel)
        found += wrong_streams(tunnel, (row.rules,), exact=False)
        found += wrong_outer_pieces(tunnel)
    assert found == []
