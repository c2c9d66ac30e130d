"""The flow label of outer IPv6 packets, by the flow of the inner one (RFC 6438 3, RFC 6437 3).

So routers spread a tunnel's flows over equal paths, and each flow stays on its own.
"""

from __future__ import annotations

import struct

SECRET_SIZE = 16
MOST_KNOWN = 4096
"""Flows whose labels are remembered: in Python a hash costs more than sealing a packet."""

_LABEL_BITS = 20
_MASK = (1 << 64) - 1
_SECRET = struct.Struct("<QQ")
_PORTS = frozenset({6, 17, 33, 132, 136})
"""Protocols that begin with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite."""


class FlowLabels:
    """Labels 1 to 0xFFFFF, the same for all packets of a flow."""

    def __init__(self, secret: bytes) -> None:
        """``secret``: 16 bytes. Who does not know them can predict no label."""
        self._secret = secret
        self._known: dict[bytes, int] = {}

    def label(self, packet: bytes) -> int:
        """Of an IPv4 or IPv6 packet with a whole header."""
        flow = flow_of(packet)
        known = self._known.get(flow)
        if known is not None:
            return known
        if len(self._known) == MOST_KNOWN:
            self._known.clear()
        # Zero says that there is none.
        label = siphash(self._secret, flow) >> 64 - _LABEL_BITS or (1 << _LABEL_BITS) - 1
        self._known[flow] = label
        return label


def flow_of(packet: bytes) -> bytes:
    """What is the same for all packets of a flow.

    The pair of addresses and: the label of the inner packet where it has one; else the protocol,
    and the ports where they stand right behind the IP header and the packet is no fragment, as only
    the first fragment has them.
    """
    if packet[0] >> 4 == 6:
        label = bytes((packet[1] & 0x0F,)) + packet[2:4]
        if any(label):
            return packet[8:40] + label
        flow, protocol, header, whole = packet[8:40], packet[6], 40, True
    else:
        header = 4 * (packet[0] & 15)
        whole = header >= 20 and not (packet[6] & 0x3F or packet[7])
        flow, protocol = packet[12:20], packet[9]
    flow += bytes((protocol,))
    if whole and protocol in _PORTS and len(packet) >= header + 4:
        flow += packet[header : header + 4]
    return flow


def siphash(secret: bytes, data: bytes) -> int:
    """SipHash-2-4 (Aumasson and Bernstein, 2012)."""
    low, high = _SECRET.unpack(secret)
    state = (
        low ^ 0x736F6D6570736575,
        high ^ 0x646F72616E646F6D,
        low ^ 0x6C7967656E657261,
        high ^ 0x7465646279746573,
    )
    whole = len(data) & ~7
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    for at in range(0, whole, 8):
        state = _absorb(state, int.from_bytes(data[at : at + 8], "little"))
    a, b, c, d = _absorb(state, last)
    a, b, c, d = _rounds((a, b, c ^ 0xFF, d), 4)
    return a ^ b ^ c ^ d


_State = tuple[int, int, int, int]


def _absorb(state: _State, word: int) -> _State:
    a, b, c, d = state
    a, b, c, d = _rounds((a, b, c, d ^ word), 2)
    return a ^ word, b, c, d


def _rounds(state: _State, count: int) -> _State:
    a, b, c, d = state
    for _ in range(count):
        a = (a + b) & _MASK
        c = (c + d) & _MASK
        b = _rotated(b, 13) ^ a
        d = _rotated(d, 16) ^ c
        a = _rotated(a, 32)
        c = (c + b) & _MASK
        a = (a + d) & _MASK
        b = _rotated(b, 17) ^ c
        d = _rotated(d, 21) ^ a
        c = _rotated(c, 32)
    return a, b, c, d


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK
