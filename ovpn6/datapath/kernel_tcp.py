"""A TCP connection that the kernel takes over once a peer is attached to it.

Before that it is a stream of packets behind 16-bit lengths, and the kernel must find the stream at
a packet's beginning: so whole packets are taken and a partial one is left in the socket. After it,
each ``recv`` and ``send`` is one control packet with its length (``drivers/net/ovpn/tcp.c``).
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections import deque
from collections.abc import Sequence

from ovpn6.datapath.errors import count, count_error, error_name
from ovpn6.datapath.links import Source
from ovpn6.datapath.stream_link import Owner, StreamLink
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import LinkId

LENGTH_SIZE = 2
MAX_QUEUE = 64
"""Packets that may wait for a slow connection: control packets only, which are sent again."""
RECEIVE_CALLS = 16
RETRY = 0.02
"""Seconds until a refused packet is tried again. The kernel refuses while a data packet is half
sent, whatever ``poll`` says."""
RECEIVE_SIZE = 65_536


class KernelTcpLink(StreamLink):
    """One established connection; its only source is None."""

    def __init__(
        self,
        link: LinkId,
        sock: socket.socket,
        remote: Endpoint,
        owner: Owner,
        max_length: int,
    ) -> None:
        super().__init__(link, sock, remote, owner, max_length)
        self._attached = False
        self._queue: deque[bytes] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def attach(self) -> None:
        """The kernel is about to take the stream. Raises ``HostError`` when ours is half sent."""
        self._flush()
        if self._queue or self._closed:
            raise HostError("attach a TCP connection", "it is congested", errno.EAGAIN)
        self._want(1)
        self._attached = True

    def detach(self) -> None:
        """The kernel gave the stream back."""
        self._attached = False

    def readable(self) -> None:
        """Take whole packets, up to a budget."""
        for _ in range(RECEIVE_CALLS):
            if self._closed:
                return
            try:
                packet = self._receive_message() if self._attached else self._receive_whole()
            except BlockingIOError:
                return
            except OSError as error:
                self.end(f"receive: {error.strerror}")
                return
            if packet is None:
                return
            self._deliver(self, (packet,), None, 0)

    def send(
        self,
        datagrams: Sequence[bytes],
        source: Source,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        """Send in order. A full queue drops all of them."""
        if self._closed:
            count(self._counts, "send closed link", len(datagrams))
            return
        if len(self._queue) >= MAX_QUEUE:
            count(self._counts, "send tcp queue full", len(datagrams))
            return
        for datagram in datagrams:
            self._queue.append(len(datagram).to_bytes(LENGTH_SIZE, "big") + datagram)
        if self._retry is None:
            self._flush()

    def close(self) -> None:
        """Try once to send what waits, then close."""
        if not self._closed:
            self._flush()
            self._shut()

    def end(self, reason: str) -> None:
        """The connection is of no more use: close it and say so."""
        if not self._closed:
            self._shut()
            self._broken(self.link, reason)

    def _receive_message(self) -> bytes | None:
        message = self.sock.recv(RECEIVE_SIZE)
        if len(message) <= LENGTH_SIZE:
            self.end("closed by the remote end")
            return None
        return message[LENGTH_SIZE:]

    def _receive_whole(self) -> bytes | None:
        """One whole packet of the stream; None when it is not there yet."""
        head = self.sock.recv(LENGTH_SIZE, socket.MSG_PEEK)
        if not head:
            self.end("closed by the remote end")
            return None
        if len(head) < LENGTH_SIZE:
            self._wait(LENGTH_SIZE)
            return None
        length = int.from_bytes(head, "big")
        if not 0 < length <= self._max_length:
            count(self._counts, "tcp frame length")
            self.end(f"frame of {length} bytes")
            return None
        total = LENGTH_SIZE + length
        seen = self.sock.recv(total, socket.MSG_PEEK)
        if len(seen) < total:
            self._wait(total)
            return None
        self._want(1)
        return self.sock.recv(total)[LENGTH_SIZE:]

    def _wait(self, octets: int) -> None:
        """For the rest of a packet, unless it cannot come any more."""
        end = select.poll()
        end.register(self.sock, select.POLLRDHUP)
        if end.poll(0):
            self.end("closed by the remote end")
        else:
            self._want(octets)

    def _want(self, octets: int) -> None:
        """Be readable no sooner than with so many octets."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)

    def _flush(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        while self._queue:
            packet = self._queue[0]
            try:
                sent = self.sock.send(packet)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                count_error(self._counts, "send", error)
                self._queue.clear()
                self._loop.call_soon(self.end, f"send: {error_name(error)}")
                return
            if sent < len(packet):
                self._queue[0] = packet[sent:]
                self._retry = self._loop.call_later(RETRY, self._flush)
                return
            self._queue.popleft()

    def _shut(self) -> None:
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self.sock)
        self._queue.clear()
        self.sock.close()
