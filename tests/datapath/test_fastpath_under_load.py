"""The native worker at full load while keys change, peers move, come and go, and it ends.

The pipeline is never empty but holds no more than its sockets do, so that nothing may be lost. All
packets are numbered. What leaves is opened by the reference under the very key that it names.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from ovpn6.datapath.fastpath.reports import to_sockaddr
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, VNET_SIZE, Vnet
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.udp_link import UDP_SEGMENT
from ovpn6.model.names import KeyId, PacketId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.protocol.data_channel import AuthenticationFailed, ReceiveKey, ReplayWindow, SendKey
from ovpn6.protocol.epoch_channel import EpochReceiveKey, EpochSendKey
from tests.datapath.inner_packets import Inner
from tests.datapath.native_worker import LINK, PEER, Alone, alone

SIZE = 1000
TRAIN = 16
ROUNDS = 400
"""Trains each way."""
MOST_AHEAD = 5 * TRAIN
"""Packets on their way: what fits a socket's receive buffer where nobody raised its limit."""
LIMIT = 20.0
HEADERS = 60
FORMATS = [DataFormat.CLASSIC, DataFormat.EPOCH]
Change = Callable[["Load", int], None]


def generation(number: int, end: int, data_format: DataFormat) -> KeyMaterial:
    """The keys of one end after so many negotiations; key ids go 0 to 7 and then 1 to 7."""
    key_id = KeyId(number if number < 8 else 1 + (number - 1) % 7)
    size = 0 if data_format is DataFormat.EPOCH else 8
    ways = [SecretBytes(struct.pack(">II", number, way) * 4) for way in (1, 2)]
    ivs = [SecretBytes(struct.pack(">II", number, way)[:size]) for way in (1, 2)]
    here, there = end, 1 - end
    return KeyMaterial(
        key_id, "AES-256-GCM", ways[here], ivs[here], ways[there], ivs[there], data_format
    )


