"""Users' scripts: called when and as OpenVPN calls them, with its variables, and obeyed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from interop.ends import (
    OUR_CLIENT,
    OUR_SERVER,
    OURS_STOCK,
    PAIRINGS,
    SERVER_4,
    SERVER_6,
    STOCK_OURS,
    STOCK_STOCK,
    Pairing,
    server_text,
)
from serving.ends import inner, join, listed, make_clients, serve
from serving.host import tunnel_routes
from serving.scripts import Call, Recorder

from ovpn6.lab import Lab, Line, line, ping, wait_for
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

SERVER_SCRIPTS = (
    "up",
    "route-up",
    "client-connect",
    "client-disconnect",
    "learn-address",
    "route-pre-down",
    "down",
)
CLIENT_SCRIPTS = ("ipchange", "up", "route-up", "route-pre-down", "down")

EVERYWHERE = {"PATH", "time_unix", "time_ascii"}
"""What our scripts have in each call: OpenVPN's find no program without a path of their own."""
NOT_OURS = {
    # 0.0.0.0 where the host has no IPv4 gateway, as here: ours is absent then.
    "route_net_gateway",
    # What auth-user-pass-verify was told stays in OpenVPN's environment for later scripts.
    "auth_control_file",
    "auth_failed_reason_file",
    "auth_pending_file",
    # Ours: the pin of the server's own address is not among the routes that scripts see.
    "route_ipv6_metric_N",
}
ONLY_OURS = {
    "redirect_gateway",
    "net_gateway_ipv6",
    # As of OpenVPN 2.7.
    "route_redirect_gateway_ipv4",
    "route_redirect_gateway_ipv6",
}
PER_RUN = {
    *("config", "daemon_pid", "daemon_start_time", "time_unix", "time_ascii", "time_duration"),
    *("trusted_port", "untrusted_port", "bytes_received", "bytes_sent"),
    *("auth_control_file", "auth_failed_reason_file", "auth_pending_file"),
    *("client_connect_config_file", "client_connect_deferred_file"),
    # "exit-with-notification" for OpenVPN where it stays to say goodbye, "sigterm" for both else.
    "signal",
}
"""What differs between two runs of the same program."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("scripts"), ["client"])


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "scripts")


# --- the same run with both makers' programs ---


@dataclass(frozen=True, slots=True)
class Recorded:
    """The calls of a whole session, from both starts to both ends."""

    server: list[Call]
    client: list[Call]


@pytest.fixture(scope="module")
def sessions(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[Pairing, Recorded]:
    directory = tmp_path_factory.mktemp("sessions")
    return {
        pairing: _session(authority, pairing, directory / str(pairing))
        for pairing in (STOCK_STOCK, OURS_STOCK, STOCK_OURS)
    }


def _session(authority: Authority, pairing: Pairing, directory: Path) -> Recorded:
    of_server, of_client = Recorder(directory / "server"), Recorder(directory / "client")
    check = "auth-user-pass-verify"
    with Lab() as lab:
        net = line(lab)
        server = serve(
            net,
            authority,
            pairing.server,
            "script-security 3",
            *(f"{name} {of_server.script(name)}" for name in SERVER_SCRIPTS),
            f"{check} {of_server.script(check)} via-env",
            "setenv COLOUR green",
            "route-ipv6 2001:db8:a::/64",
            "route 192.168.77.0 255.255.255.0",
            'push "route-ipv6 2001:db8:b::/64"',
            'push "route 192.168.78.0 255.255.255.0"',
            'push "dhcp-option DNS 2001:db8::53"',
            'push "redirect-gateway def1 ipv6"',
        )
        client = join(
            net,
            authority,
            pairing.client,
            "script-security 2",
            *(f"{name} {of_client.script(name)}" for name in CLIENT_SCRIPTS),
            *("<auth-user-pass>", "alice", "secret", "</auth-user-pass>"),
            "setenv COLOUR green",
        )
        client.wait_up()
        assert ping(net.client, SERVER_6).complete
        assert client.stop() == 0
        of_server.wait("client-disconnect")
        assert server.stop() == 0
    return Recorded(of_server.calls(), of_client.calls())


@pytest.mark.parametrize("name", [*SERVER_SCRIPTS, "auth-user-pass-verify"])
def test_a_server_s_script_sees_what_openvpn_s_sees(
    sessions: dict[Pairing, Recorded], name: str
) -> None:
    _check_alike(sessions[STOCK_STOCK].server, sessions[OURS_STOCK].server, name)


@pytest.mark.parametrize("name", CLIENT_SCRIPTS)
def test_a_client_s_script_sees_what_openvpn_s_sees(
    sessions: dict[Pairing, Recorded], name: str
) -> None:
    _check_alike(sessions[STOCK_STOCK].client, sessions[STOCK_OURS].client, name)


def test_scripts_run_in_openvpn_s_order(sessions: dict[Pairing, Recorded]) -> None:
    stock = sessions[STOCK_STOCK]
    names = [call.name for call in stock.client]
    assert names == list(CLIENT_SCRIPTS)
    assert [call.name for call in sessions[STOCK_OURS].client] == names
    names = [call.name for call in stock.server]
    assert names.count("learn-address") == 4
    ours = [call.name for call in sessions[OURS_STOCK].server]
    # Those of the end of a client run at the same time with ours.
    at_the_end = slice(6, 9)
    assert [*ours[:6], *sorted(ours[at_the_end]), *ours[9:]] == [
        *names[:6],
        *sorted(names[at_the_end]),
        *names[9:],
    ]


def test_the_session_s_certainties_are_in_the_environment(
    sessions: dict[Pairing, Recorded],
) -> None:
    """That the comparison compares something."""
    connect = next(c for c in sessions[OURS_STOCK].server if c.name == "client-connect")
    assert connect.environment["common_name"] == "client"
    assert connect.environment["username"] == "alice"
    assert connect.environment["COLOUR"] == "green"
    assert connect.environment["X509_0_CN"] == "client"
    assert connect.environment["ifconfig_pool_remote_ip6"].startswith("fd42:6f76:706e:36::")
    assert connect.environment["trusted_ip6"] == "2001:db8:c::2"
    up = next(c for c in sessions[STOCK_OURS].client if c.name == "up")
    assert up.environment["foreign_option_1"] == "dhcp-option DNS 2001:db8::53"
    assert up.environment["ifconfig_ipv6_local"].startswith("fd42:6f76:706e:36::")


def _check_alike(stock: list[Call], ours: list[Call], name: str) -> None:
    # Of one kind for one client ours run at the same time: in any order.
    theirs_of, ours_of = (
        sorted((call for call in calls if call.name == name), key=_comparable)
        for calls in (stock, ours)
    )
    assert len(theirs_of) == len(ours_of) > 0
    for theirs, mine in zip(theirs_of, ours_of, strict=True):
        assert _comparable(theirs) == _comparable(mine)
        if theirs.environment.keys() <= {"script_type"}:
            continue  # OpenVPN tells nothing more when learn-address deletes
        their_names, our_names = _names(theirs), _names(mine)
        assert their_names - our_names <= NOT_OURS
        assert our_names - their_names <= EVERYWHERE | ONLY_OURS
        assert _values(theirs) == _values(mine, only=theirs) | {
            key: value for key, value in _values(theirs).items() if key not in mine.environment
        }


def _comparable(call: Call) -> tuple[str, ...]:
    """The arguments, without names of temporary files."""
    return tuple(re.sub(r"^/\S*/openvpn_\S+$", "FILE", word) for word in call.arguments)


def _names(call: Call) -> set[str]:
    """Variables, numbered ones once."""
    return {re.sub(r"_\d+$", "_N", name) for name in call.environment}


def _values(call: Call, only: Call | None = None) -> dict[str, str]:
    """What must be the same in both runs; the IPv6 routes are numbered otherwise."""
    return {
        name: value
        for name, value in call.environment.items()
        if name not in PER_RUN
        and not re.match(r"route_ipv6_\w+_\d+$", name)
        and (only is None or name in only.environment)
    }


# --- scripts decide ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_client_connect_gives_a_client_its_settings(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    more = """
cat > "$1" <<'END'
ifconfig-ipv6-push fd42:6f76:706e:36::99/64
ifconfig-push 10.86.0.99 255.255.255.0
push "route-ipv6 2001:db8:b::/64"
END
"""
    script = recorder.script("connect", more)
    serve(ipv6_line, authority, pairing.server, "script-security 2", f"client-connect {script}")
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    assert [str(inner(client)[family]) for family in (6, 4)] == [
        "fd42:6f76:706e:36::99",
        "10.86.0.99",
    ]
    wait_for(
        lambda: "2001:db8:b::/64" in tunnel_routes(client),
        5,
        "the script's route",
        [client.process],
    )
    for address in (SERVER_6, SERVER_4):
        assert ping(ipv6_line.client, address).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_client_connect_can_refuse(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    script = recorder.script("connect", "exit 1")
    server = serve(
        ipv6_line, authority, pairing.server, "script-security 2", f"client-connect {script}"
    )
    client = join(ipv6_line, authority, pairing.client, "connect-retry-max 1")
    client.process.wait_for_log("AUTH_FAILED", 15)
    assert recorder.calls("connect")
    assert server.process.running
    assert not any(row.ipv6 for row in server.status().clients)


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_slow_client_connect_keeps_nobody_else_waiting(
    lab: Lab, authority: Authority, pairing: Pairing, recorder: Recorder, tmp_path: Path
) -> None:
    """With OpenVPN only when the script says that it will answer later."""
    net = line(lab)
    gate = recorder.directory / "gate"
    more = f"""
