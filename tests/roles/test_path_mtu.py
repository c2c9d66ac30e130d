"""Sizes that fit a peer's path, as each role finds them out and has them enforced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path as FilePath
from random import Random

import pytest

from ovpn6.config.schema import HostConfig, Mssfix, MtuConfig, Remote, ScriptsConfig
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId, PeerId, Signal, Transport
from ovpn6.model.specs import FamilyFit, PeerFit
from ovpn6.model.status import PathStatus
from ovpn6.protocol.packets import Opcode
from ovpn6.roles.client_push_wait import FIRST_REQUEST
from ovpn6.roles.path_mtu import ANSWERS_WAIT
from tests.roles import client_world, point_to_point_world
from tests.roles.client_world import HOME, HOME4, PUSH, Server, World
from tests.roles.point_to_point_world import Pair, Wish
from tests.roles.server_site import HOST, PEER_INFO_26, SERVER, Site, SiteClient, config_of

OVERHEAD = 40 + 8 + 24
CONVERGED = 15.0
PEER_INFO_OURS = {**PEER_INFO_26, "IV_NUMBERED_PROBES": "1"}
EVERYTHING = (IPv6Network("::/0"), IPv4Network("0.0.0.0/0"))


def fits(actions: list[flow.Action]) -> list[PeerFit]:
    return [action.fit for action in actions if isinstance(action, flow.FitPeer)]


def probes(actions: list[flow.Action]) -> list[flow.SendProbe]:
    return [action for action in actions if isinstance(action, flow.SendProbe)]


def order_of(actions: list[flow.Action], *kinds: type[flow.Action]) -> list[type[flow.Action]]:
    return [type(action) for action in actions if isinstance(action, kinds)]


def narrow_site(outer_mtu: int, mtu: MtuConfig | None = None, tun_mtu: int = 1420) -> Site:
    site = Site(config_of(host=replace(HOST, tun_mtu=tun_mtu), mtu=mtu or MtuConfig()))
    site.outer_mtu = outer_mtu
    return site


def sizes_of(site: Site) -> PathStatus:
    [peer] = site.role.status().peers
    assert peer.sizes is not None
    return peer.sizes


# --- server ---------------------------------------------------------------------------------------


def test_a_client_whose_probes_are_answered_at_once_has_its_paths_sizes_first() -> None:
    site = Site()
    client = site.connected()
    order = order_of(site.actions, flow.FitPeer, flow.AddPeer)
    assert order == [flow.AddPeer, flow.FitPeer]
    # The options leave first: without them the client sends and takes nothing.
    pushed = max(
        index for index, action in enumerate(site.actions) if isinstance(action, flow.InstallKey)
    )
    kinds = [type(action) for action in site.actions[pushed:]]
    assert kinds.index(flow.SendControl) < kinds.index(flow.FitPeer)
    networks = (IPv6Network("2001:db8:1::1000/128"), IPv4Network("192.0.2.2/32"))
    assert fits(site.actions) == [
        PeerFit(
            client.peer,
            networks,
            ipv6=FamilyFit(None, 1360),
            ipv4=FamilyFit(None, 1380),
            outer=client.path.remote.address,
        ),
    ]
    assert "path MTU 1492 (probe): IPv6 1420, IPv4 1420, MSS 1360/1380" in site.log()


@pytest.mark.parametrize("outer_mtu", [1300, 1352, 1400, 1452, 1480])
def test_a_client_of_a_narrow_path_gets_that_paths_sizes(outer_mtu: int) -> None:
    site = narrow_site(outer_mtu)
    client = site.connected()
    site.pass_time(CONVERGED)
    tunnel = outer_mtu - OVERHEAD
    last = fits(site.actions)[-1]
    assert last.peer == client.peer
    assert last.ipv6 == FamilyFit(max(1280, tunnel), tunnel - 60)
    assert last.ipv4 == FamilyFit(tunnel, tunnel - 40)
    narrower = tunnel < 1280
    assert last.outer_mtu == (outer_mtu if narrower else None)
    assert last.outer == client.path.remote.address
    known = sizes_of(site)
    assert (known.path, known.tunnel, known.learned) == (outer_mtu, tunnel, "probe")
    assert known.sent > known.lost > 0


def test_a_client_whose_probes_are_lost_enters_at_the_base_size_and_is_told_of_once() -> None:
    site = narrow_site(0)
    client = site.connected()
    assert fits(site.actions) == []
    site.pass_time(ANSWERS_WAIT)
    [fit] = fits(site.actions)
    assert fit.ipv6 == FamilyFit(1280, 1280 - OVERHEAD - 60)
    assert fit.ipv4 == FamilyFit(1280 - OVERHEAD, 1280 - OVERHEAD - 40)
    assert (fit.outer, fit.outer_mtu) == (client.path.remote.address, 1280)
    site.pass_time(300)
    assert site.log().count("no probe of the path is answered") == 1
    assert sizes_of(site).learned == "base"
    assert len(fits(site.actions)) == 1


def test_a_path_that_becomes_narrow_in_silence_is_found_out() -> None:
    site = Site()
    site.connected()
    site.pass_time(CONVERGED)
    site.actions.clear()
    site.outer_mtu = 1400
    site.pass_time(14)
    assert fits(site.actions)[0].ipv6.mtu == 1280
    site.pass_time(CONVERGED)
    assert sizes_of(site).path == 1400
    assert "path MTU 1280 (black hole)" in site.log()


def test_the_host_is_told_only_of_changes() -> None:
    site = narrow_site(1400)
    site.connected()
    site.pass_time(CONVERGED)
    told = fits(site.actions)
    assert len(told) == len(set(told))
    site.actions.clear()
    site.pass_time(500)
    assert fits(site.actions) == []
    assert len(probes(site.actions)) < 60


def test_a_client_that_leaves_has_its_sizes_taken_back_after_it_left_the_data_path() -> None:
    site = Site()
    client = site.connected()
    client.say("EXIT")
    order = order_of(site.actions, flow.RemovePeer, flow.ReleaseFit)
    assert order == [flow.RemovePeer, flow.ReleaseFit]
    site.actions.clear()
    site.pass_time(60)
    assert probes(site.actions) == []


def test_a_candidate_that_never_comes_in_is_not_fitted() -> None:
    site = Site(config_of(scripts=ScriptsConfig(client_connect=("/connect",))))
    site.scripts["client-connect"] = None
    client = site.client(asks=False)
    client.begin()
    client.alive = False
    site.pass_time(120)
    assert probes(site.actions)
    assert order_of(site.actions, flow.FitPeer, flow.ReleaseFit) == []


def test_another_path_begins_at_its_base_size() -> None:
    site = Site()
    client = site.connected()
    site.actions.clear()
    client.path = Path(LinkId(1), Endpoint(ip_address("192.0.2.200"), 5000))
    site.outer_mtu = 1420
    site.give(flow.PeerFloated(client.peer, client.path))
    first = fits(site.actions)[0]
    assert first.ipv4.mtu == 1200 - 20 - 8 - 24
    site.pass_time(CONVERGED)
    # The probe's outer header is IPv4's now, and the world counts IPv6's.
    assert sizes_of(site).path == 1400


def test_an_iroute_that_goes_to_another_client_is_not_fitted_for_the_first_any_more() -> None:
    site = Site(config_of(replace(SERVER, client_config_dir=FilePath("/ccd"))))
    site.outer_mtu = 1400
    site.files = {"alice": "iroute-ipv6 2001:db8:77::/48", "bob": "iroute-ipv6 2001:db8:77::/48"}
    alice = site.connected("alice")
    site.pass_time(CONVERGED)
    bob = site.connected("bob")
    site.pass_time(CONVERGED)
    last = {fit.peer: fit.networks for fit in fits(site.actions)}
    network = IPv6Network("2001:db8:77::/48")
    assert network not in last[alice.peer]
    assert network in last[bob.peer]


def test_a_client_that_takes_less_than_the_device_has_is_sent_no_more() -> None:
    site = narrow_site(9000, tun_mtu=8000)
    site.connected(info={**PEER_INFO_26, "IV_MTU": "1600"})
    site.pass_time(CONVERGED)
    assert fits(site.actions)[-1].ipv6.mtu == 1600
    assert fits(site.actions)[-1].ipv4.mtu == 1600


def test_a_jumbo_path_carries_the_devices_own_size() -> None:
    site = narrow_site(9000, tun_mtu=8928)
    client = site.connected(info={**PEER_INFO_26, "IV_MTU": "8928"})
    site.pass_time(CONVERGED)
    assert "tun-mtu 8928" in client.options
    last = fits(site.actions)[-1]
    assert (last.ipv6, last.ipv4) == (FamilyFit(None, 8868), FamilyFit(None, 8888))


def over_tcp(site: Site, info: Mapping[str, str] = PEER_INFO_26) -> SiteClient:
    path = Path(LinkId(7), Endpoint(ip_address("2001:db8:ff::7"), 4007))
    site.give(flow.LinkAccepted(LinkId(1), LinkId(7), path.remote))
    return site.connected(path=path, transport=Transport.TCP, info=info)


@pytest.mark.parametrize("how", ["tcp", "mtu-disc no"])
def test_without_probing_sizes_come_from_the_configuration(how: str) -> None:
    disc = "no" if how == "mtu-disc no" else "maybe"
    config = config_of(mtu=MtuConfig(mtu_disc=disc))
    if how == "tcp":
        assert config.server is not None
        [listen] = config.server.listens
        listens = (replace(listen, transport=Transport.TCP),)
        config = replace(config, server=replace(config.server, listens=listens))
    site = Site(config)
    if how == "tcp":
        client = over_tcp(site, PEER_INFO_OURS)
        assert "numbered-probes" not in client.options
    else:
        site.connected(info=PEER_INFO_OURS)
    site.pass_time(100)
    assert probes(site.actions) == []
    [fit] = fits(site.actions)
    assert (fit.ipv6, fit.ipv4) == (FamilyFit(None, 1360), FamilyFit(None, 1380))
    assert fit.outer_mtu is None
    assert sizes_of(site) == replace(sizes_of(site), path=None, learned="configuration")


def test_without_probing_path_mtu_max_is_the_paths_mtu() -> None:
    site = narrow_site(1500, MtuConfig(mtu_disc="no", largest=1300))
    client = site.connected()
    [fit] = fits(site.actions)
    tunnel = 1300 - OVERHEAD
    assert (fit.ipv6, fit.ipv4) == (FamilyFit(1280, tunnel - 60), FamilyFit(tunnel, tunnel - 40))
    assert (fit.outer, fit.outer_mtu) == (client.path.remote.address, 1300)


def test_mtu_disc_yes_never_has_outer_packets_fragmented() -> None:
    site = narrow_site(1300, MtuConfig(mtu_disc="yes"))
    site.connected()
    site.pass_time(CONVERGED)
    assert {fit.outer_mtu for fit in fits(site.actions)} == {None}
    assert sizes_of(site).path == 1300


@pytest.mark.parametrize(
    ("mssfix", "mss_ipv6"),
    [
        (Mssfix(0), 0),
        (Mssfix(1300), 1300 - 24 - 60),
        (Mssfix(1300, "mtu"), 1300 - OVERHEAD - 60),
        (Mssfix(1300, "fixed"), 1300 - 60),
        (Mssfix(9000, "mtu"), 1360),
    ],
    ids=str,
)
def test_mssfix_is_an_upper_bound(mssfix: Mssfix, mss_ipv6: int) -> None:
    site = narrow_site(1500, MtuConfig(mssfix=mssfix))
    site.connected()
    last = fits(site.actions)[-1]
    assert last.ipv6.mss == mss_ipv6
    assert last.ipv4.mss == (mss_ipv6 + 20 if mss_ipv6 else 0)


def test_path_mtu_max_is_never_exceeded() -> None:
    site = narrow_site(1500, MtuConfig(largest=1400))
    site.connected()
    site.pass_time(1000)
    assert max(len(probe.datagram) + 48 for probe in probes(site.actions)) == 1400
    assert sizes_of(site).path == 1400


def test_probes_are_acknowledged_control_packets_of_exactly_the_size_asked_for() -> None:
    site = Site()
    site.connected()
    sizes = [len(probe.datagram) + 48 for probe in probes(site.actions)]
    assert sizes[:2] == [1492, 1280]
    assert {probe.datagram[0] >> 3 for probe in probes(site.actions)} == {Opcode.CONTROL_V1}


# --- routers' words -------------------------------------------------------------------------------


def settled_site() -> tuple[Site, SiteClient]:
    site = Site()
    client = site.connected()
    site.pass_time(5)
    site.actions.clear()
    return site, client


def test_a_packet_too_big_that_quotes_a_probe_is_believed_and_proved() -> None:
    site, client = settled_site()
    site.outer_mtu = 1391
    own = client.connection.remote_session_id
    assert own is not None
    quoted = bytes([Opcode.CONTROL_V1 << 3]) + own + bytes(100)
    site.give(flow.PacketTooBig(client.path, 1391, quoted))
    assert sizes_of(site).path == 1391


def test_a_packet_too_big_that_quotes_a_numbered_probe_is_believed_too() -> None:
    site = Site()
    client = site.connected(info=PEER_INFO_OURS)
    site.pass_time(5)
    site.outer_mtu = 1391
    quoted = probes(site.actions)[-1].datagram[:100]
    site.give(flow.PacketTooBig(client.path, 1391, quoted))
    assert sizes_of(site).path == 1391
    stranger = bytes([Opcode.ACK_V1 << 3]) + bytes(99)
    site.give(flow.PacketTooBig(client.path, 1300, stranger))
    assert sizes_of(site).path == 1391


@pytest.mark.parametrize("quoted", [b"", bytes(100), b"\x20" + b"x" * 100], ids=len)
def test_a_packet_too_big_that_anybody_may_have_sent_changes_nothing(quoted: bytes) -> None:
    site, client = settled_site()
    for size in (1279, 1280, 1400, 1491, 1492, 9000):
        site.give(flow.PacketTooBig(client.path, size, quoted))
    assert len(probes(site.actions)) == 2
    site.pass_time(60)
    assert fits(site.actions) == []
    assert sizes_of(site).path == 1492


def test_a_packet_too_big_about_a_path_of_nobody_is_not_looked_at() -> None:
    site, _ = settled_site()
    path = Path(LinkId(1), Endpoint(ip_address("2001:db8:bad::1"), 9))
    site.give(flow.PacketTooBig(path, 1400, b""))
    assert site.actions == []


# --- client ---------------------------------------------------------------------------------------


def last_path(world: World) -> PathStatus:
    [peer] = world.role.status().peers
    assert peer.sizes is not None
    return peer.sizes


def test_a_clients_sizes_are_those_of_the_base_before_its_first_data_packet() -> None:
    world = World()
    world.outer_mtu = 1280
    world.connect()
    first = fits(world.actions)[0]
    assert first.networks == EVERYTHING
    assert first.ipv6 == FamilyFit(1280, 1280 - OVERHEAD - 60)
    kinds = (flow.FitPeer, flow.AddPeer)
    assert order_of(world.actions, *kinds)[:2] == [flow.FitPeer, flow.AddPeer]
    world.pass_time(CONVERGED)
    assert fits(world.actions) == [first]
    assert world.logged("path MTU 1280 (probe)")


def test_a_wide_path_is_known_when_the_servers_options_come() -> None:
    """So nothing is put up that would be taken down at once."""
    world = World().connect()
    world.pass_time(CONVERGED)
    (only,) = fits(world.actions)
    assert (only.ipv6, only.outer_mtu) == (FamilyFit(None, 1340), None)
    assert world.logged("(probe): IPv6 1400, IPv4 1400, MSS 1340/1360")


@pytest.mark.parametrize(("late", "count"), [(ANSWERS_WAIT / 2, 1), (ANSWERS_WAIT * 5, 2)])
def test_answers_that_come_soon_after_the_servers_options_are_waited_for(
    late: float, count: int
) -> None:
    world = World()
    world.probe_delay = FIRST_REQUEST + late
    world.connect()
    world.pass_time(CONVERGED)
    found = fits(world.actions)
    assert len(found) == count
    assert found[-1].ipv6 == FamilyFit(None, 1340)
    kinds = (flow.FitPeer, flow.AddPeer)
    assert order_of(world.actions, *kinds)[:2] == [flow.FitPeer, flow.AddPeer]
    assert len(world.of(flow.AddPeer)) == 1


def test_a_tunnel_does_not_wait_long_for_answers_that_do_not_come() -> None:
    unprobed = World(client_world.config(mtu=MtuConfig(mtu_disc="no"))).connect()
    world = World()
    world.outer_mtu = 1279
    world.connect()
    assert fits(world.actions)[0].ipv6.mtu == 1280
    assert world.now - unprobed.now == pytest.approx(ANSWERS_WAIT)


def opcodes(orders: list[flow.SendProbe]) -> set[int]:
    return {order.datagram[0] >> 3 for order in orders}


def test_a_clients_probes_are_copies_until_the_server_says_that_it_answers_numbered_ones() -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},numbered-probes",)))
    world.start()
    world.run(lambda: bool(world.server.requests))
    assert opcodes(probes(world.actions)) == {Opcode.CONTROL_V1}
    world.run(lambda: bool(world.of(flow.Announce)))
    world.forget()
    world.pass_time(60)
    assert opcodes(probes(world.actions)) == {Opcode.ACK_V1}
    assert (last_path(world).path, last_path(world).numbered) == (1492, True)


def test_a_stock_server_is_sent_copies_alone() -> None:
    world = World().connect()
    world.pass_time(60)
    assert opcodes(probes(world.actions)) == {Opcode.CONTROL_V1}
    assert not last_path(world).numbered


def test_a_client_whose_renegotiation_hangs_goes_on_confirming_its_path() -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},numbered-probes",))).connect()
    world.pass_time(60)
    world.lose = lambda to, datagram: datagram[0] >> 3 != Opcode.ACK_V1
    before = last_path(world)
    world.renegotiate()
    world.pass_time(50)
    after = last_path(world)
    assert after.sent - before.sent in (4, 5, 6)
    assert after.lost == before.lost


def test_a_push_of_larger_packets_lets_the_search_go_on() -> None:
    world = World(client_world.config(host=HostConfig(tun_mtu=1300))).connect()
    world.pass_time(CONVERGED)
    assert last_path(world).tunnel == 1400


@pytest.mark.parametrize("home", [HOME, HOME4], ids=["ipv6", "ipv4"])
def test_a_client_finds_a_narrow_path_in_either_family(home: Endpoint) -> None:
    world = World(None, Server(home))
    world.names = {"home.example": (home,)}
    world.outer_mtu = 1400
    world.connect()
    world.pass_time(CONVERGED)
    assert last_path(world).path == 1400
    overhead = OVERHEAD if home is HOME else OVERHEAD - 20
    assert last_path(world).tunnel == 1400 - overhead


def test_what_the_own_interface_does_not_take_is_found_out_without_waiting() -> None:
    push = PUSH.replace("tun-mtu 1400", "tun-mtu 9000")
    world = World(
        client_world.config(host=HostConfig(tun_mtu=9000, tun_mtu_max=9000)),
        Server(HOME, push=(push,)),
    ).connect()
    world.pass_time(1)
    assert last_path(world).path == 1500


def test_a_lost_server_has_its_sizes_taken_back() -> None:
    world = World().connect()
    world.pass_time(5)
    world.forget()
    world.tell(flow.SignalReceived(Signal.USR1))
    order = order_of(world.actions, flow.RemovePeer, flow.ReleaseFit)
    assert order == [flow.RemovePeer, flow.ReleaseFit]


def test_a_server_that_moved_is_probed_anew() -> None:
    world = World().connect()
    world.pass_time(5)
    world.forget()
    world.tell(flow.PeerFloated(world_peer(world), Path(LinkId(1), HOME4)))
    assert fits(world.actions)[0].ipv4.mtu == 1200 - 52
    assert probes(world.actions)[0].path.remote == HOME4


def world_peer(world: World) -> PeerId:
    [peer] = world.role.status().peers
    return peer.peer


def test_a_clients_hint_only_begins_a_confirmation() -> None:
    world = World().connect()
    world.pass_time(5)
    world.forget()
    world.tell(flow.PacketTooBig(Path(LinkId(1), HOME), 1300, b"junk"))
    world.pass_time(5)
    assert fits(world.actions) == []
    assert len(probes(world.actions)) == 2


def test_each_remote_has_its_own_mssfix_and_mtu_disc() -> None:
    remote = Remote("home.example", mssfix=Mssfix(1300, "fixed"), mtu_disc="no")
    world = World(client_world.config(remote)).connect()
    [fit] = fits(world.actions)
    assert fit.ipv6 == FamilyFit(None, 1240)
    assert probes(world.actions) == []


def test_a_pushed_mtu_too_small_for_ipv6_is_refused() -> None:
    push = PUSH.replace("tun-mtu 1400", "tun-mtu 1200")
    world = World(None, Server(HOME, push=(push,))).connect()
    [plan] = {action.plan.mtu for action in world.of(flow.ApplyHost)}
    assert plan == 1280
    assert world.logged("Server-pushed tun-mtu 1200 is refused: IPv6 needs 1280")


# --- two equal ends -------------------------------------------------------------------------------


def test_two_equal_ends_find_the_path_both_ways() -> None:
    pair = Pair(Wish(), Wish(remote=point_to_point_world.SERVER))
    pair.outer_mtu = 1400
    pair.connect()
    pair.pass_time(CONVERGED)
    for end in pair.ends:
        [peer] = end.role.status().peers
        assert peer.sizes is not None
        assert peer.sizes.path == 1400
        assert fits(end.actions)[-1].networks == EVERYTHING
        assert end.logged("path MTU 1400 (probe): IPv6 1328, IPv4 1328, MSS 1268/1288")


def test_two_equal_ends_find_another_size_each_way_though_a_third_of_all_is_lost() -> None:
    pair = Pair(Wish(), Wish(remote=point_to_point_world.SERVER)).connect()
    pair.server.outer_mtu, pair.client.outer_mtu = 1400, 1480
    chance = Random(5)
    pair.lose = lambda to, datagram: chance.random() < 0.33
    pair.pass_time(300)
    pair.lose = lambda to, datagram: False
    pair.pass_time(1000)
    for end, octets in ((pair.server, 1400), (pair.client, 1480)):
        [peer] = end.role.status().peers
        assert peer.sizes is not None
        assert (peer.sizes.path, peer.sizes.numbered) == (octets, True)
        assert opcodes(probes(end.actions)) == {Opcode.ACK_V1}
    assert pair.server.announced == pair.client.announced == 1