@dataclass
class Opened:
    """The far end's key of one negotiation, and the packet ids that it has opened."""

    key: ReceiveKey | EpochReceiveKey
    last: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Load:
    """Numbered packets both ways through a worker."""

    worker: Alone
    data_format: DataFormat
    number: int = 0
    keys: dict[int, Opened] = field(default_factory=dict)
    sender: SendKey | EpochSendKey | None = None
    entered: int = 0
    left: list[int] = field(default_factory=list)
    sent: int = 0
    sealed: list[bytes] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    switched_at: int = 0
    stage: int = 0
    second: socket.socket = field(init=False)
    outside: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.second = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.second.bind(("::1", 0))
        self.second.setblocking(False)
        self.outside = self.worker.outside
        self.negotiate(0)
        self.send_with(0)

    def negotiate(self, slot: int) -> None:
        """The next key, into a slot; the far end has it at once."""
        far = generation(self.number, 1, self.data_format)
        if self.data_format is DataFormat.EPOCH:
            key: ReceiveKey | EpochReceiveKey = EpochReceiveKey(far, EpochSendKey(far, PEER))
        else:
            key = ReceiveKey(far, ReplayWindow(0))
        self.keys[far.key_id] = Opened(key)
        self.worker.install(generation(self.number, 0, self.data_format), slot=slot)
        self.number += 1

    def send_with(self, number: int) -> None:
        """From now on the far end seals with the key of that negotiation."""
        far = generation(number, 1, self.data_format)
        self.switched_at = self.sent + (TRAIN if self.sealed else 0)
        epoch = self.data_format is DataFormat.EPOCH
        self.sender = EpochSendKey(far, PEER) if epoch else SendKey(far, PEER)

    def push(self) -> None:
        """As much as there is room for, both ways."""
        with contextlib.suppress(BlockingIOError):
            if self.entered - len(self.left) <= MOST_AHEAD - TRAIN:
                inner = Inner(payload=numbers(self.entered), sequence=self.entered * SIZE)
                vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, SIZE, inner.csum_start, 16)
                self.worker.inside.send(vnet.encode() + inner.super_packet())
                self.entered += TRAIN
        with contextlib.suppress(BlockingIOError):
            if self.sent - len(self.written) <= MOST_AHEAD - TRAIN:
                self.sealed = self.sealed or self._seal()
                segment = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(self.sealed[0])))]
                self.outside.sendmsg(self.sealed, segment, 0, self.worker.link.getsockname())
                self.sealed = []
                self.sent += TRAIN

    def _seal(self) -> list[bytes]:
        """The next train of the far end's."""
        assert self.sender is not None
        payload = numbers(self.sent)
        return [
            self.sender.seal(
                Inner(payload=payload[at : at + SIZE], sequence=self.sent * SIZE + at).encode()
            )
            for at in range(0, len(payload), SIZE)
        ]

    def take(self) -> None:
        """What came out, at both ends."""
        for sock in (self.worker.outside, self.second):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.open(sock.recv(1 << 16))
        with contextlib.suppress(BlockingIOError):
            while True:
                payload = self.worker.inside.recv(1 << 17)[VNET_SIZE + HEADERS :]
                self.written += numbers_of(payload)

    def open(self, datagram: bytes) -> None:
        """One that left, under the key that it names. Two sockets may show them out of order."""
        opened = self.keys[datagram[0] & 7]
        if self.data_format is DataFormat.EPOCH:
            packet_id = int.from_bytes(datagram[4:12], "big") & (1 << 48) - 1
        else:
            packet_id = int.from_bytes(datagram[4:8], "big")
        # An id twice would be a nonce twice.
        assert packet_id > opened.last
        assert packet_id not in opened.waiting
        opened.waiting[packet_id] = datagram
        while opened.last + 1 in opened.waiting:
            opened.last += 1
            packet = opened.key.open(opened.waiting.pop(opened.last))
            if len(packet) > HEADERS:
                self.left += numbers_of(packet[HEADERS:])

    def run(self, change: Change) -> None:
        """All trains, with a change after each; then nothing may be missing."""
        end = time.monotonic() + LIMIT
        step = 0
        while self.entered < ROUNDS * TRAIN or self.sent < ROUNDS * TRAIN:
            assert time.monotonic() < end, self.drops()
            self.push()
            self.take()
            change(self, step)
            self.worker.worker.reports()
            step += 1
        self.worker.until(self._is_done, self.outside, self.worker.inside)
        # The order within a flow is that of the packets.
        assert self.left == list(range(self.entered))
        assert self.written == list(range(self.sent))

    def _is_done(self) -> bool:
        self.take()
        return len(self.left) >= self.entered and len(self.written) >= self.sent

    def drops(self) -> dict[str, int]:
        return dict(self.worker.worker.drops()) | dict(self.worker.worker.errors())


