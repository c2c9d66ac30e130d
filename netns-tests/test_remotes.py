"""Where a client connects: dead remotes, several addresses of a name, names that change."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest
from interop.ends import (
    INNER,
    OUR_CLIENT,
    OUR_SERVER,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    up_again,
    with_line,
)

from ovpn6.lab import Lab, Line, Tunnel, Underlay, line, wait_reachable
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

pytestmark = pytest.mark.root

NAME = "vpn.example.org"
PATIENCE = "connect-timeout 3"
NOBODY = "2001:db8:5::dead"
"""An address of the server's network that no host has."""
MOVED = "2001:db8:5::3"
SILENT = """
table inet silent {
    chain forward { type filter hook forward priority 0; udp dport 1193 drop; }
}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("remotes"))


# --- dead remotes ---


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_passes_over_a_remote_that_does_not_answer(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ipv6_line.underlay.nft(SILENT)
    _connect_past_dead_remote(ipv6_line, authority, pairing, "udp")


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_passes_over_a_remote_whose_port_is_closed(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    _connect_past_dead_remote(ipv6_line, authority, pairing, "udp")


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_passes_over_a_tcp_remote_that_refuses(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    _connect_past_dead_remote(ipv6_line, authority, pairing, "tcp")


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_goes_from_one_connection_block_to_the_next(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    _start_server(net, authority, pairing, "tcp6")
    blocks = f"""<connection>
remote {net.server_address} 1193 udp6
connect-timeout 3
explicit-exit-notify 1
</connection>
<connection>
remote {net.server_address} 1194 tcp6-client
</connection>
"""
    text = client_text(authority, remote_of(net, "tcp"))
    text = with_line(text, f"remote {net.server_address} 1194 tcp6-client", blocks)
    _check(net, pairing.client.start(net.client, text, "client"))


def _connect_past_dead_remote(
    net: Line, authority: Authority, pairing: Pairing, transport: str
) -> None:
    _start_server(net, authority, pairing)
    remotes = (remote_of(net, transport, port=1193), remote_of(net))
    text = client_text(authority, remotes, PATIENCE)
    _check(net, pairing.client.start(net.client, text, "client"))


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
@pytest.mark.parametrize("families", [Underlay.IPV6, Underlay.IPV4], ids=lambda it: it.name)
def test_a_server_with_multihome_answers_from_the_address_that_was_called(
    lab: Lab, authority: Authority, pairing: Pairing, families: Underlay
) -> None:
    net = line(lab, families)
    other = {6: f"{MOVED}/64", 4: "198.51.100.3/24"}[net.server_address.version]
    # The host would choose the newest address of the older and the newer one.
    net.server.add_address("to-underlay", other)
    _start_server(net, authority, pairing, f"udp{net.server_address.version}", ["multihome"])
    for address in (net.server_address, ip_interface(other).ip):
        remote = RemoteLine(str(address), protocol=f"udp{address.version}")
        client = pairing.client.start(net.client, client_text(authority, remote), "client")
        _check(net, client)
        client.stop()


# --- names ---


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_on_an_ipv6_network_a_name_with_both_families_is_reached(
    ipv6_line: Line, authority: Authority, pairing: Pairing, tmp_path: Path
) -> None:
    net = ipv6_line
    hosts = _hosts(tmp_path, net.server_address, "198.51.100.2")
    _start_server(net, authority, pairing)
    _check(net, _start_client(net, authority, pairing, hosts))


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_on_an_ipv4_network_a_name_with_both_families_is_reached(
    ipv4_line: Line, authority: Authority, pairing: Pairing, tmp_path: Path
) -> None:
    net = ipv4_line
    hosts = _hosts(tmp_path, "2001:db8:5::2", net.server_address)
    _start_server(net, authority, pairing, "udp4")
    _check(net, _start_client(net, authority, pairing, hosts))


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_the_next_address_of_a_name_is_tried_when_the_first_is_dead(
    dual_line: Line, authority: Authority, pairing: Pairing, tmp_path: Path
) -> None:
    net = dual_line
    _, server4 = net.server_addresses
    hosts = _hosts(tmp_path, NOBODY, server4)
    _start_server(net, authority, pairing)
    _check(net, _start_client(net, authority, pairing, hosts))


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_name_that_appears_later_is_found(
    ipv6_line: Line, authority: Authority, pairing: Pairing, tmp_path: Path
) -> None:
    net = ipv6_line
    hosts = _hosts(tmp_path)
    _start_server(net, authority, pairing)
    client = _start_client(net, authority, pairing, hosts)
    client.process.wait_for_log(rf"(?i)resolve.*{NAME}")
    _hosts(tmp_path, net.server_address)
    _check(net, client)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_server_that_moved_is_found_by_its_name(
    ipv6_line: Line, authority: Authority, pairing: Pairing, tmp_path: Path
) -> None:
    net = ipv6_line
    hosts = _hosts(tmp_path, net.server_address)
    server = _start_server(net, authority, pairing, extra=["keepalive 1 4"])
    client = _start_client(net, authority, pairing, hosts)
    _check(net, client)
    with up_again(client):
        server.process.kill()
        net.server.add_address("to-underlay", f"{MOVED}/64")
        net.server.remove_address("to-underlay", f"{net.server_address}/64")
        _hosts(tmp_path, MOVED)
        server.restart()
    _check(net, client)


def _hosts(directory: Path, *addresses: object) -> Path:
    """The hosts file that gives NAME these addresses; rewritten in place."""
    hosts = directory / "hosts"
    lines = ("::1 localhost", *(f"{address} {NAME}" for address in addresses))
    hosts.write_text("".join(f"{line}\n" for line in lines))
    return hosts


def _start_server(
    net: Line,
    authority: Authority,
    pairing: Pairing,
    protocol: str = "udp6",
    extra: list[str] | tuple[str, ...] = (),
) -> Tunnel:
    text = server_text(authority, *extra, protocol=protocol)
    server = pairing.server.start(net.server, text, "server")
    server.wait_up()
    return server


def _start_client(net: Line, authority: Authority, pairing: Pairing, hosts: Path) -> Tunnel:
    text = client_text(authority, RemoteLine(NAME, protocol="udp"), PATIENCE)
    return pairing.client.start_with_hosts(net.client, text, "client", hosts)


def _check(net: Line, client: Tunnel) -> None:
    client.wait_up(limit=25)
    for address in INNER:
        wait_reachable(net.client, address)
