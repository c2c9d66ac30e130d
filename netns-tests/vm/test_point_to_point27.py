"""Two equal ends, OpenVPN 2.7 in user space one of them, on this machine's kernel."""

from __future__ import annotations

import pytest
from interop.ends import Ends, make_authority
from interop.equal_ends import (
    CLIENT_4,
    CLIENT_6,
    NET30,
    SERVER_4,
    SERVER_6,
    end_text,
    protocol,
    remote,
)

from ovpn6.lab import Line, Ovpn6, ping, transfer, wait_for
from ovpn6.pki.authority import Authority
from vm.openvpn27 import StockOpenVPN27
from vm.root import why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("point-to-point27"))


@pytest.mark.parametrize("ours", ["server", "client"])
def test_openvpn_2_7_and_ours_as_equal_ends(
    ipv6_line: Line, authority: Authority, ours: str
) -> None:
    """The addresses of both families, new keys, the peer id by the exporter, epoch keys."""
    net = ipv6_line
    common = ("disable-dco", "reneg-sec 3", *NET30)
    programs = {part: Ovpn6 if part == ours else StockOpenVPN27 for part in ("server", "client")}
    server_text = end_text(authority, "server", protocol(net), *common)
    client_text = end_text(authority, "client", remote(net, "server"), *common)
    ends = Ends(
        net,
        programs["server"](net.server, server_text, name="tls-server"),
        programs["client"](net.client, client_text, name="tls-client"),
    )
    ends.server.wait_up()
    ends.client.wait_up()
    steady = net.client.popen(["ping", "-i", "0.1", "-c", "100", "-W", "3", SERVER_6], "steady")
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete, address
    for address in (CLIENT_6, CLIENT_4):
        assert ping(net.server, address).complete, address
    assert transfer(net.client, net.server, SERVER_6, 200_000)
    wait_for(
        lambda: all(
            end.log().count("Control Channel: TLS") >= 3 for end in (ends.server, ends.client)
        ),
        30,
        "two renegotiations in both logs",
        [ends.server.process, ends.client.process],
    )
    steady.wait(30)
    assert "100 packets transmitted, 100 received" in steady.log()
    for end in (ends.server, ends.client):
        assert "TLS_export=1, DATA_v2=1" in end.log()
        assert "epoch" in end.log()
        assert end.log().count("Initialization Sequence Completed") == 1
