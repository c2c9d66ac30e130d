"""OpenVPN 3's client in user space, on this machine's kernel, at our server."""

from __future__ import annotations

import pytest
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text

from ovpn6.lab import Lab, Ovpn6, line, ping, transfer, wait_for, wait_reachable
from vm.openvpn3 import OpenVPN3, why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_openvpn_3_at_our_server_carries_both_families(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, transport: str
) -> None:
    authority = make_authority(tmp_path_factory.mktemp("openvpn3"))
    net = line(lab)
    server = Ovpn6(net.server, server_text(authority, protocol=f"{transport}6"))
    server.wait_up()
    client = OpenVPN3(net.client, client_text(authority, remote_of(net, transport)))
    client.wait_up()
    ends = Ends(net, server, client)

    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
    assert ends.client_row().cipher == "AES-256-GCM"


def test_a_renegotiation_that_our_server_begins_goes_through(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """OpenVPN 3 answers its soft reset without one of its own. It seals with its old key for a
    while, and a second renegotiation in that time leaves it without a key at any server."""
    authority = make_authority(tmp_path_factory.mktemp("openvpn3"))
    net = line(lab)
    server = Ovpn6(net.server, server_text(authority, "reneg-sec 6", protocol="udp6"))
    server.wait_up()
    client = OpenVPN3(net.client, client_text(authority, remote_of(net)))
    client.wait_up()
    wait_for(
        lambda: client.log().count("SSL Handshake: ") > 1,
        30,
        "a renegotiation in the client's log",
        [server.process, client.process],
    )
    for address in INNER:
        wait_reachable(net.client, address)
    assert client.log().count("EVENT: CONNECTED") == 1
