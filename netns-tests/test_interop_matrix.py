"""Every pairing, control-channel protection, cipher and underlay: up, both families, intact."""

from __future__ import annotations

import re

import pytest
from interop.ends import (
    INNER,
    PAIRINGS,
    Ends,
    Maker,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
)

from ovpn6.lab import Lab, Underlay, line, ping, transfer
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("data_path")]

CIPHERS = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
UNDERLAYS = {
    "udp6": ("udp", Underlay.IPV6),
    "udp4": ("udp", Underlay.IPV4),
    "tcp6": ("tcp", Underlay.IPV6),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("underlay", UNDERLAYS)
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("wrap", Wrap, ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_tunnel_carries_both_families_intact(
    lab: Lab, authority: Authority, pairing: Pairing, wrap: Wrap, cipher: str, underlay: str
) -> None:
    transport, families = UNDERLAYS[underlay]
    net = line(lab, families)
    server = pairing.server.start(
        net.server,
        server_text(authority, protocol=underlay, wrap=wrap, ciphers=(cipher,)),
        "server",
    )
    server.wait_up()
    client = pairing.client.start(
        net.client, client_text(authority, remote_of(net, transport), wrap=wrap), "client"
    )
    client.wait_up()
    ends = Ends(net, server, client)

    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
    assert ends.client_row().cipher == cipher
    _check_stock_log(pairing, ends, cipher)


def _check_stock_log(pairing: Pairing, ends: Ends, cipher: str) -> None:
    """What OpenVPN itself says that it uses, and that it has nothing to complain about."""
    if pairing.client is Maker.STOCK:
        assert f"Data Channel: cipher '{cipher}'" in ends.client.log()
    for maker, end in ((pairing.server, ends.server), (pairing.client, ends.client)):
        if maker is Maker.STOCK:
            complaints = re.findall(
                r"^.*(?:WARNING|Authenticate/Decrypt|bad packet).*$", end.log(), re.M
            )
            assert not complaints