echo 2 > "$client_connect_deferred_file"
( while ! test -e {gate}; do sleep 0.05; done; echo 1 > "$client_connect_deferred_file" ) \\
    > /dev/null 2>&1 &
"""
    script = recorder.script("connect", more)
    server = serve(net, authority, pairing.server, "script-security 2", f"client-connect {script}")
    client = join(net, authority, pairing.client)
    recorder.wait("connect")
    # The server goes on: it writes its status, and the client is not in it with addresses yet.
    before = server.status_path.stat().st_mtime_ns
    wait_for(lambda: server.status_path.stat().st_mtime_ns > before, 5, "another status")
    assert not client.namespace.tunnels() or not client.device().up
    gate.touch()
    client.wait_up()
    assert ping(net.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_learn_address_hears_of_addresses_and_networks(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder, tmp_path: Path
) -> None:
    ccd = tmp_path / "clients"
    ccd.mkdir()
    (ccd / "client").write_text("iroute-ipv6 2001:db8:a::/64\niroute 192.168.77.0 255.255.255.0\n")
    server = serve(
        ipv6_line,
        authority,
        pairing.server,
        "script-security 2",
        f"learn-address {recorder.script('learn')}",
        f"client-config-dir {ccd}",
    )
    client = join(ipv6_line, authority, pairing.client)
    client.wait_up()
    own = {str(address) for address in inner(client).values()}
    learned = recorder.wait("learn", 4)
    assert {call.arguments for call in learned} == {
        ("add", network, "client") for network in (*own, "2001:db8:a::/64", "192.168.77.0/24")
    }
    client.stop()
    # OpenVPN says so when it next sweeps its table, or ends.
    server.stop()
    forgotten = recorder.wait("learn", 8)[4:]
    assert {call.arguments for call in forgotten} == {
        ("delete", network) for network in (*own, "2001:db8:a::/64", "192.168.77.0/24")
    }


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_failing_up_script_ends_the_program(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    serve(ipv6_line, authority, pairing.server)
    script = recorder.script("up", "exit 3")
    client = join(ipv6_line, authority, pairing.client, "script-security 2", f"up {script}")
    assert client.process.wait(15) == 1
    assert ipv6_line.client.tunnels() == ()


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_server_s_failing_up_script_ends_it(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    script = recorder.script("up", "exit 3")
    text = server_text(authority, "script-security 2", f"up {script}")
    server = pairing.server.start(ipv6_line.server, text, "server")
    assert server.process.wait(15) == 1
    assert ipv6_line.server.tunnels() == ()


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_scripts_do_not_run_unless_script_security_allows_it(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    serve(ipv6_line, authority, pairing.server)
    script = recorder.script("up")
    client = join(ipv6_line, authority, pairing.client, f"up {script}")
    client.process.wait_for_log(r"script-security", 15)
    assert client.process.wait(15) == 1
    assert recorder.calls() == []


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_route_noexec_leaves_routes_to_the_script(
    ipv6_line: Line, authority: Authority, pairing: Pairing, recorder: Recorder
) -> None:
    serve(ipv6_line, authority, pairing.server, 'push "route-ipv6 2001:db8:b::/64"')
    more = """
