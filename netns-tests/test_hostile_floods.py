"""Floods by strangers, and by holders of the key who never finish: bounded, and survived."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from interop import wire
from interop.ends import INNER, SERVER_6, Maker, client_text, server_text
from serving.attack import dropped_since, drops, socket_in
from serving.ends import make_clients

from ovpn6.lab import (
    Capture,
    Lab,
    Namespace,
    Process,
    Star,
    Tunnel,
    ping,
    star,
    wait_for,
    wait_reachable,
)
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine, Wrap

pytestmark = pytest.mark.root

COUNT = 200_000
RATE = 40_000
ROUNDS = 4
WARM_UP = 60_000
LEAK_KIB = 512
"""12 octets for each packet of a round that is read."""
ALL_THAT_WAITS_KIB = 8192
"""4,096 control packets that wait for their turn, and what the memory allocator makes of it."""
GROWTH_KIB = 3072
"""What the heap of a Python process may breathe."""

_FLOOD = str(Path(__file__).parent / "serving" / "flood.py")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("floods"), ["client", "late"])


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with a client on it, and a host of somebody else's."""

    net: Star
    server: Tunnel
    client: Tunnel
    attacker: Namespace


def scene(
    lab: Lab, authority: Authority, *lines: str, wrap: Wrap = Wrap.TLS_CRYPT, transport: str = "udp"
) -> Scene:
    """Client 1 is connected, client 2 is the attacker."""
    net = star(lab, 2)
    server = Maker.OURS.start(
        net.server, server_text(authority, *lines, wrap=wrap, protocol=f"{transport}6"), "server"
    )
    server.wait_up()
    remote = RemoteLine(str(net.server_address), protocol=f"{transport}6")
    text = client_text(authority, remote, wrap=wrap)
    client = Maker.STOCK.start(net.clients[0], text, "client")
    client.wait_up()
    wait_reachable(net.clients[0], SERVER_6)
    return Scene(net, server, client, net.clients[1])


@contextmanager
def survives(of: Scene) -> Iterator[None]:
    """The client's tunnel is the same one afterwards, and works."""
    row = of.server.status().client("client")
    yield
    for address in INNER:
        wait_reachable(of.client.namespace, address)
        assert ping(of.client.namespace, address, count=10).complete
    assert of.client.log().count("Initialization Sequence Completed") == 1
    after = of.server.status().client("client")
    assert row is None or (after is not None and after.real_address == row.real_address)
    for words in ("BUG", "Traceback"):
        assert words not in of.server.log()


# --- strangers without a key ---


