"""Scripts' environments, by OpenVPN's names."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.schema import Listen
from ovpn6.model.addresses import Endpoint
from ovpn6.model.identity import CertificateFacts, PeerIdentity
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Route, RouteVia
from ovpn6.roles import script_env

IPV4, IPV6 = IPv4Interface("192.0.2.1/24"), IPv6Interface("2001:db8:1::1/64")


def test_tunnel_of_both_families() -> None:
    assert script_env.tunnel_environment("tun0", 1420, [IPV6, IPV4]) == {
        "dev": "tun0",
        "dev_type": "tun",
        "tun_mtu": "1420",
        "script_context": "init",
        "ifconfig_local": "192.0.2.1",
        "ifconfig_netmask": "255.255.255.0",
        "ifconfig_ipv6_local": "2001:db8:1::1",
        "ifconfig_ipv6_netbits": "64",
        "ifconfig_ipv6_remote": "2001:db8:1::2",
    }


def test_ipv6_only_tunnel_has_no_ipv4_variables() -> None:
    env = script_env.tunnel_environment("tun0", 1420, [IPV6])
    assert not any(name in env for name in ("ifconfig_local", "ifconfig_netmask"))
    assert script_env.up_down_arguments("tun0", 1420, [IPV6]) == (
        *("tun0", "1420", "0"),
        *("", "", "init"),
    )


def test_up_arguments_are_those_of_openvpn() -> None:
    assert script_env.up_down_arguments("tun0", 1420, [IPV6, IPV4]) == (
        *("tun0", "1420", "0"),
        *("192.0.2.1", "255.255.255.0", "init"),
    )


def test_routes_are_numbered_in_each_family() -> None:
    routes = [
        Route(IPv6Network("2001:db8:a::/48"), metric=5),
        Route(IPv4Network("198.51.100.0/24"), gateway=ip_address("192.0.2.9")),
        Route(IPv6Network("2001:db8:b::/48")),
    ]
    assert script_env.route_environment(routes) == {
        "route_ipv6_network_1": "2001:db8:a::/48",
        "route_ipv6_metric_1": "5",
        "route_network_1": "198.51.100.0",
        "route_netmask_1": "255.255.255.0",
        "route_gateway_1": "192.0.2.9",
        "route_ipv6_network_2": "2001:db8:b::/48",
    }


def test_routes_into_the_tunnel_that_name_no_gateway_get_the_tunnels() -> None:
    gateways = {6: ip_address("2001:db8:1::2"), 4: ip_address("192.0.2.2")}
    routes = [
        Route(IPv6Network("2001:db8:a::/48")),
        Route(IPv4Network("198.51.100.0/24"), gateway=ip_address("192.0.2.9")),
        Route(IPv4Network("203.0.113.0/24"), RouteVia.UNDERLAY),
    ]
    env = script_env.route_environment(routes, gateways)
    assert env["route_ipv6_gateway_1"] == "2001:db8:1::2"
    assert env["route_gateway_1"] == "192.0.2.9"
    assert "route_gateway_2" not in env


def test_a_servers_sockets_are_numbered() -> None:
    listens = [
        Listen(Transport.UDP, Family.IPV6),
        Listen(Transport.TCP, Family.ANY, "2001:db8::1", 443),
    ]
    assert script_env.listen_environment(listens) == {
        "proto_1": "udp6",
        "local_port_1": "1194",
        "remote_port_1": "1194",
        "proto_2": "tcp-server",
        "local_2": "2001:db8::1",
        "local_port_2": "443",
        "remote_port_2": "443",
    }


def test_outer_address_by_family() -> None:
    assert script_env.endpoint_environment("trusted", Endpoint(ip_address("2001:db8::9"), 5)) == {
        "trusted_ip6": "2001:db8::9",
        "trusted_port": "5",
    }
    assert script_env.endpoint_environment("untrusted", Endpoint(ip_address("192.0.2.9"), 5)) == {
        "untrusted_ip": "192.0.2.9",
        "untrusted_port": "5",
    }


def test_certificates_are_numbered_from_the_clients_own() -> None:
    leaf = CertificateFacts(
        "O=x, CN=alice", "alice", 0x1AB, "ab" * 32, "cd" * 20, {"CN": "alice", "O": "a\nb"}
    )
    root = CertificateFacts("CN=root", "root", 1, "ef" * 32, "01" * 20, {"CN": "root"})
    env = script_env.identity_environment(PeerIdentity((leaf, root)))
    assert env["tls_id_0"] == "O=x, CN=alice"
    assert env["tls_serial_0"] == "427"
    assert env["tls_serial_hex_0"] == "01:ab"
    assert env["tls_digest_0"] == ":".join(["cd"] * 20)
    assert env["tls_digest_sha256_1"] == ":".join(["ef"] * 32)
    assert env["X509_0_CN"] == "alice"
    assert env["X509_0_O"] == "a_b"
    assert env["X509_1_CN"] == "root"


def test_peer_info_is_made_harmless() -> None:
    info = {"IV_VER": "2.6.14", "UV_X": "$(rm -rf /) `x`", "PATH": "/tmp", "IV_A-B": "x"}
    assert script_env.peer_info_environment(info) == {
        "IV_VER": "2.6.14",
        "UV_X": "__rm_-rf_/)__x_",
    }


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=5))
def test_no_peer_info_can_name_or_hold_anything_dangerous(info: dict[str, str]) -> None:
    named = {f"UV_{name}": value for name, value in info.items()}
    for name, value in script_env.peer_info_environment(named | info).items():
        assert name.startswith(("IV_", "UV_"))
        assert name.replace("_", "a").isalnum()
        assert name.isascii()
        assert not set(value) & set("$(`\n\0 ")


def test_pool_addresses_of_each_family() -> None:
    assert script_env.pool_environment(None, IPv6Interface("2001:db8:1::5/64"), IPV6) == {
        "ifconfig_pool_remote_ip6": "2001:db8:1::5",
        "ifconfig_pool_ip6_netbits": "64",
        "ifconfig_pool_local_ip6": "2001:db8:1::1",
    }
    assert script_env.pool_environment(IPv4Interface("192.0.2.5/24"), None, None) == {
        "ifconfig_pool_remote_ip": "192.0.2.5",
        "ifconfig_pool_netmask": "255.255.255.0",
    }


def test_time_is_utc() -> None:
    assert script_env.time_environment(0.9) == {
        "time_unix": "0",
        "time_ascii": "1970-01-01 00:00:00",
    }
