"""What the host does for the sizes of peers: seen in a running tunnel over a narrow path.

Every size at every edge is in test_mtu_matrix.py; here is what strangers and operators do to it.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from interop.ends import client_text, make_authority, remote_of, server_text

from ovpn6.lab import Lab, Namespace, Narrow, Ovpn6, Underlay, narrow, ping, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import DEFAULT_NETWORK4, DEFAULT_NETWORK6

pytestmark = pytest.mark.root

PORT = 1194
OUTER6 = (IPv6Address("2001:db8:5::2"), IPv6Address("2001:db8:c::2"))
OUTER4 = (IPv4Address("198.51.100.2"), IPv4Address("192.0.2.2"))
"""The server's and the client's."""
INNER_SERVER, INNER_SERVER4 = DEFAULT_NETWORK6[1], DEFAULT_NETWORK4[1]
DEVICE = 1420
QUICK = "path-mtu-timers 0.2 60 600"
LIMIT = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("host-sizes"))


@dataclass(slots=True)
class Ends:
    net: Narrow
    server: Ovpn6
    client: Ovpn6


def start(net: Narrow, authority: Authority, family: int) -> Ends:
    common = ("disable-dco", QUICK)
    server = Ovpn6(net.b, server_text(authority, *common, protocol=f"udp{family}"), name="server")
    server.wait_up()
    client = Ovpn6(net.a, client_text(authority, remote_of(net.line), *common), name="client")
    client.wait_up()
    return Ends(net, server, client)


@pytest.fixture
def over_1280(lab: Lab, authority: Authority) -> Ends:
    """Both ends ours, outer IPv6, a path of 1280 octets whose routers keep silent."""
    net = narrow(lab, Underlay.IPV6, path=1280, black_hole=True)
    ends = start(net, authority, 6)
    settle(ends, 1280)
    return ends


@pytest.fixture
def over_1400(lab: Lab, authority: Authority) -> Ends:
    net = narrow(lab, Underlay.IPV4, path=1400)
    ends = start(net, authority, 4)
    settle(ends, 1400)
    return ends


def ip(namespace: Namespace, *words: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(namespace.run(["ip", "-j", *words]).stdout or "[]")
    return shown


def mtu_to(namespace: Namespace, address: object) -> int:
    """The MTU that the host itself would keep to."""
    text = namespace.run(["ip", "route", "get", str(address)]).stdout
    found = re.search(r"\bmtu (\d+)", text)
    if found:
        return int(found[1])
    device = re.search(r"\bdev (\S+)", text)
    assert device is not None, text
    return namespace.device(device[1]).mtu


def inner(ends: Ends) -> tuple[IPv6Address, IPv4Address]:
    """The client's addresses in the tunnel."""
    addresses = [a.ip for a in ends.net.a.addresses(ends.client.device().name)]
    ipv6 = next(a for a in addresses if a.version == 6 and not a.is_link_local)
    return ipv6, next(a for a in addresses if a.version == 4)  # type: ignore[return-value]


def settle(ends: Ends, path: int) -> None:
    family = ends.net.line.server_address.version
    tunnel = min(DEVICE, path - {6: 76, 4: 56}[family])
    client4 = inner(ends)[1]
    wait_for(
        lambda: mtu_to(ends.net.b, client4) == tunnel,
        LIMIT,
        f"a route MTU of {tunnel}",
        [ends.server.process, ends.client.process],
    )


def exceptions(namespace: Namespace) -> str:
    """Route exceptions, which an ICMP message makes."""
    return "".join(
        namespace.run(["ip", family, "route", "show", "cache"]).stdout for family in ("-4", "-6")
    )


def tables(namespace: Namespace) -> set[str]:
    return set(
        re.findall(r"table inet (ovpn6\S*)", namespace.run(["nft", "list", "tables"]).stdout)
    )


def ours(namespace: Namespace) -> list[dict[str, Any]]:
    """Routes with our protocol number."""
    return [
        route for v in ("-4", "-6") for route in ip(namespace, v, "route", "show", "proto", "54")
    ]


# --- what is there --------------------------------------------------------------------------------


def test_routes_to_a_client_say_what_its_path_carries(over_1280: Ends) -> None:
    ipv6, ipv4 = inner(over_1280)
    assert mtu_to(over_1280.net.b, ipv6) == 1280
    assert mtu_to(over_1280.net.b, ipv4) == 1280 - 76
    assert mtu_to(over_1280.net.b, OUTER6[1]) == 1280
    assert mtu_to(over_1280.net.a, OUTER6[0]) == 1280
    assert over_1280.net.a.device(over_1280.client.device().name).mtu == 1280
    assert tables(over_1280.net.b) == {"ovpn6-tun0", "ovpn6-tun0-guard"}


