"""What servers push, and what one client's file says."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.load import parse_peer_config, parse_push, split_push
from ovpn6.config.options import OPTIONS
from ovpn6.config.schema import PeerConfig, PushedConfig
from ovpn6.model.errors import ConfigErrors, Source
from ovpn6.model.specs import Keepalive

STOCK = (
    "route 10.8.0.0 255.255.255.0,route-ipv6 2001:db8:5::/48,tun-ipv6,route-gateway 10.8.0.1,"
    "topology subnet,ping 10,ping-restart 60,socket-flags TCP_NODELAY,"
    "ifconfig-ipv6 2001:db8:8::1000/64 2001:db8:8::1,ifconfig 10.8.0.2 255.255.255.0,peer-id 3,"
    "auth-token SESS_ID_x,auth-token-user YWxpY2U=,cipher AES-256-GCM,"
    "protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1420"
)
HERE = Source("ccd/alice")


def test_push_of_a_stock_server_is_understood_whole() -> None:
    pushed = parse_push(split_push(STOCK))
    assert pushed.ignored == ()
    assert pushed.ifconfig == IPv4Interface("10.8.0.2/24")
    assert pushed.ifconfig_ipv6 == IPv6Interface("2001:db8:8::1000/64")
    assert pushed.ifconfig_ipv6_gateway == IPv6Address("2001:db8:8::1")
    assert pushed.route_gateway == IPv4Address("10.8.0.1")
    assert (pushed.topology, pushed.ping, pushed.ping_restart) == ("subnet", 10, 60)
    assert (pushed.peer_id, pushed.cipher, pushed.tun_mtu) == (3, "AES-256-GCM", 1420)
    assert (pushed.auth_token, pushed.auth_token_user) == ("SESS_ID_x", "alice")
    assert pushed.protocol_flags == {"cc-exit", "tls-ekm", "dyn-tls-crypt"}
    assert [str(route.destination) for route in pushed.routes] == [
        "10.8.0.0/24",
        "2001:db8:5::/48",
    ]


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("key-derivation tls-ekm", "protocol_flags", {"tls-ekm"}),
        ("redirect-gateway def1 ipv6", "redirect_gateway", {"def1", "ipv6"}),
        ("redirect-private", "redirect_gateway", {"private"}),
        ("block-ipv6", "block_ipv6", True),
        ("dhcp-option DNS 10.8.0.1", "dhcp_options", ("dhcp-option DNS 10.8.0.1",)),
        ("dns server 1 address ::1", "dhcp_options", ("dns server 1 address ::1",)),
        ("explicit-exit-notify", "explicit_exit_notify", 1),
        ("explicit-exit-notify 3", "explicit_exit_notify", 3),
        ("session-timeout 60", "session_timeout", 60),
        ("inactive 60 100", "inactive_bytes", 100),
        ("ping-exit 30", "ping_exit", 30),
        ("sndbuf 5000", "sndbuf", 5000),
        ("rcvbuf 5000", "rcvbuf", 5000),
        ("comp-lzo no", "compression", "stub"),
        ("comp-lzo", "compression", "lzo"),
        ("compress", "compression", "stub-swap"),
        ("compress stub", "compression", "stub-swap"),
        ("compress stub-v2", "compression", "stub-v2"),
        ("compress lz4-v2", "compression", "lz4-v2"),
        ("setenv-safe site north", "setenv", (("OPENVPN_site", "north"),)),
        ("route-metric 50", "route_metric", 50),
        ("route-ipv6-gateway 2001:db8::1", "route_ipv6_gateway", IPv6Address("2001:db8::1")),
    ],
)
def test_pushed_option_sets_its_field(option: str, field: str, value: object) -> None:
    pushed = parse_push([option])
    assert getattr(pushed, field) == value
    assert pushed.ignored == ()


@pytest.mark.parametrize(
    "option", ["persist-tun", "persist-key", "tun-ipv6", "push-continuation 1", "", "# x"]
)
def test_pushed_option_for_what_is_so_anyway_is_silent(option: str) -> None:
    assert parse_push([option]) == PushedConfig()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("novelty 1", "unknown directive"),
        ("remote 192.0.2.1", "remote cannot be pushed"),
        ("up /bin/evil", "up cannot be pushed"),
        ("script-security 3", "script-security cannot be pushed"),
        ("setenv PATH /tmp", "setenv cannot be pushed"),
        ("plugin x.so", "plugin cannot be pushed"),
        ("dev-netns other", "dev-netns cannot be pushed"),
        ("log /etc/passwd", "log cannot be pushed"),
        ("iroute 10.0.0.0", "iroute cannot be pushed"),
        ("block-outside-dns", "Windows"),
        ("register-dns", "Windows"),
        ("echo hello", "management clients"),
        ("route nonsense", "is not an IPv4 address"),
        ("tun-mtu 20", "out of range"),
        ("peer-id 99999999", "out of range"),
        ("ifconfig 10.8.0.2", "too few words"),
        ('route "10.0.0.0', "no closing quotation mark"),
        ("auth-token-user %%%", "not base64"),
        ("setenv-safe a=b c", "is not the name of a variable"),
    ],
)
def test_pushed_option_that_cannot_be_used_is_ignored_with_the_reason(
    option: str, reason: str
) -> None:
    pushed = parse_push(["ping 10", option, "peer-id 3"])
    (ignored,) = pushed.ignored
    assert reason in ignored
    assert (pushed.ping, pushed.peer_id) == (10, 3)


def test_pushed_token_never_stands_in_what_is_logged() -> None:
    (ignored,) = parse_push(["auth-token hush hush"]).ignored
    assert "hush" not in ignored
    assert "hush" not in repr(parse_push(["auth-token hush"]))


def test_bits_beyond_a_pushed_netmask_are_dropped() -> None:
    (route,) = parse_push(["route 10.1.2.3 255.255.0.0"]).routes
    assert route.destination == IPv4Network("10.1.0.0/16")


@pytest.mark.parametrize(
    "options",
    [
        ["topology net30", "ifconfig 10.8.0.6 10.8.0.5"],
        ["ifconfig 10.8.0.6 10.8.0.5", "topology net30"],
    ],
)
def test_net30_server_gives_four_addresses_and_its_end_is_the_gateway(options: list[str]) -> None:
    pushed = parse_push(options)
    assert (pushed.ifconfig, pushed.topology) == (IPv4Interface("10.8.0.6/30"), "net30")
    assert pushed.route_gateway == IPv4Address("10.8.0.5")


def test_p2p_server_gives_one_address_and_its_end_is_the_gateway() -> None:
    pushed = parse_push(["ifconfig 10.8.0.6 10.8.0.1"])
    assert (pushed.ifconfig, pushed.topology) == (IPv4Interface("10.8.0.6/32"), "p2p")
    assert pushed.route_gateway == IPv4Address("10.8.0.1")


def test_empty_options_of_a_list_are_dropped() -> None:
    assert split_push("a 1,,b 2 ,") == ["a 1", "b 2"]
    assert split_push("") == []


@given(st.lists(st.text() | st.sampled_from([f"{name} 1 2" for name in OPTIONS]), max_size=6))
def test_any_push_gives_a_configuration(options: list[str]) -> None:
    assert isinstance(parse_push(options), PushedConfig)


@given(st.sampled_from(sorted(OPTIONS)), st.lists(st.text(max_size=12), max_size=4))
def test_any_words_of_a_known_option_give_a_configuration(name: str, words: list[str]) -> None:
    assert isinstance(parse_push([" ".join((name, *words))]), PushedConfig)


def test_client_file_is_read() -> None:
    text = """\