def numbers(first: int) -> bytes:
    """The payloads of a train: each packet is its number again and again."""
    return b"".join(struct.pack(">Q", first + at) * (SIZE // 8) for at in range(TRAIN))


def numbers_of(payload: bytes) -> list[int]:
    """The numbers of the packets that a payload is of; every octet is looked at."""
    found = []
    for at in range(0, len(payload), SIZE):
        packet = payload[at : at + SIZE]
        assert packet == packet[:8] * (SIZE // 8)
        found.append(int.from_bytes(packet[:8], "big"))
    return found


@pytest.fixture(
    params=[(False, 1), (True, 1), (True, 2)], ids=["two threads", "one thread", "two workers"]
)
def threads(request: pytest.FixtureRequest) -> tuple[bool, int]:
    """Whether a worker has one, and how many workers there are."""
    single, workers = request.param
    return bool(single), int(workers)


@pytest.fixture(params=FORMATS, ids=lambda one: one.value)
def load(request: pytest.FixtureRequest, threads: tuple[bool, int]) -> Iterator[Load]:
    single, workers = threads
    with alone(window=(2048, 0), single=single, lanes=workers) as worker:
        made = Load(worker, request.param)
        yield made
        made.second.close()


def rekey(load: Load, step: int) -> None:
    """One step of a negotiation, in the daemon's order. An old key opens until nothing that was
    sealed under it can be on its way; the daemon leaves it much longer."""
    worker = load.worker.worker
    if load.stage == 0:
        load.negotiate(1)
    elif load.stage == 1:
        load.send_with(load.number - 1)
    elif load.stage == 2:
        worker.swap_keys(PEER)
    elif len(load.written) >= load.switched_at:
        worker.drop_key(PEER, 1)
    else:
        return
    load.stage = (load.stage + 1) % 4


def test_no_packet_is_lost_or_sealed_under_another_key_while_keys_change(load: Load) -> None:
    load.run(rekey)
    assert load.number > 20
    assert load.drops() == {}


def test_no_packet_is_lost_while_the_peer_moves(load: Load) -> None:
    places = (load.worker.outside, load.second)

    def move(load: Load, step: int) -> None:
        # Ahead of the worker by no more than its own packets are: it follows the newest.
        if step % 8 == 0:
            load.outside = places[step // 8 % 2]

    before = time.monotonic()
    load.run(move)
    drops = load.drops()
    # More than so many moves a second are not told to Python; the packets are taken all the same.
    assert drops.keys() <= {"data moves too often"}, (drops, time.monotonic() - before)


def test_no_packet_is_lost_while_other_peers_come_and_go(load: Load) -> None:
    strangers = range(100, 116)

    def churn(load: Load, step: int) -> None:
        worker = load.worker.worker
        for peer in strangers:
            prefix = b"\x20\x01" + peer.to_bytes(14, "big")
            if step % 2 == 0:
                worker.add_peer(peer)
                worker.set_peer(peer, 1, 1, 1, 0, True, 0, 0, False)
                worker.set_route(prefix, 128, peer)
            else:
                worker.remove_route(prefix, 128)
                worker.remove_peer(peer)

    load.run(churn)
    assert load.drops() == {}


def test_a_peer_that_goes_takes_its_packets_and_comes_back_whole(load: Load) -> None:
    worker = load.worker.worker
    there = to_sockaddr(to_endpoint(load.worker.outside.getsockname()), socket.AF_INET6)
    for _ in range(20):
        for _ in range(5):
            load.push()
            load.take()
        for size in (4, 16):
            worker.remove_route(bytes(size), 0)
        last = worker.remove_peer(PEER)
        # When this returns its counters are final, and nothing is sealed any more.
        assert last[4] <= load.sent
        sealed = {key_id: opened.last for key_id, opened in load.keys.items()}
        load.worker.until(lambda: bool(select.select((), [load.worker.inside], (), 0)[1]))
        load.worker.inside.send(bytes(VNET_SIZE) + Inner(protocol=59).encode())
        load.worker.until(lambda: worker.drops().get("tunnel no peer", 0) > 0, load.outside)
        load.take()
        assert sum(opened.last for opened in load.keys.values()) == last[5]
        assert all(load.keys[key_id].last >= number for key_id, number in sealed.items())
        worker.add_peer(PEER)
        worker.set_peer(PEER, PEER, 0, 0, 0, True, 0, 0, True)
        for size in (4, 16):
            worker.set_route(bytes(size), 0, PEER)
        worker.place_peer(PEER, LINK, there, b"")
        load.keys.clear()
        load.negotiate(0)
        load.send_with(load.number - 1)
        load.entered, load.sent, load.sealed = len(load.left), len(load.written), []


def test_the_end_under_load_is_quick_and_final(load: Load) -> None:
    for _ in range(50):
        load.push()
        load.take()
    load.push()
    before = time.monotonic()
    load.worker.worker.close()
    assert time.monotonic() - before < 1
    load.take()
    left = len(load.left)
    load.worker.inside.send(bytes(VNET_SIZE) + Inner(payload=numbers(left)[:SIZE]).encode())
    load.take()
    assert load.left == list(range(left))
    assert len(load.left) == left


def test_the_load_finds_a_repeated_a_lost_and_a_wrongly_sealed_packet() -> None:
    """Its own checks can fail."""
    with alone() as worker:
        load = Load(worker, DataFormat.CLASSIC)
        inner = Inner(payload=numbers(0)[:SIZE]).encode()
        near = SendKey(generation(0, 0, DataFormat.CLASSIC), PEER)
        first, _, third = (near.seal(inner) for _ in range(3))
        load.open(first)
        with pytest.raises(AssertionError):
            load.open(first)
        load.open(third)
        assert load.left == [0]
        wrong = SendKey(generation(7, 0, DataFormat.CLASSIC), PEER)
        wrong.packet_id = near.packet_id = PacketId(1)
        with pytest.raises(AuthenticationFailed):
            load.open(near.seal(inner)[:4] + wrong.seal(inner)[4:])
        load.second.close()
