"""Each offload may be missing: the tunnel works without it, and the log says so.

``OVPN6_WITHOUT`` stands for a kernel that lacks them (``UserspaceOptions.without``).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from datapath_ends import LIMIT, PEER, Ends, in_python, natively

from ovpn6.datapath.interface import Datapath
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.lab.network import Lab
from ovpn6.model.names import Transport
from ovpn6.model.specs import DeviceSpec

STEPS: tuple[frozenset[Offload], ...] = (
    frozenset(),
    frozenset({Offload.USO}),
    frozenset({Offload.TUN}),
    frozenset({Offload.SEGMENT}),
    frozenset({Offload.GRO}),
    frozenset({Offload.TUN, Offload.SEGMENT, Offload.GRO}),
)
DATA = bytes(range(251)) * 8000
TRAIN = 20_000
PORT = 7000
UDP_SEGMENT = 103
RECEIVED, SENT = 2, 10
"""Columns of packets in /proc/net/dev."""
Make = Callable[[frozenset[Offload]], Ends]


@pytest.fixture(params=[in_python, natively])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Ends] = []
    with Lab() as lab:

        def make_ends(without: frozenset[Offload]) -> Ends:
            options = UserspaceOptions(without=without)
            made.append(Ends(lab, partial(request.param, options=options)))
            return made[-1]

        yield make_ends
        for ends in made:
            ends.close()


def listening(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.settimeout(LIMIT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    # the connection of the family before may still wait for its last acknowledgement
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", PORT))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def talking(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.settimeout(LIMIT)
    return sock


def carry_stream(listener: socket.socket, client: socket.socket, target: str) -> bytes:
    """What arrives of a TCP stream of DATA; blocks."""
    received = bytearray()

    def receive() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(LIMIT)
            while chunk := connection.recv(1 << 16):
                received.extend(chunk)

    receiver = threading.Thread(target=receive)
    with listener, client:
        receiver.start()
        client.connect((target, PORT))
        client.sendall(DATA)
        client.shutdown(socket.SHUT_WR)
        receiver.join(LIMIT)
    return bytes(received)


def carry_datagrams(listener: socket.socket, client: socket.socket, target: str) -> list[bytes]:
    """What arrives of a train of datagrams that the kernel may cut late; blocks."""
    with listener, client:
        client.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
        client.sendto(DATA[:TRAIN], (target, PORT))
        return [listener.recv(2000) for _ in range(0, TRAIN, 1000)]


CARRIERS: tuple[tuple[int, Callable[..., object]], ...] = (
    (socket.SOCK_STREAM, carry_stream),
    (socket.SOCK_DGRAM, carry_datagrams),
)


@pytest.mark.parametrize(
    "without", STEPS, ids=lambda names: "+".join(sorted(one.value for one in names)) or "all"
)
def test_streams_and_datagrams_arrive_whole(make: Make, without: frozenset[Offload]) -> None:
    ends = make(without)
    ends.join(Transport.UDP)
    here, there = (namespace.full_name for namespace in ends.namespaces)
    for family, target in ((socket.AF_INET6, "2001:db8:a::1"), (socket.AF_INET, "192.0.2.1")):
        for kind, carry in (
            (socket.SOCK_STREAM, carry_stream),
            (socket.SOCK_DGRAM, carry_datagrams),
        ):
            listener = in_netns(here, partial(listening, family, kind))
            client = in_netns(there, partial(talking, family, kind))
            job = asyncio.to_thread(carry, listener, client, target)
            arrived = ends.loop.run_until_complete(asyncio.wait_for(job, 2 * LIMIT))
            if kind == socket.SOCK_STREAM:
                assert arrived == DATA
            else:
                assert arrived == [DATA[at : at + 1000] for at in range(0, TRAIN, 1000)]
    dropped = ends.paths[0].drops().counts
    assert not [reason for reason in dropped if "multicast" not in reason], dropped


def test_a_tunnel_with_offloads_carries_many_segments_a_read_and_write(make: Make) -> None:
    """The kernel's counts of the devices tell: a super-packet is one packet there."""
    ends = make(frozenset())
    ends.join(Transport.UDP)
    here, there = (namespace.full_name for namespace in ends.namespaces)
    listener = in_netns(here, partial(listening, socket.AF_INET6, socket.SOCK_STREAM))
    client = in_netns(there, partial(talking, socket.AF_INET6, socket.SOCK_STREAM))
    job = asyncio.to_thread(carry_stream, listener, client, "2001:db8:a::1")
    assert ends.loop.run_until_complete(asyncio.wait_for(job, 2 * LIMIT)) == DATA
    segments = len(DATA) / 1348
    assert ends.paths[0].counters(PEER).packets_in > segments
    for number, column in ((1, SENT), (0, RECEIVED)):
        shown = ends.run(ends.namespaces[number], "cat", "/proc/net/dev")
        [line] = (line for line in shown.splitlines() if "tun0:" in line)
        assert int(line.split()[column]) < segments / 4


def test_what_is_not_used_is_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ovpn6.datapath")
    make(frozenset({Offload.USO}))
    assert "segmentation of TCP\n" in caplog.text


@pytest.mark.parametrize("kind", [in_python, natively])
def test_a_persistent_device_is_left_as_the_next_program_expects_it(
    kind: Callable[..., Datapath],
) -> None:
    loop = asyncio.new_event_loop()
    with Lab() as lab:
        namespace = lab.namespace("a")
        namespace.run(("ip", "tuntap", "add", "mode", "tun", "name", "tun9"))
        shown = []
        path = kind(lambda report: None, loop)
        path.open_device(DeviceSpec("tun9", netns=namespace.full_name), 1420)
        for act in (path.close, loop.close):
            features = namespace.run(("ethtool", "-k", "tun9")).stdout
            shown.append("tcp-segmentation-offload: on" in features)
            act()
    assert shown == [True, False]
