"""What a client is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.schema import PeerConfig
from ovpn6.model.names import PeerId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, Framing
from ovpn6.protocol.messages import push_replies
from ovpn6.protocol.negotiation_rules import PeerCapabilities
from ovpn6.roles.push import (
    PushFacts,
    is_pushable,
    push_options,
    pushed_mtu,
    settle_compression,
)
from tests.roles.server_site import OPTIONS_26, PEER_INFO_26

SERVER_PUSH = ("route-ipv6 2001:db8:5::/48", "route 198.51.100.0 255.255.255.0", "ping 10")
LZO = OPTIONS_26.replace(",auth", ",comp-lzo,auth")
ALL = frozenset(Framing)


def capabilities(options: str = OPTIONS_26, **info: str) -> PeerCapabilities:
    return PeerCapabilities.parse({**PEER_INFO_26, **info}, options)


FACTS = PushFacts(
    server_ipv4=IPv4Interface("192.0.2.1/24"),
    server_ipv6=IPv6Interface("2001:db8:1::1/64"),
    ipv4=IPv4Interface("192.0.2.2/24"),
    ipv6=IPv6Interface("2001:db8:1::1000/64"),
    peer=PeerId(7),
    cipher="AES-256-GCM",
    capabilities=capabilities(),
    tun_mtu=1420,
)
IPV6_ONLY = replace(FACTS, server_ipv4=None, ipv4=None)


def test_dual_stack_client_is_told_everything_in_order() -> None:
    assert push_options(SERVER_PUSH, PeerConfig(), FACTS) == [
        "topology subnet",
        "route-gateway 192.0.2.1",
        "route-ipv6 2001:db8:5::/48",
        "route 198.51.100.0 255.255.255.0",
        "ping 10",
        "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1",
        "ifconfig 192.0.2.2 255.255.255.0",
        "peer-id 7",
        "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
        "tun-mtu 1420",
    ]


def test_ipv6_only_server_pushes_no_ipv4() -> None:
    assert push_options(("route-ipv6 2001:db8:5::/48",), PeerConfig(), IPV6_ONLY) == [
        "topology subnet",
        "route-ipv6 2001:db8:5::/48",
        "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1",
        "peer-id 7",
        "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
        "tun-mtu 1420",
    ]


def test_what_the_server_says_itself_is_not_said_twice() -> None:
    pushes = ("route-gateway 192.0.2.254", "topology subnet")
    options = push_options(pushes, PeerConfig(), FACTS)
    assert options[:2] == list(pushes)
    assert sum(option.startswith("route-gateway") for option in options) == 1


def test_push_reset_leaves_what_the_client_cannot_do_without() -> None:
    config = PeerConfig(push_reset=True, push=("route-ipv6 2001:db8:6::/48",))
    options = push_options(SERVER_PUSH, config, FACTS)
    assert options[:3] == [
        "topology subnet",
        "route-gateway 192.0.2.1",
        "route-ipv6 2001:db8:6::/48",
    ]


def test_push_remove_takes_by_prefix_but_not_from_the_clients_own() -> None:
    config = PeerConfig(push_remove=("route",), push=("route 203.0.113.0 255.255.255.0",))
    options = push_options(SERVER_PUSH, config, FACTS)
    assert [o for o in options if o.startswith("route")] == ["route 203.0.113.0 255.255.255.0"]
    assert "ping 10" in options


@pytest.mark.parametrize("family", ["ifconfig", "ifconfig-ipv6"])
def test_push_remove_of_an_address_is_exact(family: str) -> None:
    options = push_options((), PeerConfig(push_remove=(family,)), FACTS)
    told = {o.split()[0] for o in options if o.startswith("ifconfig")}
    assert told == {"ifconfig", "ifconfig-ipv6"} - {family}


def test_client_does_not_get_its_own_lan_as_a_route() -> None:
    lans = (IPv6Network("2001:db8:5::/48"), IPv4Network("198.51.100.0/24"))
    options = push_options(SERVER_PUSH, PeerConfig(iroutes=lans), FACTS)
    assert not any(o.startswith(("route ", "route-ipv6 ")) for o in options)


def test_a_client_in_the_epoch_format_is_told_so_last() -> None:
    facts = replace(FACTS, data_format=DataFormat.EPOCH)
    flags = "protocol-flags cc-exit tls-ekm dyn-tls-crypt aead-epoch"
    assert flags in push_options((), PeerConfig(), facts)


def test_older_client_gets_its_own_word_for_the_exporter() -> None:
    old = capabilities(IV_PROTO=str(2 + 4 + 8))
    options = push_options((), PeerConfig(), replace(FACTS, capabilities=old))
    assert "key-derivation tls-ekm" in options
    assert not any(o.startswith("protocol-flags") for o in options)


def test_client_of_openvpn_2_4_gets_no_flags_and_no_mtu() -> None:
    old = PeerCapabilities.parse({"IV_PROTO": "2", "IV_NCP": "2"}, OPTIONS_26)
    options = push_options((), PeerConfig(), replace(FACTS, capabilities=old))
    assert options[-2:] == ["peer-id 7", "cipher AES-256-GCM"]


def test_client_without_cipher_negotiation_is_told_no_cipher() -> None:
    old = PeerCapabilities.parse({"IV_PROTO": "2"}, OPTIONS_26 + ",cipher AES-256-GCM")
    options = push_options((), PeerConfig(), replace(FACTS, capabilities=old))
    assert not any(o.startswith("cipher") for o in options)


def test_token_and_compression_word_are_pushed() -> None:
    facts = replace(FACTS, token=SecretBytes(b"SESS_ID_AT_x"), compression="compress stub-v2")
    options = push_options((), PeerConfig(), facts)
    assert "auth-token SESS_ID_AT_x" in options
    assert "compress stub-v2" in options


@pytest.mark.parametrize(
    ("iv_mtu", "pushed"), [("1600", 1420), ("1280", 1280), ("1420", 1420), ("nonsense", None)]
)
def test_mtu_is_pushed_within_the_clients_limit(iv_mtu: str, pushed: int | None) -> None:
    assert pushed_mtu(1420, capabilities(IV_MTU=iv_mtu)) == pushed


@given(st.text(max_size=1100))
def test_pushable_is_exactly_what_a_reply_can_carry(option: str) -> None:
    if is_pushable(option):
        assert push_replies([option])[0] == f"PUSH_REPLY,{option}"


@pytest.mark.parametrize("option", ["", "a,b", "a\nb", "x" * 1000])
def test_what_cannot_be_pushed_is_known(option: str) -> None:
    assert not is_pushable(option)


def test_plain_client_is_served_without_framing() -> None:
    agreed = settle_compression(capabilities(), ALL, stub=False, migrate=False)
    assert (agreed.framing, agreed.push, agreed.refusal) == (Framing.NONE, "", "")


def test_compressing_client_is_refused_without_migrate() -> None:
    agreed = settle_compression(capabilities(LZO), ALL, stub=False, migrate=False)
    assert "compression" in agreed.refusal


def test_compressing_client_is_migrated_to_stub_v2() -> None:
    client = capabilities(LZO, IV_COMP_STUBv2="1")
    agreed = settle_compression(client, ALL, stub=False, migrate=True)
    assert (agreed.framing, agreed.push) == (Framing.STUB_V2, "compress stub-v2")
    agreed = settle_compression(client, frozenset({Framing.NONE}), stub=False, migrate=True)
    assert (agreed.framing, agreed.push) == (Framing.NONE, "compress stub-v2")


def test_old_compressing_client_is_migrated_to_the_stub() -> None:
    agreed = settle_compression(capabilities(LZO), ALL, stub=False, migrate=True)
    assert (agreed.framing, agreed.push) == (Framing.STUB, "comp-lzo no")


def test_stub_needs_a_data_path_that_has_it() -> None:
    none = frozenset({Framing.NONE})
    assert settle_compression(capabilities(LZO), none, stub=False, migrate=True).refusal
    assert settle_compression(capabilities(), none, stub=True, migrate=False).refusal
    assert settle_compression(capabilities(), ALL, stub=True, migrate=False).framing is Framing.STUB
