"""Writes the corpus of ``fuzz_worker.c`` beside it: datagrams of both formats, streams, packets of
the tunnel and prefixes. Run from the root of the repository:
``python -m tests.datapath.native.make_worker_corpus``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from ovpn6.datapath.offload.vnet import GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, Vnet
from ovpn6.protocol.data_channel import OCC_EXIT, PING
from tests.datapath.inner_packets import ACK, PSH, UDP, Inner

CORPUS = Path(__file__).parent / "corpus-worker"
DATAGRAMS, STREAM, TUNNEL, PREFIXES = range(4)
STUB, STUB_SWAP, STUB_V2 = 4, 8, 12
VNET = 16
TAG = bytes(16)
FORGED = b"\xff" * 16
FIRST, EVERYTHING, EPOCHS = 1, 3, 2
"""Peers: with classic keys and prefixes of its own; with all other prefixes; with epoch keys."""
CONNECTED = 4
"""The peer at the stream, with epoch keys."""


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for name, data in inputs():
        (CORPUS / name).write_bytes(data)


def inputs() -> Iterator[tuple[str, bytes]]:
    """Names and octets."""
    segments = [inner_of(EVERYTHING, sequence=at * 60) for at in range(6)]
    yield "classic-train", datagrams(*(classic(3, at + 1, one) for at, one in enumerate(segments)))
    yield "classic-replay", datagrams(*(classic(3, n, segments[0]) for n in (1, 900, 2, 837, 836)))
    forged = [
        classic(3, at + 1, one, FORGED if at == 2 else TAG) for at, one in enumerate(segments)
    ]
    yield "classic-forged", datagrams(*forged)
    yield "classic-no-key", datagrams(classic(1, 1, b"x", key_id=5), classic(77, 1, b"x"))
    yield "classic-other-source", datagrams(classic(1, 1, inner_of(2)), classic(1, 2, inner_of(1)))
    yield "classic-ipv4", datagrams(classic(3, 1, Inner(4, UDP, bytes(9)).encode()))
    lengths = [b"\x60" + bytes(38), segments[0][:-1], b"E" + bytes(18), b"E\0\0\x13" + bytes(20)]
    yield "short-inner", datagrams(*(classic(3, n + 1, one) for n, one in enumerate(lengths)))
    special = (PING, OCC_EXIT, PING[:9], b"\x28")
    yield "special", datagrams(*(classic(1, at + 1, one) for at, one in enumerate(special)))
    marked = [classic(3, at, inner_of(3, traffic_class=at)) for at in (1, 2, 3, 4)]
    yield "congested", bytes((DATAGRAMS,)) + b"".join(record(0, 3, 0, one) for one in marked)
    moves = [record(at % 5, 0, 0, classic(1, at + 1, inner_of(1))) for at in range(12)]
    yield "floats", bytes((DATAGRAMS,)) + b"".join(moves)
    taken = [classic(1, 1, inner_of(1)), sealed(2, 1, 1, inner_of(2)), classic(1, 2, inner_of(1))]
    conflict = [record(at, 0, 0, one) for at, one in zip((1, 2, 2), taken, strict=True)]
    yield "conflict", bytes((DATAGRAMS,)) + b"".join(conflict)
    many = [record((at % 31) << 3, 0, 0, classic(1, at + 1, inner_of(1))) for at in range(64)]
    yield "moves-of-ours", bytes((DATAGRAMS,)) + b"".join(many)
    ages = ((1, 1), (1, 2), (3, 1), (1, 3), (2, 1), (7, 1), (3, 2), (8, 1), (12, 5), (0, 1), (4, 0))
    yield "epochs", datagrams(*(sealed(2, *age, inner_of(EPOCHS)) for age in ages))
    forged_ages = [sealed(2, age, 1, inner_of(EPOCHS))[:-1] + b"\xff" for age in (1, 3, 3, 9)]
    yield "epochs-forged", datagrams(*forged_ages, sealed(2, 5, 1, b"x"), sealed(2, 1, 1, b"x"))
    for name, mode in (("stub", STUB), ("swap", STUB_SWAP), ("stub-v2", STUB_V2)):
        framed = [b"\xfa" + segments[0], b"\xfb" + segments[0][1:] + segments[0][:1], segments[0]]
        framed += [b"\x50\0" + segments[0], b"\x50\1x", b"\x50", b"\xfa", b"\xfb"]
        made = datagrams(*(classic(3, at + 1, one) for at, one in enumerate(framed)))
        yield f"framed-{name}", bytes((DATAGRAMS | mode,)) + made[1:]
    yield (
        "control",
        datagrams(b"\x38" + bytes(40), b"", b"\x48", b"\x48\0\0", b"\xf8", b"\x30abc", bytes(5000)),
    )
    frames = [sealed(4, 1, at + 1, inner_of(CONNECTED)) for at in range(3)]
    stream = b"".join(len(one).to_bytes(2, "big") + one for one in (*frames, b"\x38reset"))
    yield "stream", bytes((STREAM,)) + pieces(stream[:9], stream[9:150], stream[150:])
    yield "stream-cut", bytes((STREAM,)) + pieces(stream[:1], stream[1:100])
    yield "stream-zero", bytes((STREAM,)) + pieces(stream + b"\0\0" + stream)
    yield "stream-long", bytes((STREAM,)) + pieces(b"\x20\x01" + stream)
    yield from tunnels()
    networks = ("::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8::5/128", "10.0.0.0/8")
    yield (
        "prefixes",
        bytes((PREFIXES,))
        + b"".join(
            prefix(text, 2 | at << 4)
            for at, text in enumerate((*networks, "0.0.0.0/0", "10.1.2.3/32"))
        )
        + prefix("2001:db8::5/128", 0)
        + prefix("2001:db8::5/128", 10)
        + prefix("2001:db8::5/128", 0),
    )


def tunnels() -> Iterator[tuple[str, bytes]]:
    """What comes out of the tunnel."""
    inner = Inner(payload=bytes(range(100)), flags=ACK | PSH)
    super_packet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 30, 40, 16).encode() + inner.super_packet()
    yield "tunnel-tcp", bytes((TUNNEL | VNET,)) + pieces(super_packet, super_packet)
    udp = Inner(4, UDP, bytes(100))
    unsummed = Vnet(NEEDS_CSUM, GSO_UDP_L4, 0, 30, 20, 6).encode() + udp.super_packet()
    yield "tunnel-udp", bytes((TUNNEL | VNET | STUB_SWAP,)) + pieces(unsummed, super_packet)
    packet = inner.super_packet()
    epochs = packet[:28] + bytes((0, EPOCHS)) + packet[30:]
    yield "tunnel-epochs", bytes((TUNNEL | VNET,)) + pieces(super_packet[:10] + epochs)
    labelled = replace(inner, label=0x12345).encode()
    yield (
        "tunnel-plain",
        bytes((TUNNEL | STUB,)) + pieces(labelled, udp.encode(), b"\x60", b"E" * 20),
    )


def inner_of(peer: int, **fields: object) -> bytes:
    """A packet that this peer may send: all but the third have prefixes of their own."""
    packet = Inner(payload=bytes(60), **fields).encode()  # type: ignore[arg-type]
    if peer == EVERYTHING:
        return packet
    return packet[:8] + b"\x20\x01\x0d\xb8\0" + bytes((peer,)) + packet[14:]


def classic(peer: int, number: int, payload: bytes, tag: bytes = TAG, key_id: int = 0) -> bytes:
    """A datagram in the classic format."""
    return bytes((0x48 | key_id, 0, 0, peer)) + number.to_bytes(4, "big") + tag + payload


def sealed(peer: int, epoch: int, number: int, payload: bytes) -> bytes:
    """A datagram in the epoch format."""
    head = bytes((0x48, 0, 0, peer)) + epoch.to_bytes(2, "big") + number.to_bytes(6, "big")
    return head + payload + TAG


def datagrams(*each: bytes) -> bytes:
    """Datagrams of one size as one train, others by themselves."""
    made = bytes((DATAGRAMS,))
    while each:
        size = len(each[0])
        run = next((n for n, one in enumerate(each) if len(one) != size), len(each))
        made += record(0, 0, size, b"".join(each[:run]))
        each = each[run:]
    return made


def record(address: int, traffic_class: int, size: int, octets: bytes) -> bytes:
    """One receive call."""
    return bytes((address, traffic_class)) + size.to_bytes(2, "little") + length_first(octets)


def length_first(octets: bytes) -> bytes:
    return len(octets).to_bytes(2, "little") + octets


def pieces(*each: bytes) -> bytes:
    """Of a stream, or out of the tunnel."""
    return b"".join(length_first(one) for one in each)


def prefix(text: str, what: int) -> bytes:
    """A prefix comes (bit 1), goes (bit 3) or its address is looked up."""
    network = ip_network(text)
    packed = network.network_address.packed
    return bytes((what | (len(packed) == 16), network.prefixlen)) + packed


if __name__ == "__main__":
    main()