@pytest.mark.parametrize("wrap", Wrap, ids=lambda wrap: wrap.value)
def test_a_flood_of_garbage_costs_no_memory_and_earns_no_large_answer(
    lab: Lab, authority: Authority, wrap: Wrap
) -> None:
    of = scene(lab, authority, wrap=wrap)
    begun = time.monotonic()
    with survives(of), Capture(of.net.underlay, "to-server", "udp and src port 1194") as capture:
        _flood(of, WARM_UP).wait(60)
        _drained(of)
        log = len(of.server.log())
        memory, answered = [of.server.process.memory_kib()], 0
        for _ in range(ROUNDS):
            flood = _flood(of, COUNT // ROUNDS)
            # The tunnel works meanwhile; the socket's buffer overflows now and then.
            while flood.running:
                answered += ping(of.client.namespace, SERVER_6, count=20, interval=0.02).received
            assert flood.wait(1) == 0
            _drained(of)
            memory.append(of.server.process.memory_kib())
        assert answered > 0
        # The most that ever waits may be reached late; what leaks does so in every round.
        assert min(after - before for before, after in pairwise(memory)) < LEAK_KIB, memory
        assert memory[-1] - memory[0] < ALL_THAT_WAITS_KIB, memory
        # Nor does it fill a disk.
        assert len(of.server.log()) - log < 20_000
        seconds = time.monotonic() - begun
        answers = [
            packet
            for packet in wire.packets(capture)
            if packet.destination[0].startswith("2001:db8:c:1:")
        ]
    if wrap is Wrap.NONE:
        # connect-freq-initial's default is 100 in 10 s. The answer to 14 octets has to have 26.
        assert 0 < len(answers) <= 100 * (seconds / 10 + 1)
        assert {len(packet.payload) for packet in answers} == {26}
    else:
        assert answers == []


def test_a_new_client_gets_in_during_a_flood(lab: Lab, authority: Authority) -> None:
    of = scene(lab, authority)
    flood = _flood(of, 400_000, rate=5_000)
    of.client.stop()
    remote = RemoteLine(str(of.net.server_address), protocol="udp6")
    late = Maker.STOCK.start(
        of.client.namespace, client_text(authority, remote, name="late"), "late"
    )
    late.wait_up(limit=30)
    wait_reachable(of.client.namespace, SERVER_6)
    assert flood.running
    flood.stop()


# --- those who answer the server's cookie and then say nothing ---


def test_half_open_connections_are_bounded_and_forgotten(lab: Lab, authority: Authority) -> None:
    of = scene(
        lab,
        authority,
        *("max-clients 100", "hand-window 6", "connect-freq-initial 100000 10"),
        wrap=Wrap.NONE,
    )
    with survives(of), _attacker_socket(of) as opener:
        _half_open(of, opener, 300)
        memory = of.server.process.memory_kib()
        before = drops(of.server)
        _half_open(of, opener, 2000)
        refused = dropped_since(before, drops(of.server))
        assert refused.get("too many half-open connections", 0) >= 1900, refused
        assert of.server.process.memory_kib() - memory < GROWTH_KIB
    # When their time is over there is room again.
    of.client.stop()
    remote = RemoteLine(str(of.net.server_address), protocol="udp6")
    text = client_text(authority, remote, "connect-timeout 3", name="late", wrap=Wrap.NONE)
    late = Maker.STOCK.start(of.client.namespace, text, "late")
    late.wait_up(limit=30)


def test_connect_freq_initial_bounds_the_answers(lab: Lab, authority: Authority) -> None:
    of = scene(lab, authority, "connect-freq-initial 7 60", wrap=Wrap.NONE)
    with survives(of), _attacker_socket(of) as opener:
        answers = 0
        for number in range(200):
            opener.send(b"\x38" + os.urandom(8) + bytes(5))
            answers += len(_received(opener, 0.2 if number == 199 else 0.0))
    # The client's own handshake gave its answer back.
    assert 5 <= answers <= 7


@pytest.mark.parametrize("content", ["garbage", "endless-hello", "largest"])
def test_control_packets_of_a_half_open_connection_are_bounded(
    lab: Lab, authority: Authority, content: str
) -> None:
    of = scene(lab, authority, "connect-freq-initial 100000 10", wrap=Wrap.NONE)
    with survives(of):
        memory = 0
        for attempt in range(30):
            with _attacker_socket(of) as end:
                own, theirs = _shake_hands(end)
                for number in range(1, 40):
                    end.send(_control(own, theirs, number, _fragment(content, number)))
                    _received(end, 0.001)
            if attempt == 5:
                memory = of.server.process.memory_kib()
        assert ping(of.client.namespace, SERVER_6).complete
        assert of.server.process.memory_kib() - memory < GROWTH_KIB


# --- TCP ---


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xff" + b"x" * 100,
        b"\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["http", "longest", "zero", "tls"],
)
def test_a_tcp_connection_that_speaks_something_else_is_closed(
    lab: Lab, authority: Authority, garbage: bytes
) -> None:
    of = scene(lab, authority, transport="tcp")
    with survives(of), _tcp(of) as end:
        end.sendall(garbage)
        assert _closed(end, 5)


def test_a_tcp_connection_that_says_nothing_is_closed_after_the_hand_window(
    lab: Lab, authority: Authority
) -> None:
    of = scene(lab, authority, "hand-window 3", transport="tcp")
    with survives(of), _tcp(of) as silent, _tcp(of) as slow:
        slow.sendall(b"\x00")
        assert _closed(silent, 8)
        assert _closed(slow, 8)


def test_many_tcp_connections_that_say_nothing_are_bounded(lab: Lab, authority: Authority) -> None:
    of = scene(lab, authority, "max-clients 50", "hand-window 4", transport="tcp")
    with survives(of), ExitStack() as opened:
        ends = [opened.enter_context(_tcp(of)) for _ in range(200)]
        # 64 may wait, the rest is sent away at once.
        assert wait_for(lambda: sum(_closed(end, 0) for end in ends) >= 130, 3, "refusals")
        assert ping(of.client.namespace, SERVER_6).complete
        wait_for(lambda: all(_closed(end, 0) for end in ends), 10, "the end of all")
        descriptors = len(os.listdir(f"/proc/{of.server.process.pid}/fd"))
        assert descriptors < 60