def test_where_nothing_is_fragmented_the_outer_route_is_the_hosts_own(over_1400: Ends) -> None:
    assert mtu_to(over_1400.net.b, OUTER4[1]) == 1500
    assert [route["dst"] for route in ours(over_1400.net.b) if route.get("dev") != "tun0"] == []


# --- strangers ------------------------------------------------------------------------------------


EXTENSIONS = (
    (17, b""),
    (60, bytes((17, 0, 1, 4, 0, 0, 0, 0))),
    (0, bytes((17, 0, 1, 4, 0, 0, 0, 0))),
    (43, bytes((17, 0, 4, 0, 0, 0, 0, 0))),
    (51, bytes((17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1))),
    (44, bytes((17, 0, 0, 1, 0, 0, 0, 9))),
    (44, bytes((60, 0, 0, 1, 0, 0, 0, 9, 17, 0, 1, 4, 0, 0, 0, 0))),
)
"""The next header of a quoted packet, and what stands before its UDP header: nothing, destination
options, hop-by-hop options, routing, authentication, a fragment's header, and options behind it."""


def too_big6(size: int, port: int, header: int = 17, extension: bytes = b"") -> bytes:
    """Packet Too Big about a datagram of the server to the client."""
    server, client = OUTER6
    datagram = extension + struct.pack("!HHHH", port, 40_000, 1400, 0) + b"junk" * 20
    quoted = struct.pack("!IHBB", 6 << 28, 1400, header, 64) + server.packed + client.packed
    return struct.pack("!BBHI", 2, 0, 0, size) + quoted + datagram


def too_big4(size: int, port: int, words: int = 5) -> bytes:
    server, client = OUTER4
    datagram = struct.pack("!HHHH", port, 40_000, 1400, 0) + b"junk" * 20
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, 1420, 0, 0x4000, 64, 17, 0)
    options = bytes([1]) * (4 * words - 20)
    quoted = header + server.packed + client.packed + options + datagram
    message = struct.pack("!BBHHH", 3, 4, 0, 0, size) + quoted
    return message[:2] + checksum(message) + message[4:]


