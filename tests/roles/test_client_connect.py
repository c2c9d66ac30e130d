"""From start to tunnel: look-ups, addresses, lost packets, timeouts."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ovpn6.config.schema import (
    ClientConfig,
    ControlConfig,
    Mode,
    Remote,
    ScriptsConfig,
    TunnelConfig,
)
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import Finish, Outcome
from ovpn6.model.names import Family, KeySlot, Level, LinkId, PeerId, Transport
from ovpn6.model.specs import Framing, HostPlan, Keepalive, PeerSpec
from tests.roles.client_world import HOME, HOME4, OTHER, PUSH, Server, World, config

PATH = Path(LinkId(1), HOME)


def test_a_tunnel_comes_up_in_the_order_that_loses_no_packet() -> None:
    world = World().connect()
    assert world.state == "CONNECTED"
    assert world.kinds(
        flow.Resolve, flow.OpenLink, flow.AddPeer, flow.InstallKey, flow.ApplyHost, flow.Announce
    ) == ["Resolve", "OpenLink", "AddPeer", "InstallKey", "ApplyHost", "Announce"]
    (peer,) = world.of(flow.AddPeer)
    assert peer.spec == PeerSpec(
        peer=PeerId(5),
        send_id=5,
        path=PATH,
        networks=(ip_network("::/0"), ip_network("0.0.0.0/0")),
        keepalive=Keepalive(10, 60),
        framing=Framing.NONE,
        float_allowed=False,
    )
    (key,) = world.of(flow.InstallKey)
    assert (key.slot, key.key.key_id, key.key.cipher) == (KeySlot.PRIMARY, 0, "AES-256-GCM")
    (host,) = world.of(flow.ApplyHost)
    addresses = (ip_interface("fd00:6::2/64"), ip_interface("10.8.0.2/24"))
    assert host.plan == HostPlan(1400, addresses)


def test_both_ends_derive_the_same_keys() -> None:
    world = World().connect()
    ours = world.of(flow.InstallKey)[0].key
    assert world.server.connection is not None
    theirs = world.server.connection.derive_keys(ours.key_id, ours.cipher, use_ekm=True)
    assert ours.send_key == theirs.receive_key
    assert ours.receive_key == theirs.send_key


def test_the_states_are_walked_in_the_words_of_the_management_interface() -> None:
    world = World(config(scripts=ScriptsConfig(up=("up",))))
    world.scripts["up"] = None
    seen = [world.state]
    world.start()
    while not world.of(flow.RunScript):
        if world.state != seen[-1]:
            seen.append(world.state)
        world.pass_time(0.005)
    seen.append(world.state)
    world.finish_script("up")
    seen.append(world.state)
    assert seen == [
        "CONNECTING",
        "RESOLVE",
        "WAIT",
        "AUTH",
        "GET_CONFIG",
        "ASSIGN_IP",
        "CONNECTED",
    ]


def test_status_shows_the_server_once_the_tunnel_is_up() -> None:
    world = World().start()
    assert world.role.status().peers == ()
    world.run(lambda: bool(world.of(flow.Announce)))
    (peer,) = world.role.status().peers
    assert (peer.peer, peer.common_name, peer.cipher) == (5, "server", "AES-256-GCM")
    assert (peer.ipv6, peer.ipv4) == (ip_address("fd00:6::2"), ip_address("10.8.0.2"))


@pytest.mark.parametrize("seed", range(6))
def test_lost_packets_delay_the_tunnel_but_do_not_prevent_it(seed: int) -> None:
    world = World()
    chance = random.Random(seed)
    world.lose = lambda to, datagram: chance.random() < 0.3
    world.connect()
    assert len(world.of(flow.OpenLink)) == 1
    assert world.server.messages[0] == "PUSH_REQUEST"


def test_options_are_asked_for_after_a_second_and_then_every_five() -> None:
    server = Server(HOME, push=())
    world = World(None, server).start()
    world.run(lambda: len(server.requests) == 4)
    first, *rest = server.requests
    assert [round(moment - first) for moment in rest] == [5, 10, 15]
    assert 1.0 <= first - 1000 < 1.2


def test_a_push_that_was_not_asked_for_is_taken_at_once() -> None:
    server = Server(HOME, unasked=True)
    world = World(None, server).connect()
    assert world.now - 1000 < 0.2
    assert server.messages == []


def test_without_any_push_the_client_starts_again_after_the_hand_window() -> None:
    world = World(config(control=ControlConfig(hand_window=20)), Server(HOME, push=())).start()
    world.run(lambda: world.logged("No reply from server to push requests in 20s"))
    world.run(lambda: len(world.of(flow.OpenLink)) == 2)


def test_a_server_that_waits_for_a_second_factor_is_waited_for() -> None:
    server = Server(HOME, push=("AUTH_PENDING,timeout 300", "INFO_PRE,OPEN_URL:https://x.example"))
    world = World(None, server).start()
    world.run(lambda: bool(server.requests))
    world.pass_time(250)
    assert world.state == "GET_CONFIG"
    assert world.logged("OPEN_URL:https://x.example")
    server.push = (PUSH,)
    world.run(lambda: world.state == "CONNECTED")
    assert len(world.of(flow.OpenLink)) == 1


def test_the_wait_for_a_second_factor_is_bounded_by_the_client() -> None:
    control = ControlConfig(hand_window=20, reneg_sec=100)
    server = Server(HOME, push=("AUTH_PENDING,timeout 100000",))
    world = World(config(control=control), server).start()
    world.run(lambda: world.logged("No reply from server"), limit=120)
    assert world.now - 1000 < 55


# --- remotes and addresses -----------------------------------------------------------------------


def test_every_address_of_every_entry_is_tried_ipv6_first() -> None:
    remotes = (Remote("home.example"), Remote("other.example"))
    world = World(config(*remotes), Server(OTHER))
    world.names = {"home.example": (HOME4, HOME), "other.example": (OTHER,)}
    world.unreachable = {HOME, HOME4}
    world.connect()
    assert world.dialled == [HOME, HOME4, OTHER]
    assert [spec.spec.family for spec in world.of(flow.OpenLink)] == [
        Family.IPV6,
        Family.IPV4,
        Family.IPV6,
    ]
    assert world.now - 1000 < 2, "no pause inside the list"


def test_a_server_that_does_not_answer_is_left_after_its_connect_timeout() -> None:
    remotes = (Remote("home.example", connect_timeout=7), Remote("other.example"))
    world = World(config(*remotes), Server(HOME, deaf=True), Server(OTHER))
    world.names["other.example"] = (OTHER,)
    world.connect()
    assert world.logged("Server poll timeout, restarting")
    assert 7 <= world.times[world.actions.index(world.of(flow.OpenLink)[1])] - 1000 < 7.1


def test_without_poll_timeout_the_hand_window_ends_an_attempt() -> None:
    world = World(None, Server(HOME, deaf=True)).start()
    world.run(lambda: len(world.of(flow.OpenLink)) == 2)
    assert world.logged(
        "TLS Error: TLS key negotiation failed to occur within 60 seconds "
        "(check your network connectivity)"
    )
    assert world.logged("TLS Error: TLS handshake failed")
    assert 60 <= world.now - 1000 < 62


def test_a_refused_certificate_is_a_tls_error_and_tried_again_with_a_pause() -> None:
    server = Server(HOME, refuse_tls=True)
    world = World(None, server).start()
    world.run(lambda: world.logged("TLS Error: TLS handshake failed"))
    server.refuse_tls = False
    world.run(lambda: world.state == "CONNECTED")
    assert world.logged("Restart pause, 1 second(s)")


def test_a_name_that_does_not_resolve_gives_way_to_the_next_entry() -> None:
    remotes = (Remote("missing.example"), Remote("home.example"))
    world = World(config(*remotes)).connect()
    assert world.logged("RESOLVE: Cannot resolve host address: missing.example:1194 (unknown)")
    assert world.dialled == [HOME]


def test_resolv_retry_looks_up_every_five_seconds_for_so_long() -> None:
    remotes = (Remote("missing.example"), Remote("home.example"))
    world = World(config(*remotes, client=ClientConfig(resolv_retry=12))).start()
    world.run(lambda: world.state == "CONNECTED")
    asked = [r.host for r in world.of(flow.Resolve)]
    assert asked == ["missing.example"] * 3 + ["home.example"]
    assert 10 <= world.times[world.actions.index(world.of(flow.OpenLink)[0])] - 1000 < 11


def test_connect_retry_max_ends_with_a_fatal_error() -> None:
    world = World(config(client=ClientConfig(connect_retry_max=2)))
    world.unreachable = {HOME}
    world.start()
    world.run(lambda: bool(world.of(Finish)))
    (finish,) = world.of(Finish)
    assert (finish.outcome, finish.code) == (Outcome.EXIT, 1)
    assert "connect-retry-max (2)" in finish.reason
    assert len(world.of(flow.OpenLink)) == 2


def test_a_tcp_connection_that_is_refused_or_reset_is_tried_again() -> None:
    remote = Remote("home.example", transport=Transport.TCP)
    server = Server(HOME, transport=Transport.TCP)
    world = World(config(remote), server)
    world.unreachable = {HOME}
    world.start()
    world.run(lambda: world.logged("Restart pause"))
    world.unreachable = set()
    world.run(lambda: world.state == "CONNECTED")
    world.break_link("reset by peer")
    assert world.logged("Connection reset, restarting [reset by peer]")
    assert flow.CloseLink(LinkId(2)) not in world.actions
    world.run(lambda: world.state == "CONNECTED")


def test_the_socket_is_what_the_entry_asks_for() -> None:
    remote = Remote("home.example", local_address="2001:db8::9", local_port=500, connect_timeout=9)
    world = World(config(remote)).start()
    world.run(lambda: bool(world.of(flow.OpenLink)))
    spec = world.of(flow.OpenLink)[0].spec
    assert (spec.local_address, spec.local_port) == (ip_address("2001:db8::9"), 0), "nobind"
    assert (spec.remote, spec.connect_timeout) == (HOME, 9)


# --- strangers -----------------------------------------------------------------------------------


def test_packets_from_elsewhere_are_counted_and_change_nothing() -> None:
    world = World().connect()
    stranger = Endpoint(ip_address("2001:db8::bad"), 1194)
    assert world.tell(flow.ControlReceived(Path(LinkId(1), stranger), b"\x28" * 40)) == []
    assert world.tell(flow.ControlReceived(Path(LinkId(1), HOME), b"\x28" * 40)) == []
    assert world.tell(flow.ControlReceived(Path(LinkId(9), HOME), b"\x28" * 40)) == []
    assert sum(world.role.status().counts.values()) == 3
    assert world.state == "CONNECTED"


def test_answers_to_an_attempt_that_is_over_are_ignored() -> None:
    world = World(None, Server(HOME, deaf=True)).start()
    world.run(lambda: world.state == "RECONNECTING")
    assert world.tell(flow.LinkOpened(LinkId(1), HOME)) == []
    assert world.tell(flow.LinkClosed(LinkId(1), "late")) == []
    assert world.tell(flow.PeerExpired(PeerId(5))) == []


# --- what cannot be run --------------------------------------------------------------------------


def test_what_a_client_cannot_do_is_refused_at_the_start() -> None:
    world = World(config(Remote("home.example", local_address="eth0.example"))).start()
    (finish,) = world.of(Finish)
    assert finish.code == 1
    assert any(line.level is Level.FATAL for line in world.of(flow.Log))


def test_a_role_without_a_remote_is_our_own_bug() -> None:
    with pytest.raises(UsageError):
        World(TunnelConfig(Mode.CLIENT, client=ClientConfig()))


def test_addresses_that_the_host_refuses_are_fatal() -> None:
    world = World(config(scripts=ScriptsConfig(up=("up",)))).start()
    world.scripts["up"] = None
    world.run(lambda: bool(world.of(flow.ApplyHost)))
    error = HostError("address", "Operation not permitted", 1)
    world.tell(flow.ActionFailed(world.of(flow.ApplyHost)[0], error))
    (finish,) = world.of(Finish)
    assert (finish.outcome, finish.code) == (Outcome.EXIT, 1)
    assert "Operation not permitted" in finish.reason


def test_routes_that_the_host_refuses_are_not() -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},route-ipv6 fd01::/48",))).connect()
    _, routes = world.of(flow.ApplyHost)
    world.tell(flow.ActionFailed(routes, HostError("route", "File exists", 17)))
    assert world.state == "CONNECTED"
    assert world.logged("File exists")
    assert not world.of(Finish)


def test_a_device_that_somebody_removed_means_a_new_beginning() -> None:
    world = World().connect()
    actions = world.tell(flow.DeviceLost("ENODEV: no such device"))
    finish = [action for action in actions if isinstance(action, flow.Finish)]
    assert finish == [flow.Finish(flow.Outcome.RESTART, "device-lost")]
    assert world.logged("tunnel device lost: ENODEV")