def test_random_streams_over_tcp_do_no_harm(lab: Lab, authority: Authority) -> None:
    of = scene(lab, authority, transport="tcp")
    with survives(of):
        memory = 0
        for number in range(300):
            with _tcp(of) as end:
                frame = os.urandom(1 + number % 900)
                # A good length first: what is in it is looked at.
                end.sendall(len(frame).to_bytes(2, "big") + frame + os.urandom(50))
            if number == 50:
                memory = of.server.process.memory_kib()
        wait_reachable(of.client.namespace, SERVER_6)
        assert of.server.process.memory_kib() - memory < GROWTH_KIB


# --- tools ---


def _flood(of: Scene, count: int, rate: int = RATE) -> Process:
    router = of.attacker.run(["ip", "-6", "neigh", "show", "2001:db8:c:1::1"]).stdout
    if "lladdr" not in router:
        ping(of.attacker, "2001:db8:c:1::1", count=1)
        router = of.attacker.run(["ip", "-6", "neigh", "show", "2001:db8:c:1::1"]).stdout
    mac = re.search(r"lladdr (\S+)", router)
    assert mac is not None, router
    arguments = ["to-underlay", mac[1], "2001:db8:c:1::", str(of.net.server_address), "1194"]
    return of.attacker.popen(
        [sys.executable, "-I", "-S", _FLOOD, *arguments, str(count), str(rate), "mixed"], "flood"
    )


def _drained(of: Scene) -> None:
    """Until the server has read what waits in its socket."""

    def empty() -> bool:
        lines = of.net.server.run(["ss", "-unlH", "sport", "=", "1194"]).stdout.split()
        return bool(lines) and lines[1] == "0"

    wait_for(empty, 20, "an empty receive queue", [of.server.process])


@contextmanager
def _attacker_socket(of: Scene) -> Iterator[socket.socket]:
    with socket_in(of.attacker, socket.AF_INET6, socket.SOCK_DGRAM) as end:
        end.connect((str(of.net.server_address), 1194))
        end.setblocking(False)
        yield end


def _half_open(of: Scene, end: socket.socket, count: int) -> None:
    """So many handshakes up to the packet that makes the server remember."""
    for _ in range(count):
        own, theirs = _shake_hands(end)
        end.send(_control(own, theirs, 1, b"\x16\x03\x01"))
        _received(end, 0.0)


def _shake_hands(end: socket.socket) -> tuple[bytes, bytes]:
    """Reset and answer without wrap; both session ids."""
    own = os.urandom(8)
    end.send(b"\x38" + own + bytes(5))

    for _ in range(1000):
        # Answers to those before come too.
        reply = next((data for data in _first(end, 5.0) if own in data), None)
        if reply is not None:
            return own, reply[1:9]
    raise AssertionError("no answer from the server")


def _control(own: bytes, theirs: bytes, number: int, content: bytes) -> bytes:
    """P_CONTROL_V1 that acknowledges the server's reset."""
    acks = b"\x01" + bytes(4) + theirs
    return b"\x20" + own + acks + number.to_bytes(4, "big") + content


def _fragment(content: str, number: int) -> bytes:
    if content == "garbage":
        return os.urandom(1200)
    if content == "largest":
        return b"\x16\x03\x01\x40\x00" + bytes(40_000)
    # A ClientHello that says it is 16 MB long, in records of 16 KB.
    begin = b"\x16\x03\x01\x40\x00" + (b"\x01\xff\xff\xff\x03\x03" if number == 1 else b"")
    return begin + bytes(1200)


def _received(end: socket.socket, limit: float) -> list[bytes]:
    """What is there, and what comes until nothing comes for ``limit`` seconds."""
    found = []
    end.settimeout(limit)
    with contextlib.suppress(BlockingIOError, TimeoutError, ConnectionRefusedError):
        while True:
            found.append(end.recv(65535))
    return found


def _first(end: socket.socket, limit: float) -> list[bytes]:
    """One datagram, or none within the limit, and what is there already."""
    end.settimeout(limit)
    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
        return [end.recv(65535), *_received(end, 0)]
    return []


@contextmanager
def _tcp(of: Scene) -> Iterator[socket.socket]:
    with socket_in(of.attacker, socket.AF_INET6, socket.SOCK_STREAM) as end:
        end.settimeout(5)
        end.connect((str(of.net.server_address), 1194))
        yield end


def _closed(end: socket.socket, limit: float) -> bool:
    """Whether the other side has ended the connection, within ``limit`` seconds."""
    end.settimeout(limit)
    try:
        while True:
            if not end.recv(65535):
                return True
    except (BlockingIOError, TimeoutError):
        return False
    except ConnectionError:
        return True
