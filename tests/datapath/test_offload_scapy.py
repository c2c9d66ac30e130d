"""Merging and cutting packets that scapy made: what real hosts and routers send."""

from __future__ import annotations

import itertools
import random

import pytest
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP, IPOption_RR, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet, Raw

from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Vnet
from tests.datapath.inner_packets import words_sum
from tests.datapath.native_offload import native_cut
from tests.datapath.test_offload_coalesce import by_flow, merged, recut

SIXES = {"src": "2001:db8::1", "dst": "2001:db8::2"}
FOURS = {"src": "192.0.2.1", "dst": "192.0.2.2"}
STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (77, 88))]
SACKS = [("NOP", None), ("NOP", None), ("SAck", (5000, 6000))]


def six(**fields: object) -> Packet:
    return IPv6(**SIXES, **fields)


def four(**fields: object) -> Packet:
    return IP(**FOURS, **fields)


def stream(ip: Packet, number: int, size: int = 500, **fields: object) -> list[Packet]:
    """Segments of one connection."""
    return [
        ip / TCP(sport=1, dport=2, seq=at * size, ack=9, **{"flags": "A", **fields})
        / Raw(bytes([at]) * size)
        for at in range(number)
    ]  # fmt: skip


def datagrams(ip: Packet, number: int, size: int = 500, **fields: object) -> list[Packet]:
    return [ip / UDP(sport=1, dport=2, **fields) / Raw(bytes([at]) * size) for at in range(number)]


def corpus() -> dict[str, list[Packet]]:
    """Packets of each kind, in the order in which one connection sends them."""
    made: dict[str, list[Packet]] = {}
    for name, ip in (("6", six()), ("4", four(flags="DF")), ("4 without DF", four(id=7))):
        made[f"tcp {name}"] = stream(ip, 4)
        made[f"tcp stamps {name}"] = stream(ip, 4, options=STAMPS)
        made[f"tcp sack {name}"] = stream(ip, 2, options=SACKS)
        made[f"tcp push {name}"] = stream(ip, 4, flags="PA")
        made[f"udp {name}"] = datagrams(ip, 4)
        made[f"tcp bad sum {name}"] = stream(ip, 3, chksum=0x1234)
        made[f"udp bad sum {name}"] = datagrams(ip, 3, chksum=0x1234)
        made[f"udp no sum {name}"] = datagrams(ip, 3, chksum=0)
        for flags in ("S", "SA", "FA", "RA", "R", "UA", "CA", "EA", "", "FPA"):
            made[f"tcp flags {flags} {name}"] = stream(ip, 2, flags=flags)
        made[f"acks {name}"] = stream(ip, 3, size=0)
    made["handshake"] = [
        six() / TCP(flags="S", options=[("MSS", 1348), ("SAckOK", b""), ("WScale", 7)]),
        *stream(six(), 3),
        *stream(six(), 1, flags="FA"),
    ]
    made["ipv4 options"] = stream(four(options=[IPOption_RR(length=7)]), 3)
    made["ipv4 fragments"] = list(fragment(datagrams(four(id=3), 1, 3000)[0], 1000))
    made["ipv6 fragments"] = list(
        fragment6(six() / IPv6ExtHdrFragment(id=3) / UDP(sport=1) / Raw(bytes(3000)), 1280)
    )
    for header in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=[])):
        made[f"ipv6 {header.name}"] = stream(six() / header, 3)
    made["ah"] = stream(six() / AH(spi=1, icv=bytes(12)), 2)
    made["esp"] = [six() / ESP(spi=1, seq=1, data=bytes(100))] * 2
    made["icmp"] = [four() / ICMP() / Raw(bytes(64)), six() / ICMPv6EchoRequest(data=bytes(64))]
    made["gre"] = [four() / GRE() / four() / UDP() / Raw(bytes(100))] * 2
    made["tunnelled"] = [six() / four() / TCP(flags="A") / Raw(bytes(100))] * 2
    made["sctp"] = [six() / SCTP() / SCTPChunkData(data=bytes(50))] * 2
    made["padded"] = [four(len=40) / TCP(flags="A") / Raw(bytes(20))] * 2
    made["cut off"] = [six(plen=4000) / TCP(flags="A") / Raw(bytes(20))] * 2
    return made


KINDS = {name: [bytes(packet) for packet in packets] for name, packets in corpus().items()}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_can_be_cut_into_what_came(kind: str) -> None:
    packets = KINDS[kind]
    for fed in (packets, packets[::-1], packets * 2, [one for one in packets for _ in range(2)]):
        assert by_flow(recut(merged(fed))) == by_flow(fed)


@pytest.mark.parametrize("kind", ["tcp 6", "tcp 4", "udp 6", "udp 4", "tcp stamps 6"])
def test_what_real_hosts_send_in_bulk_is_merged(kind: str) -> None:
    assert [count for count, _ in merged(KINDS[kind])] == [4]


@pytest.mark.parametrize("seed", range(20))
def test_all_kinds_mixed_keep_the_order_of_each_flow(seed: int) -> None:
    shuffled = list(itertools.chain(*KINDS.values()))
    random.Random(seed).shuffle(shuffled)
    assert by_flow(recut(merged(shuffled))) == by_flow(shuffled)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("options", [[], STAMPS, SACKS], ids=["none", "stamps", "sack"])
def test_segments_are_those_that_scapy_makes(version: int, options: list[object]) -> None:
    ip = six(tc=0xB8, fl=0x12345) if version == 6 else four(id=0xFFFE, tos=0xB8, flags="DF")
    whole = (
        ip / TCP(seq=0xFFFFFF00, ack=9, flags="PA", options=options) / Raw(bytes(range(200)) * 9)
    )
    packet = bytes(whole)
    start = 40 if version == 6 else 20
    headers = len(packet) - 1800
    addresses = packet[8:40] if version == 6 else packet[12:20]
    pseudo = words_sum(addresses + (len(packet) - start).to_bytes(4, "big") + b"\0\0\0\x06")
    packet = packet[: start + 16] + pseudo.to_bytes(2, "big") + packet[start + 18 :]
    vnet = Vnet(NEEDS_CSUM, GSO_TCPV6 if version == 6 else GSO_TCPV4, 0, 700, start, 16)
    wanted = []
    for number, at in enumerate(range(0, 1800, 700)):
        one = whole.copy()
        one[TCP].seq = (0xFFFFFF00 + at) & 0xFFFFFFFF
        one[TCP].flags = "PA" if at == 1400 else "A"
        one[Raw].load = whole[Raw].load[at : at + 700]
        if version == 4:
            one.id = (0xFFFE + number) & 0xFFFF
        wanted.append(bytes(one))
    assert len(wanted[0]) == headers + 700
    assert cut(vnet, packet) == wanted
    assert native_cut(vnet.encode(), packet) == wanted
