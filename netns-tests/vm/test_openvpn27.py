"""OpenVPN 2.7 in user space, on this machine's kernel, with ours as the other end."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text

from ovpn6.lab import Lab, Namespace, Ovpn6, Tunnel, line, ping, transfer
from ovpn6.pki.authority import Authority
from vm.openvpn27 import StockOpenVPN27
from vm.root import why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]

Program = Callable[[Namespace, str], Tunnel]
PAIRINGS: dict[str, tuple[Program, Program]] = {
    "our-server": (Ovpn6, StockOpenVPN27),
    "our-client": (StockOpenVPN27, Ovpn6),
}
PROTOCOLS = ("udp", "tcp")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("openvpn27"))


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_openvpn_2_7_and_ours_carry_both_families(
    lab: Lab, authority: Authority, pairing: str, transport: str
) -> None:
    server_program, client_program = PAIRINGS[pairing]
    net = line(lab)
    server = server_program(net.server, server_text(authority, protocol=f"{transport}6"))
    server.wait_up()
    client = client_program(net.client, client_text(authority, remote_of(net, transport)))
    client.wait_up()
    ends = Ends(net, server, client)

    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
    stock = client if client_program is StockOpenVPN27 else server
    assert re.search(r"^.*OpenVPN 2\.7\.", stock.log(), re.MULTILINE)
    # Epoch keys need both ends to ask for them.
    assert "epoch" not in _data_channel_lines(stock.log())


def _data_channel_lines(log: str) -> str:
    return "\n".join(line for line in log.splitlines() if "Data Channel:" in line)
