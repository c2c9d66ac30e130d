"""What every TCP connection is to senders, whoever cuts its stream into packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Hashable

from ovpn6.datapath.errors import Counts
from ovpn6.datapath.links import Deliver, Source, no_probes
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId
from ovpn6.model.records import dataclass

MAX_CONTROL_PACKET = 4096
"""Longest packet taken from a connection, unless data packets may be longer. What another
protocol's first two bytes would mean as a length is longer (TLS: 0x1603)."""

_FRAME_ROOM = 256
"""Octets beyond the MTU that a data packet may need."""
_MAX_LENGTH = 65_535


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a connection is. ``broken`` is called once, from the loop, when it has ended."""

    deliver: Deliver
    broken: Callable[[LinkId, str], None]
    counts: Counts
    loop: asyncio.AbstractEventLoop


class StreamLink:
    """One established connection; its only source is None."""

    can_float = False

    def __init__(
        self,
        link: LinkId,
        sock: socket.socket,
        remote: Endpoint,
        owner: Owner,
        max_length: int,
    ) -> None:
        """``max_length``: a longer packet means that the remote end does not speak our protocol."""
        self.link = link
        self.sock = sock
        self.remote = remote
        self._max_length = max_length
        self._deliver = owner.deliver
        self._broken = owner.broken
        self._counts = owner.counts
        self._loop = owner.loop
        self._closed = False

    def send_probe(self, datagram: bytes, source: Source) -> None:
        """Always ``HostError``."""
        raise no_probes()

    def source(self, path: Path) -> Source:
        """None: a connection has one remote end."""
        return None

    def path(self, source: Source) -> Path:
        """The connection's path."""
        return Path(self.link, self.remote)

    def holder(self, source: Source) -> Hashable:
        """The link itself."""
        return self.link, None


def longest_frame(mtu: int) -> int:
    """Taken from a connection that carries the data packets of a tunnel with this MTU, octets."""
    return min(_MAX_LENGTH, max(MAX_CONTROL_PACKET, mtu + _FRAME_ROOM))