def checksum(message: bytes) -> bytes:
    padded = message + bytes(len(message) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


SEND = """
import socket, sys
family, protocol = (10, 58) if ":" in sys.argv[1] else (2, 1)
with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
    for line in sys.stdin:
        raw.sendto(bytes.fromhex(line), (sys.argv[1], 0))
"""


def forge(net: Narrow, target: object, *messages: bytes) -> None:
    """The router near the server says this."""
    net.black_hole(on=False)
    text = "".join(f"{message.hex()}\n" for message in messages)
    net.q.run(["python3", "-c", SEND, str(target)], stdin=text)


def test_a_forged_packet_too_big_changes_nothing(over_1280: Ends) -> None:
    before = mtu_to(over_1280.net.b, OUTER6[1])
    sizes = (1279, 1280, 1300, 1000, 9000)
    forged = [too_big6(size, PORT, *quoted) for size in sizes for quoted in EXTENSIONS]
    forge(over_1280.net, OUTER6[0], *forged)
    assert ping(over_1280.net.b, inner(over_1280)[0]).complete
    assert exceptions(over_1280.net.b) == ""
    assert mtu_to(over_1280.net.b, OUTER6[1]) == before
    assert mtu_to(over_1280.net.b, inner(over_1280)[1]) == 1280 - 76


def test_a_forged_fragmentation_needed_changes_nothing(over_1400: Ends) -> None:
    sizes, words = (576, 1000, 1300), (5, 6, 15)
    messages = [too_big4(size, PORT, words=each) for size in sizes for each in words]
    forge(over_1400.net, OUTER4[0], *messages)
    assert ping(over_1400.net.b, inner(over_1400)[1]).complete
    assert exceptions(over_1400.net.b) == ""
    assert mtu_to(over_1400.net.b, OUTER4[1]) == 1500
    assert mtu_to(over_1400.net.b, inner(over_1400)[1]) == 1400 - 56


LISTEN = """
import socket, sys
with socket.socket(10, socket.SOCK_DGRAM) as sock:
    sock.bind(("::", int(sys.argv[1])))
    sock.recv(1)
"""


def test_about_anybody_elses_socket_the_same_message_is_believed(over_1280: Ends) -> None:
    """So a test above would see it if the kernel believed it of ours."""
    server = over_1280.net.b
    server.popen(["python3", "-c", LISTEN, "5353"], name="stranger")
    over_1280.server.stop()
    over_1280.client.stop()

    def believed() -> bool:
        forge(over_1280.net, OUTER6[0], too_big6(1300, 5353))
        return "mtu 1300" in exceptions(server)

    wait_for(believed, LIMIT, "a route exception")


def test_a_hint_has_a_lower_path_found_at_once(lab: Lab, authority: Authority) -> None:
    """The timers alone would take a minute to look again."""
    net = narrow(lab, Underlay.IPV6, path=1500)
    ends = start(net, authority, 6)
    settle(ends, 1500)
    net.set_path(1400)
    # More than 1400 octets of outer packet: R says so to both ends.
    for sender, target in ((net.b, inner(ends)[0]), (net.a, INNER_SERVER)):
        ping(sender, target, size=1390)
    settle(ends, 1400)
    assert exceptions(net.b) == exceptions(net.a) == ""


# --- ends -----------------------------------------------------------------------------------------


def state(namespace: Namespace) -> object:
    shown = [ip(namespace, v, "route", "show", "table", "all") for v in ("-4", "-6")]
    order = json.dumps
    rules = namespace.run(["nft", "list", "ruleset"]).stdout
    return [sorted(routes, key=order) for routes in shown], rules


def test_an_end_in_order_leaves_the_host_as_it_was(lab: Lab, authority: Authority) -> None:
    net = narrow(lab, Underlay.IPV6, path=1280, black_hole=True)
    before = state(net.a), state(net.b)
    ends = start(net, authority, 6)
    settle(ends, 1280)
    assert ends.client.stop() == ends.server.stop() == 0
    assert (state(net.a), state(net.b)) == before


def test_after_sigkill_the_tables_are_gone_and_a_start_undoes_the_rest(
    lab: Lab, authority: Authority
) -> None:
    net = narrow(lab, Underlay.IPV6, path=1280, black_hole=True)
    before = state(net.b)
    ends = start(net, authority, 6)
    settle(ends, 1280)
    ends.server.process.kill()
    wait_for(lambda: not tables(net.b), LIMIT, "no tables")
    assert [route["dst"] for route in ours(net.b)] == [str(OUTER6[1])]
    ends.client.stop()
    again = Ovpn6(net.b, server_text(authority, "disable-dco", protocol="udp6"), name="again")
    again.wait_up()
    assert "undid what was left" in again.log()
    again.stop()
    assert state(net.b) == before


def test_what_somebody_flushes_comes_again(over_1280: Ends) -> None:
    server = over_1280.net.b
    before = state(server)
    server.run(["nft", "flush", "ruleset"])
    server.run(["nft", "delete", "table", "inet", "ovpn6-tun0"], check=False)
    for version in ("-4", "-6"):
        server.run(["ip", version, "route", "flush", "proto", "54"])
    wait_for(lambda: state(server) == before, LIMIT, "everything again")
    assert ping(server, inner(over_1280)[0], size=1232).complete


# --- TCP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_client", [False, True])
def test_both_ends_of_a_connection_learn_what_fits(over_1280: Ends, of_client: bool) -> None:
    """The SYN of one side, the SYN-ACK of the other; the larger MSS of neither gets through."""
    net = over_1280.net
    ipv6, ipv4 = inner(over_1280)
    if of_client:
        sender, listener, targets = net.a, net.b, (INNER_SERVER, INNER_SERVER4)
    else:
        sender, listener, targets = net.b, net.a, (ipv6, ipv4)
    for target, header in zip(targets, (60, 40), strict=True):
        mss = 1280 - 76 - header
        assert segments(sender, listener, target) == (mss, mss)


SERVE = """
import socket, sys
family = 10 if ":" in sys.argv[1] else 2
with socket.create_server((sys.argv[1], 8080), family=family) as listener:
    print("ready", flush=True)
    connection, _ = listener.accept()
    print(connection.getsockopt(6, 2), flush=True)
    connection.recv(1)
"""
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), 10) as connection:
    print(connection.getsockopt(6, 2))
"""


def segments(sender: Namespace, listener: Namespace, target: object) -> tuple[int, int]:
    """What both ends take for the largest segment, without the option for time stamps."""
    for namespace in (sender, listener):
        namespace.sysctl({"net.ipv4.tcp_timestamps": "0"})
    serving = listener.popen(["python3", "-u", "-c", SERVE, str(target)], name="serve")
    wait_for(lambda: "ready" in serving.log(), LIMIT, "a listener", [serving])
    theirs = int(sender.run(["python3", "-c", CONNECT, str(target)]).stdout)
    wait_for(lambda: len(serving.log().split()) == 2, LIMIT, "its connection", [serving])
    return theirs, int(serving.log().split()[1])
