"""OpenVPN 3's client in user space, on this machine's kernel, at our server."""

from __future__ import annotations

import pytest
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text

from ovpn6.lab import Lab, Ovpn6, line, ping, transfer
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
