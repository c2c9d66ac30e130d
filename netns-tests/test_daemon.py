"""The program as an administrator meets it: background, files, signals, users, exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from interop import wire
from interop.ends import (
    OUR_CLIENT,
    OUR_SERVER,
    OURS_OURS,
    OURS_STOCK,
    SERVER_4,
    SERVER_6,
    STOCK_OURS,
    STOCK_STOCK,
    Maker,
    Pairing,
    client_text,
    remote_of,
    server_text,
    start,
    up_again,
    without_line,
)
from serving.ends import inner, join, listed, make_clients, serve
from serving.processes import capabilities, owner, started_outside

from ovpn6.lab import Line, Process, ping, transfer, wait_for, wait_reachable
from ovpn6.lab.runners import stock_binary
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

OURS_COMMAND = (sys.executable, "-P", "-m", "ovpn6")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("daemon"), ["client"])


def command(maker: Maker) -> list[str]:
    return list(OURS_COMMAND) if maker is Maker.OURS else [stock_binary()]


# --- in the background ---


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_a_daemon_writes_its_pid_and_its_log_and_ends_by_them(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    net = ipv6_line
    directory = net.server.work_directory("daemon")
    config, pid_file, log = (directory / name for name in ("tunnel.conf", "pid", "log"))
    config.write_text(server_text(authority))
    begun = net.server.run(
        [
            *command(maker),
            *("--daemon", "tunneld", "--config", str(config)),
            *("--writepid", str(pid_file), "--log", str(log), "--cd", str(directory)),
        ]
    )
    assert begun.returncode == 0
    assert begun.stdout == ""
    # Stock writes it after the parent has returned.
    pid = int(wait_for(lambda: pid_file.exists() and pid_file.read_text(), 10, "the pid file"))
    with started_outside(pid):
        wait_for(lambda: "Initialization Sequence Completed" in log.read_text(), 10, "the log")
        # It has left the terminal, the session and the directory of who started it.
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        client = join(net, authority, Maker.OURS if maker is Maker.STOCK else Maker.STOCK)
        client.wait_up()
        assert ping(net.client, SERVER_6).complete
        client.stop()
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not net.server.tunnels(), 10, "the end of the device")
        wait_for(lambda: "process exiting" in log.read_text(), 10, "the end in the log")


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_a_daemon_that_cannot_begin_says_so_to_whoever_starts_it(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    net = ipv6_line
    directory = net.server.work_directory("daemon")
    config = directory / "tunnel.conf"
    config.write_text(server_text(authority, "crl-verify missing.pem"))
    done = net.server.run([*command(maker), "--daemon", "--config", str(config)], check=False)
    assert done.returncode == 1
    if maker is Maker.OURS:  # OpenVPN tells the system log alone
        assert "missing.pem" in done.stdout + done.stderr


def test_a_daemon_whose_port_is_taken_tells_whoever_starts_it(
    ipv6_line: Line, authority: Authority
) -> None:
    """OpenVPN's parent has gone by then: this is what ours adds."""
    net = ipv6_line
    serve(net, authority, Maker.STOCK)
    directory = net.server.work_directory("daemon")
    config = directory / "tunnel.conf"
    config.write_text(server_text(authority))
    before = net.server.devices()
    done = net.server.run([*OURS_COMMAND, "--daemon", "--config", str(config)], check=False)
    assert done.returncode == 1
    assert re.search(r"1194.*in use|in use.*1194", done.stdout + done.stderr)
    assert net.server.devices().keys() == before.keys()


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_a_log_is_begun_anew_or_appended_to(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    net = ipv6_line
    directory = net.server.work_directory("log")
    new, old = directory / "new", directory / "old"
    for path in (new, old):
        path.write_text("what was there\n")
    for option, path in (("log", new), ("log-append", old)):
        server = maker.start(net.server, server_text(authority, f"{option} {path}"), "server")
        wait_for(
            lambda path=path: "Initialization Sequence Completed" in path.read_text(),
            10,
            "the log",
            [server.process],
        )
        server.stop()
    assert "what was there" not in new.read_text()
    assert old.read_text().startswith("what was there\n")


# --- status ---


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_server_s_status_has_openvpn_s_form(
    ipv6_line: Line, authority: Authority, tmp_path: Path, version: int
) -> None:
    ccd = tmp_path / "clients"
    ccd.mkdir()
    (ccd / "client").write_text("iroute-ipv6 2001:db8:a::/64\niroute 192.168.77.0 255.255.255.0\n")
    forms = []
    for pairing in (STOCK_STOCK, OURS_STOCK):
        path = tmp_path / f"status-{pairing}"
        # The lab's own --status stands on the command line behind --config: the last one counts.
        server = _serve_plainly(
            ipv6_line,
            pairing.server,
            server_text(
                authority,
                f"status {path} 1",
                f"status-version {version}",
                f"client-config-dir {ccd}",
            ),
        )
        client = join(ipv6_line, authority, pairing.client)
        client.wait_up()
        assert ping(ipv6_line.client, SERVER_6).complete
        assert ping(ipv6_line.client, SERVER_4).complete
        text = wait_for(lambda path=path: _listing(path), 5, "a status with the client", [server])
        forms.append(_form(text))
        client.stop()
        server.stop()
    assert forms[0] == forms[1]


def test_a_client_s_status_has_openvpn_s_form(ipv6_line: Line, authority: Authority) -> None:
    forms = []
    for pairing in (STOCK_STOCK, STOCK_OURS):
        server = serve(ipv6_line, authority, pairing.server)
        client = join(ipv6_line, authority, pairing.client)
        client.wait_up()
        assert ping(ipv6_line.client, SERVER_6).complete
        text = wait_for(lambda path=client.status_path: _counted(path), 5, "a status with traffic")
        forms.append(_form(text))
        client.stop()
        server.stop()
    assert forms[0] == forms[1]


# --- users ---


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_server_that_gave_root_up_renegotiates_serves_and_cleans_up(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        server = serve(
            net,
            authority,
            pairing.server,
            *("user nobody", "group nogroup", "reneg-sec 3", "route-ipv6 2001:db8:a::/64"),
        )
        assert owner(server.process.pid) == ("nobody", "nogroup")
        assert capabilities(server.process.pid) == {"cap_net_admin"}
        client = join(net, authority, pairing.client)
        client.wait_up()
        wait_for(lambda: wire.renegotiations(wire.packets(capture)), 15, "new keys")
        for address in (SERVER_6, SERVER_4):
            assert ping(net.client, address).complete
    listed(server, "client")
    assert server.stop() == 0
    assert net.server.tunnels() == ()
    shown = net.server.run(["ip", "-6", "route", "show", "table", "all"]).stdout
    assert "2001:db8:a::" not in shown


@pytest.mark.parametrize("persistent", [True, False], ids=["persist-tun", "new-tun"])
@pytest.mark.parametrize("pairing", [STOCK_OURS, OURS_OURS], ids=str)
def test_a_client_that_gave_root_up_connects_again_and_cleans_up(
    ipv6_line: Line, authority: Authority, pairing: Pairing, persistent: bool
) -> None:
    """OpenVPN does so with persist-tun alone: it cannot open /dev/net/tun again."""
    net = ipv6_line
    serve(net, authority, pairing.server, 'push "redirect-gateway def1 ipv6"')
    text = client_text(authority, remote_of(net), "user nobody", "group nogroup")
    if not persistent:
        text = without_line(text, "persist-tun")
    before = net.client.run(["ip", "-6", "route", "show", "table", "all"]).stdout
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    assert owner(client.process.pid) == ("nobody", "nogroup")
    with up_again(client):
        client.process.signal(signal.SIGUSR1)
    for address in (SERVER_6, SERVER_4):
        wait_reachable(net.client, address)
    assert owner(client.process.pid) == ("nobody", "nogroup")
    assert client.stop() == 0
    assert net.client.tunnels() == ()
    assert net.client.run(["ip", "-6", "route", "show", "table", "all"]).stdout == before


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_an_unknown_user_is_an_error_at_the_start(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    server = maker.start(ipv6_line.server, server_text(authority, "user nobodyknows"), "server")
    assert server.process.wait(10) == 1
    assert "nobodyknows" in server.log()
    assert ipv6_line.server.tunnels() == ()


# --- signals ---


@pytest.mark.parametrize("pairing", [OURS_STOCK, OURS_OURS, STOCK_STOCK], ids=str)
def test_sigusr2_writes_the_status_to_the_log(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing)
    listed(ends.server, "client")
    position = len(ends.server.log())
    ends.server.process.signal(signal.SIGUSR2)
    ends.server.process.wait_for_log(r"GLOBAL.STATS", 5, after=position)
    printed = ends.server.log()[position:]
    for words in ("CLIENT LIST|CLIENT_LIST", str(inner(ends.client)[6]), "END"):
        assert re.search(words, printed), printed
    position = len(ends.client.log())
    ends.client.process.signal(signal.SIGUSR2)
    ends.client.process.wait_for_log(r"STATISTICS[\s\S]*END", 5, after=position)
    assert ping(ipv6_line.client, SERVER_6).complete


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda it: it.name)
def test_a_client_that_is_still_connecting_ends_at_once(
    ipv6_line: Line, authority: Authority, pairing: Pairing, number: signal.Signals
) -> None:
    client = join(ipv6_line, authority, pairing.client)
    client.process.wait_for_log(
        r"UDPv6 link remote|UDP\w* .*2001:db8:5::2|Attempting|connecting", 10
    )
    client.process.signal(number)
    assert client.process.wait(5) == 0
    assert ipv6_line.client.tunnels() == ()


# --- exit codes and errors ---


WRONG = {
    "unknown-directive": ("no-such-directive 1", "no-such-directive"),
    "wrong-number": ("keepalive ten 60", "keepalive"),
    "missing-file": ("tls-crypt-v2 /nowhere/key", "/nowhere/key"),
    "bad-cipher": ("data-ciphers NOPE-512-XYZ", "NOPE-512-XYZ"),
    "bad-network": ("server-ipv6 2001:db8::/20", "server-ipv6"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_a_wrong_configuration_ends_with_1_and_names_the_reason(
    ipv6_line: Line, authority: Authority, maker: Maker, wrong: str
) -> None:
    line, named = WRONG[wrong]
    server = maker.start(ipv6_line.server, server_text(authority, line), "server")
    assert server.process.wait(10) == 1
    assert named in server.log()
    assert ipv6_line.server.tunnels() == ()


def test_every_error_has_its_file_and_line(ipv6_line: Line, authority: Authority) -> None:
    text = server_text(authority, "keepalive ten 60", "no-such-directive 1")
    places = [
        f":{text.splitlines().index(wrong) + 1}"
        for wrong in ("keepalive ten 60", "no-such-directive 1")
    ]
    server = Maker.OURS.start(ipv6_line.server, text, "server")
    assert server.process.wait(10) == 1
    for number in places:
        assert re.search(rf"tunnel\.conf{number}\b", server.log()), server.log()


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_an_address_that_is_not_the_host_s_ends_with_1(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    server = maker.start(
        ipv6_line.server, server_text(authority, "local 2001:db8:dead::1"), "server"
    )
    assert server.process.wait(10) == 1
    assert re.search(r"[Cc]annot assign requested address", server.log())
    assert ipv6_line.server.tunnels() == ()


# --- the device in another namespace ---


@pytest.mark.parametrize("server_maker", Maker, ids=lambda maker: maker.value)
def test_dev_netns_puts_the_tunnel_into_another_namespace(
    ipv6_line: Line, authority: Authority, server_maker: Maker
) -> None:
    net = ipv6_line
    inside = net.lab.namespace("inside")
    serve(net, authority, server_maker, 'push "redirect-gateway def1 ipv6"')
    client = join(net, authority, Maker.OURS, f"dev-netns {inside.full_name}")
    client.process.wait_for_log("Initialization Sequence Completed", 20)
    assert net.client.tunnels() == ()
    for address in (SERVER_6, SERVER_4):
        assert ping(inside, address).complete
    assert transfer(inside, net.server, SERVER_6, 200_000)
    # All of it goes into the tunnel there; the outer namespace has no part in it.
    assert "dev tun" in inside.run(["ip", "route", "get", "2001:db8:ffff::1"]).stdout
    assert "fd42" not in net.client.run(["ip", "-6", "route", "show", "table", "all"]).stdout
    with up_again(client):
        client.process.signal(signal.SIGUSR1)
    assert ping(inside, SERVER_6).complete
    assert client.stop() == 0
    assert inside.tunnels() == ()
    assert inside.run(["ip", "-6", "route"]).stdout == ""


@pytest.mark.parametrize("client_maker", Maker, ids=lambda maker: maker.value)
def test_a_server_s_device_may_live_in_another_namespace(
    ipv6_line: Line, authority: Authority, client_maker: Maker
) -> None:
    net = ipv6_line
    inside = net.lab.namespace("inside")
    server = serve(net, authority, Maker.OURS, f"dev-netns {inside.full_name}", "client-to-client")
    client = join(net, authority, client_maker)
    client.wait_up()
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete
    for address in inner(client).values():
        assert ping(inside, address).complete
    assert server.stop() == 0
    assert inside.tunnels() == ()
    assert inside.run(["sysctl", "-n", "net.ipv6.conf.all.forwarding"]).stdout.strip() == "0"


def test_a_namespace_that_is_not_there_is_a_clear_error(
    ipv6_line: Line, authority: Authority
) -> None:
    server = Maker.OURS.start(
        ipv6_line.server, server_text(authority, "dev-netns nowhere-at-all"), "server"
    )
    assert server.process.wait(10) == 1
    assert "nowhere-at-all" in server.log()


def _serve_plainly(net: Line, maker: Maker, text: str) -> Process:
    """A server without the options that the lab adds."""
    directory = net.server.work_directory("plain")
    config = directory / "tunnel.conf"
    config.write_text(text)
    process = net.server.popen([*command(maker), "--config", str(config)], "plain")
    process.wait_for_log("Initialization Sequence Completed", 20)
    return process


def _listing(path: Path) -> str | None:
    """A whole status with all four routes of the client."""
    text = path.read_text() if path.exists() else ""
    whole = text.rstrip().endswith("END")
    return text if whole and "192.168.77.0/24" in text and "2001:db8:a::/64" in text else None


def _counted(path: Path) -> str | None:
    text = path.read_text() if path.exists() else ""
    return text if re.search(r"TUN/TAP read bytes,[1-9]", text) else None


OPENVPN_COLUMNS = 12
"""Of a client in the list."""
OUR_STATISTICS = {
    *("Path MTU", "Tunnel MTU", "Path MTU Learned From", "Path MTU Since (time_t)"),
    *("Probes Sent", "Probes Lost", "Outer Fragments"),
}
_VARYING = (
    (r"ovpn6 [^,\t\n]*|OpenVPN \d[^,\t\n]*", "VERSION"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\b1[5-9]\d{8}\b", "SECONDS"),
)


def _form(text: str) -> list[str]:
    """The lines without times and versions; every number that counts is N. Routes in any order.
    What is ours alone stands behind OpenVPN's columns, or lines, and is left out."""
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text)
    lines = []
    for line in text.splitlines():
        cells = re.split(r"([,\t])", line)
        if cells[0] in OUR_STATISTICS:
            continue
        if "CLIENT_LIST" in cells:
            behind = cells.index("CLIENT_LIST") + 2 * OPENVPN_COLUMNS + 1
            cells = cells[:behind]
        lines.append("".join("N" if cell.isdigit() else cell for cell in cells))
    return sorted(lines) if "ROUTING" in text else lines
