"""TCP outside: a listener, and connections that carry datagrams behind a 16-bit length.

Source: OpenVPN ``socket.c`` (stream_buf). One write takes a whole batch; what the kernel does not
take waits in a bounded queue, and beyond that datagrams are dropped like on any full link.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from ovpn6.datapath.errors import Counts, count, count_error, error_name
from ovpn6.datapath.links import Source
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.stream_link import Owner, StreamLink
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import LinkId

QUEUE_OCTETS = 128 * 1024
"""What may wait for a slow connection."""
RECEIVE_SIZE = 65_536
RECEIVE_CALLS = 4
ACCEPT_CALLS = 16
ACCEPT_PAUSE = 1.0
"""Seconds without accepting after the host refused (out of descriptors)."""


class TcpLink(StreamLink):
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
        self._partial = b""
        self._queue = bytearray()

    def readable(self) -> None:
        """Take what waits, up to a budget."""
        for _ in range(RECEIVE_CALLS):
            if self._closed:
                return
            try:
                chunk = self.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(f"receive: {error.strerror}")
                return
            if not chunk:
                self._end("closed by the remote end")
                return
            self._split(chunk)
            if len(chunk) < RECEIVE_SIZE:
                return

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
        if len(self._queue) > QUEUE_OCTETS:
            count(self._counts, "send tcp queue full", len(datagrams))
            return
        pieces = []
        for datagram in datagrams:
            pieces.append(len(datagram).to_bytes(2, "big"))
            pieces.append(datagram)
        data = b"".join(pieces)
        if self._queue:
            self._queue += data
            return
        sent = self._write(data)
        if sent < len(data) and not self._closed:
            self._queue += data[sent:]
            self._loop.add_writer(self.sock, self._drain)

    def close(self) -> None:
        """Try once to send what waits, then close."""
        if self._closed:
            return
        self._closed = True
        if self._queue:
            self._loop.remove_writer(self.sock)
            self._write(self._queue)
        self.sock.close()

    def _split(self, chunk: bytes) -> None:
        data = self._partial + chunk if self._partial else chunk
        datagrams: list[bytes] = []
        start, total = 0, len(data)
        while total - start >= 2:
            length = data[start] << 8 | data[start + 1]
            if not 0 < length <= self._max_length:
                count(self._counts, "tcp frame length")
                self._end(f"frame of {length} bytes")
                break
            end = start + 2 + length
            if end > total:
                break
            datagrams.append(data[start + 2 : end])
            start = end
        self._partial = data[start:]
        if datagrams:
            self._deliver(self, datagrams, None, 0)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            count_error(self._counts, "send", error)
            if not self._closed:
                self._end(f"send: {error_name(error)}")
            return 0

    def _drain(self) -> None:
        sent = self._write(self._queue)
        del self._queue[:sent]
        if not self._queue and not self._closed:
            self._loop.remove_writer(self.sock)

    def _end(self, reason: str) -> None:
        self._closed = True
        self._loop.remove_reader(self.sock)
        self._loop.remove_writer(self.sock)
        self.sock.close()
        self._queue.clear()
        self._broken(self.link, reason)


class TcpListener:
    """Accepts; what becomes of a connection is ``accepted``'s affair."""

    def __init__(
        self,
        link: LinkId,
        sock: socket.socket,
        accepted: Callable[[LinkId, socket.socket, Endpoint], None],
        counts: Counts,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.link = link
        self.sock = sock
        self._accepted = accepted
        self._counts = counts
        self._loop = loop
        self._pause: asyncio.TimerHandle | None = None

    def readable(self) -> None:
        """Accept what waits, up to a budget."""
        for _ in range(ACCEPT_CALLS):
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # Out of descriptors or memory: the backlog stays readable, so look away a while.
                count_error(self._counts, "accept", error)
                self._loop.remove_reader(self.sock)
                self._pause = self._loop.call_later(ACCEPT_PAUSE, self._resume)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(self.link, sock, to_endpoint(address))

    def close(self) -> None:
        """Close the socket; connections stay."""
        if self._pause is not None:
            self._pause.cancel()
        self.sock.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self.sock, self.readable)
