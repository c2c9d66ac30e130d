"""The server's own start and end, and what strangers can do to it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network, ip_address
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.config.schema import HostConfig, Listen, RouteOrder, ScriptsConfig, WrapConfig
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import (
    ActionFailed,
    Announce,
    ApplyHost,
    ClientConfigRead,
    CloseLink,
    ControlReceived,
    DeviceLost,
    Finish,
    FloatConflict,
    HostResolved,
    Input,
    KeyConfirmed,
    KeyWornOut,
    LinkAccepted,
    LinkClosed,
    LinkOpened,
    OpenLink,
    Outcome,
    PacketTooBig,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
    Resolve,
    RunScript,
    ScriptFinished,
    ScriptPending,
    SendControl,
    SignalReceived,
    Started,
    Tick,
)
from ovpn6.model.names import Family, JobId, KeyId, LinkId, PeerId, Signal, Transport
from ovpn6.model.specs import RouteVia
from ovpn6.protocol.acceptor import ServerWrapping
from ovpn6.protocol.tls_crypt_v2 import ClientKey, ServerKey, user_metadata
from tests.protocol.sim import entropy_of
from tests.roles.server_site import HOST, NO, SERVER, WALL_OFFSET, YES, Site, SiteClient, config_of

SCRIPTS = ScriptsConfig(
    up=("/up",),
    down=("/down",),
    route_up=("/route-up",),
    route_pre_down=("/pre-down",),
    client_disconnect=("/gone",),
)
TCP = replace(SERVER, listens=(Listen(Transport.TCP, Family.ANY),))
STRANGER = Path(LinkId(1), Endpoint(ip_address("2001:db8:bad::1"), 666))


# --- start ------------------------------------------------------------------------------------


def test_host_state_then_scripts_then_sockets_then_announcement() -> None:
    site = Site(config_of(scripts=SCRIPTS))
    order = [type(a) for a in site.kinds(ApplyHost, RunScript, OpenLink, Announce)]
    assert order == [ApplyHost, RunScript, RunScript, OpenLink, Announce]
    assert [call.kind for call in site.calls] == ["up", "route-up"]
    assert site.calls[0].arguments == ("tun0", "1420", "0", "192.0.2.1", "255.255.255.0", "init")
    assert site.role.status().state == "CONNECTED"


def test_host_plan_holds_addresses_routes_and_forwarding() -> None:
    host = replace(
        HOST,
        routes=(
            RouteOrder(IPv6Network("2001:db8:a::/48"), metric=7),
            RouteOrder(IPv6Network("2001:db8:b::/48"), gateway="2001:db8:1::9"),
            RouteOrder(IPv6Network("2001:db8:c::/48"), gateway="net_gateway"),
        ),
    )
    site = Site(config_of(replace(SERVER, client_to_client=True), host=host))
    [apply] = site.kinds(ApplyHost)
    assert isinstance(apply, ApplyHost)
    assert apply.plan.mtu == 1420
    assert apply.plan.addresses == HOST.ifconfig
    assert apply.plan.forwarding
    first, second, third = apply.plan.routes
    assert (first.via, first.metric, first.gateway) == (RouteVia.TUNNEL, 7, None)
    assert second.gateway == ip_address("2001:db8:1::9")
    assert third.via is RouteVia.UNDERLAY


def test_noexec_leaves_the_host_alone() -> None:
    host = replace(
        HOST,
        ifconfig_noexec=True,
        route_noexec=True,
        routes=(RouteOrder(IPv6Network("2001:db8:a::/48")),),
    )
    [apply] = Site(config_of(host=host)).kinds(ApplyHost)
    assert isinstance(apply, ApplyHost)
    assert (apply.plan.addresses, apply.plan.routes) == ((), ())


def test_several_sockets_are_opened_before_the_announcement() -> None:
    listens = (
        Listen(Transport.UDP, Family.IPV6, "2001:db8::1"),
        Listen(Transport.UDP, Family.IPV4, "192.0.2.99", 1195),
        Listen(Transport.TCP, Family.ANY),
    )
    site = Site(config_of(replace(SERVER, listens=listens)))
    links = [a for a in site.actions if isinstance(a, OpenLink)]
    assert [a.link for a in links] == [1, 2, 3]
    assert links[0].spec.local_address == ip_address("2001:db8::1")
    assert (links[1].spec.local_port, links[1].spec.family) == (1195, Family.IPV4)
    assert links[2].spec.transport is Transport.TCP
    assert len(site.kinds(Announce)) == 1


def test_name_of_a_local_address_is_looked_up_first() -> None:
    listens = (Listen(Transport.UDP, Family.IPV6, "vpn.example"),)
    site = Site(config_of(replace(SERVER, listens=listens)))
    [resolve] = site.kinds(Resolve)
    assert isinstance(resolve, Resolve)
    assert (resolve.host, resolve.family) == ("vpn.example", Family.IPV6)
    assert site.kinds(ApplyHost, OpenLink) == []
    site.give(HostResolved(resolve.job, (Endpoint(ip_address("2001:db8::7"), 1194),)))
    [link] = site.kinds(OpenLink)
    assert isinstance(link, OpenLink)
    assert link.spec.local_address == ip_address("2001:db8::7")


def test_name_that_cannot_be_looked_up_ends_the_server() -> None:
    listens = (Listen(Transport.UDP, Family.IPV6, "vpn.example"),)
    site = Site(config_of(replace(SERVER, listens=listens)))
    site.give(HostResolved(JobId(1), (), "no such name"))
    assert site.finished is not None
    assert site.finished.code == 1
    assert "no such name" in site.finished.reason


@pytest.mark.parametrize("refused", [OpenLink, ApplyHost])
def test_host_that_refuses_ends_the_server(refused: type[OpenLink]) -> None:
    site = Site(start=False)
    site.refused[refused] = HostError("bind", "Address already in use", 98)
    site.give(Started("tun0"))
    assert site.finished == Finish(Outcome.EXIT, "bind: Address already in use", code=1)
    assert site.kinds(Announce) == []
    assert site.role.next_deadline() is None


def test_up_script_that_fails_ends_the_server() -> None:
    site = Site(config_of(scripts=SCRIPTS), start=False)
    site.scripts["up"] = NO
    site.give(Started("tun0"))
    assert site.finished is not None
    assert site.finished.code == 1
    assert site.kinds(OpenLink) == []


def test_oddities_are_said() -> None:
    host = replace(HOST, block_ipv6=True, routes=(RouteOrder(None, "remote_host"),))
    log = Site(config_of(host=host)).log()
    assert "block-ipv6" in log
    assert "remote_host" in log


# --- end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "outcome"),
    [
        (Signal.TERM, Outcome.EXIT),
        (Signal.INT, Outcome.EXIT),
        (Signal.HUP, Outcome.RELOAD),
        (Signal.USR1, Outcome.RESTART),
    ],
)
def test_signals_end_the_server_by_their_meaning(signal: Signal, outcome: Outcome) -> None:
    site = Site(config_of(scripts=SCRIPTS))
    site.connected()
    site.signal(signal)
    assert site.finished == Finish(outcome, signal.value)
    assert not site.datapath.peers
    ended = [call.kind for call in site.calls[2:]]
    assert ended == ["client-disconnect", "route-pre-down", "down"]
    assert site.calls[-1].environment["signal"] == signal.value.lower()
    assert site.role.next_deadline() is None
    assert site.role.step(Started("tun0"), site.now) == []


def test_down_waits_for_route_pre_down() -> None:
    site = Site(config_of(scripts=SCRIPTS))
    site.scripts["route-pre-down"] = None
    site.signal(Signal.TERM)
    assert not site.ran("down")
    site.answer("route-pre-down")
    assert site.ran("down")
    assert site.finished is not None


def test_usr2_does_not_end_anything() -> None:
    site = Site()
    site.signal(Signal.USR2)
    assert site.finished is None


def test_restart_with_persist_tun_keeps_device_and_runs_no_down() -> None:
    site = Site(config_of(host=replace(HOST, persist_tun=True), scripts=SCRIPTS))
    site.signal(Signal.USR1)
    assert site.finished is not None
    assert site.finished.keep_device
    assert site.ran("down") == []


@pytest.mark.parametrize(("notify", "message"), [(1, "RESTART"), (2, "RESTART,[N]")])
def test_clients_are_told_and_have_a_moment(notify: int, message: str) -> None:
    site = Site(config_of(replace(SERVER, explicit_exit_notify=notify)))
    client = site.connected()
    site.signal(Signal.TERM)
    assert client.messages[-1] == message
    assert site.finished is None
    assert not site.datapath.peers
    site.pass_time(3)
    assert site.finished == Finish(Outcome.EXIT, "SIGTERM")


def test_second_signal_ends_at_once() -> None:
    site = Site(config_of(replace(SERVER, explicit_exit_notify=1)))
    site.connected()
    site.signal(Signal.TERM)
    site.signal(Signal.TERM)
    assert site.finished is not None


def test_end_waits_for_scripts_but_not_for_ever() -> None:
    site = Site(config_of(scripts=SCRIPTS))
    site.connected()
    site.scripts["client-disconnect"] = site.scripts["down"] = None
    site.signal(Signal.TERM)
    assert site.ran("down") == []
    site.answer("client-disconnect", YES)
    assert len(site.ran("down")) == 1
    assert site.finished is None
    site.pass_time(11)
    assert site.finished is not None


@pytest.mark.parametrize("loss", [DeviceLost("gone"), LinkClosed(LinkId(1), "gone")])
def test_lost_device_or_socket_begins_anew_and_tells_clients(loss: Input) -> None:
    site = Site(config_of(replace(SERVER, explicit_exit_notify=1)))
    client = site.connected()
    site.give(loss)
    assert not site.datapath.peers
    site.pass_time(3)
    assert site.finished is not None
    assert site.finished.outcome is Outcome.RESTART
    assert "gone" in site.finished.reason
    assert client.messages


def test_nobody_comes_in_while_the_server_ends() -> None:
    site = Site(config_of(replace(SERVER, explicit_exit_notify=1)))
    site.connected()
    site.signal(Signal.TERM)
    late = site.client("bob")
    late.begin()
    assert late.events == []


EVERY_INPUT: tuple[Input, ...] = (
    Started("tun0"),
    Tick(),
    ControlReceived(STRANGER, b""),
    LinkOpened(LinkId(7), STRANGER.remote),
    LinkAccepted(LinkId(1), LinkId(7), STRANGER.remote),
    LinkClosed(LinkId(7), "x"),
    DeviceLost("x"),
    HostResolved(JobId(7), ()),
    ScriptFinished(JobId(7), YES),
    ScriptPending(JobId(7), 5, "x"),
    ClientConfigRead(JobId(7), "x", None),
    PeerFloated(PeerId(7), STRANGER),
    FloatConflict(PeerId(7), STRANGER, PeerId(8)),
    PeerExpired(PeerId(7)),
    PeerInactive(PeerId(7)),
    PeerExited(PeerId(7)),
    KeyWornOut(PeerId(7), KeyId(0)),
    KeyConfirmed(PeerId(7), KeyId(0)),
    PacketTooBig(STRANGER, 1400, b""),
    SignalReceived(Signal.USR2),
    ActionFailed(CloseLink(LinkId(7)), HostError("close", "x")),
)


def test_every_kind_of_input_is_known_here() -> None:
    assert {type(happened) for happened in EVERY_INPUT} == set(get_args(Input))


@pytest.mark.parametrize("happened", EVERY_INPUT, ids=lambda happened: type(happened).__name__)
@pytest.mark.parametrize("started", [True, False])
def test_every_kind_of_input_is_taken_at_any_time(happened: Input, started: bool) -> None:
    if started and isinstance(happened, Started):
        return
    site = Site(start=started)
    site.give(happened)
    for signal in (Signal.TERM, Signal.TERM):
        site.signal(signal)
    assert site.finished is not None
    assert site.role.step(happened, site.now) == []


# --- strangers --------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=20))
def test_garbage_leaves_no_trace_but_counts(datagrams: list[bytes]) -> None:
    site = Site()
    site.actions.clear()
    for datagram in datagrams:
        site.give(ControlReceived(STRANGER, datagram))
    assert site.role.status().peers == ()
    assert site.role.next_deadline() is None
    assert all(len(a.datagram) < 80 for a in site.actions if isinstance(a, SendControl))


def test_flood_of_one_kind_is_logged_once_and_counted() -> None:
    site = Site()
    lines = len(site.log().splitlines())
    for _ in range(500):
        site.give(ControlReceived(STRANGER, b"\x20" + bytes(30)))
    assert len(site.log().splitlines()) == lines + 1
    assert sum(site.role.status().counts.values()) == 500


def test_reset_alone_makes_nothing_remembered() -> None:
    site = Site()
    client = site.client()
    client.alive = False
    client.begin()
    assert len(site.kinds(SendControl)) == 1
    assert site.role.next_deadline() is None


def test_candidate_that_stops_is_forgotten_after_the_hand_window() -> None:
    site = Site()
    client = site.client()
    client.limit = 3
    client.begin()
    assert site.role.next_deadline() is not None
    site.pass_time(130)
    assert site.role.next_deadline() is None


def test_connect_freq_bounds_new_connections() -> None:
    site = Site(config_of(replace(SERVER, connect_freq=(2, 10))))
    clients = [site.client(f"c{n}") for n in range(3)]
    for client in clients:
        client.begin()
    assert [bool(client.options) for client in clients] == [True, True, False]
    assert site.role.status().counts["over connect-freq"] >= 1
    site.pass_time(20)
    assert clients[2].options


def test_mangled_packet_of_a_known_peer_is_counted() -> None:
    site = Site()
    client = site.connected()
    session = client.connection.remote_session_id
    assert session is not None
    own = client.connection.local_session_id
    site.give(ControlReceived(client.path, b"\x20" + own))
    assert sum(site.role.status().counts.values()) == 1
    assert list(site.datapath.peers) == [client.peer]


SERVER_KEY = ServerKey.generate(entropy_of(1))
JUDGED = replace(config_of(), wrap=WrapConfig(tls_crypt_v2_verify=("/meta", "word")))


def v2_client(site: Site) -> SiteClient:
    key = ClientKey.generate(SERVER_KEY, user_metadata(b"laptop"), entropy_of(2))
    wrapping = key.wrapping(wall_offset=WALL_OFFSET, strict_order=False)
    return site.client(wrapping=wrapping)


def v2_site() -> Site:
    return Site(JUDGED, wrapping=ServerWrapping(tls_crypt_v2=SERVER_KEY))


def test_client_keys_metadata_is_judged_by_the_script() -> None:
    site = v2_site()
    site.scripts["tls-crypt-v2-verify"] = None
    client = v2_client(site)
    client.begin()
    assert not client.options
    [call] = site.ran("tls-crypt-v2-verify")
    assert call.command == ("/meta", "word")
    assert call.environment["metadata_type"] == "0"
    assert call.input_variable == "metadata_file"
    assert call.secret_input is not None
    assert call.secret_input.reveal() == b"laptop"
    site.answer("tls-crypt-v2-verify")
    assert client.options
    client.renegotiate()
    assert len(site.ran("tls-crypt-v2-verify")) == 1


def test_client_key_that_the_script_refuses_gets_no_answer() -> None:
    site = v2_site()
    site.scripts["tls-crypt-v2-verify"] = NO
    client = v2_client(site)
    client.begin()
    assert client.messages == []
    assert site.role.next_deadline() is None


def test_client_without_metadata_is_not_asked_for_any() -> None:
    site = Site(JUDGED)
    assert site.connected().options
    assert site.calls == []


# --- TCP --------------------------------------------------------------------------------------


def accepted(site: Site, number: int) -> Path:
    remote = Endpoint(ip_address(f"2001:db8:ff::{number:x}"), 1000 + number)
    link = LinkId(100 + number)
    site.give(LinkAccepted(LinkId(1), link, remote))
    return Path(link, remote)


def test_tcp_client_is_served_on_its_own_link() -> None:
    site = Site(config_of(TCP))
    client = site.connected(path=accepted(site, 1), transport=Transport.TCP)
    spec = site.datapath.peers[client.peer]
    assert spec.path == client.path
    assert not spec.float_allowed


def test_tcp_client_whose_connection_ends_is_gone() -> None:
    site = Site(config_of(TCP))
    client = site.connected(path=accepted(site, 1), transport=Transport.TCP)
    site.give(LinkClosed(client.path.link, "reset by peer"))
    assert not site.datapath.peers
    assert site.kinds(CloseLink) == []


def test_link_of_a_tcp_client_that_is_dropped_is_closed() -> None:
    site = Site(config_of(TCP))
    first = site.connected(path=accepted(site, 1), transport=Transport.TCP)
    site.connected(path=accepted(site, 2), transport=Transport.TCP)
    assert site.kinds(CloseLink) == [CloseLink(first.path.link)]


def test_new_session_in_the_same_tcp_connection_keeps_the_link() -> None:
    site = Site(config_of(TCP))
    path = accepted(site, 1)
    first = site.connected(path=path, transport=Transport.TCP)
    first.alive = False
    second = site.connected(path=path, transport=Transport.TCP)
    assert list(site.datapath.peers) == [second.peer]
    assert site.kinds(CloseLink) == []


def test_tcp_connection_that_says_nothing_is_closed_after_the_hand_window() -> None:
    site = Site(config_of(TCP))
    silent, client = accepted(site, 1), site.connected(path=accepted(site, 2))
    site.pass_time(61)
    assert site.kinds(CloseLink) == [CloseLink(silent.link)]
    assert list(site.datapath.peers) == [client.peer]


def test_silent_tcp_connections_are_bounded() -> None:
    site = Site(config_of(replace(TCP, max_clients=1)))
    for number in range(1, 70):
        accepted(site, number)
    assert len(site.kinds(CloseLink)) == 5


def test_own_addresses_can_come_from_the_network_alone() -> None:
    site = Site(config_of(SERVER, host=HostConfig()))
    [apply] = site.kinds(ApplyHost)
    assert isinstance(apply, ApplyHost)
    assert set(apply.plan.addresses) == set(HOST.ifconfig)


def test_peer_ids_are_not_used_again_at_once() -> None:
    site = Site()
    first = site.connected()
    first.say("EXIT")
    site.pass_time(10)
    assert site.connected().peer == PeerId(first.peer + 1)