# alice
ifconfig-ipv6-push 2001:db8:8::5/64 2001:db8:8::1
ifconfig-push 10.8.0.5 255.255.255.0
iroute-ipv6 2001:db8:5::/48
iroute 192.168.5.0 255.255.255.0
iroute 192.168.6.1
push-remove route
push "route-ipv6 2001:db8:6::/48"
max-routes-per-client 5
override-username bob
ping 5
ping-restart 30
inactive 60 100
"""
    assert parse_peer_config(text, HERE) == PeerConfig(
        ifconfig_push=IPv4Interface("10.8.0.5/24"),
        ifconfig_ipv6_push=IPv6Interface("2001:db8:8::5/64"),
        iroutes=(
            IPv6Network("2001:db8:5::/48"),
            IPv4Network("192.168.5.0/24"),
            IPv4Network("192.168.6.1/32"),
        ),
        push=("route-ipv6 2001:db8:6::/48",),
        push_remove=("route",),
        max_routes_per_client=5,
        override_username="bob",
        keepalive=Keepalive(5, 30),
        inactive=60,
        inactive_bytes=100,
    )


def test_reset_forgets_what_the_file_pushed_before() -> None:
    config = parse_peer_config('push "ping 1"\npush-reset\npush "ping 2"\ndisable\n', HERE)
    assert (config.push_reset, config.push, config.disable) == (True, ("ping 2",), True)


def test_every_error_of_a_client_file_is_told_with_its_line() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_peer_config("iroute x\nverb 4\npong\nifconfig-push 10.8.0.5 10.8.0.6\nping 5\n", HERE)
    starts = [str(error).split(" (")[0] for error in caught.value.errors]
    assert starts == [
        "ccd/alice:1: iroute: 'x' is not an IPv4 address",
        "ccd/alice:2: verb cannot be set for one client",
        "ccd/alice:3: unknown directive 'pong'",
        "ccd/alice:4: ifconfig-push: '10.8.0.6' is not a netmask",
        "ccd/alice: ping and ping-restart need each other here",
    ]


@given(st.text())
def test_any_client_file_gives_a_configuration_or_config_errors(text: str) -> None:
    try:
        config = parse_peer_config(text, HERE)
    except ConfigErrors:
        return
    assert isinstance(config, PeerConfig)
