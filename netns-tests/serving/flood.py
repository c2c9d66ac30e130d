"""Run in a namespace: a flood of datagrams that no OpenVPN client would send.

    python flood.py DEVICE DESTINATION_MAC SOURCE_PREFIX DESTINATION PORT COUNT RATE KIND

``SOURCE_PREFIX`` are the first 64 bits (``2001:db8:c:1::``): source addresses and ports are random.
``KIND`` is ``bytes`` (random content), ``resets`` (what begins a session, with random session ids,
in each wrap's length) or ``mixed``. ``RATE``: packets a second at most; there are 32,768 different
ones. Prints ``sent COUNT``. Standard library only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import socket
import struct
import sys
import time

_BATCH = 64
_DIFFERENT = 32_768
_RESET_CLIENT_V2, _RESET_CLIENT_V3 = 0x38, 0x50
# What stands behind opcode and session id: without wrap, with tls-auth, tls-crypt, tls-crypt-v2.
_RESET_BODIES = (5, 33, 45, 380)


def main(arguments: list[str]) -> int:
    """Flood; returns an exit code."""
    device, mac, prefix, destination, port, count, rate, kind = arguments
    ethernet = bytes.fromhex(mac.replace(":", "")) + bytes(6) + b"\x86\xdd"
    source = ipaddress.IPv6Address(prefix).packed[:8]
    target = ipaddress.IPv6Address(destination).packed
    packets = [
        ethernet + _packet(source + os.urandom(8), target, int(port), _content(kind))
        for _ in range(min(_DIFFERENT, int(count)))
    ]
    sent = 0
    begun = time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
        end.bind((device, 0))
        while sent < int(count):
            for _ in range(_BATCH):
                with contextlib.suppress(OSError):
                    end.send(packets[sent % len(packets)])
                sent += 1
            ahead = sent / float(rate) - (time.monotonic() - begun)
            if ahead > 0:
                time.sleep(ahead)
    print("sent", sent, flush=True)
    return 0


def _content(kind: str) -> bytes:
    if kind == "mixed":
        kind = random.choice(("bytes", "resets"))
    if kind == "bytes":
        return random.randbytes(random.randrange(1, 600))
    size = random.choice(_RESET_BODIES)
    first = _RESET_CLIENT_V3 if size > 100 else _RESET_CLIENT_V2
    # No acks, message id 0: without wrap this is a reset like any other.
    body = bytes(5) if size == 5 else random.randbytes(size)
    return bytes([first]) + os.urandom(8) + body


def _packet(source: bytes, destination: bytes, port: int, content: bytes) -> bytes:
    length = 8 + len(content)
    udp = struct.pack("!HHHH", random.randrange(1024, 65536), port, length, 0)
    pseudo = source + destination + struct.pack("!II", length, socket.IPPROTO_UDP)
    udp = udp[:6] + struct.pack("!H", _checksum(pseudo + udp + content))
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64)
    return header + source + destination + udp + content


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    # The ones' complement sum of 16-bit words is the number modulo 0xffff.
    total = int.from_bytes(data, "big") % 0xFFFF
    return (0xFFFF - total) or 0xFFFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
