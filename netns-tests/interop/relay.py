"""Run on a router: carry datagrams between a client and a server that may be reached two ways.

    python relay.py OWN_ADDRESS OWN_PORT SERVER_ADDRESS OTHER_SERVER_ADDRESS SERVER_PORT

Prints ``ready`` when packets can come. SIGUSR1 changes the way to the server, and prints
``to ADDRESS``; the server sees the client come from another address, of another family if its two
addresses are. Answers are taken from both ways. Standard library only.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys


def main(arguments: list[str]) -> int:
    """Carry packets until a signal ends it."""
    own, own_port, *servers, server_port = arguments
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    inside = _socket(own)
    inside.bind((own, int(own_port)))
    ways = [_socket(server) for server in servers]
    for way, server in zip(ways, servers, strict=True):
        way.connect((server, int(server_port)))
    print("ready", flush=True)
    client: object = None
    while True:
        for channel in select.select([inside, *ways], [], [], 0.02)[0]:
            for packet, source in _waiting(channel):
                if channel is inside:
                    client = source
                    _send(ways[0], packet, None)
                elif client is not None:
                    _send(inside, packet, client)
        if signal.sigtimedwait({signal.SIGUSR1}, 0) is not None:
            ways.reverse()
            print("to", ways[0].getpeername()[0], flush=True)


def _socket(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _waiting(channel: socket.socket) -> list[tuple[bytes, object]]:
    packets: list[tuple[bytes, object]] = []
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        while len(packets) < 64:
            packets.append(channel.recvfrom(65535))
    return packets


def _send(channel: socket.socket, packet: bytes, to: object) -> None:
    # What cannot be sent is lost, as on any router.
    with contextlib.suppress(OSError):
        if to is None:
            channel.send(packet)
        else:
            channel.sendto(packet, to)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
