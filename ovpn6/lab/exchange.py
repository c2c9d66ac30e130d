"""Run in a namespace: send bytes over TCP and receive as many at the same time.

    python exchange.py listen ADDRESS PORT COUNT     prints "listening PORT" first
    python exchange.py connect ADDRESS PORT COUNT

Each end prints ``sent SHA256`` and ``received SHA256 COUNT`` and exits 0 when the other end closed
in order. Standard library only, so that it starts at once.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading

_CHUNK = 65536
_LIMIT = 60.0
"""Seconds without any progress after which an end gives up."""


def main(arguments: list[str]) -> int:
    """Play the part that the arguments name; returns an exit code."""
    part, address, port, count = arguments
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = (address, int(port))
    with _listen(family, where) if part == "listen" else _connect(family, where) as stream:
        stream.settimeout(_LIMIT)
        sender = threading.Thread(target=_send, args=(stream, int(count)))
        sender.start()
        _receive(stream)
        sender.join()
    return 0


def _listen(family: int, where: tuple[str, int]) -> socket.socket:
    with socket.create_server(where, family=family) as server:
        server.settimeout(_LIMIT)
        print("listening", server.getsockname()[1], flush=True)
        stream, _ = server.accept()
        return stream


def _connect(family: int, where: tuple[str, int]) -> socket.socket:
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.settimeout(_LIMIT)
    stream.connect(where)
    return stream


def _send(stream: socket.socket, count: int) -> None:
    data = os.urandom(count)
    stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)
    print("sent", hashlib.sha256(data).hexdigest(), flush=True)


def _receive(stream: socket.socket) -> None:
    digest = hashlib.sha256()
    count = 0
    while chunk := stream.recv(_CHUNK):
        digest.update(chunk)
        count += len(chunk)
    print("received", digest.hexdigest(), count, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