ip -6 route add "$route_ipv6_network_1" via "$route_ipv6_gateway_1" dev "$dev" metric 9
"""
    script = recorder.script("route-up", f"PATH=/usr/sbin:/sbin:/usr/bin:/bin {more.strip()}")
    client = join(
        ipv6_line,
        authority,
        pairing.client,
        "script-security 2",
        "route-noexec",
        f"route-up {script}",
    )
    client.wait_up()
    recorder.wait("route-up")
    wait_for(
        lambda: "2001:db8:b::/64" in tunnel_routes(client),
        5,
        "the script's route",
        [client.process],
    )
    shown = ipv6_line.client.run(["ip", "-6", "route", "show", "2001:db8:b::/64"]).stdout
    assert "metric 9" in shown


# --- user names ---


@pytest.mark.parametrize("way", ["via-file", "via-env"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_user_name_from_a_file_comes_to_the_server_s_script(
    ipv6_line: Line,
    authority: Authority,
    pairing: Pairing,
    recorder: Recorder,
    tmp_path: Path,
    way: str,
) -> None:
    check = {
        "via-file": 'test "$(cat "$1")" = "alice\npass word"',
        "via-env": 'test "$username:$password" = "alice:pass word"',
    }[way]
    verify = recorder.script("verify", check)
    server = serve(
        ipv6_line,
        authority,
        pairing.server,
        "script-security 3",
        f"auth-user-pass-verify {verify} {way}",
        "username-as-common-name",
    )
    login = tmp_path / "login"
    login.write_text("alice\npass word\n")
    login.chmod(0o600)
    client = join(ipv6_line, authority, pairing.client, f"auth-user-pass {login}")
    client.wait_up()
    row = listed(server, "alice")
    assert row.columns["Username"] == "alice"
    assert ping(ipv6_line.client, SERVER_6).complete
