"""Two equal ends: tls-server or tls-client without `client`, `pull` and `server`."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from ovpn6.config.load import normalised
from ovpn6.config.schema import Mode, PointToPointConfig, TunnelConfig
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Keepalive
from tests.config.conftest import Fail, Load

END = """\
dev tun
ca ca.crt
cert own.crt
key own.key
remote-cert-tls {other}
ifconfig-ipv6 fd00::1/64 fd00::2
ifconfig 10.0.0.1 10.0.0.2
"""
SERVER = "tls-server\n" + END.format(other="client")
CLIENT = "tls-client\n" + END.format(other="server")


def _both(config: TunnelConfig) -> PointToPointConfig:
    assert config.mode is Mode.POINT_TO_POINT
    assert config.server is None
    assert config.point_to_point is not None
    return config.point_to_point


def test_the_part_in_tls_is_the_one_that_is_named(load: Load) -> None:
    assert load(SERVER).is_tls_server
    assert not load(f"{CLIENT}remote 2001:db8::1\n").is_tls_server
    assert load(f"mode p2p\n{SERVER}").mode is Mode.POINT_TO_POINT


def test_addresses_of_both_ends_are_kept(load: Load) -> None:
    config = load(SERVER)
    assert config.host.ifconfig == (ip_interface("fd00::1/64"), ip_interface("10.0.0.1/32"))
    both = _both(config)
    assert both.ifconfig_remote == ip_address("10.0.0.2")
    assert both.ifconfig_ipv6_remote == ip_address("fd00::2")


def test_a_netmask_stands_where_the_topology_is_subnet(load: Load, fail: Fail) -> None:
    subnet = SERVER.replace("10.0.0.2", "255.255.255.0")
    for topology in ("", "topology subnet\n"):
        config = load(subnet + topology)
        assert ip_interface("10.0.0.1/24") in config.host.ifconfig
        assert _both(config).ifconfig_remote is None
    assert fail(f"{subnet}topology net30\n")[0].startswith("x.conf:9: topology net30 has the other")
    assert fail(f"{SERVER}topology subnet\n")[0].startswith("x.conf:9: topology subnet has a")
    for topology in ("p2p", "net30"):
        assert _both(load(f"{SERVER}topology {topology}\n")).ifconfig_remote is not None


def test_an_end_without_remote_waits_on_its_port_and_needs_none(load: Load) -> None:
    for text in (SERVER, CLIENT):
        config = load(f"{text}proto udp6\nlport 5000\n")
        own = _both(config).passive
        assert own is not None
        assert (own.host, own.transport, own.family) == ("", Transport.UDP, Family.IPV6)
        assert own.local_port == 5000
        assert config.client is not None
        assert config.client.remotes == ()


def test_an_end_binds_its_port_unless_told_otherwise(load: Load) -> None:
    for lines, port in (("", 1194), ("nobind\n", 0), ("lport 0\n", 0), ("port 7\n", 7)):
        config = load(f"{CLIENT}remote 2001:db8::1\n{lines}")
        assert _both(config).passive is None
        assert config.client is not None
        assert not config.client.pull
        assert config.client.remotes[0].local_port == port, lines


def test_over_tcp_the_word_says_who_connects(load: Load, fail: Fail) -> None:
    waiting = load(f"{CLIENT}proto tcp6-server\n")
    assert _both(waiting).tcp_server
    assert not _both(load(f"{SERVER}remote 2001:db8::1\nproto tcp6-client\n")).tcp_server
    assert _both(load(f"{SERVER}remote 2001:db8::1\nproto tcp-server\n")).tcp_server
    (error,) = fail(f"{SERVER}remote 2001:db8::1\nproto tcp6\n")
    assert error.startswith("x.conf:9: tcp6 does not say who connects")
    (error,) = fail(f"{SERVER}proto tcp-client\n")
    assert error.startswith("x.conf:9: tcp-client needs a remote")
    (error,) = fail(f"{SERVER}proto tcp-server\nremote 2001:db8::1\nremote 2001:db8::2\n")
    assert error.startswith("x.conf:11: tcp-server waits for one remote")


def test_keepalive_is_not_doubled(load: Load) -> None:
    assert load(f"{SERVER}keepalive 5 20\n").data.keepalive == Keepalive(5, 20)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("push 'route-ipv6 2001:db8::/32'", ""),
        ("client-config-dir clients", "client-config-dir belongs to a server"),
        ("ifconfig-ipv6-pool fd00::1000/64", "ifconfig-ipv6-pool belongs to a server"),
        ("auth-user-pass secret.txt", "auth-user-pass belongs to a client that pulls"),
        ("duplicate-cn", "duplicate-cn belongs to a server"),
        ("nobind", "nobind needs a remote"),
    ],
)
def test_what_belongs_to_a_server_or_a_pulling_client_is_told(
    line: str, error: str, load: Load, fail: Fail
) -> None:
    if not error:
        assert any("belongs to a server" in each for each in load(f"{SERVER}{line}\n").warnings)
        return
    assert any(each.startswith(f"x.conf:9: {error}") for each in fail(f"{SERVER}{line}\n"))


def test_with_tls_crypt_v2_the_client_begins(load: Load, fail: Fail) -> None:
    assert load(f"{SERVER}tls-crypt-v2 shared.key\n")
    (error,) = fail(f"{CLIENT}tls-crypt-v2 shared.key\n")
    assert error.startswith("x.conf:9: with tls-crypt-v2 the end with tls-client has to begin")


def test_what_is_not_checked_of_the_peer_is_warned_of(load: Load) -> None:
    (warning,) = load(SERVER.replace("remote-cert-tls client\n", "")).warnings
    assert "add remote-cert-tls client" in warning


@pytest.mark.parametrize(
    "text",
    [
        SERVER,
        f"{SERVER}proto tcp6-server\nlport 5000\n",
        f"{CLIENT}remote 2001:db8::1 1195 udp6\n",
        f"{CLIENT}remote 2001:db8::1 1195 udp6\nnobind\n",
        f"{CLIENT}remote 2001:db8::1 1195 udp6\nlport 0\n",
        f"{SERVER}remote 2001:db8::1 1195 tcp6-server\nlocal 2001:db8::9\n",
    ],
)
def test_the_normalised_text_means_the_same(text: str, load: Load) -> None:
    first = load(text)
    again = load(normalised(first))
    assert again.point_to_point == first.point_to_point
    assert again.client == first.client
    assert again.host == first.host
