"""Packets of an attacker: made with scapy, or captured and sent again, out of any namespace."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader

from ovpn6.lab import Capture, Namespace, Tunnel

CONTROL_OPCODES = frozenset({3, 4, 5, 7, 8, 10, 11})
DATA_OPCODE = 9

_CLONE_NEWNET = 0x40000000
_ETHERTYPE_ALL = 3


def socket_in(namespace: Namespace, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of another network namespace: it stays there, whoever uses it."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        file = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(family, kind, protocol))
        except OSError as error:
            made.append(error)
        finally:
            os.close(file)

    # A thread that ends: its namespace is nobody else's.
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@contextmanager
def wire_end(namespace: Namespace, device: str) -> Iterator[socket.socket]:
    """A socket that sends whole frames out of a device (whole packets, out of a tunnel's)."""
    with socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW) as end:
        end.bind((device, _ETHERTYPE_ALL))
        yield end


def frames(capture: Capture) -> list[Packet]:
    """The OpenVPN datagrams of a capture, as scapy sees them, in order."""
    found = [Ether(data) for data, _ in RawPcapReader(str(capture.path))]
    return [frame for frame in found if UDP in frame and len(payload(frame)) > 1]


def payload(frame: Packet) -> bytes:
    """What a frame's UDP carries."""
    return bytes(frame[UDP].payload)


def opcode(frame: Packet) -> int:
    """The OpenVPN opcode."""
    return payload(frame)[0] >> 3


def with_payload(frame: Packet, content: bytes) -> bytes:
    """The frame with other content: lengths and checksum are right."""
    changed = frame.copy()
    changed[UDP].remove_payload()
    del changed[IPv6].plen, changed[UDP].len, changed[UDP].chksum
    return bytes(changed / Raw(content))


def with_source(frame: Packet, address: str, port: int, content: bytes | None = None) -> bytes:
    """The frame as if from somewhere else."""
    changed = frame.copy()
    changed[IPv6].src = address
    changed[UDP].sport = port
    return with_payload(changed, payload(frame) if content is None else content)


def mangled(content: bytes, every: int = 1) -> Iterator[bytes]:
    """Copies of a datagram, each with one bit of one byte turned over; then cut, then longer."""
    for position in range(0, len(content), every):
        bit = 1 << position % 8
        yield content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :]
    for length in range(1, len(content), max(1, every)):
        yield content[:length]
    yield content + b"\0"


def drops(tunnel: Tunnel) -> dict[str, int]:
    """What ours dropped and why, as SIGUSR2 has it in the log."""
    position = len(tunnel.log())
    tunnel.process.signal(signal.SIGUSR2)
    # A later line: everything of this answer is there.
    tunnel.process.wait_for_log(r"^[^\n]*\bEND$", 5, after=position)
    _settle(tunnel, position)
    lines = re.findall(r"dropped, ([^:\n]+): (\d+)$", tunnel.log()[position:], re.MULTILINE)
    return {reason: int(number) for reason, number in lines}


def dropped_since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Growth of each counter that grew."""
    return {
        reason: number - before.get(reason, 0)
        for reason, number in after.items()
        if number != before.get(reason, 0)
    }


def send_all(end: socket.socket, packets: Sequence[bytes]) -> None:
    """Send, a little slower than the kernel's queues fill."""
    for packet in packets:
        end.send(packet)


def _settle(tunnel: Tunnel, position: int) -> None:
    """The drops follow END in one go: a second request's answer is behind all of the first's."""
    tunnel.process.signal(signal.SIGUSR2)
    tunnel.process.wait_for_log(r"\bEND\n[\s\S]*\bEND\n", 5, after=position)
