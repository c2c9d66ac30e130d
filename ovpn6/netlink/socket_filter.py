"""Classic BPF on a socket: it receives only what the program lets through (``linux/filter.h``)."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_FPROG = struct.Struct("@HP")
_INSTRUCTION_SIZE = 8


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """In the place of the one before. Raises ``OSError``."""
    text = ctypes.create_string_buffer(program, len(program))
    order = _FPROG.pack(len(program) // _INSTRUCTION_SIZE, ctypes.addressof(text))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, order)
