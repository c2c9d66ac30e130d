"""What the server keeps for single clients: client-config-dir and the pool's memory."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from interop.ends import OUR_SERVER, SERVER_4, SERVER_6, Pairing
from serving.ends import inner, join, make_clients, serve, wait_without_clients
from serving.host import tunnel_routes

from ovpn6.lab import Lab, Line, Namespace, Star, Tunnel, ping, star, wait_for
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

FIXED_6 = "fd42:6f76:706e:36::4711"
FIXED_4 = "10.86.0.99"
LAN_6 = "2001:db8:a::/64"
OTHER_6 = "2001:db8:b::/64"

NO_RETRY = ("connect-retry-max 1",)
"""A refused client ends instead of asking again."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("settings"), ["client", "other"])


@pytest.fixture
def ccd(tmp_path: Path) -> Path:
    made = tmp_path / "clients"
    made.mkdir()
    return made


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_has_the_addresses_that_its_file_says(
    ipv6_line: Line, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    (ccd / "client").write_text(
        f"ifconfig-ipv6-push {FIXED_6}/64\nifconfig-push {FIXED_4} 255.255.255.0\n"
    )
    server = serve(ipv6_line, authority, pairing.server, f"client-config-dir {ccd}")
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    assert inner(client) == {6: ip_address(FIXED_6), 4: ip_address(FIXED_4)}
    for address in (SERVER_6, SERVER_4):
        assert ping(ipv6_line.client, address).complete
    for address in (FIXED_6, FIXED_4):
        assert ping(ipv6_line.server, address).complete
    assert server.process.running


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_push_remove_takes_single_options_of_the_server_away(
    ipv6_line: Line, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    (ccd / "client").write_text(f'push-remove "route-ipv6 {LAN_6}"\n')
    lines = [f'push "route-ipv6 {network}"' for network in (LAN_6, OTHER_6)]
    serve(ipv6_line, authority, pairing.server, f"client-config-dir {ccd}", *lines)
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    _wait_route(client, OTHER_6)
    assert LAN_6 not in tunnel_routes(client)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_push_reset_leaves_only_what_the_client_s_file_pushes(
    ipv6_line: Line, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    # OpenVPN leaves out topology and gateway as well, which a client then needs from its file.
    (ccd / "client").write_text(
        f'push-reset\npush "topology subnet"\npush "route-ipv6 {OTHER_6}"\n'
    )
    serve(
        ipv6_line,
        authority,
        pairing.server,
        f"client-config-dir {ccd}",
        f'push "route-ipv6 {LAN_6}"',
    )
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    _wait_route(client, OTHER_6)
    assert LAN_6 not in tunnel_routes(client)
    assert ping(ipv6_line.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_default_holds_for_clients_without_a_file(
    lab: Lab, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    net = star(lab, 2)
    (ccd / "DEFAULT").write_text(f'push "route-ipv6 {LAN_6}"\n')
    (ccd / "other").write_text(f'push "route-ipv6 {OTHER_6}"\n')
    serve(net, authority, pairing.server, f"client-config-dir {ccd}")
    first, second = net.clients
    client = join(net, authority, pairing.client, namespace=first)
    other = join(net, authority, pairing.client, name="other", namespace=second)
    client.wait_up()
    other.wait_up()
    _wait_route(client, LAN_6)
    _wait_route(other, OTHER_6)
    assert OTHER_6 not in tunnel_routes(client)
    assert LAN_6 not in tunnel_routes(other)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_disabled_client_is_refused(
    lab: Lab, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    (ccd / "client").write_text("disable\n")
    _check_only_other_comes_in(star(lab, 2), authority, pairing, f"client-config-dir {ccd}")


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_ccd_exclusive_refuses_clients_without_a_file(
    lab: Lab, authority: Authority, pairing: Pairing, ccd: Path
) -> None:
    (ccd / "other").write_text("# nothing but that it is there\n")
    (ccd / "DEFAULT").write_text("# does not count\n")
    _check_only_other_comes_in(
        star(lab, 2), authority, pairing, f"client-config-dir {ccd}", "ccd-exclusive"
    )


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_pool_file_keeps_addresses_over_a_restart_of_the_server(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    server = serve(net, authority, pairing.server, "ifconfig-pool-persist pool.txt 1")
    first, second = net.clients
    before = {}
    for name, namespace in (("client", first), ("other", second)):
        client = join(net, authority, pairing.client, name=name, namespace=namespace)
        client.wait_up()
        before[name] = inner(client)
    for namespace in net.clients:
        _stop_all(namespace)
    wait_without_clients(server)
    server.restart()
    server.wait_up()
    written = (server.directory / "pool.txt").read_text().splitlines()
    assert any(line.startswith("client,") and str(before["client"][6]) in line for line in written)
    # The other way round than the first time.
    for name, namespace in (("other", first), ("client", second)):
        client = join(net, authority, pairing.client, name=name, namespace=namespace)
        client.wait_up()
        assert inner(client) == before[name]


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_that_comes_again_has_its_addresses_again(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = star(lab, 2)
    serve(net, authority, pairing.server)
    first, second = net.clients
    client = join(net, authority, pairing.client, namespace=first)
    client.wait_up()
    before = inner(client)
    _stop_all(first)
    other = join(net, authority, pairing.client, name="other", namespace=second)
    other.wait_up()
    assert inner(other) != before
    client = join(net, authority, pairing.client, namespace=first)
    client.wait_up()
    assert inner(client) == before


def _wait_route(client: Tunnel, network: str) -> None:
    wait_for(
        lambda: network in tunnel_routes(client),
        5,
        f"a route to {network} into the tunnel",
        [client.process],
    )


def _check_only_other_comes_in(
    net: Star, authority: Authority, pairing: Pairing, *lines: str
) -> None:
    server = serve(net, authority, pairing.server, *lines)
    first, second = net.clients
    refused = join(net, authority, pairing.client, *NO_RETRY, namespace=first)
    refused.process.wait_for_log("AUTH_FAILED", 15)
    refused.process.wait(15)
    other = join(net, authority, pairing.client, name="other", namespace=second)
    other.wait_up()
    assert ping(second, SERVER_6).complete
    assert ping(first, SERVER_6).received == 0
    assert server.process.running


def _stop_all(namespace: Namespace) -> None:
    for process in namespace.processes:
        process.stop()
