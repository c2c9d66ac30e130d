"""A host is after a tunnel what it was before it, however the tunnel ended."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import pytest
from interop.ends import (
    OURS_OURS,
    SERVER_4,
    SERVER_6,
    STOCK_OURS,
    Maker,
    Pairing,
    server_text,
    up_again,
)
from serving.ends import inner, join, make_clients, serve
from serving.host import snapshot, tunnel_routes
from serving.processes import processor_seconds
from serving.scripts import Recorder

from ovpn6.lab import Lab, Line, Namespace, Tunnel, Underlay, line, ping, wait_for, wait_reachable
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

EVERYTHING = 'push "redirect-gateway def1 ipv6"'
SERVER_LINES = (
    EVERYTHING,
    "client-to-client",
    "route-ipv6 2001:db8:a::/64",
    "route 192.168.77.0 255.255.255.0",
    "route-ipv6 2001:db8:b::/64 default 5",
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("host"), ["client", "other"])


@pytest.fixture(params=[Underlay.IPV6, Underlay.DUAL], ids=lambda it: it.name)
def net(request: pytest.FixtureRequest, lab: Lab) -> Line:
    made = line(lab, request.param)
    for namespace in (made.client, made.server):
        furnish(namespace)
    return made


def furnish(namespace: Namespace) -> None:
    """State of somebody else's that must stay: a device, routes in two tables, a rule, a filter."""
    namespace.add_bridge("own0", [])
    namespace.add_address("own0", "2001:db8:77::1/64")
    namespace.add_address("own0", "192.168.99.1/24")
    for words in (
        "-6 route add 2001:db8:78::/48 dev own0 metric 3 proto static",
        "-6 route add 2001:db8:79::/48 dev own0 table 100",
        "-4 route add 198.18.99.0/24 dev own0",
        "-6 rule add from 2001:db8:77::/64 lookup 100",
    ):
        namespace.run(["ip", *words.split()])
    namespace.nft("table inet mine { chain in { type filter hook input priority 0; accept; }; }")


# --- how a program ends ---


@dataclass(frozen=True, slots=True)
class End:
    """A way to end, and the exit code that it must give."""

    name: str
    do: Callable[[Tunnel], None]
    code: int

    def __str__(self) -> str:
        return self.name


def _signalled(number: signal.Signals) -> Callable[[Tunnel], None]:
    return lambda tunnel: tunnel.process.signal(number)


def _break_configuration(tunnel: Tunnel) -> None:
    """A fatal error while the tunnel is up: SIGHUP reads a configuration that is wrong now."""
    tunnel.config_path.write_text(tunnel.config_path.read_text() + "keepalive nonsense\n")
    tunnel.process.signal(signal.SIGHUP)


ENDS = (
    End("sigterm", _signalled(signal.SIGTERM), 0),
    End("sigint", _signalled(signal.SIGINT), 0),
    End("fatal", _break_configuration, 1),
)


@pytest.mark.parametrize("end", ENDS, ids=str)
@pytest.mark.parametrize("pairing", [STOCK_OURS, OURS_OURS], ids=str)
def test_a_client_leaves_its_host_as_it_was(
    net: Line, authority: Authority, pairing: Pairing, end: End
) -> None:
    before = snapshot(net.client)
    serve(net, authority, pairing.server, EVERYTHING)
    client = join(net, authority, pairing.client)
    client.wait_up()
    assert snapshot(net.client) != before
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete
    end.do(client)
    assert client.process.wait(15) == end.code
    assert snapshot(net.client) == before


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_a_server_leaves_its_host_as_it_was(net: Line, authority: Authority, end: End) -> None:
    before = snapshot(net.server)
    server = serve(net, authority, Maker.OURS, *SERVER_LINES)
    client = join(net, authority, Maker.STOCK)
    client.wait_up()
    assert snapshot(net.server) != before
    assert ping(net.client, SERVER_6).complete
    end.do(server)
    assert server.process.wait(15) == end.code
    assert snapshot(net.server) == before


