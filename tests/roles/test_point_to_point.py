"""Two equal ends: who begins, what is agreed on, losses, takeovers, the end."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from ovpn6.config.schema import ControlConfig, DataConfig, RouteOrder, ScriptsConfig, WrapMode
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    AddPeer,
    Announce,
    ApplyHost,
    Finish,
    InstallKey,
    OpenLink,
    Outcome,
    RemovePeer,
    SendControl,
    SendExit,
    SwapKeys,
)
from ovpn6.model.names import Instant, KeyId, LinkId, Signal, Transport
from ovpn6.model.specs import Keepalive
from ovpn6.protocol.packets import Opcode
from ovpn6.roles.client_plan import EVERYTHING
from ovpn6.roles.point_to_point_plan import Words, words
from tests.roles.point_to_point_world import (
    CLIENT,
    DELAY,
    SERVER,
    STRANGER,
    End,
    Pair,
    Wish,
    config,
)

TO_SERVER, TO_CLIENT = Wish(remote=SERVER), Wish(remote=CLIENT)
RESET = bytes((Opcode.CONTROL_HARD_RESET_CLIENT_V2 << 3,)) + b"stranger" + bytes(5)


def is_up(pair: Pair) -> bool:
    return all(end.announced for end in pair.ends)


# --- who begins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "client"),
    [(Wish(), TO_SERVER), (TO_CLIENT, Wish()), (TO_CLIENT, TO_SERVER)],
    ids=["client-begins", "server-begins", "both-begin"],
)
def test_whoever_begins_both_have_the_same_peer_id_and_mirrored_keys(
    server: Wish, client: Wish
) -> None:
    pair = Pair(server, client).connect()
    (ours,), (theirs,) = (end.of(AddPeer) for end in pair.ends)
    assert ours.spec.peer == theirs.spec.peer == ours.spec.send_id
    assert ours.spec.networks == EVERYTHING
    assert (ours.spec.path.remote, theirs.spec.path.remote) == (CLIENT, SERVER)
    (sealing,), (opening,) = (end.of(InstallKey) for end in pair.ends)
    assert sealing.key.send_key == opening.key.receive_key
    assert sealing.key.receive_key == opening.key.send_key
    assert [end.state for end in pair.ends] == ["CONNECTED", "CONNECTED"]


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_marks_go_outside_when_both_ends_carry_them_inside(ours: bool, theirs: bool) -> None:
    pair = Pair(Wish(ecn=ours), Wish(remote=SERVER, ecn=theirs)).connect()
    copied = [order.spec.copy_ecn for end in pair.ends for order in end.of(AddPeer)]
    assert copied == [ours and theirs] * 2


def test_both_beginning_costs_no_retransmission_time() -> None:
    pair = Pair(TO_CLIENT, TO_SERVER).start()
    began = pair.now
    pair.run(lambda: is_up(pair))
    assert pair.now - began < 1.0


def test_ends_that_both_wait_do_nothing() -> None:
    pair = Pair(Wish(), Wish()).start()
    pair.pass_time(300)
    assert not any(end.of(SendControl) for end in pair.ends)
    assert [end.state for end in pair.ends] == ["WAIT", "WAIT"]


def test_lost_packets_only_cost_time() -> None:
    pair = Pair(TO_CLIENT, TO_SERVER)
    seen = [0]

    def lose(to: End, datagram: bytes) -> bool:
        seen[0] += 1
        return seen[0] % 3 == 0

    pair.lose = lose
    pair.start()
    pair.run(lambda: is_up(pair))


def test_a_name_that_is_not_answered_is_tried_again() -> None:
    pair = Pair(Wish(), TO_SERVER)
    pair.server.deaf = True
    pair.start()
    pair.run(lambda: len(pair.client.of(OpenLink)) == 3)
    pair.server.deaf = False
    pair.run(lambda: is_up(pair))


# --- what stands before the peer comes -----------------------------------------------------------


def test_addresses_and_the_way_to_the_peer_stand_at_once() -> None:
    pair = Pair(Wish(), TO_SERVER).start()
    plan = pair.server.of(ApplyHost)[-1].plan
    assert plan.addresses == pair.server.config.host.ifconfig
    assert [route.destination for route in plan.routes] == [ip_network("10.0.0.2/32")]
    assert pair.server.kinds(ApplyHost, OpenLink)[0] == "ApplyHost"


def test_scripts_hear_both_addresses() -> None:
    wish = Wish(scripts=ScriptsConfig(up=("up",)))
    pair = Pair(wish, TO_SERVER).connect()
    (run,) = pair.server.of(flow.RunScript)
    assert run.call.arguments == ("tun0", "1420", "0", "10.0.0.1", "10.0.0.2", "init")
    environment = run.call.environment
    assert environment["ifconfig_remote"] == "10.0.0.2"
    assert environment["ifconfig_ipv6_remote"] == "fd00::2"
    assert "ifconfig_netmask" not in environment


def test_with_up_delay_the_host_waits_for_the_peer() -> None:
    wish = Wish(scripts=ScriptsConfig(up=("up",), up_delay=True))
    pair = Pair(wish, TO_SERVER).start()
    assert pair.server.of(ApplyHost) == []
    pair.run(lambda: is_up(pair))
    assert pair.server.kinds(AddPeer, ApplyHost, Announce) == ["AddPeer", "ApplyHost", "Announce"]


@pytest.mark.parametrize("up_delay", [False, True])
def test_a_route_that_cannot_be_is_told_once(up_delay: bool) -> None:
    unknown = RouteOrder(None, host="nowhere.example")
    wish = Wish(scripts=ScriptsConfig(up=("up",), up_delay=up_delay), routes=(unknown,))
    pair = Pair(wish, TO_SERVER).connect()
    told = [line.text for line in pair.server.of(flow.Log) if "nowhere" in line.text]
    assert told == ["route to nowhere.example left out: it is not known here"]


def test_host_state_that_is_refused_is_fatal() -> None:
    pair = Pair(Wish(scripts=ScriptsConfig(up=("up",))), Wish()).start()
    applied = pair.server.of(ApplyHost)[0]
    pair.server.tell(flow.ActionFailed(applied, HostError("add address", "no", 1)))
    (finish,) = pair.server.of(Finish)
    assert finish.code == 1


def test_a_port_that_is_taken_is_fatal_for_who_waits() -> None:
    pair = Pair(Wish(), Wish()).start()
    (opened,) = pair.server.of(OpenLink)
    pair.server.tell(flow.ActionFailed(opened, HostError("bind", "Address already in use", 98)))
    (finish,) = pair.server.of(Finish)
    assert finish.code == 1


# --- strangers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["server", "client"])
def test_with_a_remote_nobody_else_may_come(part: str) -> None:
    pair = Pair(TO_CLIENT, TO_SERVER).start()
    pair.pass_time(0.0)
    end = pair.server if part == "server" else pair.client
    assert pair.throw(end, STRANGER, RESET) == []
    assert end.role.status().counts == {"control packet from another address": 1}


def test_with_float_another_address_may_begin() -> None:
    pair = Pair(replace(TO_CLIENT, float=True, remote=STRANGER), TO_SERVER).start()
    pair.pass_time(5.0)  # our own reset went nowhere
    pair.run(lambda: is_up(pair))
    assert pair.server.of(AddPeer)[0].spec.float_allowed


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(9), b"\xff" * 40, RESET[:8]])
@pytest.mark.parametrize("part", ["server", "client"])
def test_anything_from_anybody_is_counted_at_most(part: str, octets: bytes) -> None:
    pair = Pair(Wish(), Wish()).start()
    pair.pass_time(0.0)
    end = pair.server if part == "server" else pair.client
    assert pair.throw(end, STRANGER, octets) == []
    assert sum(end.role.status().counts.values()) == 1


def test_forged_resets_do_not_disturb_a_living_session() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    answers = sum(bool(pair.throw(pair.server, CLIENT, RESET)) for _ in range(10))
    assert answers == 1
    reset = bytes((Opcode.CONTROL_HARD_RESET_SERVER_V2 << 3,)) + b"stranger" + bytes(5)
    pair.throw(pair.client, SERVER, reset)
    pair.pass_time(120)
    assert [end.announced for end in pair.ends] == [1, 1]
    assert [end.state for end in pair.ends] == ["CONNECTED", "CONNECTED"]


# --- no agreement --------------------------------------------------------------------------------


def test_ends_without_a_common_cipher_add_no_peer_and_say_why() -> None:
    pair = Pair(Wish(ciphers=("AES-256-GCM",)), replace(TO_SERVER, ciphers=("AES-128-GCM",)))
    pair.start()
    pair.run(lambda: pair.client.logged("no common cipher"))
    pair.run(lambda: pair.server.logged("no common cipher"))
    assert not any(end.of(AddPeer) for end in pair.ends)
    assert pair.server.of(Finish) == []


# --- renegotiation -------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", ["server", "client", "both"])
def test_new_keys_are_installed_before_they_seal_at_both_ends(begins: str) -> None:
    often, never = ControlConfig(reneg_sec=30), ControlConfig(reneg_sec=0)
    pair = Pair(
        Wish(control=often if begins != "client" else never),
        replace(TO_SERVER, control=often if begins != "server" else never),
    ).connect()
    pair.run(lambda: all(len(end.of(SwapKeys)) >= 3 for end in pair.ends))
    for end in pair.ends:
        ids = [order.key.key_id for order in end.of(InstallKey)]
        assert ids[:4] == [KeyId(n) for n in range(4)]
        order = end.kinds(InstallKey, SwapKeys)
        assert order[:5] == ["InstallKey", "InstallKey", "SwapKeys", "InstallKey", "SwapKeys"]
    for ours, theirs in zip(
        *([order.key for order in end.of(InstallKey)] for end in pair.ends), strict=False
    ):
        assert ours.send_key == theirs.receive_key


def test_a_worn_out_key_is_renewed() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    peer = pair.server.of(AddPeer)[0].spec.peer
    pair.server.tell(flow.KeyWornOut(peer, KeyId(0)))
    pair.run(lambda: all(len(end.of(InstallKey)) == 2 for end in pair.ends))


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [Wish(), TO_CLIENT], ids=["waits", "begins"])
def test_a_restarted_client_takes_its_old_session_s_place(server: Wish) -> None:
    pair = Pair(server, TO_SERVER).connect()
    pair.client.begin()
    pair.client.tell(flow.Started("tun0"))
    pair.run(lambda: pair.client.announced == 2 and pair.server.announced == 2)
    assert pair.server.kinds(AddPeer, RemovePeer) == ["AddPeer", "RemovePeer", "AddPeer"]
    first, second = pair.server.of(AddPeer)
    assert first.spec.peer != second.spec.peer
    assert pair.server.of(RemovePeer)[0].peer == first.spec.peer


def test_a_restarted_server_that_begins_takes_its_old_session_s_place() -> None:
    pair = Pair(TO_CLIENT, TO_SERVER).connect()
    pair.server.begin()
    pair.server.tell(flow.Started("tun0"))
    pair.run(lambda: pair.server.announced == 2 and pair.client.announced == 2)
    assert pair.client.kinds(AddPeer, RemovePeer) == ["AddPeer", "RemovePeer", "AddPeer"]


@pytest.mark.parametrize("persist", [True, False])
def test_silence_begins_anew_and_keeps_what_persist_tun_keeps(persist: bool) -> None:
    data = DataConfig(keepalive=Keepalive(1, 4))
    pair = Pair(
        Wish(data=data, persist_tun=persist),
        replace(TO_SERVER, data=data, persist_tun=persist),
    ).connect()
    for end in pair.ends:
        assert end.of(AddPeer)[0].spec.keepalive == Keepalive(1, 4)
        applied = len(end.of(ApplyHost))
        end.tell(flow.PeerExpired(end.of(AddPeer)[-1].spec.peer))
        assert end.logged("SIGUSR1[soft,ping-restart]")
        emptied = [order.plan.addresses == () for order in end.of(ApplyHost)[applied:]]
        assert (True in emptied) is not persist
    pair.run(lambda: all(end.announced == 2 for end in pair.ends))


def test_bug_in_a_session_s_own_time_leads_to_another_session() -> None:
    pair = Pair(Wish(control=ControlConfig(reneg_sec=30)), TO_SERVER).connect()
    pair.server.tls_breaks = True
    pair.run(lambda: pair.server.logged("BUG: IndexError: out of range"))
    assert pair.server.kinds(AddPeer, RemovePeer) == ["AddPeer", "RemovePeer"]
    pair.server.tls_breaks = False
    pair.client.tell(flow.SignalReceived(Signal.USR1))
    pair.run(lambda: all(end.announced == 2 for end in pair.ends))


def test_ping_exit_and_inactivity_end_the_process() -> None:
    data = DataConfig(keepalive=Keepalive(1, 4), ping_exit=True)
    pair = Pair(Wish(data=data), TO_SERVER).connect()
    pair.server.tell(flow.PeerExpired(pair.server.of(AddPeer)[0].spec.peer))
    assert pair.server.of(Finish) == [Finish(Outcome.EXIT, "ping-exit")]
    pair.client.tell(flow.PeerInactive(pair.client.of(AddPeer)[0].spec.peer))
    assert pair.client.of(Finish) == [Finish(Outcome.EXIT, "inactive")]


def test_sigusr1_begins_anew_and_cuts_a_pause_short() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    pair.server.tell(flow.SignalReceived(Signal.USR1))
    assert pair.server.links == {}
    assert pair.server.state == "RECONNECTING"
    pair.server.tell(flow.SignalReceived(Signal.USR1))
    assert len(pair.server.of(OpenLink)) == 2


def test_the_datapath_s_refusal_begins_anew() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    failed = flow.ActionFailed(pair.server.of(AddPeer)[0], HostError("add", "no", 1))
    pair.server.tell(failed)
    assert pair.server.logged("SIGUSR1[soft,datapath-error]")


def test_a_peer_that_floats_is_followed() -> None:
    pair = Pair(replace(Wish(), float=True), TO_SERVER).connect()
    spec = pair.server.of(AddPeer)[0].spec
    pair.server.tell(flow.PeerFloated(spec.peer, Path(spec.path.link, STRANGER)))
    (shown,) = pair.server.role.status().peers
    assert shown.path.remote == STRANGER
    assert (shown.ipv4, shown.ipv6) == (IPv4Address("10.0.0.2"), ip_address("fd00::2"))


# --- TCP -----------------------------------------------------------------------------------------


def waits(remote: Endpoint | None = None) -> Wish:
    return Wish(remote=remote, transport=Transport.TCP, tcp_server=True)


@pytest.mark.parametrize("part", ["server", "client"])
def test_who_waits_for_a_connection_speaks_first_only_as_tls_client(part: str) -> None:
    pair = Pair(waits(), waits()).start()
    pair.pass_time(0.0)
    end = pair.server if part == "server" else pair.client
    (listener,) = end.links
    assert end.of(OpenLink)[0].spec.remote is None
    actions = end.tell(flow.LinkAccepted(listener, LinkId(99), STRANGER))
    sent = [action for action in actions if isinstance(action, SendControl)]
    assert len(sent) == (0 if part == "server" else 1)


def test_a_connection_from_elsewhere_or_one_too_many_is_closed() -> None:
    pair = Pair(waits(CLIENT), Wish()).start()
    pair.pass_time(0.0)
    (listener,) = pair.server.links
    actions = pair.server.tell(flow.LinkAccepted(listener, LinkId(99), STRANGER))
    assert actions == [flow.CloseLink(LinkId(99))]
    other_port = Endpoint(CLIENT.address, 40000)
    for number in range(100, 104):
        accepted = flow.LinkAccepted(listener, LinkId(number), other_port)
        assert flow.CloseLink(LinkId(number)) not in pair.server.tell(accepted)
    actions = pair.server.tell(flow.LinkAccepted(listener, LinkId(104), other_port))
    assert actions == [flow.CloseLink(LinkId(104))]


def test_a_connection_that_says_nothing_is_closed_after_the_hand_window() -> None:
    pair = Pair(waits(), Wish()).start()
    pair.pass_time(0.0)
    (listener,) = pair.server.links
    pair.server.tell(flow.LinkAccepted(listener, LinkId(99), CLIENT))
    pair.pass_time(61)
    assert flow.CloseLink(LinkId(99)) in pair.server.actions
    assert list(pair.server.links) == [listener]


def test_a_listener_that_breaks_is_opened_again() -> None:
    pair = Pair(waits(), Wish()).start()
    pair.pass_time(0.0)
    (listener,) = pair.server.links
    pair.server.tell(flow.LinkClosed(listener, "broken"))
    pair.run(lambda: len(pair.server.of(OpenLink)) == 2)
    assert flow.CloseLink(listener) not in pair.server.actions


# --- the end -------------------------------------------------------------------------------------


def test_goodbye_goes_through_the_control_channel_and_is_heard() -> None:
    pair = Pair(Wish(notify=2), TO_SERVER).connect()
    began = pair.now
    pair.server.tell(flow.SignalReceived(Signal.TERM))
    pair.run(lambda: pair.client.logged("SIGUSR1[soft,remote-exit]"))
    pair.run(lambda: bool(pair.server.of(Finish)))
    assert pair.now - began >= 2.0 - DELAY
    assert pair.server.of(Finish)[0].outcome is Outcome.EXIT
    assert pair.server.of(SendExit) == []
    assert pair.server.of(ApplyHost)[-1].plan.addresses == ()


def test_a_second_signal_is_impatient_and_nothing_follows_the_end() -> None:
    pair = Pair(Wish(notify=5), TO_SERVER).connect()
    pair.server.tell(flow.SignalReceived(Signal.TERM))
    pair.server.tell(flow.DeviceLost("while we say goodbye"))
    assert pair.server.of(Finish) == []
    pair.server.tell(flow.SignalReceived(Signal.INT))
    assert len(pair.server.of(Finish)) == 1
    assert pair.server.tell(flow.DeviceLost("late")) == []
    assert pair.server.role.next_deadline() is None
    assert pair.server.tell(flow.Tick()) == []


def test_the_peer_s_goodbye_in_the_data_channel_begins_anew() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    pair.server.tell(flow.PeerExited(pair.server.of(AddPeer)[0].spec.peer))
    assert pair.server.logged("SIGUSR1[soft,remote-exit]")


@pytest.mark.parametrize(
    ("happened", "finish"),
    [
        (flow.SignalReceived(Signal.HUP), Finish(Outcome.RELOAD, "sighup")),
        (flow.DeviceLost("gone"), Finish(Outcome.RESTART, "device-lost")),
    ],
)
def test_what_needs_a_new_life_ends_this_one(happened: flow.Input, finish: Finish) -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    pair.server.tell(happened)
    assert pair.server.of(Finish) == [finish]
    assert pair.server.links == {}


def test_session_timeout_ends_the_process() -> None:
    pair = Pair(Wish(data=DataConfig(session_timeout=30)), TO_SERVER).connect()
    pair.run(lambda: bool(pair.server.of(Finish)), limit=31)
    assert pair.server.of(Finish)[0].reason == "session-timeout"


def test_a_role_without_its_configuration_is_our_own_bug() -> None:
    pair = Pair(Wish(), Wish())
    pair.server.config = replace(pair.server.config, point_to_point=None)
    with pytest.raises(UsageError):
        pair.server.begin()


def test_time_never_stands_still_for_a_waiting_end() -> None:
    pair = Pair(Wish(), TO_SERVER).connect()
    deadline = pair.server.role.next_deadline()
    assert deadline is None or deadline > Instant(pair.now)


# --- options strings -----------------------------------------------------------------------------


def test_options_strings_are_those_of_openvpn() -> None:
    """As OpenVPN 2.6.14 logs them for the same configuration."""
    configuration = config(Wish(), is_server=True)
    wrap = replace(configuration.wrap, mode=WrapMode.TLS_AUTH, key_direction=0)
    assert configuration.point_to_point is not None
    assert configuration.point_to_point.passive is not None
    entry = configuration.point_to_point.passive
    found = words(replace(configuration, wrap=wrap), entry)
    assert found.ours == (
        "V4,dev-type tun,link-mtu 1461,tun-mtu 1420,proto UDPv4,tun-ipv6,"
        "ifconfig 10.0.0.2 10.0.0.1,keydir 0,cipher BF-CBC,auth SHA1,keysize 128,tls-auth,"
        "key-method 2,tls-server"
    )
    assert found.expected == (
        "V4,dev-type tun,link-mtu 1461,tun-mtu 1420,proto UDPv4,tun-ipv6,"
        "ifconfig 10.0.0.1 10.0.0.2,keydir 1,cipher BF-CBC,auth SHA1,keysize 128,tls-auth,"
        "key-method 2,tls-client"
    )


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("tcp_server", [True, False])
def test_what_one_end_expects_is_what_the_other_says(is_server: bool, tcp_server: bool) -> None:
    def spoken(*, server: bool, waits: bool) -> Words:
        wish = Wish(transport=Transport.TCP, tcp_server=waits)
        configuration = config(wish, is_server=server)
        assert configuration.point_to_point is not None
        assert configuration.point_to_point.passive is not None
        return words(configuration, configuration.point_to_point.passive)

    one = spoken(server=is_server, waits=tcp_server)
    other = spoken(server=not is_server, waits=not tcp_server)
    assert (one.expected, other.expected) == (other.ours, one.ours)
