"""Run in a namespace: send numbered UDP packets to a peer, count those that it sends.

    python counter.py OWN_ADDRESS OWN_PORT PEER_ADDRESS PEER_PORT PACKETS_PER_SECOND

Prints ``ready`` when packets can come. SIGUSR1 starts the sending, SIGUSR2 ends it and prints
``sent COUNT``; SIGTERM prints ``received DIFFERENT AGAIN LONGEST_GAP`` (seconds) and exits 0.
Standard library only, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import sys
import time

_PADDING = bytes(400)
_NUMBER = struct.Struct("!Q")


class Counter:
    """What was sent and what arrived."""

    def __init__(self) -> None:
        self.sent = 0
        self.arrived: set[int] = set()
        self.again = 0
        self.last_arrival: float | None = None
        self.longest_gap = 0.0

    def count(self, packet: bytes) -> None:
        """Book one packet of the peer."""
        (number,) = _NUMBER.unpack_from(packet)
        if number in self.arrived:
            self.again += 1
            return
        self.arrived.add(number)
        now = time.monotonic()
        if self.last_arrival is not None:
            self.longest_gap = max(self.longest_gap, now - self.last_arrival)
        self.last_arrival = now


def main(arguments: list[str]) -> int:
    """Send and count until SIGTERM; returns an exit code."""
    own, own_port, peer, peer_port, rate = arguments
    signals = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    counter = Counter()
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.bind((own, int(own_port)))
        print("ready", flush=True)
        _run(channel, (peer, int(peer_port)), 1 / float(rate), counter, signals)
        _receive_all(channel, counter)
    print("received", len(counter.arrived), counter.again, round(counter.longest_gap, 3))
    return 0


def _run(
    channel: socket.socket,
    peer: tuple[str, int],
    interval: float,
    counter: Counter,
    signals: set[signal.Signals],
) -> None:
    next_send: float | None = None
    while True:
        now = time.monotonic()
        if next_send is not None and now >= next_send:
            # A late wake-up must not become a burst that a queue could drop.
            next_send = max(next_send, now - interval) + interval
            _send(channel, peer, counter)
        pause = 0.02 if next_send is None else max(0.0, min(0.02, next_send - time.monotonic()))
        if select.select([channel], [], [], pause)[0]:
            _receive_all(channel, counter)
        caught = signal.sigtimedwait(signals, 0)
        if caught is None:
            continue
        if caught.si_signo == signal.SIGTERM:
            return
        if caught.si_signo == signal.SIGUSR1:
            next_send = time.monotonic()
        else:
            next_send = None
            print("sent", counter.sent, flush=True)


def _send(channel: socket.socket, peer: tuple[str, int], counter: Counter) -> None:
    # While the host has no route a packet counts as sent: it is lost for the user all the same.
    with contextlib.suppress(OSError):
        channel.sendto(_NUMBER.pack(counter.sent) + _PADDING, peer)
    counter.sent += 1


def _receive_all(channel: socket.socket, counter: Counter) -> None:
    while True:
        try:
            packet = channel.recv(2048)
        except BlockingIOError:
            return
        except OSError:
            continue
        counter.count(packet)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