def test_a_failing_up_script_leaves_nothing(
    ipv6_line: Line, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    net = ipv6_line
    before = snapshot(net.client)
    script = Recorder(tmp_path_factory.mktemp("up")).script("up", "exit 1")
    serve(net, authority, Maker.STOCK, EVERYTHING)
    client = join(net, authority, Maker.OURS, "script-security 2", f"up {script}")
    assert client.process.wait(15) == 1
    assert snapshot(net.client) == before


# --- killed ---


@pytest.mark.parametrize("pairing", [STOCK_OURS, OURS_OURS], ids=str)
def test_after_a_kill_the_next_client_tidies_up_and_works(
    net: Line, authority: Authority, pairing: Pairing
) -> None:
    before = snapshot(net.client)
    serve(net, authority, pairing.server, EVERYTHING)
    client = join(net, authority, pairing.client)
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    client.process.kill()
    left = snapshot(net.client)
    # The device goes with its process; the way around the tunnel stays on the outer interface.
    assert left != before
    client.restart()
    client.wait_up()
    for address in (SERVER_6, SERVER_4):
        wait_reachable(net.client, address)
    assert client.stop() == 0
    assert snapshot(net.client) == before


def test_after_a_kill_the_next_server_tidies_up_and_works(net: Line, authority: Authority) -> None:
    before = snapshot(net.server)
    server = serve(net, authority, Maker.OURS, *SERVER_LINES)
    server.process.kill()
    assert snapshot(net.server) != before  # forwarding is still on
    server.restart()
    server.wait_up()
    client = join(net, authority, Maker.STOCK)
    client.wait_up()
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete
    assert server.stop() == 0
    assert snapshot(net.server) == before


def test_after_a_kill_another_configuration_tidies_up_too(
    ipv6_line: Line, authority: Authority
) -> None:
    """Whoever starts next in the namespace, also when it wants none of what was left."""
    net = ipv6_line
    before = snapshot(net.client)
    serve(net, authority, Maker.STOCK, EVERYTHING)
    client = join(net, authority, Maker.OURS)
    client.wait_up()
    client.process.kill()
    assert snapshot(net.client) != before
    other = join(net, authority, Maker.OURS, "route-nopull", "dev tun9", name="other")
    other.wait_up()
    assert ping(net.client, SERVER_6).complete
    assert other.stop() == 0
    assert snapshot(net.client) == before


# --- two in one namespace ---


def test_two_daemons_in_one_namespace_do_not_disturb_each_other(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    before = snapshot(net.client)
    serve(net, authority, Maker.OURS, EVERYTHING)
    _second_server(net, authority)
    first = join(net, authority, Maker.OURS, "dev tun1")
    first.wait_up()
    second = join(net, authority, Maker.OURS, "dev tun2", "route-nopull", port=1195)
    second.wait_up()
    for address in (SERVER_6, _SECOND_6):
        wait_reachable(net.client, address)
    alone = {name: net.client.addresses(name) for name in ("tun1", "tun2")}
    assert second.stop() == 0
    assert ping(net.client, SERVER_6).complete
    assert net.client.addresses("tun1") == alone["tun1"]
    second.restart()
    second.wait_up()
    # The one that pinned the server first goes first; the other still needs the pin.
    assert first.stop() == 0
    wait_reachable(net.client, _SECOND_6)
    assert net.client.addresses("tun2") == alone["tun2"]
    assert second.stop() == 0
    assert snapshot(net.client) == before


def test_two_that_both_take_everything_leave_the_way_to_the_server(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    before = snapshot(net.client)
    serve(net, authority, Maker.OURS, EVERYTHING)
    _second_server(net, authority, EVERYTHING)
    tunnels = []
    for number, port in ((1, 1194), (2, 1195)):
        tunnels.append(join(net, authority, Maker.OURS, f"dev tun{number}", port=port))
        tunnels[-1].wait_up()
    wait_reachable(net.client, _SECOND_6)
    tunnels[0].stop()
    # Both needed a way around to the same server: the one that stays still has it.
    assert _way(net.client, str(net.server_address)) == "to-underlay"
    wait_reachable(net.client, _SECOND_6)
    tunnels[1].stop()
    assert snapshot(net.client) == before


def test_a_killed_one_s_leftovers_do_not_take_a_living_one_s_state(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    before = snapshot(net.client)
    serve(net, authority, Maker.OURS, EVERYTHING)
    _second_server(net, authority)
    living = join(net, authority, Maker.OURS, "dev tun1")
    living.wait_up()
    killed = join(net, authority, Maker.OURS, "dev tun2", "route-nopull", port=1195)
    killed.wait_up()
    killed.process.kill()
    killed.restart()
    killed.wait_up()
    for address in (SERVER_6, _SECOND_6):
        wait_reachable(net.client, address)
    assert killed.stop() == 0
    assert ping(net.client, SERVER_6).complete
    assert living.stop() == 0
    assert snapshot(net.client) == before


# --- what others do meanwhile ---


def test_what_others_add_while_the_tunnel_is_up_stays(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    serve(net, authority, Maker.STOCK, EVERYTHING)
    client = join(net, authority, Maker.OURS)
    client.wait_up()
    net.client.add_address("to-underlay", "2001:db8:c::99/64")
    net.client.run(["ip", "-6", "route", "add", "2001:db8:aa::/48", "via", "2001:db8:c::1"])
    with up_again(client):
        client.process.signal(signal.SIGUSR1)
    wait_reachable(net.client, SERVER_6)
    assert client.stop() == 0
    shown = net.client.run(["ip", "-6", "route"]).stdout
    assert "2001:db8:aa::/48" in shown
    assert "2001:db8:c::99" in net.client.run(["ip", "-6", "addr"]).stdout


def test_a_route_of_the_host_s_own_is_not_taken_over(ipv6_line: Line, authority: Authority) -> None:
    net = ipv6_line
    net.client.run(["ip", "-6", "route", "add", "2001:db8:b::/64", "via", "2001:db8:c::1"])
    before = snapshot(net.client)
    serve(
        net,
        authority,
        Maker.STOCK,
        'push "route-ipv6 2001:db8:b::/64"',
        'push "route-ipv6 2001:db8:a::/64"',
    )
    client = join(net, authority, Maker.OURS)
    client.wait_up()
    wait_for(lambda: "2001:db8:a::/64" in tunnel_routes(client), 5, "the free route")
    assert client.stop() == 0
    assert snapshot(net.client) == before


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_device_deleted_underneath_is_said_and_the_tunnel_comes_again(
    ipv6_line: Line, authority: Authority, role: str
) -> None:
    net = ipv6_line
    server = serve(net, authority, Maker.OURS, *SERVER_LINES)
    client = join(net, authority, Maker.OURS)
    client.wait_up()
    victim = {"client": client, "server": server}[role]
    used = processor_seconds(victim.process.pid)
    with up_again(client):
        name = victim.device().name
        position = len(victim.log())
        victim.namespace.run(["ip", "link", "del", name])
        if role == "client":
            # The kernel says so when something is sent.
            ping(net.client, SERVER_6, count=1)
        victim.process.wait_for_log(
            rf"device.*(lost|gone|removed)|{name}.*(lost|gone)", 15, after=position
        )
    for address in (SERVER_6, SERVER_4):
        wait_reachable(net.client, address)
    for address in inner(client).values():
        wait_reachable(net.server, address)
    # A new handshake costs some; a loop that never waits would cost all of several seconds.
    assert processor_seconds(victim.process.pid) - used < 2.0
    assert victim.process.running
    assert client.stop() == 0
    assert server.stop() == 0
    assert net.client.tunnels() == net.server.tunnels() == ()


def test_an_idle_tunnel_uses_no_processor(ipv6_line: Line, authority: Authority) -> None:
    net = ipv6_line
    server = serve(net, authority, Maker.OURS)
    client = join(net, authority, Maker.OURS)
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    pids = [server.process.pid, client.process.pid]
    before = [processor_seconds(pid) for pid in pids]
    # Nothing but the time of these pings passes: 20 at 0.1 s.
    assert ping(net.client, str(net.server_address), count=20, interval=0.1).complete
    used = [processor_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
    assert max(used) < 0.3, used


_SECOND_6 = "fd42:6f76:706e:37::1"


def _second_server(net: Line, authority: Authority, *lines: str) -> Tunnel:
    text = server_text(
        authority,
        *lines,
        "dev tun7",
        port=1195,
        network6=IPv6Network("fd42:6f76:706e:37::/64"),
        network4=IPv4Network("10.87.0.0/24"),
    )
    server = Maker.OURS.start(net.server, text, "second")
    server.wait_up()
    return server


def _way(namespace: Namespace, address: str) -> str:
    shown = namespace.run(["ip", "route", "get", address], check=False).stdout
    match = re.search(r"\bdev (\S+)", shown)
    return match[1] if match else ""
