"""Clients come in: options, addresses, settings, scripts, routes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path as FilePath

import pytest

from ovpn6.config.schema import DataConfig, ScriptsConfig
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import (
    AddPeer,
    InstallKey,
    ReadClientConfig,
    ScriptFinished,
    SendControl,
    UpdatePeer,
)
from ovpn6.model.names import KeySlot, LinkId
from ovpn6.model.specs import Framing, ScriptResult
from tests.roles.server_site import (
    HOST_IPV6_ONLY,
    NO,
    OPTIONS_26,
    PEER_INFO_26,
    SERVER,
    SERVER_IPV6_ONLY,
    YES,
    Site,
    config_of,
)

CCD = replace(SERVER, client_config_dir=FilePath("/ccd"))
CONNECT = ScriptsConfig(client_connect=("/connect",), client_disconnect=("/disconnect",))
LEARN = ScriptsConfig(learn_address=("/learn",))
LZO = OPTIONS_26.replace(",auth", ",comp-lzo,auth")


def test_stock_client_gets_its_options_and_its_data_channel() -> None:
    site = Site()
    client = site.connected()
    assert "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1" in client.options
    assert "ifconfig 192.0.2.2 255.255.255.0" in client.options
    spec = site.datapath.peers[client.peer]
    assert spec.path == client.path
    assert spec.networks == (
        IPv6Network("2001:db8:1::1000/128"),
        IPv4Network("192.0.2.2/32"),
    )
    assert (spec.keepalive.interval, spec.keepalive.timeout) == (10, 120)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 0}


def test_both_ends_have_the_same_keys() -> None:
    site = Site()
    client = site.connected()
    [install] = site.kinds(InstallKey)
    assert isinstance(install, InstallKey)
    own = client.connection.derive_keys(install.key.key_id, "AES-256-GCM", use_ekm=True)
    assert own.send_key == install.key.receive_key
    assert own.receive_key == install.key.send_key


def test_peer_and_key_are_in_place_before_the_options_are_sent() -> None:
    site = Site()
    site.connected()
    order = [type(action) for action in site.kinds(AddPeer, InstallKey, SendControl)]
    added = order.index(AddPeer)
    assert order[added + 1] is InstallKey
    assert SendControl in order[added + 2 :]
    [last] = [a for a in site.actions if isinstance(a, SendControl)][-1:]
    assert site.actions.index(last) > site.actions.index(site.kinds(InstallKey)[0])


def test_client_with_request_push_bit_is_not_made_to_ask() -> None:
    assert Site().connected(asks=False).options


def test_client_without_request_push_bit_must_ask() -> None:
    site = Site()
    client = site.client(asks=False, info={**PEER_INFO_26, "IV_PROTO": str(990 & ~4)})
    client.begin()
    assert not client.options
    assert not site.datapath.peers
    client.say("PUSH_REQUEST")
    assert client.options


def test_repeated_push_request_is_answered_after_thirty_seconds_only() -> None:
    site = Site()
    client = site.connected()
    client.say("PUSH_REQUEST")
    site.pass_time(29)
    client.say("PUSH_REQUEST")
    assert len(client.messages) == 1
    site.pass_time(2)
    client.say("PUSH_REQUEST")
    assert client.messages[1:] == client.messages[:1]
    assert len(site.kinds(AddPeer)) == 1


def test_ipv6_only_server_gives_no_ipv4() -> None:
    site = Site(config_of(SERVER_IPV6_ONLY, host=HOST_IPV6_ONLY))
    client = site.connected()
    assert "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1" in client.options
    assert not any(o.startswith(("ifconfig ", "route-gateway", "route ")) for o in client.options)
    assert site.datapath.peers[client.peer].networks == (IPv6Network("2001:db8:1::1000/128"),)
    assert not any("ifconfig_local" in call.environment for call in site.calls)


def test_many_options_come_in_several_bundles() -> None:
    pushes = tuple(f"route-ipv6 2001:db8:{n:x}::/48" for n in range(100))
    client = Site(config_of(replace(SERVER, push=pushes))).connected()
    assert len(client.messages) > 2
    assert [option for option in client.options if option in pushes] == list(pushes)
    assert client.messages[0].endswith("push-continuation 2")
    assert client.messages[-1].endswith("push-continuation 1")


def test_option_with_a_comma_is_left_out_with_an_error() -> None:
    site = Site(config_of(replace(SERVER, push=("dhcp-option DOMAIN a,b",))))
    client = site.connected()
    assert not any("DOMAIN" in option for option in client.options)
    assert "cannot be pushed" in site.log()


def test_client_without_data_v2_is_refused() -> None:
    client = Site().client(info={**PEER_INFO_26, "IV_PROTO": "4"})
    client.begin()
    assert client.refusals == ["AUTH_FAILED,Data channel negotiation failed (missing DATA_V2)"]


def test_client_without_common_cipher_is_refused() -> None:
    client = Site().client(info={**PEER_INFO_26, "IV_CIPHERS": "BF-CBC"})
    client.begin()
    assert client.refusals == [
        "AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)"
    ]


def test_servers_first_cipher_that_the_client_has_is_chosen() -> None:
    client = Site().connected(info={**PEER_INFO_26, "IV_CIPHERS": "CHACHA20-POLY1305:AES-128-GCM"})
    assert "cipher AES-128-GCM" in client.options


def test_compressing_client_is_refused_with_advice() -> None:
    site = Site()
    client = site.client(options=LZO)
    client.begin()
    assert "compression" in client.refusals[0]
    assert "compress migrate" in site.log()


def test_compressing_client_is_migrated() -> None:
    site = Site(config_of(data=DataConfig(compress_migrate=True)))
    client = site.connected(options=LZO)
    assert "comp-lzo no" in client.options
    assert site.datapath.peers[client.peer].framing is Framing.STUB


# --- client-config-dir ------------------------------------------------------------------------


def test_settings_of_a_client_come_from_its_file() -> None:
    site = Site(config_of(CCD))
    site.files["alice"] = (
        "ifconfig-ipv6-push 2001:db8:1::5/64\n"
        "iroute-ipv6 2001:db8:a::/48\n"
        'push "route-ipv6 2001:db8:b::/48"\n'
    )
    client = site.connected()
    assert "ifconfig-ipv6 2001:db8:1::5/64 2001:db8:1::1" in client.options
    assert "ifconfig 192.0.2.2 255.255.255.0" in client.options
    assert "route-ipv6 2001:db8:b::/48" in client.options
    assert site.datapath.peers[client.peer].networks == (
        IPv6Network("2001:db8:1::5/128"),
        IPv4Network("192.0.2.2/32"),
        IPv6Network("2001:db8:a::/48"),
    )


def test_default_file_serves_who_has_none() -> None:
    site = Site(config_of(CCD))
    site.files["DEFAULT"] = 'push "ping 7"\n'
    assert "ping 7" in site.connected("bob").options


def test_client_without_any_file_is_served() -> None:
    assert Site(config_of(CCD)).connected().options


@pytest.mark.parametrize("files", [{}, {"DEFAULT": ""}])
def test_ccd_exclusive_wants_the_clients_own_file(files: dict[str, str]) -> None:
    site = Site(config_of(replace(CCD, ccd_exclusive=True)))
    site.files.update(files)
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]
    site.files["bob"] = ""
    assert site.connected("bob").options


def test_disabled_client_is_refused() -> None:
    site = Site(config_of(CCD))
    site.files["alice"] = "disable\n"
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]


def test_file_with_an_error_refuses_and_says_where() -> None:
    site = Site(config_of(CCD))
    site.files["alice"] = "iroute-ipv6 nonsense\n"
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED,Server configuration error"]
    assert "/ccd/alice:1" in site.log()


def test_unreadable_file_refuses() -> None:
    site = Site(config_of(CCD))
    site.refused[ReadClientConfig] = HostError("open", "Permission denied", 13)
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED,Server configuration error"]


def test_static_address_of_the_server_itself_is_refused() -> None:
    site = Site(config_of(CCD))
    site.files["alice"] = "ifconfig-ipv6-push 2001:db8:1::1/64\n"
    client = site.client()
    client.begin()
    assert client.refusals


def test_pool_passes_over_static_addresses() -> None:
    site = Site(config_of(CCD))
    site.files["static"] = "ifconfig-push 192.0.2.2 255.255.255.0\n"
    site.connected("static")
    assert "ifconfig 192.0.2.3 255.255.255.0" in site.connected("bob").options


# --- client-connect ---------------------------------------------------------------------------


def test_client_connect_decides_and_may_add_settings() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.scripts["client-connect"] = None
    client = site.client()
    client.begin()
    assert not client.options
    [call] = site.ran("client-connect")
    assert call.returns_config
    assert call.deferrable
    environment = call.environment
    assert environment["common_name"] == "alice"
    assert environment["trusted_ip6"] == "2001:db8:ff::1"
    assert environment["trusted_port"] == "40001"
    assert environment["ifconfig_pool_remote_ip6"] == "2001:db8:1::1000"
    assert environment["ifconfig_pool_remote_ip"] == "192.0.2.2"
    assert environment["IV_VER"] == "2.6.14"
    assert environment["dev"] == "tun0"
    assert environment["daemon_pid"] == "1"
    assert environment["time_unix"] == "1700001000"
    site.answer(
        "client-connect",
        ScriptResult(ok=True, config_text="ifconfig-push 192.0.2.77 255.255.255.0\npush 'ping 9'"),
    )
    assert "ifconfig 192.0.2.77 255.255.255.0" in client.options
    assert "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1" in client.options
    assert "ping 9" in client.options


def test_client_connect_that_fails_refuses_and_gives_the_address_back() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.scripts["client-connect"] = NO
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]
    assert not site.datapath.peers
    assert site.ran("client-disconnect") == []
    site.scripts["client-connect"] = YES
    assert "ifconfig 192.0.2.2 255.255.255.0" in site.connected().options


def test_client_connect_that_disables_is_told_of_the_disconnect() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.scripts["client-connect"] = ScriptResult(ok=True, config_text="disable\n")
    client = site.client()
    client.begin()
    assert client.refusals == ["AUTH_FAILED"]
    assert len(site.ran("client-disconnect")) == 1


def test_other_clients_come_in_while_a_script_runs() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.scripts["client-connect"] = None
    slow, quick = site.client("slow"), site.client("quick")
    slow.begin()
    site.scripts["client-connect"] = YES
    quick.begin()
    assert quick.options
    assert not slow.options
    site.answer("client-connect")
    assert slow.options


def test_script_that_never_answers_refuses_after_the_hand_window() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.scripts["client-connect"] = None
    client = site.client()
    client.begin()
    site.pass_time(61)
    assert client.refusals == ["AUTH_FAILED"]
    assert not site.waiting


# --- names, limits ----------------------------------------------------------------------------


def test_second_connection_of_a_name_replaces_the_first() -> None:
    site = Site(config_of(scripts=CONNECT))
    first = site.connected()
    second = site.connected()
    assert list(site.datapath.peers) == [second.peer]
    assert first.peer != second.peer
    assert "ifconfig-ipv6 2001:db8:1::1000/64 2001:db8:1::1" in second.options
    [gone] = site.ran("client-disconnect")
    assert gone.peer == first.peer


def test_duplicate_cn_keeps_both() -> None:
    site = Site(config_of(replace(SERVER, duplicate_cn=True)))
    first, second = site.connected(), site.connected()
    assert set(site.datapath.peers) == {first.peer, second.peer}
    assert site.datapath.peers[first.peer].networks != site.datapath.peers[second.peer].networks


def test_full_server_sends_the_next_client_away_for_now() -> None:
    site = Site(config_of(replace(SERVER, max_clients=1)))
    site.connected("alice")
    bob = site.client("bob")
    bob.begin()
    assert bob.refusals == ["AUTH_FAILED,TEMP[backoff 10,advance remote]: the server is full"]
    assert len(site.datapath.peers) == 1
    assert site.connected("alice").options


def test_full_server_leaves_an_old_client_without_an_answer() -> None:
    site = Site(config_of(replace(SERVER, max_clients=1)))
    site.connected("alice")
    bob = site.client("bob", info={**PEER_INFO_26, "IV_PROTO": str(2 + 8)})
    bob.begin()
    assert bob.messages == []


def test_exhausted_pool_sends_away_for_now() -> None:
    tiny = replace(SERVER, pool_end=ip_address("192.0.2.2"))
    site = Site(config_of(tiny))
    site.connected("alice")
    bob = site.client("bob")
    bob.begin()
    assert "no tunnel address is free" in bob.refusals[0]


def test_iroutes_over_the_limit_are_left_out() -> None:
    site = Site(config_of(CCD))
    site.files["alice"] = "max-routes-per-client 3\n" + "".join(
        f"iroute-ipv6 2001:db8:{n}::/48\n" for n in range(1, 5)
    )
    client = site.connected()
    assert len(site.datapath.peers[client.peer].networks) == 3
    assert "max-routes-per-client" in site.log()


def test_newer_iroute_takes_the_network_over() -> None:
    site = Site(config_of(CCD))
    lan = IPv6Network("2001:db8:a::/48")
    site.files["alice"] = site.files["bob"] = "iroute-ipv6 2001:db8:a::/48\n"
    alice, bob = site.connected("alice"), site.connected("bob")
    assert lan not in site.datapath.peers[alice.peer].networks
    assert lan in site.datapath.peers[bob.peer].networks
    order = [type(action) for action in site.kinds(AddPeer, UpdatePeer)]
    assert order == [AddPeer, UpdatePeer, AddPeer]


def test_static_address_taken_by_another_sends_its_holder_away() -> None:
    site = Site(config_of(replace(CCD)))
    alice = site.connected("alice")
    site.files["bob"] = "ifconfig-ipv6-push 2001:db8:1::1000/64\n"
    bob = site.connected("bob")
    assert alice.messages[-1] == "RESTART"
    assert list(site.datapath.peers) == [bob.peer]


# --- learn-address ----------------------------------------------------------------------------


def test_learn_address_hears_of_every_network_and_of_its_end() -> None:
    site = Site(config_of(CCD, scripts=LEARN))
    site.files["alice"] = "iroute-ipv6 2001:db8:a::/48\n"
    client = site.connected()
    assert [call.arguments for call in site.ran("learn-address")] == [
        ("add", "2001:db8:1::1000", "alice"),
        ("add", "192.0.2.2", "alice"),
        ("add", "2001:db8:a::/48", "alice"),
    ]
    site.calls.clear()
    client.say("EXIT")
    assert [call.arguments for call in site.ran("learn-address")] == [
        ("delete", "2001:db8:1::1000"),
        ("delete", "192.0.2.2"),
        ("delete", "2001:db8:a::/48"),
    ]


def test_network_that_learn_address_refuses_is_not_served() -> None:
    site = Site(config_of(scripts=LEARN))
    site.scripts["learn-address"] = None
    client = site.client()
    client.begin()
    assert not client.options
    site.answer("learn-address", NO)
    site.answer("learn-address", YES)
    assert client.options
    assert site.datapath.peers[client.peer].networks == (IPv4Network("192.0.2.2/32"),)


def test_learn_address_hears_of_one_network_in_order() -> None:
    site = Site(config_of(scripts=LEARN))
    site.scripts["learn-address"] = None
    first = site.client()
    first.begin()
    first.say("EXIT")
    second = site.client()
    second.begin()
    network = "2001:db8:1::1000"
    heard: list[tuple[str, ...]] = []
    while site.waiting:
        job, call = next(iter(site.waiting.items()))
        running = [c for c in site.waiting.values() if c.arguments[1] == call.arguments[1]]
        assert len(running) == 1
        heard.append(call.arguments)
        del site.waiting[job]
        site.give(ScriptFinished(job, YES))
    assert [arguments for arguments in heard if arguments[1] == network] == [
        ("add", network, "alice"),
        ("delete", network),
        ("add", network, "alice"),
    ]
    assert second.options
    assert list(site.datapath.peers) == [second.peer]


def test_client_connect_waits_for_the_disconnect_of_the_older_self() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.connected()
    site.scripts["client-disconnect"] = None
    again, other = site.client(), site.client("bob")
    again.begin()
    other.begin()
    assert other.options
    assert not again.options
    assert len(site.ran("client-connect")) == 2
    site.answer("client-disconnect")
    assert again.options


def test_client_that_goes_while_its_script_waits_for_its_turn_never_runs_it() -> None:
    site = Site(config_of(scripts=CONNECT))
    site.connected()
    site.scripts["client-disconnect"] = None
    again = site.client()
    again.begin()
    again.say("EXIT")
    site.answer("client-disconnect")
    assert len(site.ran("client-connect")) == 1
    assert not site.datapath.peers
    assert site.connected().options


def test_taken_over_network_is_an_update() -> None:
    site = Site(config_of(CCD, scripts=LEARN))
    site.files["alice"] = site.files["bob"] = "iroute-ipv6 2001:db8:a::/48\n"
    site.connected("alice")
    site.connected("bob")
    assert site.ran("learn-address")[-1].arguments == ("update", "2001:db8:a::/48", "bob")


# --- the same path ----------------------------------------------------------------------------


def test_candidate_on_a_path_leaves_the_old_peer_until_it_is_authenticated() -> None:
    verify = ScriptsConfig(auth_user_pass_verify=("/verify",))
    server = replace(SERVER, auth_user_pass_optional=True)
    site = Site(config_of(server, scripts=verify))
    path = Path(LinkId(1), Endpoint(ip_address("2001:db8:ff::1"), 5000))
    first = site.connected("alice", path=path)
    site.scripts["auth-user-pass-verify"] = None
    first.alive = False
    second = site.client("bob", path=path)
    second.begin()
    assert list(site.datapath.peers) == [first.peer]
    site.answer("auth-user-pass-verify")
    assert second.options
    assert list(site.datapath.peers) == [second.peer]


def test_a_client_that_begins_anew_on_its_path_keeps_its_id() -> None:
    site = Site(config_of(scripts=ScriptsConfig(client_disconnect=("/gone",))))
    path = Path(LinkId(1), Endpoint(ip_address("2001:db8:ff::1"), 5000))
    site.connected("bob")
    first = site.connected("alice", path=path)
    first.alive = False
    second = site.connected("alice", path=path)
    assert second.peer == first.peer
    assert first.peer in site.datapath.peers
    assert [call.kind for call in site.ran("client-disconnect")] == ["client-disconnect"]
    third = site.connected("carol")
    assert third.peer not in (first.peer, site.role.status().peers[0].peer)


def test_status_shows_who_is_connected() -> None:
    site = Site()
    client = site.connected()
    status = site.role.status()
    assert status.is_server
    assert status.state == "CONNECTED"
    [peer] = status.peers
    assert (peer.peer, peer.common_name, str(peer.ipv6)) == (
        client.peer,
        "alice",
        "2001:db8:1::1000",
    )
    assert peer.cipher == "AES-256-GCM"
    client.say("EXIT")
    assert site.role.status().peers == ()
