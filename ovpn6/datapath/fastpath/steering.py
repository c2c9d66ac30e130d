"""Several workers: a queue of the tunnel device and a UDP socket each, steered to by peer.

What comes out of the tunnel is steered by its destination, by the worker's own BPF program; what
comes out of the sockets by the peer id of data packets. See docs/decisions/several-workers.md.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from ovpn6.datapath.errors import host_error
from ovpn6.datapath.links import local_endpoint, open_socket
from ovpn6.model.errors import HostError
from ovpn6.model.records import replace
from ovpn6.model.specs import LinkSpec

FEW_PROCESSORS = 2
"""With so few, one thread sends and receives: two would be in each other's way."""
MOST_WORKERS = 16

SO_ATTACH_REUSEPORT_CBPF = 51

_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_DATA_V2 = 9


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def suitable_workers() -> int:
    """A thread a processor, and two threads a worker."""
    return max(1, min(MOST_WORKERS, processors() // 2))


def open_beside(first: socket.socket, spec: LinkSpec, count: int) -> list[socket.socket]:
    """More UDP sockets where ``first`` is bound, ``count`` with it: data packets of one peer id all
    go to one of them, and everything else to the first. Raises ``HostError``; the first stays.

    The first was bound alone, so that a port in use is found, and nobody else gets its port.
    """
    opened: list[socket.socket] = []
    there = replace(spec, local_port=local_endpoint(first).port)
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        while len(opened) + 1 < count:
            opened.append(open_socket(there, shared=True))
        _attach(first, count)
    except (OSError, HostError) as error:
        for sock in opened:
            sock.close()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        if isinstance(error, HostError):
            raise
        raise host_error("share a UDP port", error) from None
    return opened


def _attach(sock: socket.socket, count: int) -> None:
    """A program for all sockets of the port: sockets count in the order in which they came."""
    instructions = [
        (0x30, 0, 0, 0),  # the first octet
        (0x74, 0, 0, 3),  # its upper five bits
        (0x15, 0, 4, _DATA_V2),  # other opcodes: the last line
        (0x20, 0, 0, 0),  # the first four octets; a packet without them is for the first socket
        (0x54, 0, 0, 0xFFFFFF),  # the peer id
        (0x94, 0, 0, count),  # modulo
        (0x16, 0, 0, 0),  # that one
        (0x06, 0, 0, 0),  # the first
    ]
    packed = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
    octets = ctypes.create_string_buffer(packed, len(packed))
    program = _PROGRAM.pack(len(instructions), ctypes.addressof(octets))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
