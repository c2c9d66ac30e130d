"""The native worker beside the data path in Python: the same trains in, the same writes, drops and
counters out; the same reads of the tunnel in, the same octets on the wire.

One train is one GRO buffer: datagrams of one size from one address, whoever they say they are from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ovpn6.datapath.core import DatapathCore
from ovpn6.datapath.links import Link
from ovpn6.datapath.memory import CAPABILITIES
from ovpn6.datapath.offload.vnet import (
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    WHOLE,
    Vnet,
)
from ovpn6.model.addresses import IPNetwork, Path
from ovpn6.model.names import KeySlot, LinkId, PeerId
from ovpn6.model.specs import DataFormat, Framing, KeyMaterial, PeerSpec
from ovpn6.protocol.data_channel import ReplayWindow, SendKey, frame
from ovpn6.protocol.epoch_channel import EpochSendKey
from tests.datapath.inner_packets import (
    ACK,
    CWR,
    DF,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    TIMESTAMPS,
    UDP,
    URG,
    Inner,
)
from tests.datapath.native_worker import LINK, PEER, Alone, alone
from tests.datapath.packets import key_pair
from tests.datapath.test_worker_offload import THERE, RecordingLink

SIZE = 600
"""Octets of every datagram of a train but the last."""
CLASSIC, EPOCH, FRAMED, STRANGER = 6, 7, 8, 99
"""Peers beside PEER, which has everything else: each may send from the host of its number."""
NETWORKS: dict[int, tuple[str, ...]] = {
    PEER: ("::/0", "0.0.0.0/0"),
    CLASSIC: ("2001:db8::6/128", "192.0.2.6/32"),
    EPOCH: ("2001:db8::7/128", "192.0.2.7/32"),
    FRAMED: ("2001:db8::8/128", "192.0.2.8/32"),
}
FRAMINGS = {FRAMED: Framing.STUB}
HOP_BY_HOP = (bytes((6, 0, 1, 4, 0, 0, 0, 0)), 0)
FRAGMENT_HEADER = (bytes((6, 0, 0, 1, 0, 0, 0, 9)), 44)
DESTINATION = (bytes((17, 0, 1, 4, 0, 0, 0, 0)), 60)
ROUTER_ALERT: tuple[bytes, int | None] = (bytes((0x94, 4, 0, 0)), None)
COUNT = settings(max_examples=300, deadline=None)


def key_of(peer: int, end: int) -> KeyMaterial:
    data_format = DataFormat.EPOCH if peer == EPOCH else DataFormat.CLASSIC
    return key_pair(end, peer % 8, data_format=data_format)


class Reference(DatapathCore):
    """The data path in Python, with a list for its tunnel and one for its link."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reads: list[bytes] = []
        self.link = RecordingLink()
        super().__init__(
            CAPABILITIES,
            lambda report: None,
            lambda: 0.0,
            ReplayWindow,
            lambda error: None,
            self._read,
            lambda descriptor, packet: len(packet),
        )
        self._worker.tunnel = 3
        self._worker.use_vnet(self._write, True)
        for peer, texts in NETWORKS.items():
            networks: tuple[IPNetwork, ...] = tuple(ip_network(text) for text in texts)
            framing = FRAMINGS.get(peer, Framing.NONE)
            path = Path(LinkId(1), THERE)
            spec = PeerSpec(PeerId(peer), peer, path, networks, framing=framing, copy_ecn=True)
            self.add_peer(spec)
            self.install_key(PeerId(peer), KeySlot.PRIMARY, key_of(peer, 0))

    def arrive(self, datagrams: Sequence[bytes], traffic_class: int) -> list[bytes]:
        """What is written for a train."""
        self._worker.received(self.link, datagrams, THERE, traffic_class)
        self._worker.flush()
        return self.written

    def enter(self, reads: Sequence[bytes]) -> list[bytes]:
        """The datagrams that leave for reads of the tunnel."""
        self.reads = list(reads)
        while self.reads:
            self._worker.tunnel_readable()
        return [datagram for sent, _ in self.link.sent for datagram in sent]

    def _find_link(self, link: LinkId) -> Link | None:
        return self.link

    def _read(self, descriptor: int, size: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        return self.reads.pop(0)

    def _write(self, descriptor: int, parts: Sequence[bytes]) -> int:
        self.written.append(b"".join(parts))
        return len(self.written[-1])


def add_peers(native: Alone) -> None:
    """The same to the native worker, all where its first peer is."""
    framings = {Framing.NONE: 0, Framing.STUB: 1}
    native.install(key_of(PEER, 0))
    for peer, texts in NETWORKS.items():
        if peer == PEER:
            continue
        native.worker.add_peer(peer)
        framing = framings[FRAMINGS.get(peer, Framing.NONE)]
        native.worker.set_peer(peer, peer, 0, 0, framing, True, 0, 0, True)
        for text in texts:
            network = ip_network(text)
            native.worker.set_route(network.network_address.packed, network.prefixlen, peer)
        native.worker.place_peer(peer, LINK, native.there, b"")
        native.install(key_of(peer, 0), peer=peer)


# --- in -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One datagram of a train. ``spoil``: what is wrong with it; ``host`` its inner source."""

    inner: Inner
    peer: int = PEER
    spoil: str = ""

    def payload(self, size: int) -> bytes:
        """What fills an inner packet up to so many octets."""
        headers = len(replace(self.inner, payload=b"", corrupt=None).encode())
        return (self.inner.payload * (size // 8 + 1))[: max(0, size - headers)]

    def packet(self, size: int) -> bytes:
        """The inner packet."""
        return replace(self.inner, payload=self.payload(size)).encode()


CHANGES: dict[str, list[object]] = {
    "flow": [1],
    "protocol": [TCP, UDP],
    "version": [4, 6],
    "flags": [ACK | PSH, SYN, ACK | FIN, ACK | RST, ACK | URG, ACK | CWR, 0],
    "urgent": [9],
    "options": [TIMESTAMPS],
    "traffic_class": [1, 2, 3, 0xB8],
    "hops": [63],
    "fragment": [0, 0x2000, 5],
    "checksum": [0, 0xFFFF, 0x1234],
    "corrupt": [2, 10, 30, 45, 70, 300],
    "host": [CLASSIC, EPOCH, FRAMED],
    "jump": [-1, 1, 540, -540],
    "between": [HOP_BY_HOP, FRAGMENT_HEADER, DESTINATION],
    "peer": [CLASSIC, EPOCH, FRAMED],
    "spoil": ["forged", "again", "stranger", "other key"],
}
"""What may be different about one packet."""
CHANGE = st.sampled_from(sorted(CHANGES)).flatmap(
    lambda name: st.sampled_from(CHANGES[name]).map(lambda value: {name: value})
)
ALIKE: st.SearchStrategy[dict[str, object]] = st.just({})
WALKS = st.lists(st.one_of(ALIKE, ALIKE, ALIKE, CHANGE), min_size=2, max_size=30)
FIRSTS = st.builds(
    Inner,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, TCP, UDP]),
    payload=st.binary(min_size=8, max_size=8),
    options=st.sampled_from([b"", TIMESTAMPS]),
    checksum=st.sampled_from([None, None, None, None, 0]),
    fragment=st.sampled_from([DF, DF, 0]),
    traffic_class=st.sampled_from([0, 2, 3]),
    host=st.sampled_from([1, CLASSIC, EPOCH, FRAMED]),
)


def walk(first: Inner, steps: Sequence[dict[str, object]]) -> list[Sent]:
    """Packets of one peer's flow that go on where they were, but for what a step changes."""
    owner = first.host if first.host in NETWORKS else PEER
    train: list[Sent] = []
    at = 0
    for number, step in enumerate(steps):
        fields: dict[str, Any] = dict(step)
        peer, spoil = fields.pop("peer", owner), fields.pop("spoil", "")
        at += fields.pop("jump", 0)
        extension = fields.pop("between", None)
        inner = replace(first, sequence=at, identity=number, **fields)
        if extension is not None:
            inner = with_headers(inner, extension)
        train.append(Sent(inner, peer, spoil))
        at += len(train[-1].payload(room(peer)))
    return train


def room(peer: int) -> int:
    """Octets of an inner packet that makes a datagram of SIZE."""
    return SIZE - (28 if peer == EPOCH else 24) - (1 if peer in FRAMINGS else 0)


def with_headers(inner: Inner, extension: tuple[bytes, int | None]) -> Inner:
    """An IPv6 extension header, or an IPv4 option instead."""
    between, following = extension if inner.version == 6 else ROUTER_ALERT
    return replace(inner, between=between, next_header=following)


def seal_all(train: Sequence[Sent], last: int) -> list[bytes]:
    """Datagrams of one size; the last is shorter by ``last`` octets."""
    sealers: dict[int, Callable[[bytes], bytes]] = {
        peer: (EpochSendKey if peer == EPOCH else SendKey)(key_of(peer, 1), peer).seal
        for peer in NETWORKS
    }
    datagrams: list[bytes] = []
    for number, one in enumerate(train):
        payload = one.packet(room(one.peer) - (last if number == len(train) - 1 else 0))
        framing = FRAMINGS.get(one.peer)
        payload = frame(framing, payload) if framing else payload
        datagram = bytearray(sealers[one.peer](payload))
        if one.spoil == "forged":
            datagram[-1] ^= 1
        elif one.spoil == "stranger":
            datagram[3] = STRANGER
        elif one.spoil == "other key":
            datagram[0] ^= 3
        elif one.spoil == "again" and datagrams:
            datagram = bytearray(datagrams[number // 2])
        datagrams.append(bytes(datagram))
    return datagrams


@given(
    first=FIRSTS,
    steps=WALKS,
    last=st.sampled_from([0, 0, 1, 37, 500]),
    outer=st.sampled_from([0, 0, 1, 2, 3]),
    single=st.booleans(),
)
@COUNT
def test_a_train_is_written_dropped_and_counted_as_the_reference_does(
    first: Inner, steps: list[dict[str, object]], last: int, outer: int, single: bool
) -> None:
    datagrams = seal_all(walk(first, steps), last)
    reference = Reference()
    expected = reference.arrive(datagrams, outer)
    with alone(single=single) as native:
        add_peers(native)
        native.send(datagrams, outer)
        drops = reference.drops().counts
        native.until(lambda: sum(native.worker.drops().values()) == sum(drops.values()))
        assert native.written(len(expected)) == expected
        assert native.worker.drops() == drops
        for peer in NETWORKS:
            counters = reference.counters(PeerId(peer))
            assert native.worker.counters(peer) == (
                counters.link_in,
                counters.link_out,
                counters.bytes_in,
                counters.bytes_out,
                counters.packets_in,
                counters.packets_out,
            )


# --- out ----------------------------------------------------------------------------------------

READS = st.lists(
    st.tuples(FIRSTS, CHANGE, st.sampled_from([0, 0, 1, 100, 536, 1348, 1349])),
    min_size=1,
    max_size=12,
)


def read_of(first: Inner, step: dict[str, object], size: int) -> bytes:
    """What the tunnel gives: cut into ``size`` octets of payload, whole for 0."""
    [one] = walk(first, [step])
    inner = one.inner
    if size == 0:
        return WHOLE + inner.encode()
    inner = replace(inner, payload=inner.payload * (6 if size == 1 else 500))
    inner = replace(inner, corrupt=None, checksum=None)
    udp = inner.protocol == UDP
    kind = GSO_UDP_L4 if udp else GSO_TCPV6 if inner.version == 6 else GSO_TCPV4
    vnet = Vnet(NEEDS_CSUM, kind, 0, size, inner.csum_start, 6 if udp else 16)
    return vnet.encode() + inner.super_packet()


@given(reads=READS, single=st.booleans())
@COUNT
def test_what_the_tunnel_gives_leaves_octet_by_octet_as_the_references(
    reads: list[tuple[Inner, dict[str, object], int]], single: bool
) -> None:
    given_reads = [read_of(*read) for read in reads]
    reference = Reference()
    expected = reference.enter(given_reads)
    with alone(single=single) as native:
        add_peers(native)
        sealed: list[bytes] = []
        for read in given_reads:
            native.inside.send(read)
            sealed += native.sealed(0)
        sealed += native.sealed(len(expected) - len(sealed))
        assert sealed == expected
        assert native.worker.drops() == reference.drops().counts
