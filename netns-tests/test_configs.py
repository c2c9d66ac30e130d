"""``configs/`` and ``ovpn6 pki`` as users meet them: files unchanged, the words of the README."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from interop.ends import OUR_SERVER, PAIRINGS, Maker, Pairing

from ovpn6.lab import Lab, Line, Namespace, Process, Underlay, line, ping, transfer, wait_for
from ovpn6.lab.runners import stock_binary

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[1]
OVPN6 = (sys.executable, "-P", "-m", "ovpn6")
PROGRAM = {Maker.OURS: list(OVPN6), Maker.STOCK: [stock_binary()]}

NAME = "vpn.example.net"
"""Where configs/client.conf connects to."""

INNER = ("2001:db8:8::1", "10.8.0.1")
"""The server's tunnel addresses in configs/server.conf."""


@dataclass(frozen=True, slots=True)
class Files:
    """A copy of ``configs/`` with a PKI in it."""

    directory: Path

    def pki(self, namespace: Namespace, *words: str) -> str:
        """``cd configs && ovpn6 pki WORDS``."""
        command = ["env", "-C", str(self.directory), *OVPN6, "pki", *words]
        return namespace.run(command).stdout

    def run(self, namespace: Namespace, maker: Maker, *words: str) -> Process:
        """``cd configs && PROGRAM WORDS``, running."""
        command = ["env", "-C", str(self.directory), *PROGRAM[maker], *words]
        return namespace.popen(command, maker.value)


@pytest.fixture
def files(lab: Lab) -> Files:
    directory = lab.directory / "configs"
    shutil.copytree(ROOT / "configs", directory)
    return Files(directory)


def up(process: Process) -> Process:
    process.wait_for_log("Initialization Sequence Completed", 20)
    return process


def check_tunnel(net: Line, inner: tuple[str, ...] = INNER) -> None:
    for address in inner:
        assert ping(net.client, address).complete, address
    assert transfer(net.client, net.server, inner[0], 200_000)
    assert ping(net.server, net.client.addresses(net.client.tunnels()[0].name)[0].ip).complete


