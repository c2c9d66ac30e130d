"""Writes the corpus of ``fuzz.c`` beside it: packets of every kind that cutting and merging tell
apart. Run from the root of the repository: ``python -m tests.datapath.native.make_corpus``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ovpn6.datapath.offload.vnet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, Vnet
from tests.datapath.inner_packets import ACK, CWR, FIN, PSH, TCP, TIMESTAMPS, UDP, Inner

CORPUS = Path(__file__).parent / "corpus"
MERGE, UDP_TOO, REPAIR = 1, 2, 4


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for name, data in inputs():
        (CORPUS / name).write_bytes(data)


def inputs() -> Iterator[tuple[str, bytes]]:
    """Names and octets."""
    for version in (4, 6):
        for protocol, word in ((TCP, "tcp"), (UDP, "udp")):
            inner = Inner(version, protocol, bytes(range(100)), flags=ACK | PSH | CWR)
            yield f"cut-{word}{version}", cut_input(inner)
            yield f"merge-{word}{version}", merge_input(train(inner))
    yield "cut-whole", bytes(1) + Vnet(NEEDS_CSUM, 0, 0, 0, 40, 16).encode() + Inner().encode()
    yield "cut-options", cut_input(Inner(4, payload=bytes(50), between=bytes((0x94, 4, 0, 0))))
    hop_by_hop = bytes((6, 0, 1, 4, 0, 0, 0, 0))
    yield "cut-extension", cut_input(Inner(payload=bytes(50), between=hop_by_hop, next_header=0))
    yield "merge-timestamps", merge_input(train(Inner(payload=bytes(9), options=TIMESTAMPS)))
    yield "merge-fragments", merge_input(train(Inner(4, payload=bytes(9), fragment=0x2000)))
    unsummed = train(Inner(4, UDP, bytes(9), checksum=0))
    yield "merge-no-checksum", merge_input(unsummed, repair=False)
    one, two, three, _ = train(Inner(payload=bytes(9)))
    short = [one, replace(two, payload=b"short"), replace(three, sequence=14)]
    yield "merge-short", merge_input(short)
    yield "merge-offset", framed(b"".join(overlong(inner) for inner in (one, two)))
    yield "merge-damaged", merge_input(train(Inner(payload=bytes(9), corrupt=65)), repair=False)
    flows = [replace(one, flow=flow) for one in train(Inner(payload=bytes(9))) for flow in (0, 1)]
    yield "merge-flows", merge_input([*flows, Inner(flags=ACK | FIN)])


def train(first: Inner) -> list[Inner]:
    """Consecutive packets."""
    size = len(first.payload)
    return [
        replace(first, sequence=at * size, identity=at, flags=ACK | (PSH if at == 3 else 0))
        for at in range(4)
    ]


def cut_input(inner: Inner) -> bytes:
    """A vnet header and a packet."""
    tcp = GSO_TCPV6 if inner.version == 6 else GSO_TCPV4
    udp = inner.protocol == UDP
    start, offset = inner.csum_start, 6 if udp else 16
    vnet = Vnet(NEEDS_CSUM, GSO_UDP_L4 if udp else tcp, 0, 30, start, offset)
    return bytes(1) + vnet.encode() + inner.super_packet()


def merge_input(inners: Sequence[Inner], repair: bool = True) -> bytes:
    """Packets with their lengths."""
    return framed(b"".join(length_first(inner.encode()) for inner in inners), repair)


def framed(packets: bytes, repair: bool = True) -> bytes:
    """Packets with their lengths, after the octet that says what they are."""
    return bytes((MERGE | UDP_TOO | (REPAIR if repair else 0),)) + packets


def length_first(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "little") + packet


def overlong(inner: Inner) -> bytes:
    """A TCP header that says it is longer than the packet."""
    packet = inner.encode()
    return length_first(packet[:52] + b"\xf0" + packet[53:])


if __name__ == "__main__":
    main()
