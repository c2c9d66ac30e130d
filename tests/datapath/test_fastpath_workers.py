"""Several workers (lanes) of the native data path: each peer has one, and no other touches it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Iterator

import pytest

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.fastpath.reports import to_sockaddr
from ovpn6.datapath.fastpath.steering import open_beside, suitable_workers
from ovpn6.datapath.links import local_endpoint, open_socket
from ovpn6.datapath.offload.vnet import VNET_SIZE
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec, SocketOptions
from ovpn6.protocol.data_channel import ReceiveKey, ReplayWindow, SendKey
from tests.datapath.native_worker import HERE, LIMIT, LINK, NO_LIMIT, PEER, Alone
from tests.datapath.packets import ip_packet, key_pair

pytest.importorskip("ovpn6.datapath.fastpath._fastpath")

LANES = 4
PEERS = range(8, 18)
VNET = bytes(VNET_SIZE)
ELSEWHERE = {"tunnel another worker's", "data another worker's"}
SPEC = LinkSpec(Transport.UDP, local_address=HERE)


class Far:
    """The other end of a further peer of an ``Alone``, at a socket of its own."""

    def __init__(self, worker: Alone, peer: int) -> None:
        self.worker, self.peer = worker, peer
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.bind(("::1", 0))
        self.sock.setblocking(False)
        self.sender, self.receiver = (
            SendKey(key_pair(1), peer),
            ReceiveKey(key_pair(1), ReplayWindow(0)),
        )
        there = to_sockaddr(to_endpoint(self.sock.getsockname()), socket.AF_INET6)
        worker.worker.add_peer(peer)
        worker.worker.set_peer(peer, peer, 0, 0, 0, True, 0, 0, True)
        worker.worker.set_route(self.address, 128, peer)
        worker.worker.place_peer(peer, LINK, there, b"")
        worker.install(key_pair(0), NO_LIMIT, 0, peer)

    @property
    def address(self) -> bytes:
        return b"\x20\x01\x0d\xb8" + bytes(10) + self.peer.to_bytes(2, "big")

    @property
    def text(self) -> str:
        return f"2001:db8::{self.peer:x}"

    def send(self, packet: bytes) -> None:
        self.sock.sendto(self.sender.seal(packet), self.worker.link.getsockname())

    def opened(self) -> list[bytes]:
        return [self.receiver.open(datagram) for datagram in received(self.sock)]


def received(*socks: socket.socket) -> list[bytes]:
    """What waits there."""
    taken: list[bytes] = []
    for sock in socks:
        with contextlib.suppress(BlockingIOError):
            while True:
                taken.append(sock.recv(1 << 17))
    return taken


def up(far: Far, number: int) -> bytes:
    return ip_packet(far.text, "2001:db8:1::1", number.to_bytes(4, "big"))


def down(far: Far, number: int) -> bytes:
    return ip_packet("2001:db8:1::1", far.text, number.to_bytes(4, "big"))


@pytest.fixture(params=[False, True], ids=["two threads", "one thread"])
def worker(request: pytest.FixtureRequest) -> Iterator[Alone]:
    made = Alone(single=bool(request.param), lanes=LANES, window=(2048, 0))
    yield made
    made.close()


@pytest.fixture
def fars(worker: Alone) -> Iterator[list[Far]]:
    made = [Far(worker, peer) for peer in PEERS]
    yield made
    for far in made:
        far.sock.close()


def carry(worker: Alone, fars: list[Far], rounds: int, first: int = 0) -> None:
    """Numbered packets of all peers both ways, steered as the kernel does; all must arrive."""
    numbers = range(first, first + rounds)
    lanes = len(worker.queues) if len(worker.links) > 1 else 1
    written: list[bytes] = []
    opened: dict[int, list[bytes]] = {far.peer: [] for far in fars}

    def look() -> bool:
        written.extend(packet[VNET_SIZE:] for packet in received(*worker.queues))
        for far in fars:
            opened[far.peer] += far.opened()
        return len(written) >= done * len(fars) and all(
            len(packets) >= done for packets in opened.values()
        )

    for number in numbers:
        done = number - first + 1
        for far in fars:
            far.send(up(far, number))
            worker.queues[far.peer % lanes].send(VNET + down(far, number))
        worker.until(look, *worker.queues)
    assert sorted(written) == sorted(up(far, number) for far in fars for number in numbers)
    for far in fars:
        # The order of one peer's packets stays.
        assert opened[far.peer] == [down(far, number) for number in numbers]


def wait_written(worker: Alone, packets: list[bytes]) -> None:
    """Until these came out of the tunnel, in whatever order, and nothing else."""
    written: list[bytes] = []

    def all_written() -> bool:
        written.extend(packet[VNET_SIZE:] for packet in received(*worker.queues))
        return len(written) >= len(packets)

    worker.until(all_written, *worker.queues)
    assert sorted(written) == sorted(packets)


# --- one peer, one worker ---------------------------------------------------------------------


def test_the_packets_of_each_peer_go_through_its_worker(worker: Alone, fars: list[Far]) -> None:
    carry(worker, fars, 20)
    assert worker.worker.drops() == {}
    expected = [0] * LANES
    for far in fars:
        expected[far.peer % LANES] += 20
    assert worker.worker.lanes() == [(number, number) for number in expected]
    for far in fars:
        assert worker.worker.counters(far.peer)[4:] == (20, 20)


def test_what_came_to_another_worker_is_dropped_with_the_keys_untouched(
    worker: Alone, fars: list[Far]
) -> None:
    far = fars[0]
    wrong = worker.queues[(far.peer + 1) % LANES]
    wrong.send(VNET + down(far, 1))
    worker.until(lambda: worker.worker.drops().get("tunnel another worker's") == 1)
    # Another link, whose sockets have ports of their own: nothing is steered there.
    others = [open_socket(SPEC) for _ in range(LANES)]
    for sock in others:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    worker.worker.add_udp(2, [sock.fileno() for sock in others], socket.AF_INET6, False)
    datagram = far.sender.seal(up(far, 1))
    far.sock.sendto(datagram, others[(far.peer + 1) % LANES].getsockname())
    worker.until(lambda: worker.worker.drops().get("data another worker's") == 1)
    assert worker.worker.counters(far.peer) == (0, 0, 0, 0, 0, 0)
    assert worker.worker.lanes() == [(0, 0)] * LANES
    # The same datagram is no replay where it belongs.
    far.sock.sendto(datagram, worker.link.getsockname())
    wait_written(worker, [up(far, 1)])
    carry(worker, fars, 3, first=2)
    worker.worker.remove_link(2)
    for sock in others:
        sock.close()


def test_control_packets_come_through_whatever_worker(worker: Alone) -> None:
    sent = [bytes([opcode << 3]) + b"control" for opcode in range(3, 12) if opcode not in (6, 9)]
    for datagram in sent:
        worker.outside.sendto(datagram, worker.link.getsockname())
    taken: list[object] = []

    def all_told() -> bool:
        taken.extend(report[7] for report in worker.worker.reports() if report[0] == 1)
        return len(taken) == len(sent)

    worker.until(all_told)
    assert taken == sent


def test_a_peer_that_moves_stays_with_its_worker(worker: Alone, fars: list[Far]) -> None:
    carry(worker, fars, 2)
    for far in fars:
        far.sock.close()
        far.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        far.sock.bind(("::1", 0))
        far.sock.setblocking(False)
        far.send(up(far, 99))
    floated: set[object] = set()

    def all_told() -> bool:
        floated.update(report[2] for report in worker.worker.reports() if report[0] == 3)
        return floated == set(PEERS)

    worker.until(all_told)
    wait_written(worker, [up(far, 99) for far in fars])
    carry(worker, fars, 5, first=2)
    assert worker.worker.drops() == {}


def test_pings_and_the_last_word_are_the_peers_own_workers(worker: Alone, fars: list[Far]) -> None:
    for far in fars:
        worker.worker.set_peer(far.peer, far.peer, 1, 0, 0, True, 0, 0, True)
    worker.until(lambda: all(sent >= 1 for _, sent in worker.worker.lanes()))
    for far in fars:
        worker.worker.send_exit(far.peer)
        worker.until(
            lambda far=far: any(packet[:4] == b"\x28\x7f\x34\x6b" for packet in far.opened())
        )


def test_a_connection_is_read_by_the_first_worker_whoever_is_at_its_end(
    worker: Alone, fars: list[Far]
) -> None:
    far = fars[1]
    assert far.peer % LANES != 0
    carry(worker, fars, 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for sock in (ours, theirs):
        sock.setblocking(False)
    worker.worker.add_stream(3, ours.fileno(), 2000)
    worker.worker.place_peer(far.peer, 3, b"", b"")
    before = worker.worker.lanes()
    datagram = far.sender.seal(up(far, 1))
    theirs.send(len(datagram).to_bytes(2, "big") + datagram)
    worker.queues[far.peer % LANES].send(VNET + down(far, 1))
    wait_written(worker, [up(far, 1)])
    worker.until(lambda: worker.worker.counters(far.peer)[4:] == (2, 2))
    after = worker.worker.lanes()
    assert after[0][0] == before[0][0] + 1
    assert after[far.peer % LANES][1] == before[far.peer % LANES][1] + 1
    worker.until(lambda: bool(select.select([theirs], (), (), 0)[0]))
    framed = theirs.recv(2000)
    assert far.receiver.open(framed[2:]) == down(far, 1)
    # And back.
    worker.worker.place_peer(
        far.peer, LINK, to_sockaddr(to_endpoint(far.sock.getsockname()), socket.AF_INET6), b""
    )
    worker.worker.remove_link(3)
    carry(worker, fars, 3, first=5)
    for sock in (ours, theirs):
        sock.close()


# --- one worker after all ---------------------------------------------------------------------


def test_all_peers_gather_at_the_first_worker_in_the_middle_of_traffic(
    worker: Alone, fars: list[Far]
) -> None:
    carry(worker, fars, 5)
    for number in range(5, 25):
        for far in fars:
            far.send(up(far, number))
            worker.queues[far.peer % LANES].send(VNET + down(far, number))
    worker.worker.gather()
    worker.worker.set_tunnel(worker.tunnels[:1], True, True)
    for sock in worker.links[1:]:
        sock.close()
    del worker.links[1:]
    before = worker.worker.lanes()
    # What was on its way may be lost, and with it goes nothing else.
    received(*worker.queues)
    for far in fars:
        far.opened()
    settle(worker, fars)
    carry(worker, fars, 10, first=30)
    after = worker.worker.lanes()
    assert after[1:] == before[1:]
    assert worker.worker.drops().keys() <= ELSEWHERE
    worker.worker.add_peer(PEER + 100)


def settle(worker: Alone, fars: list[Far]) -> None:
    """Until packets sent now come through, and those before them are out of the way."""
    for far in fars:
        far.send(up(far, 29))
        worker.queues[0].send(VNET + down(far, 29))
        seen: list[bytes] = []

        def arrived(far: Far = far, seen: list[bytes] = seen) -> bool:
            seen.extend(far.opened())
            return down(far, 29) in seen

        worker.until(arrived, far.sock)
    written: list[bytes] = []

    def all_written() -> bool:
        written.extend(packet[VNET_SIZE:] for packet in received(*worker.queues))
        return all(up(far, 29) in written for far in fars)

    worker.until(all_written, *worker.queues)


def test_too_few_or_many_sockets_and_queues_are_refused(worker: Alone) -> None:
    sock = open_socket(SPEC)
    for sockets in ((), (sock.fileno(),), [sock.fileno()] * 5, [sock.fileno()] * 17):
        with pytest.raises(ValueError, match="lane"):
            worker.worker.add_udp(9, sockets, socket.AF_INET6, False)
        if sockets:
            with pytest.raises(ValueError, match="lane"):
                worker.worker.set_tunnel(sockets, True, True)
    for wrong in (("x",), 5, (None,)):
        with pytest.raises(TypeError):
            worker.worker.set_tunnel(wrong, True, True)
    with pytest.raises(ValueError, match="descriptor"):
        worker.worker.set_tunnel((0, 1, 2, -1), True, True)
    sock.close()


# --- sockets of one port ----------------------------------------------------------------------


def next_at(sock: socket.socket) -> bytes:
    """What comes there; fails when nothing does."""
    assert select.select([sock], (), (), LIMIT)[0]
    return sock.recv(1 << 16)


def test_data_packets_of_a_peer_id_come_to_one_socket_and_the_rest_to_the_first() -> None:
    first = open_socket(SPEC)
    group = [first, *open_beside(first, SPEC, 3)]
    assert len({sock.getsockname() for sock in group}) == 1
    outside, another = (socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2))
    for peer in (0, 1, 2, 3, 5, 255, 256, 65_537, 0xFFFFFE):
        for source in (outside, another):
            datagram = (9 << 27 | 3 << 24 | peer).to_bytes(4, "big") + b"data"
            source.sendto(datagram, first.getsockname())
            assert next_at(group[peer % 3]) == datagram
    for other in (b"\x38control", b"", b"\x48", b"\x48\0\0", b"\x30\0\0\1data", b"\x50\0\0\1"):
        outside.sendto(other, first.getsockname())
        assert next_at(first) == other
    assert received(*group) == []
    for sock in (*group, outside, another):
        sock.close()


def test_the_port_of_several_workers_is_theirs_alone() -> None:
    first = open_socket(SPEC)
    group = [first, *open_beside(first, SPEC, 2)]
    taken = LinkSpec(Transport.UDP, local_address=HERE, local_port=local_endpoint(first).port)
    with pytest.raises(HostError, match="in use"):
        open_socket(taken)
    for sock in group:
        sock.close()
    alone = open_socket(taken)
    with pytest.raises(HostError, match="in use"):
        open_socket(taken)
    alone.close()


def test_where_no_sockets_can_be_added_the_first_is_as_it_was() -> None:
    first = open_socket(SPEC)
    elsewhere = LinkSpec(Transport.UDP, options=SocketOptions(bind_device="no-such-device"))
    with pytest.raises(HostError, match="open udp socket"):
        open_beside(first, elsewhere, 2)
    assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    first.close()


# --- the data path ----------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def queue(spec: DeviceSpec, vnet: bool) -> tuple[int, str]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.close()
    return ours.detach(), spec.name


def test_a_device_of_one_queue_makes_one_worker_and_the_log_says_so(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    from ovpn6.datapath.fastpath.datapath import FastpathDatapath

    def refuse(
        spec: DeviceSpec, vnet: bool, count: int, program: int
    ) -> tuple[tuple[int, ...], str]:
        raise host_error("make device tun7", OSError(22, os.strerror(22)))

    path = FastpathDatapath(
        lambda report: None,
        loop,
        UserspaceOptions(workers=3),
        lambda: LinkId(9),
        queue,
        open_queues=refuse,
    )
    several = len(path.shares) == 3
    # A link that was opened before, for three.
    at = loop.run_until_complete(path.open_link(LinkId(1), SPEC))
    assert path.open_device(DeviceSpec("tun7"), 1420) == "tun7"
    said = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert len(said) == 1
    assert said[0].startswith("fast path: one worker instead of 3: ")
    if several:
        assert said[0].endswith("make device tun7: Invalid argument")
    # The next link has one socket, and so has the first now.
    other = loop.run_until_complete(path.open_link(LinkId(2), SPEC))
    for endpoint in (at, other):
        assert sockets_at(endpoint) == 1
    path.close()


def sockets_at(endpoint: Endpoint) -> int:
    """UDP sockets of this port in the network namespace."""
    with open("/proc/self/net/udp6") as file:
        return sum(f":{endpoint.port:04X} " in line.split(maxsplit=2)[1] + " " for line in file)


def test_one_peer_or_few_processors_need_one_worker() -> None:
    workers = suitable_workers()
    assert 1 <= workers <= 16
    assert workers == 1 or workers <= len(os.sched_getaffinity(0)) // 2
