"""Losing a server, in every way, and what follows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ovpn6.config.schema import ClientConfig, DataConfig, HostConfig, Remote
from ovpn6.model import flow
from ovpn6.model.addresses import Path
from ovpn6.model.flow import Finish, Outcome
from ovpn6.model.names import KeyId, LinkId, PeerId, Signal
from ovpn6.model.specs import HostPlan, Keepalive, Route, RouteVia
from ovpn6.protocol.events import Hello
from tests.roles.client_world import HOME, HOME4, OTHER, PUSH, Server, World, config, credentials

PEER = PeerId(5)
PERSIST = HostConfig(persist_tun=True)
BOTH = (Remote("home.example"), Remote("other.example"))


def connected(*servers: Server, **parts: object) -> World:
    world = World(config(*BOTH, **parts), *servers)  # type: ignore[arg-type]
    world.names = {"home.example": (HOME,), "other.example": (OTHER,)}
    world.connect()
    world.forget()
    return world


def reconnected(world: World) -> None:
    world.run(lambda: bool(world.of(flow.Announce)))


# --- ping-restart and its like -------------------------------------------------------------------


def test_silence_leads_back_to_the_same_server_after_a_pause() -> None:
    world = connected()
    world.tell(flow.PeerExpired(PEER))
    assert world.state == "RECONNECTING"
    assert world.logged("Inactivity timeout (--ping-restart), restarting")
    assert world.logged("SIGUSR1[soft,ping-restart] received, process restarting")
    assert world.kinds(flow.RemovePeer, flow.CloseLink, flow.ApplyHost) == [
        "RemovePeer",
        "CloseLink",
        "ApplyHost",
    ]
    lost = world.now
    reconnected(world)
    assert world.dialled == [HOME]
    assert not world.of(flow.Resolve), "the address is known"
    assert 1.0 <= world.times[world.actions.index(world.of(flow.OpenLink)[0])] - lost < 1.1


def test_without_persist_tun_addresses_and_routes_go_while_the_server_is_away() -> None:
    world = connected()
    world.tell(flow.PeerExpired(PEER))
    assert world.of(flow.ApplyHost) == [flow.ApplyHost(HostPlan(1420))]
    reconnected(world)
    assert world.of(flow.ApplyHost)[-1].plan.addresses


def test_with_persist_tun_nothing_on_the_host_is_touched_when_the_push_is_the_same() -> None:
    world = connected(host=PERSIST)
    world.tell(flow.PeerExpired(PEER))
    reconnected(world)
    assert not world.of(flow.ApplyHost)
    assert world.logged("Preserving previous TUN/TAP instance: tun0")
    assert world.kinds(flow.RemovePeer, flow.AddPeer, flow.InstallKey) == [
        "RemovePeer",
        "AddPeer",
        "InstallKey",
    ]


def test_with_persist_tun_a_new_peer_id_or_token_is_no_difference() -> None:
    world = connected(host=PERSIST)
    world.server.push = (f"{PUSH.replace('peer-id 5', 'peer-id 9')},auth-token x",)
    world.tell(flow.PeerExpired(PEER))
    reconnected(world)
    assert not world.of(flow.ApplyHost)
    assert world.of(flow.AddPeer)[0].spec.peer == 9


def test_with_persist_tun_another_push_sets_the_tunnel_up_anew() -> None:
    world = connected(host=PERSIST)
    world.server.push = (PUSH.replace("fd00:6::2/64", "fd00:6::3/64"),)
    world.tell(flow.PeerExpired(PEER))
    assert not world.of(flow.ApplyHost), "all stays until the push"
    reconnected(world)
    assert world.logged("Pulled options changed on restart")
    assert [bool(one.plan.addresses) for one in world.of(flow.ApplyHost)] == [False, True]


def test_ping_exit_ends_the_process() -> None:
    data = DataConfig(keepalive=Keepalive(10, 60), ping_exit=True)
    silent = PUSH.replace("ping 10,ping-restart 60,", "")
    world = connected(Server(HOME, push=(silent,)), data=data)
    world.tell(flow.PeerExpired(PEER))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "ping-exit")]


def test_a_server_that_forgot_us_is_found_again() -> None:
    world = connected(host=PERSIST)
    world.server.restart()
    world.tell(flow.PeerExpired(PEER))
    reconnected(world)
    assert world.state == "CONNECTED"


# --- what servers say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "dialled"),
    [
        ("RESTART", HOME),
        ("RESTART,[P]come back", HOME),
        ("RESTART,[N]next please", OTHER),
        ("EXIT", HOME),
        ("AUTH_FAILED,TEMP[advance no]:busy", HOME),
        ("AUTH_FAILED,TEMP[advance remote]:busy", OTHER),
        ("AUTH_FAILED,TEMP[advance addr]:busy", OTHER),
    ],
)
def test_a_server_can_send_its_client_away(message: str, dialled: object) -> None:
    world = connected(Server(HOME), Server(OTHER))
    world.say(message)
    world.run(lambda: bool(world.of(flow.OpenLink)))
    assert world.dialled == [dialled]
    reconnected(world)


def test_restart_within_one_entry_goes_to_its_next_address() -> None:
    world = World(None, Server(HOME), Server(HOME4))
    world.names["home.example"] = (HOME4, HOME)
    world.connect()
    world.say("RESTART,[N]")
    world.run(lambda: len(world.of(flow.OpenLink)) == 2)
    assert world.dialled == [HOME, HOME4]


def test_a_backoff_is_waited_for() -> None:
    world = connected(Server(HOME), Server(OTHER))
    world.say("AUTH_FAILED,TEMP[backoff 42,advance no]:no free addresses")
    world.run(lambda: world.logged("Restart pause, 42 second(s)"))


@pytest.mark.parametrize("message", ["HALT", "HALT,maintenance"])
def test_halt_ends_the_process(message: str) -> None:
    world = connected()
    world.say(message)
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "server-pushed-halt")]


def test_an_exit_in_the_data_channel_is_a_loss_as_well() -> None:
    world = connected()
    world.tell(flow.PeerExited(PEER))
    assert world.logged("SIGUSR1[soft,remote-exit] received")
    reconnected(world)


def test_unknown_messages_are_logged_and_change_nothing() -> None:
    world = connected()
    for message in ("PUSH_UPDATE,-route", "HELLO", "CR_RESPONSE,eA==", "INFO,maintenance at 7"):
        world.say(message)
    world.pass_time(1)
    assert world.state == "CONNECTED"
    assert world.logged("HELLO")
    assert world.logged("maintenance at 7")
    assert not world.of(flow.CloseLink)


# --- refused passwords ---------------------------------------------------------------------------


def test_a_refused_password_ends_the_process_with_an_error() -> None:
    world = World(None, Server(HOME, push=("AUTH_FAILED,wrong",))).start()
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "auth-failure")]
    assert world.logged("AUTH: Received control message: AUTH_FAILED,wrong")


def test_auth_retry_nointeract_tries_again_after_ten_seconds() -> None:
    server = Server(HOME, push=("AUTH_FAILED",))
    world = World(config(client=ClientConfig(auth_retry="nointeract")), server).start()
    world.run(lambda: world.logged("Restart pause, 10 second(s)"))
    server.push = (PUSH,)
    world.run(lambda: world.state == "CONNECTED")


def test_auth_retry_interact_has_the_credentials_read_again() -> None:
    client = ClientConfig(auth_retry="interact")
    world = World(config(client=client), Server(HOME, push=("AUTH_FAILED",))).start()
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.RESTART, "auth-failure")]


def passwords(server: Server) -> list[bytes]:
    return [event.password.reveal() for event in server.heard if isinstance(event, Hello)]


def test_a_refused_token_falls_back_to_the_password() -> None:
    server = Server(HOME, push=(f"{PUSH},auth-token token",))
    world = World(None, server, credentials=credentials("ada", "pw")).connect()
    world.say("AUTH_FAILED,SESSION: expired")
    world.run(lambda: len(server.hellos) == 2)
    assert passwords(server) == [b"pw", b"pw"]


def test_a_token_is_used_again_after_a_restart() -> None:
    server = Server(HOME, push=(f"{PUSH},auth-token token",))
    world = World(None, server, credentials=credentials("ada", "pw")).connect()
    world.say("RESTART")
    world.run(lambda: len(server.hellos) == 2)
    assert passwords(server) == [b"pw", b"token"]


def test_with_auth_nocache_a_refused_token_has_the_credentials_read_again() -> None:
    server = Server(HOME, push=(f"{PUSH},auth-token token",))
    configuration = config(client=ClientConfig(auth_nocache=True), host=PERSIST)
    world = World(configuration, server, credentials=credentials("ada", "pw")).connect()
    world.say("AUTH_FAILED,SESSION")
    world.run(lambda: bool(world.of(Finish)))
    (finish,) = world.of(Finish)
    assert (finish.outcome, finish.keep_device) == (Outcome.RESTART, True)


# --- pauses --------------------------------------------------------------------------------------


def test_pauses_double_after_five_rounds_up_to_the_limit() -> None:
    world = World(config(client=ClientConfig(connect_retry=(1, 8))))
    world.unreachable = {HOME}
    world.start()
    world.run(lambda: len(world.of(flow.OpenLink)) == 10)
    moments = [
        moment
        for moment, action in zip(world.times, world.actions, strict=True)
        if isinstance(action, flow.OpenLink)
    ]
    gaps = [round(after - before) for before, after in itertools.pairwise(moments)]
    assert gaps == [1, 1, 1, 2, 4, 8, 8, 8, 8]


def test_sigusr1_reconnects_and_cuts_a_pause_short() -> None:
    world = connected()
    world.tell(flow.SignalReceived(Signal.USR1))
    assert world.state == "RECONNECTING"
    began = world.now
    world.tell(flow.SignalReceived(Signal.USR1))
    world.run(lambda: bool(world.of(flow.OpenLink)))
    assert world.now == began
    reconnected(world)


# --- the way around the tunnel -------------------------------------------------------------------

REDIRECT = f"{PUSH},redirect-gateway def1 ipv6"
AROUND = Route(ip_network(HOME.address), RouteVia.UNDERLAY)


def test_the_servers_own_address_is_routed_around_a_redirecting_tunnel() -> None:
    world = World(None, Server(HOME, push=(REDIRECT,))).connect()
    assert world.of(flow.ApplyHost)[-1].plan.routes[0] == AROUND


def test_with_persist_tun_another_server_is_routed_around_before_it_is_called() -> None:
    world = connected(Server(HOME, push=(REDIRECT,)), Server(OTHER, push=(REDIRECT,)), host=PERSIST)
    world.say("RESTART,[N]")
    world.run(lambda: bool(world.of(flow.OpenLink)))
    before_dialling = world.kinds(flow.ApplyHost, flow.OpenLink)
    assert before_dialling == ["ApplyHost", "OpenLink"]
    (applied,) = world.of(flow.ApplyHost)
    around = [r.destination.network_address for r in applied.plan.routes if r.via is AROUND.via]
    assert around == [OTHER.address, HOME.address]
    reconnected(world)
    last = world.of(flow.ApplyHost)[-1].plan
    assert [r.destination.network_address for r in last.routes if r.via is AROUND.via] == [
        OTHER.address
    ]


def test_a_server_that_floats_is_routed_around_at_its_new_address() -> None:
    world = connected(Server(HOME, push=(REDIRECT,)))
    elsewhere = Path(LinkId(1), replace(OTHER, port=5000))
    world.tell(flow.PeerFloated(PEER, elsewhere))
    assert world.of(flow.ApplyHost)[-1].plan.routes[0].destination.network_address == OTHER.address
    world.pass_time(0.1)
    world.tell(flow.KeyWornOut(PEER, KeyId(0)))
    sent = world.of(flow.SendControl)
    assert sent
    assert all(one.path == elsewhere for one in sent)
