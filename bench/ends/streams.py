"""TCP streams to many addresses from one process: what iperf3 does with one.

    python -m bench.ends.streams receive --streams 64 --seconds 2
    python -m bench.ends.streams send --streams 64 --active 64

They go from the client's addresses of the active peers to the server's (``bench/ends/crowd.py``),
in turn.
The receiver prints the bits a second of all together, for that time from the first octet on, and
ends; then the sender does.
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import socket
import time

from bench.ends.crowd import inner_address

PORT = 5301
_CHUNK = 1 << 18
_CONNECT_LIMIT = 10.0


def main() -> None:
    """Be one end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=("receive", "send"))
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--active", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    asked = parser.parse_args()
    if asked.part == "receive":
        receive(asked.streams, asked.seconds)
    else:
        send(asked.streams, asked.active)


def receive(streams: int, seconds: float) -> None:
    """Take what comes of that many streams in that time."""
    buffer = bytearray(_CHUNK)
    octets, first = 0, 0.0
    with (
        socket.create_server(("::", PORT), family=socket.AF_INET6, backlog=streams) as listener,
        selectors.DefaultSelector() as selector,
    ):
        print("listening", flush=True)
        for _ in range(streams):
            selector.register(listener.accept()[0], selectors.EVENT_READ)
        while not first or time.monotonic() < first + seconds:
            for key, _ in selector.select(seconds):
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                # MSG_TRUNC: counted, not copied (tcp(7)).
                taken = stream.recv_into(buffer, _CHUNK, socket.MSG_TRUNC)
                first = first or time.monotonic()
                octets += taken
                if not taken:
                    raise SystemExit("the sender ended")
        print(f"received {octets * 8 / (time.monotonic() - first):.0f}", flush=True)


def send(streams: int, active: int) -> None:
    """Fill that many streams, all from the same moment on, until the receiver has enough."""
    chunk = bytes(_CHUNK)
    with selectors.DefaultSelector() as selector, contextlib.suppress(ConnectionError):
        for number in range(streams):
            selector.register(_connect(1 + number % active), selectors.EVENT_WRITE)
        while True:
            for key, _ in selector.select():
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                stream.send(chunk)


def _connect(peer: int) -> socket.socket:
    stream = socket.create_connection(
        (str(inner_address("server", peer)), PORT),
        _CONNECT_LIMIT,
        (str(inner_address("client", peer)), 0),
    )
    stream.setblocking(False)
    return stream


if __name__ == "__main__":
    main()
