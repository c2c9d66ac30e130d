"""TCP between two hosts: intact or not, both ways at once, and the segment sizes of its SYNs."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from fitting.crossing import Host
from ovpn6.datapath.tun import in_netns
from ovpn6.lab.waiting import PATIENCE

AMOUNT = 300_000
LIMIT = 8.0

_SYN = 0x02
_TCP = 6
_MSS = 2


@dataclass(frozen=True, slots=True)
class Talk:
    """One connection: what each side received, and the MSS that came to either side in a SYN."""

    seconds: float
    received: tuple[int, int]
    """By the caller, and by the listener."""
    mss: tuple[int | None, int | None]
    """In the SYN-ACK as the caller got it, and in the SYN as the listener got it."""

    @property
    def complete(self) -> bool:
        return self.received == (AMOUNT, AMOUNT)


def talk(
    caller: Host,
    listener: Host,
    version: int,
    limit: float = LIMIT,
    midway: Callable[[], None] = lambda: None,
) -> Talk:
    """The caller connects; then each side sends :data:`AMOUNT` octets at the same time. ``midway``
    is called once in between."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    listening = in_netns(
        listener.namespace.full_name,
        lambda: socket.create_server((str(listener.addresses[version]), 0), family=family),
    )
    calling = in_netns(
        caller.namespace.full_name, lambda: socket.socket(family, socket.SOCK_STREAM)
    )
    for host in (caller, listener):
        list(host.seen())
    begun = time.monotonic()
    with listening, calling:
        received = _run(listening, calling, begun + limit * PATIENCE, midway)
    seconds = time.monotonic() - begun
    return Talk(seconds, received, (_announced(caller, version), _announced(listener, version)))


def _run(
    listening: socket.socket,
    calling: socket.socket,
    deadline: float,
    midway: Callable[[], None],
) -> tuple[int, int]:
    for opened in (listening, calling):
        opened.setblocking(False)
    calling.connect_ex(listening.getsockname())
    accepted: list[socket.socket] = []
    sent: dict[socket.socket, int] = {}
    received: dict[socket.socket, int] = {}
    halfway = False
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(calling, selectors.EVENT_READ | selectors.EVENT_WRITE)
        sent[calling] = received[calling] = 0
        while any(count < AMOUNT for count in received.values()) or len(received) < 2:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not halfway and sum(received.values()) >= AMOUNT // 2:
                halfway = True
                midway()
            for key, events in selector.select(left):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is listening:
                    stream, _ = listening.accept()
                    accepted.append(stream)
                    stream.setblocking(False)
                    sent[stream] = received[stream] = 0
                    selector.register(stream, selectors.EVENT_READ | selectors.EVENT_WRITE)
                    continue
                if events & selectors.EVENT_WRITE:
                    sent[end] += end.send(bytes(min(AMOUNT - sent[end], 65_536)))
                    if sent[end] == AMOUNT:
                        selector.modify(end, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    received[end] += len(end.recv(65_536))
    for stream in accepted:
        stream.close()
    return received[calling], sum(received[stream] for stream in accepted)


def _announced(host: Host, version: int) -> int | None:
    """The MSS of the last SYN that came to the host."""
    found = None
    for octets in host.seen():
        if octets[0] >> 4 != version:
            continue
        start = 40 if version == 6 else 20
        protocol = octets[6] if version == 6 else octets[9]
        if protocol == _TCP and octets[start + 13] & _SYN:
            found = _mss(octets[start + 20 : start + (octets[start + 12] >> 4) * 4])
    return found


def _mss(options: bytes) -> int | None:
    while options:
        if options[0] == 0:
            return None
        if options[0] == 1:
            options = options[1:]
            continue
        if options[0] == _MSS:
            return int.from_bytes(options[2:4], "big")
        options = options[options[1] :]
    return None
