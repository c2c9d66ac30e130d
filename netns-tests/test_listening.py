"""Where a server listens: several sockets, both families in one, several addresses of a host."""

from __future__ import annotations

import pytest
from interop import wire
from interop.ends import (
    OUR_SERVER,
    PAIRINGS,
    SERVER_4,
    SERVER_6,
    Maker,
    Pairing,
    client_text,
    server_text,
    without_line,
)
from serving.ends import inner, join, listed, make_clients, serve

from ovpn6.lab import Lab, Line, Underlay, ping, star, transfer
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

pytestmark = pytest.mark.root

NAMES = ("udp6", "tcp6", "udp4", "tcp4")
OTHER_ADDRESS = "2001:db8:5::77"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("listening"), ["client", *NAMES])


@pytest.mark.parametrize("client_maker", list(Maker), ids=lambda maker: maker.value)
def test_one_server_serves_datagrams_and_streams_of_both_families(
    lab: Lab, authority: Authority, client_maker: Maker
) -> None:
    net = star(lab, len(NAMES), Underlay.DUAL)
    text = without_line(server_text(authority), "proto udp6")
    text = without_line(text, "port 1194")
    server = serve(
        net,
        authority,
        Maker.OURS,
        text="local * 1194 udp6\nlocal * 443 tcp6-server\n"
        f"local 198.51.100.2 1195 udp4\nlocal 198.51.100.2 444 tcp4-server\n{text}",
    )
    ways = {
        "udp6": RemoteLine(str(net.server_addresses[0]), 1194, "udp6"),
        "tcp6": RemoteLine(str(net.server_addresses[0]), 443, "tcp6"),
        "udp4": RemoteLine(str(net.server_addresses[1]), 1195, "udp4"),
        "tcp4": RemoteLine(str(net.server_addresses[1]), 444, "tcp4"),
    }
    clients = {
        name: client_maker.start(namespace, client_text(authority, way, name=name), name)
        for (name, way), namespace in zip(ways.items(), net.clients, strict=True)
    }
    for client in clients.values():
        client.wait_up()
    for name, client in clients.items():
        for address in (SERVER_6, SERVER_4):
            assert ping(client.namespace, address).complete, name
        row = listed(server, name)
        assert (row.ipv6, row.ipv4) == tuple(str(inner(client)[family]) for family in (6, 4))
    assert len({inner(client)[6] for client in clients.values()}) == len(NAMES)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_an_ipv6_socket_serves_ipv4_clients_too(
    lab: Lab, authority: Authority, pairing: Pairing, transport: str
) -> None:
    net = star(lab, 2, Underlay.DUAL)
    serve(net, authority, pairing.server, text=server_text(authority, protocol=f"{transport}6"))
    ways = [
        RemoteLine(str(address), protocol=f"{transport}{address.version}")
        for address in net.server_addresses
    ]
    for name, way, namespace in zip(("udp6", "udp4"), ways, net.clients, strict=True):
        client = pairing.client.start(namespace, client_text(authority, way, name=name), name)
        client.wait_up()
        for address in (SERVER_6, SERVER_4):
            assert ping(namespace, address).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_an_ipv6_socket_can_leave_ipv4_to_others(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 1, Underlay.DUAL)
    serve(net, authority, pairing.server, "bind ipv6only")
    shown = net.server.run(["ss", "-lunH", "sport", "=", "1194"]).stdout
    assert "[::]:1194" in shown
    # Without the option this shows as "*:1194"; another program may have the IPv4 port now.
    done = net.server.run(
        ["python3", "-c", "import socket; socket.socket(2, 2).bind(('0.0.0.0', 1194))"], check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("called", ["first", "second"])
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_multihome_answers_from_the_address_that_was_called(
    ipv6_line: Line, authority: Authority, pairing: Pairing, called: str
) -> None:
    net = ipv6_line
    net.server.add_address("to-underlay", f"{OTHER_ADDRESS}/64")
    address = str(net.server_address) if called == "first" else OTHER_ADDRESS
    with wire.watch(net) as capture:
        serve(net, authority, pairing.server, "multihome")
        text = client_text(authority, RemoteLine(address, protocol="udp6"))
        client = pairing.client.start(net.client, text, "client")
        client.wait_up()
        assert transfer(net.client, net.server, SERVER_6, 100_000)
        assert ping(net.server, inner(client)[6]).complete
        answers = [p for p in wire.packets(capture) if p.source[1] == 1194]
    assert {packet.source[0] for packet in answers} == {address}


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_server_on_one_address_is_not_on_the_other(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    net.server.add_address("to-underlay", f"{OTHER_ADDRESS}/64")
    serve(net, authority, pairing.server, f"local {OTHER_ADDRESS}")
    absent = RemoteLine(str(net.server_address), protocol="udp6")
    present = RemoteLine(OTHER_ADDRESS, protocol="udp6")
    text = client_text(authority, (absent, present), "connect-timeout 2")
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    shown = net.client.run(["ss", "-unH"]).stdout
    assert str(net.server_address) not in shown


@pytest.mark.parametrize("client_maker", list(Maker), ids=lambda maker: maker.value)
def test_another_port_serves(ipv6_line: Line, authority: Authority, client_maker: Maker) -> None:
    net = ipv6_line
    serve(net, authority, Maker.OURS, "port 53")
    client = join(net, authority, client_maker, port=53)
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
