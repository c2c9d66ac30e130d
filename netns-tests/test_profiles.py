"""Profiles of ``ovpn6 pki`` with OpenVPN at both ends: the files themselves are right."""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path

import pytest

from ovpn6.lab import Line, StockOpenVPN, ping, transfer, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.certificates import KeyType
from ovpn6.pki.profile import ClientProfile, RemoteLine, ServerProfile, Wrap

INNER_6 = "fd42:6f76:706e:36::"


def connect(
    net: Line,
    authority: Authority,
    client: ClientProfile | None = None,
    server: ServerProfile | None = None,
) -> tuple[StockOpenVPN, StockOpenVPN]:
    """The server ``gateway`` and the client ``laptop``, both up."""
    client = client or ClientProfile((RemoteLine(str(net.server_address), protocol="udp6"),))
    listening = StockOpenVPN(
        net.server, authority.server_profile("gateway", server or ServerProfile())
    )
    listening.wait_up()
    connected = StockOpenVPN(net.client, authority.profile("laptop", client))
    connected.wait_up()
    return listening, connected


@pytest.mark.parametrize("protocol", ["udp6", "tcp6"])
@pytest.mark.parametrize("wrap", list(Wrap))
def test_stock_openvpn_connects_with_every_wrap(
    ipv6_line: Line, authority: Authority, wrap: Wrap, protocol: str
) -> None:
    remote = RemoteLine(str(ipv6_line.server_address), protocol=protocol)
    server, client = connect(
        ipv6_line,
        authority,
        ClientProfile((remote,), wrap=wrap),
        ServerProfile(wrap=wrap, protocol=protocol),
    )
    for address in server.namespace.addresses(server.device().name):
        assert ping(ipv6_line.client, address.ip).complete
    wait_for(
        # Until probes are answered they are smaller.
        lambda: client.device().mtu == server.device().mtu == 1420,
        10,
        "the devices' whole MTU",
    )
    wait_for(
        # A stock server shows a client before it has given it an address.
        lambda: (row := server.status().client("laptop")) and row.ipv6.startswith(INNER_6),
        10,
        "the client and its address in the status file",
    )
    client.stop()
    server.stop()


def test_stock_openvpn_takes_ed25519(ipv6_line: Line, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, KeyType.ED25519)
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    connect(ipv6_line, authority)
    assert transfer(ipv6_line.client, ipv6_line.server, "fd42:6f76:706e:36::1")


def test_stock_openvpn_takes_a_pinned_server(ipv6_line: Line, authority: Authority) -> None:
    pinned = ClientProfile(
        (RemoteLine(str(ipv6_line.server_address), protocol="udp6"),),
        fingerprints=(authority.fingerprint("gateway"),),
    )
    connect(ipv6_line, authority, pinned)


def test_stock_openvpn_serves_only_ipv6(ipv6_line: Line, authority: Authority) -> None:
    network = IPv6Network("2001:db8:7::/64")
    _, client = connect(ipv6_line, authority, server=ServerProfile(network6=network, network4=None))
    inner = client.namespace.addresses(client.device().name)
    assert [address.version for address in inner] == [6]
    assert ping(ipv6_line.client, "2001:db8:7::1").complete


def test_stock_openvpn_refuses_a_revoked_client_by_the_list(
    ipv6_line: Line, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path)
    authority.issue_server("gateway")
    authority.issue_client("laptop")
    remote = RemoteLine(str(ipv6_line.server_address), protocol="udp6")
    profile = authority.profile("laptop", ClientProfile((remote,)))
    authority.revoke("laptop")
    server = StockOpenVPN(ipv6_line.server, authority.server_profile("gateway", ServerProfile()))
    server.wait_up()
    StockOpenVPN(ipv6_line.client, profile)
    server.process.wait_for_log("VERIFY ERROR.*certificate revoked", 20)
