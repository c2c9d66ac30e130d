"""What went over the underlay: the OpenVPN packets of a running or finished capture.

Reads the pcap file itself (Ethernet, UDP over IPv6 without extension headers or IPv4), because the
first byte and the session id of a control packet are in clear whatever wraps the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ovpn6.lab import Capture, Line

SOFT_RESET = 3
CONTROL = 4
ACK = 5
HARD_RESET_CLIENT = 7
HARD_RESET_SERVER = 8
DATA = 9
HARD_RESET_CLIENT_V3 = 10
CONTROL_WKC = 11

_RECORD = struct.Struct("<IIII")
_IPV6, _IPV4 = b"\x86\xdd", b"\x08\x00"


@dataclass(frozen=True, slots=True)
class WirePacket:
    """One OpenVPN packet. ``source``/``destination`` are (address, port)."""

    time: float
    source: tuple[str, int]
    destination: tuple[str, int]
    opcode: int
    key_id: int
    payload: bytes

    @property
    def session_id(self) -> bytes:
        """The sender's session id, of a control packet."""
        return self.payload[1:9]


def watch(net: Line, side: str = "server") -> Capture:
    """Capture all UDP between the underlay and one ``side``, ``client`` or ``server``."""
    return Capture(net.underlay, f"to-{side}", "udp")


def packets(capture: Capture) -> list[WirePacket]:
    """Every packet written so far."""
    return list(_records(capture.path))


def handshakes(seen: Sequence[WirePacket]) -> list[bytes]:
    """The session ids of the clients that began a session, in order."""
    first = (HARD_RESET_CLIENT, HARD_RESET_CLIENT_V3)
    return list(dict.fromkeys(p.session_id for p in seen if p.opcode in first))


def renegotiations(seen: Sequence[WirePacket]) -> list[WirePacket]:
    """The first soft reset of each renegotiation: its source is who began it."""
    begun: dict[int, WirePacket] = {}
    order: list[WirePacket] = []
    for packet in seen:
        if packet.opcode != SOFT_RESET:
            continue
        last = begun.get(packet.key_id)
        # Key ids come again after seven renegotiations, answers and repeats come at once.
        if last is None or packet.time - last.time > 20:
            order.append(packet)
            begun[packet.key_id] = packet
    return order


def data_key_ids(seen: Sequence[WirePacket], source: str) -> set[int]:
    """The key ids under which ``source`` sent data."""
    return {p.key_id for p in seen if p.opcode == DATA and p.source[0] == source}


def data_epochs(seen: Sequence[WirePacket], source: str, key_id: int = 0) -> list[int]:
    """The epochs in which ``source`` sent under a key id, in the order of their first packet. Only
    where both ends agreed on the epoch format: elsewhere the same bytes are a counter's."""
    sent = (p for p in seen if p.opcode == DATA and p.source[0] == source and p.key_id == key_id)
    return list(dict.fromkeys(int.from_bytes(p.payload[4:6], "big") for p in sent))


def _records(path: Path) -> Iterator[WirePacket]:
    content = path.read_bytes()
    position = 24
    while position + _RECORD.size <= len(content):
        seconds, micros, kept, _ = _RECORD.unpack_from(content, position)
        position += _RECORD.size
        frame = content[position : position + kept]
        position += kept
        # The last record of a running capture may be half written.
        if len(frame) == kept and (packet := _packet(seconds + micros / 1e6, frame)):
            yield packet


def _packet(time: float, frame: bytes) -> WirePacket | None:
    kind, network = frame[12:14], frame[14:]
    if kind == _IPV6 and network[6] == 17:
        source, destination, udp = network[8:24], network[24:40], network[40:]
    elif kind == _IPV4 and network[9] == 17:
        source, destination, udp = network[12:16], network[16:20], network[4 * (network[0] & 15) :]
    else:
        return None
    source_port, destination_port, length, _ = struct.unpack_from("!4H", udp)
    payload = udp[8:length]
    if not payload:
        return None
    return WirePacket(
        time,
        (str(ip_address(source)), source_port),
        (str(ip_address(destination)), destination_port),
        payload[0] >> 3,
        payload[0] & 7,
        payload,
    )
