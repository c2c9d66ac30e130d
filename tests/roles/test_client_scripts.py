"""Scripts: when they run, with what, and what their answers do."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ovpn6.config.schema import HostConfig, Remote, RouteOrder, ScriptsConfig
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import Finish, Outcome
from ovpn6.model.names import LinkId, PeerId, Signal, Transport
from ovpn6.model.specs import ScriptCall, ScriptResult
from ovpn6.roles.client_env import script_call
from tests.roles.client_world import HOME, HOME4, PUSH, Server, World, config

PEER = PeerId(5)
ALL = ScriptsConfig(
    up=("up.sh", "first"),
    down=("down.sh",),
    route_up=("routes.sh",),
    route_pre_down=("predown.sh",),
    ipchange=("ip.sh",),
)
ROUTED = (
    f"{PUSH},route-ipv6 fd01::/48,route 10.1.0.0 255.255.0.0 vpn_gateway 7,"
    "dhcp-option DNS fd00:6::53,dhcp-option DOMAIN lab.example"
)
ORDER = (flow.ApplyHost, flow.RunScript, flow.Announce, Finish)


def world_with(scripts: ScriptsConfig = ALL, push: str = ROUTED, **host: object) -> World:
    host_config = HostConfig(**host)  # type: ignore[arg-type]
    return World(config(scripts=scripts, host=host_config), Server(HOME, push=(push,)))


def call(world: World, kind: str) -> ScriptCall:
    return next(one.call for one in world.of(flow.RunScript) if one.call.kind == kind)


def host_states(world: World) -> list[tuple[bool, bool]]:
    return [(bool(a.plan.addresses), bool(a.plan.routes)) for a in world.of(flow.ApplyHost)]


def test_the_way_up_is_ipchange_addresses_up_routes_route_up() -> None:
    world = world_with().connect()
    assert world.kinds(*ORDER) == [
        "ipchange",
        "ApplyHost",
        "up",
        "ApplyHost",
        "route-up",
        "Announce",
    ]
    assert host_states(world) == [(True, False), (True, True)]


def test_the_way_down_is_route_pre_down_host_down() -> None:
    world = world_with().connect()
    world.forget()
    world.tell(flow.SignalReceived(Signal.TERM))
    world.run(lambda: bool(world.of(Finish)))
    assert world.kinds(*ORDER) == ["route-pre-down", "ApplyHost", "down", "Finish"]
    assert host_states(world) == [(False, False)]
    assert call(world, "down").environment["signal"] == "sigterm"


def test_down_pre_runs_down_while_the_addresses_still_stand() -> None:
    scripts = ScriptsConfig(down=("down.sh",), down_pre=True)
    world = world_with(scripts).connect()
    world.forget()
    world.tell(flow.SignalReceived(Signal.TERM))
    world.run(lambda: bool(world.of(Finish)))
    assert world.kinds(*ORDER) == ["down", "ApplyHost", "Finish"]


def test_up_is_called_with_stocks_arguments_and_environment() -> None:
    world = world_with().connect()
    up = call(world, "up")
    assert up.command == ("up.sh", "first")
    assert up.arguments == ("tun0", "1400", "0", "10.8.0.2", "255.255.255.0", "init")
    expected = {
        "PATH": "/bin",
        "script_type": "up",
        "script_context": "init",
        "dev": "tun0",
        "dev_type": "tun",
        "tun_mtu": "1400",
        "ifconfig_local": "10.8.0.2",
        "ifconfig_netmask": "255.255.255.0",
        "ifconfig_ipv6_local": "fd00:6::2",
        "ifconfig_ipv6_netbits": "64",
        "ifconfig_ipv6_remote": "fd00:6::1",
        "route_vpn_gateway": "10.8.0.1",
        "route_network_1": "10.1.0.0",
        "route_netmask_1": "255.255.0.0",
        "route_gateway_1": "10.8.0.1",
        "route_metric_1": "7",
        "route_ipv6_network_1": "fd01::/48",
        "route_ipv6_gateway_1": "fd00:6::1",
        "redirect_gateway": "0",
        "trusted_ip6": "2001:db8::1",
        "trusted_port": "1194",
        "common_name": "server",
        "X509_0_CN": "server",
        "tls_id_0": "CN=server",
        "remote_1": "home.example",
        "remote_port_1": "1194",
        "proto_1": "udp",
        "foreign_option_1": "dhcp-option DNS fd00:6::53",
        "foreign_option_2": "dhcp-option DOMAIN lab.example",
    }
    assert {name: up.environment.get(name) for name in expected} == expected


def test_an_ipv4_address_is_empty_in_the_arguments_of_an_ipv6_only_tunnel() -> None:
    push = PUSH.replace("ifconfig 10.8.0.2 255.255.255.0,", "")
    world = world_with(push=push).connect()
    assert call(world, "up").arguments == ("tun0", "1400", "0", "", "", "init")
    assert "ifconfig_local" not in call(world, "up").environment


def test_scripts_about_routes_have_stocks_arguments() -> None:
    world = world_with().connect()
    assert call(world, "route-up").arguments == ()
    assert call(world, "route-up").environment["script_type"] == "route-up"
    world.tell(flow.SignalReceived(Signal.TERM))
    assert call(world, "route-pre-down").arguments[-1] == "init"


@pytest.mark.parametrize(
    ("endpoint", "argument", "name"),
    [
        (HOME, "[AF_INET6]2001:db8::1 1194", "trusted_ip6"),
        (HOME4, "[AF_INET]192.0.2.1 1194", "trusted_ip"),
    ],
)
def test_ipchange_tells_the_servers_address(endpoint: Endpoint, argument: str, name: str) -> None:
    world = World(config(scripts=ALL), Server(endpoint))
    world.names["home.example"] = (endpoint,)
    world.connect()
    assert call(world, "ipchange").arguments == (argument,)
    assert call(world, "ipchange").environment[name] == str(endpoint.address)


def test_ipchange_runs_again_when_the_server_floats() -> None:
    world = world_with().connect()
    world.forget()
    elsewhere = Endpoint(ip_address("2001:db8::77"), 1194)
    world.tell(flow.PeerFloated(PEER, Path(LinkId(1), elsewhere)))
    assert call(world, "ipchange").arguments == ("[AF_INET6]2001:db8::77 1194",)


def test_ipchange_is_not_waited_for() -> None:
    world = world_with(ScriptsConfig(ipchange=("ip.sh",)))
    world.scripts["ipchange"] = None
    world.connect()
    assert world.state == "CONNECTED"


def test_nothing_goes_on_before_up_has_finished() -> None:
    world = world_with()
    world.scripts["up"] = None
    world.start()
    world.run(lambda: "up" in world.kinds(flow.RunScript))
    world.pass_time(30)
    assert world.state == "ASSIGN_IP"
    assert host_states(world) == [(True, False)]
    world.finish_script("up")
    world.run(lambda: world.state == "CONNECTED")


def test_an_up_that_fails_is_fatal() -> None:
    world = world_with()
    world.scripts["up"] = ScriptResult(ok=False, exit_code=3)
    world.start()
    world.run(lambda: bool(world.of(Finish)))
    (finish,) = world.of(Finish)
    assert (finish.outcome, finish.code) == (Outcome.EXIT, 1)
    assert "up script failed: exit status 3" in finish.reason
    assert not world.of(flow.Announce)


def test_a_route_up_that_fails_is_a_warning() -> None:
    world = world_with()
    world.scripts["route-up"] = ScriptResult(ok=False, exit_code=1)
    world.connect()
    assert world.logged("route-up script failed")
    assert world.state == "CONNECTED"


def test_a_loss_while_up_runs_takes_down_what_stands() -> None:
    world = world_with()
    world.scripts["up"] = None
    world.start()
    world.run(lambda: "up" in world.kinds(flow.RunScript))
    world.forget()
    world.tell(flow.PeerExpired(PEER))
    assert world.kinds(flow.CancelJob, flow.ApplyHost, flow.RunScript)[-2:] == ["ApplyHost", "down"]
    late = world.tell(flow.ScriptFinished(world.of(flow.CancelJob)[-1].job, ScriptResult(ok=True)))
    assert late == []


def test_routes_wait_for_route_delay() -> None:
    world = world_with(route_delay=7).start()
    world.run(lambda: "up" in world.kinds(flow.RunScript))
    began = world.now
    world.pass_time(6.9)
    assert host_states(world) == [(True, False)]
    assert world.state == "ADD_ROUTES"
    world.run(lambda: world.state == "CONNECTED")
    assert 7.0 <= world.now - began < 7.1


def test_configured_routes_are_made_beside_pushed_ones() -> None:
    order = RouteOrder(ip_network("fd77::/48"))
    world = world_with(routes=(order,)).connect()
    destinations = [str(r.destination) for r in world.of(flow.ApplyHost)[-1].plan.routes]
    assert destinations == ["fd77::/48", "fd01::/48", "10.1.0.0/16"]


# --- restarts ------------------------------------------------------------------------------------


def restarted(world: World) -> list[str]:
    world.forget()
    world.tell(flow.PeerExpired(PEER))
    world.run(lambda: bool(world.of(flow.Announce)))
    return world.kinds(flow.ApplyHost, flow.RunScript)


def test_without_persist_tun_a_restart_goes_all_the_way_down_and_up() -> None:
    assert restarted(world_with().connect()) == [
        "route-pre-down",
        "ApplyHost",
        "down",
        "ipchange",
        "ApplyHost",
        "up",
        "ApplyHost",
        "route-up",
    ]


def test_with_persist_tun_a_restart_runs_no_script_but_ipchange() -> None:
    assert restarted(world_with(persist_tun=True).connect()) == ["ipchange"]


def test_with_up_restart_up_and_down_run_with_the_word_restart_once_a_loss() -> None:
    scripts = ScriptsConfig(up=("up",), down=("down",), up_restart=True)
    world = world_with(scripts, persist_tun=True).connect()
    world.unreachable = {HOME}
    world.forget()
    world.tell(flow.PeerExpired(PEER))
    world.run(lambda: len(world.of(flow.OpenLink)) == 3)
    world.unreachable = set()
    world.run(lambda: bool(world.of(flow.Announce)))
    assert world.kinds(flow.ApplyHost, flow.RunScript) == ["down", "up"]
    assert call(world, "down").arguments[-1] == "restart"
    assert call(world, "down").environment["signal"] == "ping-restart"
    assert call(world, "up").arguments[-1] == "restart"


def test_the_next_attempt_waits_for_a_slow_down_script() -> None:
    world = world_with().connect()
    world.scripts["down"] = None
    world.forget()
    world.tell(flow.PeerExpired(PEER))
    world.run(lambda: "down" in world.kinds(flow.RunScript))
    world.pass_time(60)
    assert not world.of(flow.OpenLink)
    world.finish_script("down")
    world.run(lambda: bool(world.of(flow.OpenLink)))


def test_a_stop_during_the_way_down_does_not_run_it_twice() -> None:
    world = world_with().connect()
    world.scripts["down"] = None
    world.forget()
    world.tell(flow.PeerExpired(PEER))
    world.run(lambda: "down" in world.kinds(flow.RunScript))
    world.tell(flow.SignalReceived(Signal.TERM))
    assert not world.of(Finish)
    world.finish_script("down")
    assert world.of(Finish) == [Finish(Outcome.EXIT, "sigterm")]
    assert world.kinds(flow.RunScript) == ["route-pre-down", "down"]


# --- values --------------------------------------------------------------------------------------


def test_each_remote_is_told_by_number() -> None:
    remotes = (
        Remote("home.example", local_address="2001:db8::9", local_port=700),
        Remote("192.0.2.1", port=443, transport=Transport.TCP),
    )
    world = World(config(*remotes, scripts=ALL)).connect()
    environment = call(world, "up").environment
    assert environment["local_1"] == "2001:db8::9"
    assert environment["local_port_1"] == "700"
    assert (environment["remote_2"], environment["remote_port_2"]) == ("192.0.2.1", "443")
    assert environment["proto_2"] == "tcp-client"


def test_redirected_gateways_are_told() -> None:
    world = world_with(push=f"{PUSH},redirect-gateway def1 ipv6").connect()
    environment = call(world, "route-up").environment
    assert environment["redirect_gateway"] == "1"
    assert environment["route_redirect_gateway_ipv4"] == "1"
    assert environment["route_redirect_gateway_ipv6"] == "1"


def test_what_a_server_sends_cannot_break_a_line_of_the_environment() -> None:
    made = script_call("up", ("x",), (), {"a b=c": "one\ntwo\x1b"})
    assert made.environment == {"a_b_c": "one_two_", "script_type": "up"}


def test_addresses_of_the_configuration_count_where_nothing_is_pushed() -> None:
    push = PUSH.replace("ifconfig 10.8.0.2 255.255.255.0,", "")
    world = world_with(push=push, ifconfig=(ip_interface("10.9.0.7/30"),)).connect()
    assert call(world, "up").arguments[3:5] == ("10.9.0.7", "255.255.255.252")
