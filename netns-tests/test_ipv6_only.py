"""A server without any IPv4: outside only IPv6, inside no trace of the other family."""

from __future__ import annotations

import pytest
from interop.ends import PAIRINGS, SERVER_6, Maker, Pairing, client_text, remote_of
from serving.ends import inner, listed, make_clients, serve

from ovpn6.lab import Line, Tunnel, ping, transfer
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import ServerProfile

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("ipv6-only"), ["client"])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_there_is_no_ipv4_inside_at_all(
    ipv6_line: Line, authority: Authority, pairing: Pairing, transport: str
) -> None:
    net = ipv6_line
    profile = ServerProfile(protocol=f"{transport}6", network4=None)
    server = serve(net, authority, pairing.server, text=authority.server_profile("server", profile))
    text = client_text(authority, remote_of(net, transport))
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    assert ping(net.server, inner(client)[6]).complete
    assert transfer(net.client, net.server, SERVER_6)
    for end in (server, client):
        _check_without_ipv4(end)
    row = listed(server, "client")
    assert (row.ipv6, row.ipv4) == (str(inner(client)[6]), "")


def test_the_macro_alone_is_a_whole_server(ipv6_line: Line, authority: Authority) -> None:
    """``server-ipv6`` needs no ``mode server`` beside it, unlike with OpenVPN 2.6."""
    net = ipv6_line
    text = authority.server_profile("server", ServerProfile(network4=None))
    for line in ("mode server", "tls-server"):
        assert f"{line}\n" in text
        text = text.replace(f"{line}\n", "")
    server = serve(net, authority, Maker.OURS, text=text)
    client = Maker.STOCK.start(net.client, client_text(authority, remote_of(net)), "client")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    _check_without_ipv4(server)


def _check_without_ipv4(end: Tunnel) -> None:
    assert set(inner(end)) == {6}
    shown = end.namespace.run(["ip", "-4", "route", "show", "table", "all"]).stdout
    assert end.device().name not in shown
