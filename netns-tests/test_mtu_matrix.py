"""Sizes through a tunnel over a narrow path, row by row, as the rules want them (fitting/rules.py).

One tunnel a row: TCP in all four directions as soon as it is up, then packets at every edge, both
ways. A few rows stand for each rule by default; ``make mtu-matrix`` runs all of them. OpenVPN 2.7
is in ``vm/test_openvpn27_sizes.py``, the kernel's data path in ``vm/guest/test_kernel_mtu.py``.
"""

from __future__ import annotations

import os
from itertools import product

import pytest
from fitting.tunnel import Row, fitted, wrong_outer_pieces, wrong_sizes, wrong_streams
from interop.ends import make_authority

from ovpn6.datapath.offload.switch import VARIABLE
from ovpn6.lab import Lab, Ovpn6, StockOpenVPN, Underlay
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

FULL = "OVPN6_MTU_MATRIX"
PATHS = (1280, 1400, 1492, 1500, 9000)
OUTER = (Underlay.IPV6, Underlay.IPV4)

SHORT = (
    # R1 to R6 where R2 has a place, in both formats, both outer families, told and not.
    Row(1280, epoch=True),
    Row(1280, Underlay.IPV4, black_hole=False),
    # The usual narrow ones.
    Row(1400, black_hole=False),
    Row(1492, Underlay.IPV4, epoch=True),
    Row(1492, python=True),
    Row(1500, epoch=True),
    Row(9000, Underlay.IPV4, epoch=True),
    # R8.
    Row(1280, server=StockOpenVPN),
    Row(1400, Underlay.IPV4, client=StockOpenVPN),
)
ALL = (
    *(
        Row(path, outer, silent, epoch, python=python)
        for path, outer, silent, epoch, python in product(
            PATHS, OUTER, (True, False), (True, False), (False, True)
        )
    ),
    *(
        Row(path, outer, silent, **{end: StockOpenVPN})
        for path, outer, silent, end in product(PATHS, OUTER, (True, False), ("server", "client"))
    ),
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("sizes"))


@pytest.mark.parametrize("row", ALL, ids=str)
def test_every_size_has_the_fate_that_the_rules_give_it(
    lab: Lab, authority: Authority, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    if row not in SHORT and not os.environ.get(FULL):
        pytest.skip("not in the short form: make mtu-matrix runs all rows")
    if row.python:
        monkeypatch.setenv(VARIABLE, "native")
    with fitted(lab, authority, row) as tunnel:
        ours = row.server is Ovpn6 and row.client is Ovpn6
        # From the first moment on, whatever has been found out about the path by then (R7).
        base = Row(1280, row.outer, epoch=row.epoch).rules
        found = wrong_streams(tunnel, (base, row.rules), exact=False)
        tunnel.settle()
        found += wrong_sizes(tunnel)
        found += wrong_streams(tunnel, (row.rules,), exact=ours)
        found += wrong_outer_pieces(tunnel)
    assert found == []
