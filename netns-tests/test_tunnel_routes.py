"""What is reached through a tunnel: networks at either end, other clients, everything."""

from __future__ import annotations

import re
from ipaddress import IPv6Network, ip_address
from pathlib import Path

import pytest
from interop.ends import (
    OUR_CLIENT,
    OUR_SERVER,
    PAIRINGS,
    SERVER_4,
    SERVER_6,
    Maker,
    Pairing,
    server_text,
    without_line,
)
from serving.ends import inner, join, make_clients, serve
from serving.host import sysctls, tunnel_routes

from ovpn6.lab import Lab, Line, Namespace, Tunnel, Underlay, lan, line, ping, star, wait_for
from ovpn6.lab.network import Interface
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

LAN_6, LAN_4 = "2001:db8:a::/64", "192.168.77.0/24"
LAN_HOST = ("2001:db8:a::2", "192.168.77.2")

FORWARDING = (
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.forwarding",
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.forwarding",
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("routes"), ["client", "other"])


@pytest.fixture
def ccd(tmp_path: Path) -> Path:
    made = tmp_path / "clients"
    made.mkdir()
    return made


# --- a network behind a client ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_network_behind_a_client_is_reached_from_the_server_and_back(
    ipv6_line: Line, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    net = ipv6_line
    host = _dual_lan(net, net.client)
    (ccd / "client").write_text(f"iroute-ipv6 {LAN_6}\niroute 192.168.77.0 255.255.255.0\n")
    server = serve(
        net,
        authority,
        pairing.server,
        f"client-config-dir {ccd}",
        f"route-ipv6 {LAN_6}",
        "route 192.168.77.0 255.255.255.0",
    )
    client = join(net, authority, pairing.client)
    client.wait_up()
    assert {LAN_6, LAN_4} <= tunnel_routes(server)
    for address in LAN_HOST:
        assert ping(net.server, address).complete, address
    for address in (SERVER_6, SERVER_4):
        assert ping(host, address).complete, address
    assert _routing_table(server) >= {LAN_6, LAN_4}


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_network_that_no_client_has_is_nobody_s(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    host = _dual_lan(net, net.client)
    # The route leads into the tunnel, but without iroute to no client.
    serve(
        net,
        authority,
        pairing.server,
        f"route-ipv6 {LAN_6}",
        "route 192.168.77.0 255.255.255.0",
    )
    client = join(net, authority, pairing.client)
    client.wait_up()
    for address in LAN_HOST:
        assert ping(net.server, address).received == 0
    for address in (SERVER_6, SERVER_4):
        assert ping(host, address).received == 0
    assert ping(net.client, SERVER_6).complete


# --- from client to client ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_client_to_client_joins_clients_and_leaves_the_host_as_it_was(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    before = sysctls(net.server, FORWARDING)
    server = serve(net, authority, pairing.server, "client-to-client")
    clients = [
        join(net, authority, pairing.client, name=name, namespace=namespace)
        for name, namespace in zip(("client", "other"), net.clients, strict=True)
    ]
    for client in clients:
        client.wait_up()
    for here, there in (clients, reversed(clients)):
        for address in inner(there).values():
            assert ping(here.namespace, address).complete, address
    server.stop()
    assert sysctls(net.server, FORWARDING) == before


def test_the_firewall_of_the_server_sees_what_clients_send_each_other(
    lab: Lab, authority: Authority
) -> None:
    net = star(lab, 2)
    serve(net, authority, Maker.OURS, "client-to-client")
    clients = [
        join(net, authority, Maker.STOCK, name=name, namespace=namespace)
        for name, namespace in zip(("client", "other"), net.clients, strict=True)
    ]
    for client in clients:
        client.wait_up()
    other = inner(clients[1])
    assert ping(net.clients[0], other[6]).complete
    net.server.nft(
        "table inet watch { chain forward { type filter hook forward priority 0;"
        " iifname tun0 oifname tun0 drop; }; }"
    )
    for address in other.values():
        assert ping(net.clients[0], address).received == 0
        assert ping(net.server, address).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_without_client_to_client_clients_do_not_reach_each_other(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    serve(net, authority, pairing.server)
    clients = [
        join(net, authority, pairing.client, name=name, namespace=namespace)
        for name, namespace in zip(("client", "other"), net.clients, strict=True)
    ]
    for client in clients:
        client.wait_up()
        assert ping(client.namespace, SERVER_6).complete
    for address in inner(clients[1]).values():
        assert ping(clients[0].namespace, address).received == 0


# --- networks behind the server, and everything ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_pushed_routes_lead_to_a_network_behind_the_server(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    host = _dual_lan(net, net.server)
    serve(
        net,
        authority,
        pairing.server,
        f'push "route-ipv6 {LAN_6}"',
        'push "route 192.168.77.0 255.255.255.0"',
    )
    client = join(net, authority, pairing.client)
    client.wait_up()
    for address in LAN_HOST:
        assert ping(net.client, address).complete, address
    for address in inner(client).values():
        assert ping(host, address).complete, address


@pytest.mark.parametrize("families", Underlay, ids=lambda it: it.name)
@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_redirect_gateway_sends_everything_into_the_tunnel(
    lab: Lab, authority: Authority, pairing: Pairing, families: Underlay
) -> None:
    net = line(lab, families)
    _dual_lan(net, net.server)
    serve(net, authority, pairing.server, 'push "redirect-gateway def1 ipv6"')
    before = {address: _way(net.client, address) for address in _ELSEWHERE}
    client = join(net, authority, pairing.client)
    client.wait_up()
    device = client.device().name
    for address in LAN_HOST:
        assert ping(net.client, address).complete, address
        assert _way(net.client, address) == device
    for address in _ELSEWHERE:
        assert _way(net.client, address) == device
    # The server itself is still reached outside of it.
    assert _way(net.client, str(net.server_address)) == "to-underlay"
    client.stop()
    assert {address: _way(net.client, address) for address in _ELSEWHERE} == before


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_redirect_gateway_of_ipv6_alone_leaves_ipv4_outside(
    dual_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = dual_line
    serve(net, authority, pairing.server, 'push "redirect-gateway ipv6 !ipv4"')
    client = join(net, authority, pairing.client)
    client.wait_up()
    assert _way(net.client, "2001:db8:ffff::1") == client.device().name
    assert _way(net.client, "203.0.113.9") == "to-underlay"


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_block_ipv6_answers_instead_of_sending(
    dual_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = dual_line
    # What OpenVPN's manual recommends for a server without IPv6.
    serve(
        net,
        authority,
        pairing.server,
        'push "block-ipv6"',
        'push "redirect-gateway def1 ipv6"',
    )
    client = join(net, authority, pairing.client)
    client.wait_up()
    done = net.client.run(["ping", "-6", "-n", "-c1", "-W2", "2001:db8:ffff::1"], check=False)
    assert done.returncode != 0
    assert re.search(r"[Uu]nreachable|No route", done.stdout + done.stderr)
    assert ping(net.client, SERVER_4).complete


# --- what a client takes ---


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_route_nopull_takes_addresses_but_no_routes(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    serve(net, authority, pairing.server, *_PUSHED, 'push "redirect-gateway def1 ipv6"')
    client = join(net, authority, pairing.client, "route-nopull")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    assert not {LAN_6, LAN_4} & tunnel_routes(client)
    assert _way(net.client, "2001:db8:ffff::1") == "to-underlay"


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_pull_filter_ignores_what_it_names(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    serve(net, authority, pairing.server, *_PUSHED)
    client = join(
        net,
        authority,
        pairing.client,
        f'pull-filter accept "route-ipv6 {LAN_6}"',
        'pull-filter ignore "route-ipv6"',
        'pull-filter ignore "route 192"',
    )
    client.wait_up()
    wait_for(lambda: LAN_6 in tunnel_routes(client), 5, "the accepted route", [client.process])
    assert not {LAN_4, "2001:db8:b::/64"} & tunnel_routes(client)
    assert ping(net.client, SERVER_4).complete


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_pull_filter_rejects_a_server_that_pushes_the_wrong_thing(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    serve(net, authority, pairing.server, *_PUSHED)
    client = join(net, authority, pairing.client, 'pull-filter reject "route-ipv6"')
    client.process.wait_for_log(r"rejected by filter", 15)
    assert ping(net.client, SERVER_6).received == 0
    assert all(not device.up for device in net.client.tunnels())


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_hundreds_of_pushed_routes_arrive_whole(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    networks = [str(IPv6Network((0x20010DB8_0001 << 80 | n << 64, 64))) for n in range(300)]
    serve(net, authority, pairing.server, *(f'push "route-ipv6 {each}"' for each in networks))
    client = join(net, authority, pairing.client)
    client.wait_up()
    wait_for(lambda: set(networks) <= tunnel_routes(client), 10, "300 routes", [client.process])
    assert ping(net.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_s_own_routes_go_through_the_tunnel(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    _dual_lan(net, net.server)
    serve(net, authority, pairing.server)
    client = join(
        net,
        authority,
        pairing.client,
        f"route-ipv6 {LAN_6}",
        "route 192.168.77.0 255.255.255.0",
        "route-ipv6 2001:db8:c0::/48 default 77",
    )
    client.wait_up()
    for address in LAN_HOST:
        assert ping(net.client, address).complete, address
    shown = net.client.run(["ip", "-6", "route", "show", "2001:db8:c0::/48"]).stdout
    assert "metric 77" in shown


# --- MTU ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_server_s_mtu_is_the_client_s(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    server = serve(ipv6_line, authority, pairing.server, "tun-mtu 1350")
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    _wait_for_mtu(client, server, 1350)
    _check_largest_packets(client, 1350)


@pytest.mark.parametrize("pairing", OUR_SERVER[:2], ids=str)
def test_our_default_mtu_is_1420_and_fills_the_path(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    text = without_line(server_text(authority), "tun-mtu 1420")
    server = serve(ipv6_line, authority, pairing.server, text=text)
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    _wait_for_mtu(client, server, 1420)
    _check_largest_packets(client, 1420)


def _wait_for_mtu(client: Tunnel, server: Tunnel, mtu: int) -> None:
    """A client's is smaller until its probes are answered."""
    wait_for(
        lambda: client.device().mtu == server.device().mtu == mtu, 10, f"devices with MTU {mtu}"
    )


_ELSEWHERE = ("2001:db8:ffff::1", "203.0.113.9")

_PUSHED = (
    f'push "route-ipv6 {LAN_6}"',
    'push "route-ipv6 2001:db8:b::/64"',
    'push "route 192.168.77.0 255.255.255.0"',
)


def _check_largest_packets(client: Tunnel, mtu: int) -> None:
    """Packets of the tunnel's MTU cross whole: no outer packet is fragmented on the path."""
    for address, header in ((SERVER_6, 48), (SERVER_4, 28)):
        assert ping(client.namespace, address, size=mtu - header).complete
    counters = client.namespace.run(
        ["nstat", "-az", "Ip6FragCreates", "IpFragCreates"], check=False
    )
    created = re.findall(r"FragCreates\s+(\d+)", counters.stdout)
    assert all(number == "0" for number in created), counters.stdout


def _dual_lan(net: Line, gateway: Namespace) -> Namespace:
    """A host with both families behind ``gateway``."""
    host = lan(net.lab, gateway, LAN_6)
    near = next(name for name in gateway.devices() if name.endswith("-lan"))
    far = next(name for name in host.devices() if name.startswith("to-"))
    _add_ipv4(Interface(gateway, near), Interface(host, far))
    return host


def _add_ipv4(near: Interface, far: Interface) -> None:
    near.namespace.add_address(near.name, "192.168.77.1/24")
    far.namespace.add_address(far.name, "192.168.77.2/24")
    far.namespace.add_route("default4", ip_address("192.168.77.1"))


def _way(namespace: Namespace, address: str) -> str:
    """The device that packets to ``address`` leave by, "" without a way."""
    shown = namespace.run(["ip", "route", "get", address], check=False).stdout
    match = re.search(r"\bdev (\S+)", shown)
    return match[1] if match else ""


def _routing_table(server: Tunnel) -> set[str]:
    def find() -> set[str] | None:
        found = {row["Virtual Address"].rstrip("C") for row in server.status().routes}
        return found if LAN_6 in found else None

    return wait_for(find, 5, "the client's network in the status", [server.process])
