"""Two equal ends, ``tls-server`` and ``tls-client``: with OpenVPN in either part."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

import pytest
from interop.ends import (
    OUR_CLIENT,
    OUR_SERVER,
    OURS_OURS,
    PAIRINGS,
    UP,
    Ends,
    Maker,
    Pairing,
    make_authority,
    server_text,
    up_again,
)
from interop.equal_ends import (
    CLIENT_4,
    CLIENT_6,
    NET30,
    SERVER_4,
    SERVER_6,
    end_text,
    protocol,
    remote,
    start,
)

from ovpn6.lab import Lab, Line, Underlay, line, ping, transfer, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

LIMIT = 40.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("point-to-point"))


def carries_both_families(ends: Ends) -> None:
    net = ends.net
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete, address
    for address in (CLIENT_6, CLIENT_4):
        assert ping(net.server, address).complete, address
    assert transfer(net.client, net.server, SERVER_6, 200_000)


def waiting_server(
    net: Line,
    authority: Authority,
    pairing: Pairing,
    *lines: str,
    wrap: Wrap = Wrap.TLS_CRYPT,
    of_server: Sequence[str] = (),
    of_client: Sequence[str] = (),
) -> Ends:
    """The most common pair: a server's part without remote, and a client's part without port."""
    return start(
        net,
        authority,
        pairing,
        (protocol(net), *NET30, *lines, *of_server),
        (remote(net, "server"), "nobind", *NET30, *lines, *of_client),
        wrap=wrap,
    )


# --- who begins, over what ---


@pytest.mark.parametrize("wrap", list(Wrap), ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_an_end_without_remote_takes_the_peer_that_comes(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    ends = waiting_server(ipv6_line, authority, pairing, wrap=wrap)
    carries_both_families(ends)
    ids = set()
    for end in (ends.server, ends.client):
        match = re.search(r"TLS_export=1, DATA_v2=1, peer-id (\d+), cipher=(\S+)", end.log())
        assert match, end.log()
        ids.add(match[1])
        assert match[2] == "AES-256-GCM"
    assert len(ids) == 1


@pytest.mark.parametrize("wrap", [Wrap.TLS_AUTH, Wrap.NONE], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_end_in_the_server_s_part_may_be_the_only_one_with_a_remote(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = ipv6_line
    ends = start(
        net,
        authority,
        pairing,
        (remote(net, "client"), *NET30),
        (protocol(net), *NET30),
        wrap=wrap,
    )
    carries_both_families(ends)


@pytest.mark.parametrize("families", [Underlay.IPV6, Underlay.IPV4], ids=lambda it: it.name)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_both_ends_may_have_a_remote(
    lab: Lab, authority: Authority, pairing: Pairing, families: Underlay
) -> None:
    net = line(lab, families)
    ends = start(
        net,
        authority,
        pairing,
        (remote(net, "client"), *NET30),
        (remote(net, "server"), *NET30),
    )
    carries_both_families(ends)


@pytest.mark.parametrize("listener", ["server", "client"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_over_tcp_either_part_may_be_the_one_that_connects(
    ipv6_line: Line, authority: Authority, pairing: Pairing, listener: str
) -> None:
    net = ipv6_line
    waits = (protocol(net, "tcp", "server"), *NET30)
    connects = (remote(net, listener, "tcp", "client"), "connect-retry 1", *NET30)
    lines = (waits, connects) if listener == "server" else (connects, waits)
    carries_both_families(start(net, authority, pairing, *lines))


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_with_a_remote_nobody_else_may_come(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    elsewhere = "remote 2001:db8:dead::1 1194 udp6"
    server = Maker.OURS.start(net.server, end_text(authority, "server", elsewhere), "tls-server")
    lines = (remote(net, "server"), "nobind", *NET30)
    client = pairing.client.start(net.client, end_text(authority, "client", *lines), "tls-client")
    server.process.wait_for_log("link local", 10)
    client.process.wait_for_log(r"UDP\S* link local", 10)
    server.process.signal(signal.SIGUSR2)
    wait_for(
        lambda: (
            re.search("control packet from another address: [1-9]", server.log())
            or (server.process.signal(signal.SIGUSR2) or None)
        ),
        10,
        "the server's count of another's packets",
        [server.process],
    )
    assert not re.search(UP, server.log() + client.log())


# --- addresses and routes ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_topology_subnet_and_routes_of_the_file(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    common = ("topology subnet",)
    server_text_ = end_text(
        authority,
        "server",
        protocol(net),
        *common,
        addresses=(
            f"ifconfig-ipv6 {SERVER_6}/64 {CLIENT_6}",
            f"ifconfig {SERVER_4} 255.255.255.0",
            "route-ipv6 fd00:c::/64",
        ),
    )
    client_text_ = end_text(
        authority,
        "client",
        remote(net, "server"),
        *common,
        addresses=(
            f"ifconfig-ipv6 {CLIENT_6}/64 {SERVER_6}",
            f"ifconfig {CLIENT_4} 255.255.255.0",
        ),
    )
    net.client.run(["ip", "-6", "addr", "add", "fd00:c::1/64", "dev", "lo"])
    server = pairing.server.start(net.server, server_text_, "tls-server")
    client = pairing.client.start(net.client, client_text_, "tls-client")
    server.wait_up()
    client.wait_up()
    carries_both_families(Ends(net, server, client))
    assert ping(net.server, "fd00:c::1").complete


# --- ciphers ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_the_server_s_order_decides_on_the_cipher(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = waiting_server(
        ipv6_line,
        authority,
        pairing,
        of_server=("data-ciphers CHACHA20-POLY1305:AES-128-GCM",),
        of_client=("data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",),
    )
    carries_both_families(ends)
    for end in (ends.server, ends.client):
        assert "cipher=CHACHA20-POLY1305" in end.log()


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_ends_without_a_common_cipher_say_so(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    lines = (protocol(net), "data-ciphers AES-256-GCM", *NET30)
    pairing.server.start(net.server, end_text(authority, "server", *lines), "tls-server")
    lines = (remote(net, "server"), "data-ciphers CHACHA20-POLY1305", *NET30)
    client = Maker.OURS.start(net.client, end_text(authority, "client", *lines), "tls-client")
    client.process.wait_for_log("ERROR: no tunnel with .*: no common cipher", 20)
    assert not re.search(UP, client.log())


def test_a_server_with_clients_is_no_equal_end(ipv6_line: Line, authority: Authority) -> None:
    net = ipv6_line
    Maker.STOCK.start(net.server, server_text(authority), "server").wait_up()
    lines = (remote(net, "server"), *NET30)
    client = Maker.OURS.start(net.client, end_text(authority, "client", *lines), "tls-client")
    client.process.wait_for_log("ERROR: no tunnel with .*: the peer does not negotiate", 20)
    assert not re.search(UP, client.log())


# --- renegotiation ---


@pytest.mark.parametrize(
    ("begins", "wrap"),
    [
        ("server", Wrap.TLS_CRYPT),
        ("client", Wrap.TLS_AUTH),
        ("both", Wrap.TLS_CRYPT_V2),
        ("client", Wrap.NONE),
    ],
    ids=lambda it: it.value if isinstance(it, Wrap) else it,
)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_new_keys_under_traffic_lose_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing, begins: str, wrap: Wrap
) -> None:
    net = ipv6_line
    interval, never = ("reneg-sec 3",), ("reneg-sec 0",)
    ends = waiting_server(
        net,
        authority,
        pairing,
        wrap=wrap,
        of_server=interval if begins != "client" else never,
        of_client=interval if begins != "server" else never,
    )
    steady = net.client.popen(["ping", "-i", "0.05", "-c", "240", "-W", "3", SERVER_6], "steady")
    wait_for(
        lambda: all(
            end.log().count("Control Channel: TLS") >= 4 for end in (ends.server, ends.client)
        ),
        LIMIT,
        "three renegotiations in both logs",
        [ends.server.process, ends.client.process],
    )
    steady.wait(30)
    assert "240 packets transmitted, 240 received" in steady.log()
    for end in (ends.server, ends.client):
        assert end.log().count("Initialization Sequence Completed") == 1


# --- losses and the end ---


@pytest.mark.parametrize("ender", ["server", "client"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_goodbye_is_said_and_heard(
    ipv6_line: Line, authority: Authority, pairing: Pairing, ender: str
) -> None:
    ends = waiting_server(ipv6_line, authority, pairing, "explicit-exit-notify 1")
    leaving, staying = (
        (ends.server, ends.client) if ender == "server" else (ends.client, ends.server)
    )
    leaving.process.signal(signal.SIGTERM)
    staying.process.wait_for_log(r"SIGUSR1\[soft,remote-exit\]", 10)
    assert leaving.process.wait(10) == 0


@pytest.mark.parametrize("restarted", ["server", "client"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_peer_that_was_killed_comes_again(
    ipv6_line: Line, authority: Authority, pairing: Pairing, restarted: str
) -> None:
    """The client's part finds out by ping-restart; the server's part takes the new session."""
    ends = waiting_server(ipv6_line, authority, pairing, "keepalive 1 4", "persist-tun")
    other = ends.client if restarted == "server" else ends.server
    with up_again(other):
        end = ends.server if restarted == "server" else ends.client
        end.process.kill()
        end.restart()
        end.wait_up()
    carries_both_families(ends)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_sigusr1_begins_anew_and_keeps_the_device(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = waiting_server(ipv6_line, authority, pairing, "keepalive 1 4", "persist-tun")
    for end, other in ((ends.client, ends.server), (ends.server, ends.client)):
        before = end.device()
        with up_again(other), up_again(end):
            end.process.signal(signal.SIGUSR1)
        assert end.device().index == before.index
        carries_both_families(ends)


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_ping_exit_ends_an_end_whose_peer_is_gone(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = waiting_server(ipv6_line, authority, pairing, "ping 1", of_client=("ping-exit 3",))
    ends.server.process.kill()
    assert ends.client.process.wait(15) == 0
    assert "--ping-exit" in ends.client.log()


def test_nothing_stays_after_the_end(ipv6_line: Line, authority: Authority) -> None:
    ends = waiting_server(ipv6_line, authority, OURS_OURS)
    ends.client.stop()
    ends.server.stop()
    assert not ipv6_line.client.tunnels()
    assert not ipv6_line.server.tunnels()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_fitting_options_are_no_reason_to_warn(
    ipv6_line: Line, authority: Authority, pairing: Pairing, transport: str
) -> None:
    net = ipv6_line
    sides = ("server", "client") if transport == "tcp" else ("", "")
    ends = start(
        net,
        authority,
        pairing,
        (protocol(net, transport, sides[0]), "verb 7", *NET30),
        (remote(net, "server", transport, sides[1]), "verb 7", *NET30),
        wrap=Wrap.TLS_AUTH,
    )
    for end in (ends.server, ends.client):
        assert "is used inconsistently" not in end.log()
        assert "is present in" not in end.log()


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_options_that_do_not_fit_are_told(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    ends = start(
        net,
        authority,
        pairing,
        (protocol(net), "tun-mtu 1400", *NET30),
        (remote(net, "server"), "verb 6", *NET30),
    )
    expected = "'tun-mtu' is used inconsistently, local='tun-mtu 1420', remote='tun-mtu 1400'"
    assert expected in ends.client.log()