# --- configs/server.conf with its client ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
@pytest.mark.parametrize("families", [Underlay.IPV6, Underlay.IPV4], ids=lambda it: it.name)
def test_server_conf_and_a_profile_of_pki(
    lab: Lab, files: Files, families: Underlay, pairing: Pairing
) -> None:
    net = line(lab, families)
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    protocol = f"udp{net.server_address.version}"
    files.pki(
        net.server,
        *("profile", "client", "--remote", str(net.server_address), "--proto", protocol),
    )
    up(files.run(net.server, pairing.server, "--config", "server.conf"))
    up(files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn"))
    check_tunnel(net)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_server_conf_and_client_conf_by_name(
    ipv6_line: Line, files: Files, pairing: Pairing
) -> None:
    net = ipv6_line
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    up(files.run(net.server, pairing.server, "--config", "server.conf"))
    up(_by_name(net, files, pairing.client, "client.conf"))
    check_tunnel(net)


def _by_name(net: Line, files: Files, maker: Maker, config: str) -> Process:
    """A client with a hosts file of its own, seen by it alone."""
    hosts = files.directory / "hosts"
    hosts.write_text(f"::1 localhost\n{net.server_address} {NAME}\n")
    command = " ".join(
        [
            *("mount --bind", str(hosts), "/etc/hosts &&"),
            *("cd", str(files.directory), "&& exec", *PROGRAM[maker], "--config", config),
        ]
    )
    return net.client.popen(["unshare", "--mount", "sh", "-c", command], maker.value)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_both_point_to_point_confs(ipv6_line: Line, files: Files, pairing: Pairing) -> None:
    net = ipv6_line
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    server = files.run(net.server, pairing.server, "--config", "point-to-point-server.conf")
    up(_by_name(net, files, pairing.client, "point-to-point-client.conf"))
    up(server)
    check_tunnel(net)
    assert ping(net.server, "2001:db8:8::2").complete
    shown = net.server.run(["ip", "-6", "route", "get", "2001:db8:b::1"]).stdout
    assert f"dev {net.server.tunnels()[0].name}" in shown


# --- the other examples ---


@pytest.mark.parametrize("client", Maker, ids=lambda maker: maker.value)
def test_server_ipv6_only_conf(ipv6_line: Line, files: Files, client: Maker) -> None:
    net = ipv6_line
    _make_pki(net, files, "--proto", "udp6")
    up(files.run(net.server, Maker.OURS, "--config", "server-ipv6-only.conf"))
    up(files.run(net.client, client, "--config", "pki/profiles/client.ovpn"))
    check_tunnel(net, ("2001:db8:8::1",))
    device = net.client.tunnels()[0].name
    assert {address.version for address in net.client.addresses(device)} == {6}
    # Everything of IPv6 goes through it, as it pushes.
    shown = net.client.run(["ip", "route", "get", "2001:db8:ffff::1"]).stdout
    assert f"dev {device}" in shown


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_server_tcp_conf(ipv6_line: Line, files: Files, pairing: Pairing) -> None:
    net = ipv6_line
    _make_pki(net, files, "--proto", "tcp6", port="443")
    up(files.run(net.server, pairing.server, "--config", "server-tcp.conf"))
    up(files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn"))
    check_tunnel(net, ("2001:db8:9::1", "10.9.0.1"))


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_server_tls_crypt_v2_conf(ipv6_line: Line, files: Files, pairing: Pairing) -> None:
    net = ipv6_line
    _make_pki(net, files, "--proto", "udp6", "--wrap", "tls-crypt-v2")
    up(files.run(net.server, pairing.server, "--config", "server-tls-crypt-v2.conf"))
    up(files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn"))
    check_tunnel(net)


@pytest.mark.parametrize("client", Maker, ids=lambda maker: maker.value)
def test_server_dual_conf_serves_every_way(lab: Lab, files: Files, client: Maker) -> None:
    net = line(lab, Underlay.DUAL)
    six, four = (str(address) for address in net.server_addresses)
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    up(files.run(net.server, Maker.OURS, "--config", "server-dual.conf"))
    for number, (address, port, protocol) in enumerate(
        ((six, "1194", "udp6"), (four, "1194", "udp4"), (six, "443", "tcp6"), (four, "443", "tcp4"))
    ):
        output = f"way{number}.ovpn"
        files.pki(
            net.server,
            *("profile", "client", "--remote", address, port, "--proto", protocol),
            *("--output", output),
        )
        running = up(files.run(net.client, client, "--config", output))
        for inner in INNER:
            assert ping(net.client, inner).complete, protocol
        running.stop()
        wait_for(lambda: not net.client.tunnels(), 5, "the end of the client's device")


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_client_connection_blocks_conf_goes_on_to_the_way_that_works(
    lab: Lab, files: Files, maker: Maker
) -> None:
    """Its first server is nowhere here; its second is made reachable under that address."""
    net = line(lab, Underlay.DUAL)
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    net.server.add_address("to-underlay", "192.0.2.1/32")
    # The router has that address towards the client: the packets have to pass it by.
    net.underlay.run(["ip", "addr", "del", "192.0.2.1/30", "dev", "to-client"])
    net.underlay.run(["ip", "addr", "add", "192.0.2.6/32", "dev", "to-client"])
    net.underlay.run(["ip", "route", "add", "192.0.2.2/32", "dev", "to-client"])
    net.underlay.run(["ip", "route", "add", "192.0.2.1/32", "via", "198.51.100.2"])
    net.client.run(["ip", "route", "replace", "192.0.2.6/32", "dev", "to-underlay"])
    net.client.run(["ip", "route", "replace", "192.0.2.1/32", "via", "192.0.2.6"])
    up(files.run(net.server, Maker.OURS, "--config", "server.conf"))
    running = files.run(net.client, maker, "--config", "client-connection-blocks.conf")
    running.wait_for_log("Initialization Sequence Completed", 40)
    for address in INNER:
        assert ping(net.client, address).complete


# --- ovpn6 pki, the README's walk ---


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_readme_s_commands_make_a_tunnel(
    ipv6_line: Line, files: Files, pairing: Pairing, key_type: str
) -> None:
    net = ipv6_line
    for words in (
        ("init", "--key-type", key_type),
        ("server", "gateway"),
        ("client", "laptop"),
        ("profile", "gateway", "--server"),
        ("profile", "laptop", "--remote", str(net.server_address)),
    ):
        files.pki(net.server, *words)
    up(files.run(net.server, pairing.server, "--config", "pki/profiles/gateway.conf"))
    up(files.run(net.client, pairing.client, "--config", "pki/profiles/laptop.ovpn"))
    check_tunnel(net, ("fd42:6f76:706e:36::1", "10.86.0.1"))


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_revoked_client_is_shut_out_of_a_running_server(
    ipv6_line: Line, files: Files, pairing: Pairing
) -> None:
    net = ipv6_line
    _make_pki(net, files, "--proto", "udp6")
    up(files.run(net.server, pairing.server, "--config", "server.conf"))
    client = up(files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn"))
    client.stop()
    files.pki(net.server, "revoke", "client")
    again = files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn")
    server = net.server.processes[-1]
    assert server.running
    server.wait_for_log(r"revoked", 15)
    assert ping(net.client, INNER[0]).received == 0
    assert again.running or again.exit_code


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_pinned_server_needs_no_authority(
    ipv6_line: Line, files: Files, pairing: Pairing
) -> None:
    net = ipv6_line
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    fingerprint = files.pki(net.server, "show", "server", "--fingerprint").strip()
    files.pki(
        net.server,
        *("profile", "client", "--remote", str(net.server_address), "--proto", "udp6"),
        *("--peer-fingerprint", fingerprint),
    )
    profile = (files.directory / "pki/profiles/client.ovpn").read_text()
    assert "<ca>" not in profile
    up(files.run(net.server, pairing.server, "--config", "server.conf"))
    up(files.run(net.client, pairing.client, "--config", "pki/profiles/client.ovpn"))
    check_tunnel(net)


def _make_pki(net: Line, files: Files, *options: str, port: str = "1194") -> None:
    for words in ("init", "server server", "client client"):
        files.pki(net.server, *words.split())
    address = str(ip_address(str(net.server_address)))
    files.pki(net.server, "profile", "client", "--remote", address, port, *options)
