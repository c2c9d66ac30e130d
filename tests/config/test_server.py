"""A server's macros, sockets and pools."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from ovpn6.config.schema import Listen, Mode, ServerConfig, WrapMode
from ovpn6.model.names import Family, Transport
from ovpn6.model.specs import Keepalive
from tests.config.conftest import Load


def _server(load: Load, text: str) -> ServerConfig:
    config = load(text)
    assert config.mode is Mode.SERVER
    assert config.client is None
    assert config.server is not None
    return config.server


def test_dual_stack_macros_push_in_the_order_of_openvpn(load: Load, server_text: str) -> None:
    text = (
        f'{server_text}keepalive 10 60\nserver 10.8.0.0 255.255.255.0\npush "ping 7"\ntcp-nodelay\n'
    )
    assert _server(load, text).push == (
        "ping 7",
        "tun-ipv6",
        "route-gateway 10.8.0.1",
        "topology subnet",
        "ping 10",
        "ping-restart 60",
        "socket-flags TCP_NODELAY",
    )


def test_server_macro_sets_address_and_pool(load: Load, server_text: str) -> None:
    config = load(f"{server_text}server 10.8.0.0 255.255.255.0\n")
    server = config.server
    assert server is not None
    assert config.host.ifconfig == (
        IPv6Interface("2001:db8:8::1/64"),
        IPv4Interface("10.8.0.1/24"),
    )
    assert server.server == IPv4Network("10.8.0.0/24")
    assert (server.pool_start, server.pool_end) == (
        IPv4Address("10.8.0.2"),
        IPv4Address("10.8.0.254"),
    )
    assert server.pool_netmask == IPv4Address("255.255.255.0")


def test_ipv6_only_server_has_no_ipv4_at_all(load: Load, server_text: str) -> None:
    config = load(server_text)
    server = config.server
    assert server is not None
    assert server.server_ipv6 == IPv6Network("2001:db8:8::/64")
    assert server.pool_ipv6 == IPv6Interface("2001:db8:8::1000/64")
    assert (server.server, server.pool_start, server.pool_end) == (None, None, None)
    assert config.host.ifconfig == (IPv6Interface("2001:db8:8::1/64"),)
    assert server.push == ("tun-ipv6",)


def test_small_ipv6_network_has_its_pool_behind_the_server(load: Load, server_text: str) -> None:
    text = server_text.replace("2001:db8:8::/64", "2001:db8:8::/120")
    assert _server(load, text).pool_ipv6 == IPv6Interface("2001:db8:8::2/120")


def test_server_without_pool_serves_the_network(load: Load, server_text: str) -> None:
    text = server_text.replace(
        "server-ipv6 2001:db8:8::/64", "server 10.8.0.0 255.255.255.0 nopool"
    )
    server = _server(load, text)
    assert server.server == IPv4Network("10.8.0.0/24")
    assert server.server_nopool
    assert server.pool_start is None


def test_written_out_server_is_the_same_as_the_macros(load: Load, server_text: str) -> None:
    macro = load(f"{server_text}server 10.8.0.0 255.255.255.0\nkeepalive 10 60\n")
    written = load(
        server_text.replace("server-ipv6 2001:db8:8::/64", "mode server")
        + "tls-server\n"
        + "ifconfig-ipv6 2001:db8:8::1/64\nifconfig-ipv6-pool 2001:db8:8::1000/64\n"
        + "ifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.8.0.2 10.8.0.254\n"
        + 'push tun-ipv6\npush "route-gateway 10.8.0.1"\npush "topology subnet"\n'
        + 'push "ping 10"\npush "ping-restart 60"\nping 10\nping-restart 120\n'
    )
    assert written.server == macro.server
    assert written.host == macro.host
    assert written.data == macro.data


def test_server_waits_twice_as_long_as_its_clients(load: Load, server_text: str) -> None:
    assert load(f"{server_text}keepalive 10 60\n").data.keepalive == Keepalive(10, 120)


def test_one_socket_without_local(load: Load, server_text: str) -> None:
    server = _server(load, f"{server_text}proto udp6\nport 1195\n")
    assert server.listens == (Listen(Transport.UDP, Family.IPV6, "", 1195),)


def test_several_locals_are_several_sockets(load: Load, server_text: str) -> None:
    text = (
        f"{server_text}port 1195\nlocal * 1194 udp6\nlocal 192.0.2.1 443 tcp\nlocal 2001:db8::5\n"
    )
    assert _server(load, text).listens == (
        Listen(Transport.UDP, Family.IPV6, "", 1194),
        Listen(Transport.TCP, Family.IPV4, "192.0.2.1", 443),
        Listen(Transport.UDP, Family.IPV6, "2001:db8::5", 1195),
    )


def test_socket_options_are_read(load: Load, server_text: str) -> None:
    text = f"{server_text}bind ipv6only\nmultihome\nmark 7\nsndbuf 5000\n"
    sockets = load(text).sockets
    assert (sockets.ipv6_only, sockets.multihome, sockets.mark, sockets.sndbuf) == (
        True,
        True,
        7,
        5000,
    )


def test_control_packet_keys_are_read(load: Load, server_text: str) -> None:
    wrap = load(f"{server_text}tls-auth shared.key 0\nauth SHA256\n").wrap
    assert (wrap.mode, wrap.key_direction, wrap.auth) == (WrapMode.TLS_AUTH, 0, "SHA256")
    wrap = load(f"{server_text}tls-crypt-v2 shared.key force-cookie\n").wrap
    assert (wrap.mode, wrap.key_direction, wrap.force_cookie) == (WrapMode.TLS_CRYPT_V2, None, True)


def test_direction_of_an_inline_key_is_a_directive_of_its_own(load: Load, server_text: str) -> None:
    wrap = load(f"{server_text}key-direction 0\n<tls-auth>\nx\n</tls-auth>\n").wrap
    assert (wrap.mode, wrap.key_direction) == (WrapMode.TLS_AUTH, 0)


def test_fingerprints_replace_the_authority(load: Load, server_text: str) -> None:
    first, second = ":".join(["AA"] * 32), ":".join(["BB"] * 32)
    text = server_text.replace("ca ca.crt\n", "")
    config = load(f"{text}<peer-fingerprint>\n# one\n{first}\n\n{second}\n</peer-fingerprint>\n")
    assert config.tls.peer_fingerprint == ("aa" * 32, "bb" * 32)


def test_exit_of_the_server_is_told_to_clients(load: Load, server_text: str) -> None:
    assert _server(load, f"{server_text}explicit-exit-notify 2\n").explicit_exit_notify == 2


def test_pool_that_is_smaller_than_the_number_of_clients_is_warned_of(
    load: Load, server_text: str
) -> None:
    config = load(f"{server_text}server 10.8.0.0 255.255.255.248\nmax-clients 10\n")
    assert "the IPv4 pool has 5 addresses" in config.warnings[0]
