"""Whole tunnels over our module in the place of mainline's: OpenVPN 2.7 as it is, and ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from interop.ends import (
    INNER,
    OURS_OURS,
    OURS_STOCK,
    STOCK_OURS,
    STOCK_STOCK,
    Pairing,
    make_authority,
    start,
)

from ovpn6.lab import Lab, Underlay, line, ping, transfer

pytestmark = pytest.mark.root

AES, CHACHA = "AES-256-GCM", "CHACHA20-POLY1305"
CASES = {
    "stock-stock-ipv6": (STOCK_STOCK, Underlay.IPV6, AES),
    "stock-stock-ipv4": (STOCK_STOCK, Underlay.IPV4, CHACHA),
    "stock-ours-ipv4": (STOCK_OURS, Underlay.IPV4, AES),
    "ours-stock-ipv6": (OURS_STOCK, Underlay.IPV6, CHACHA),
    "ours-ours-ipv6": (OURS_OURS, Underlay.IPV6, AES),
}


@pytest.mark.parametrize(("pairing", "underlay", "cipher"), CASES.values(), ids=CASES)
def test_both_families_cross(
    lab: Lab, tmp_path: Path, pairing: Pairing, underlay: Underlay, cipher: str
) -> None:
    net = line(lab, underlay)
    extra = (f"data-ciphers {cipher}",)
    ends = start(net, make_authority(tmp_path), pairing, server_extra=extra, client_extra=extra)
    for end in (ends.server, ends.client):
        assert end.device().kind == "ovpn"
    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
