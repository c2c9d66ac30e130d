"""Changes of every kind at a native worker under full load, for so many seconds; after the word
``single`` at one that has one thread, after ``several`` at several, which become one in the middle.

Run by netns-tests/test_fastpath_sanitized.py with a worker that was built with a sanitizer. Ends
with an error when packets stopped passing or anything was delivered that was not sent.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
import sys
import threading
import time

from ovpn6.datapath.fastpath.reports import to_sockaddr
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, VNET_SIZE, Vnet
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.udp_link import UDP_SEGMENT
from ovpn6.protocol.data_channel import SendKey
from tests.datapath.inner_packets import Inner
from tests.datapath.native_worker import LINK, PEER, Alone
from tests.datapath.packets import key_pair

SIZE = 1000
STRANGERS = range(100, 120)
MARK = b"\xa5" * SIZE
FLOATED = 3
STREAM = 3
LANES = 3


class Load:
    """Packets both ways from a thread of its own, out of two sockets in turn: the peer floats."""

    def __init__(self, worker: Alone, seconds: float) -> None:
        self.worker = worker
        self.end = time.monotonic() + seconds
        self.sender = worker.sender
        self.second = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.second.bind(("::1", 0))
        self.second.setblocking(False)
        self.written = self.sent = self.wrong = 0
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        whole = Inner(payload=MARK * 30)
        vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, SIZE, whole.csum_start, 16)
        downward = vnet.encode() + whole.super_packet()
        train = [Inner(payload=MARK, sequence=n * SIZE).encode() for n in range(20)]
        segment = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(train[0]) + 24))]
        while time.monotonic() < self.end:
            self._take()
            outside = random.choice((self.worker.outside, self.second))
            sender, there = self.sender, self.worker.link.getsockname()
            with contextlib.suppress(BlockingIOError):
                self.worker.inside.send(downward)
                outside.sendmsg([sender.seal(one) for one in train], segment, 0, there)
                outside.sendto(b"\x38control", 0, there)
            # What other workers find is not theirs.
            for queue in self.worker.queues:
                if queue is not self.worker.inside:
                    with contextlib.suppress(BlockingIOError):
                        queue.send(downward)

    def _take(self) -> None:
        for queue in self.worker.queues:
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = queue.recv(1 << 17)
                    self.written += 1
                    payload = data[VNET_SIZE + 60 :]
                    self.wrong += payload != MARK * (len(payload) // SIZE)
        for sock in (self.worker.outside, self.second):
            with contextlib.suppress(BlockingIOError):
                while sock.recv(1 << 17):
                    self.sent += 1


def change(alone: Alone, load: Load, step: int, there: bytes) -> None:
    """One change; ``step`` counts them."""
    worker = alone.worker
    kind, turn = step % 8, step // 8
    if kind == 0:
        alone.install(key_pair(0, turn % 8), slot=1)
    elif kind == 1:
        worker.swap_keys(PEER)
        load.sender = SendKey(key_pair(1, max(0, worker.keys(PEER)[0])), PEER)
    elif kind == 2:
        worker.drop_key(PEER, 1)
    elif kind == 3:
        for peer in STRANGERS:
            worker.add_peer(peer)
            worker.set_peer(peer, 1, 1, 1, 0, True, 0, 0, False)
            worker.set_route(prefix(peer, turn), 128, peer)
    elif kind == 4:
        for peer in STRANGERS:
            worker.remove_route(prefix(peer, turn), 128)
            worker.remove_peer(peer)
    elif kind == 5:
        worker.place_peer(PEER, LINK, there, b"")
        worker.counters(PEER)
        worker.send_exit(PEER)
        worker.drops()
    elif kind == 6 and turn % 10 == 0:
        worker.set_tunnel((), True, True)
        worker.set_tunnel(alone.tunnels, True, True)
    elif kind == 7 and turn % 20 == 0:
        worker.remove_link(LINK)
        worker.add_udp(LINK, alone.sockets, socket.AF_INET6, False)
        worker.place_peer(PEER, LINK, there, b"")


def change_workers(alone: Alone, stream: socket.socket, step: int, there: bytes) -> None:
    """What there is with several alone: a peer's datagrams go to another worker and back."""
    worker = alone.worker
    if step % 32 == 16:
        worker.add_stream(STREAM, stream.fileno(), 2000)
        worker.place_peer(PEER, STREAM, b"", b"")
    elif step % 32 == 17:
        worker.remove_link(STREAM)
        worker.place_peer(PEER, LINK, there, b"")


def gather(alone: Alone) -> None:
    """One worker from now on."""
    alone.worker.gather()
    alone.tunnels, alone.sockets = alone.tunnels[:1], alone.sockets[:1]
    alone.worker.set_tunnel(alone.tunnels, True, True)
    for sock in alone.links[1:]:
        sock.close()
    alone.inside = alone.queues[0]


def prefix(peer: int, turn: int) -> bytes:
    return b"\x20\x01" + peer.to_bytes(2, "big") + turn.to_bytes(12, "big")


def main(seconds: float, *, single: bool, lanes: int) -> int:
    alone = Alone(single=single, lanes=lanes)
    load = Load(alone, seconds)
    half = time.monotonic() + seconds / 2
    stream, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    there = to_sockaddr(to_endpoint(alone.outside.getsockname()), socket.AF_INET6)
    load.thread.start()
    floats = 0
    for step in itertools.count():
        floats += sum(report[0] == FLOATED for report in alone.worker.reports())
        change(alone, load, step, there)
        if lanes > 1:
            change_workers(alone, stream, step, there)
        if len(alone.tunnels) > 1 and time.monotonic() >= half and step % 32 < 16:
            gather(alone)
        if time.monotonic() >= load.end:
            break
    load.thread.join()
    print(
        f"{step} changes, {floats} floats, {load.written} writes, {load.sent} datagrams,", end=" "
    )
    print(f"{load.wrong} wrong: {alone.worker.drops()}")
    alone.close()
    for sock in (load.second, stream, far):
        sock.close()
    return int(load.wrong > 0 or min(load.written, load.sent, floats) == 0)


if __name__ == "__main__":
    WORD = sys.argv[2:]
    sys.exit(
        main(
            float(sys.argv[1]),
            single=WORD == ["single"],
            lanes=LANES if WORD == ["several"] else 1,
        )
    )
