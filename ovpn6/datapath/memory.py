"""The data path's fake: no socket, no device, no clock of its own; deterministic.

It runs the same worker and peer table as user space, over a :class:`MemoryNetwork`, under the same
contract tests. For tests of roles and of the daemon, and for simulations in virtual time.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from ovpn6.datapath.core import DatapathCore
from ovpn6.datapath.errors import count
from ovpn6.datapath.interface import Capabilities, ReportSink
from ovpn6.datapath.links import Link, Source, no_probes
from ovpn6.model.addresses import Endpoint, IPAddress, Path
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import DeviceLost, LinkAccepted, LinkClosed
from ovpn6.model.names import Instant, LinkId, Transport
from ovpn6.model.specs import DeviceSpec, Framing, LinkSpec
from ovpn6.protocol.data_channel import ReplayWindow

CAPABILITIES = Capabilities("memory", tuple(CIPHERS), frozenset(Framing), data_epoch=True)
FIRST_EPHEMERAL_PORT = 49_152


class MemoryNetwork:
    """Hosts by address, datagrams in flight in order. ``lose`` decides which ones vanish;
    ``interface_mtu`` is that of every host's outer interface, octets."""

    def __init__(self) -> None:
        self.interface_mtu = 1500
        self.lose: Callable[[Endpoint, Endpoint, bytes], bool] = lambda source, target, data: False
        self.bound: dict[tuple[Transport, Endpoint], MemoryLink | MemoryListener] = {}
        self._flying: deque[tuple[Endpoint, Endpoint, Transport, bytes]] = deque()
        self._next_port = FIRST_EPHEMERAL_PORT

    def free_port(self) -> int:
        """A port that nobody had."""
        self._next_port += 1
        return self._next_port - 1

    def send(self, source: Endpoint, target: Endpoint, transport: Transport, data: bytes) -> None:
        """Put a datagram in flight."""
        self._flying.append((source, target, transport, data))

    def deliver(self) -> int:
        """Deliver all that flies, and what that sets off; returns how many arrived."""
        arrived = 0
        while self._flying:
            source, target, transport, data = self._flying.popleft()
            link = self.bound.get((transport, target))
            if isinstance(link, MemoryLink) and not self.lose(source, target, data):
                link.arrived(data, source)
                arrived += 1
        return arrived


class MemoryLink:
    """One socket. A UDP source is an endpoint; a TCP connection knows its remote end."""

    def __init__(
        self,
        owner: MemoryDatapath,
        link: LinkId,
        transport: Transport,
        local: Endpoint,
        remote: Endpoint | None,
    ) -> None:
        self.link = link
        self.transport = transport
        self.local = local
        self.remote = remote
        self.can_float = transport is Transport.UDP
        self._owner = owner

    def arrived(self, data: bytes, source: Endpoint) -> None:
        """A datagram for this link."""
        self._owner.arrived(self, data, None if self.remote else source)

    def hang_up(self) -> None:
        """The other end closed the connection."""
        self._owner.broken(self)

    def send(
        self,
        datagrams: Sequence[bytes],
        source: Source,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        target = self.remote or source
        assert isinstance(target, Endpoint)
        for datagram in datagrams:
            self._owner.network.send(self.local, target, self.transport, datagram)

    def send_probe(self, datagram: bytes, source: Source) -> None:
        if self.transport is not Transport.UDP:
            raise no_probes()
        header = 48 if self.local.address.version == 6 else 28
        if len(datagram) + header > self._owner.network.interface_mtu:
            raise HostError("send a probe", "Message too long", errno.EMSGSIZE)
        self.send((datagram,), source)

    def source(self, path: Path) -> Source:
        return None if self.remote else path.remote

    def path(self, source: Source) -> Path:
        remote = self.remote or source
        assert isinstance(remote, Endpoint)
        return Path(self.link, remote)

    def holder(self, source: Source) -> Hashable:
        return self.link, source

    def close(self) -> None:
        self._owner.network.bound.pop((self.transport, self.local), None)


class MemoryListener:
    """A TCP listener: connecting to it makes a link on either side."""

    def __init__(self, owner: MemoryDatapath, link: LinkId, local: Endpoint) -> None:
        self.link = link
        self.local = local
        self._owner = owner

    def accept(self, remote: Endpoint) -> Endpoint:
        """A connection from ``remote``; returns its end here."""
        return self._owner.accepted(self, remote)

    def close(self) -> None:
        self._owner.network.bound.pop((Transport.TCP, self.local), None)


class MemoryDatapath(DatapathCore):
    """See :class:`~ovpn6.datapath.interface.Datapath`. ``host`` is this host's outer address."""

    def __init__(
        self,
        report: ReportSink,
        network: MemoryNetwork,
        host: IPAddress,
        new_link_id: Callable[[], LinkId],
        replay: Callable[[], ReplayWindow] = ReplayWindow,
    ) -> None:
        super().__init__(
            CAPABILITIES,
            report,
            lambda: self.now,
            replay,
            self._device_lost,
            self._read_tunnel,
            self._write_tunnel,
        )
        self.network = network
        self.now = Instant(0.0)
        self.device = ""
        self.delivered: list[bytes] = []
        """Inner packets that came out of the tunnel here."""
        self._host = host
        self._new_link_id = new_link_id
        self._waiting: deque[bytes] = deque()
        self._links: dict[LinkId, MemoryLink | MemoryListener] = {}

    def enter(self, packet: bytes) -> None:
        """An inner packet goes into the tunnel here."""
        self._waiting.append(packet)
        self._worker.tunnel_readable()

    def tick(self, now: Instant) -> None:
        """A second has passed."""
        self.now = now
        self._keepalive.tick(now)

    def open_device(self, spec: DeviceSpec, mtu: int) -> str:
        if self.device:
            raise UsageError("the device is open")
        self.device = "tun0" if spec.name == "tun" else spec.name
        self._worker.tunnel = 0
        return self.device

    def close_device(self) -> None:
        self.device = ""
        self._worker.tunnel = -1

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        if link in self._links:
            raise UsageError(f"link {link} is open")
        address = spec.local_address or self._host
        local = Endpoint(address, spec.local_port or self.network.free_port())
        if (spec.transport, local) in self.network.bound:
            raise HostError(f"bind {local}", "address in use")
        opened: MemoryLink | MemoryListener
        if spec.transport is Transport.UDP:
            opened = MemoryLink(self, link, spec.transport, local, None)
        elif spec.remote is None:
            opened = MemoryListener(self, link, local)
        else:
            listener = self.network.bound.get((Transport.TCP, spec.remote))
            if not isinstance(listener, MemoryListener):
                raise HostError(f"connect to {spec.remote}", "connection refused")
            opened = MemoryLink(self, link, spec.transport, local, listener.accept(local))
        self._links[link] = opened
        self.network.bound[spec.transport, local] = opened
        return local

    def close_link(self, link: LinkId) -> None:
        opened = self._links.pop(link, None)
        if opened is None:
            return
        opened.close()
        if isinstance(opened, MemoryLink):
            self._peers.unlink(opened)
            if opened.remote is not None:
                other = self.network.bound.get((Transport.TCP, opened.remote))
                if isinstance(other, MemoryLink):
                    other.hang_up()

    def close(self) -> None:
        for link in list(self._links):
            self.close_link(link)
        self.close_device()
        self._forget_peers()

    def arrived(self, link: MemoryLink, data: bytes, source: Source) -> None:
        """A datagram for one of our links."""
        self._worker.received(link, (data,), source, 0)

    def accepted(self, listener: MemoryListener, remote: Endpoint) -> Endpoint:
        """A TCP connection to one of our listeners."""
        link = self._new_link_id()
        local = Endpoint(listener.local.address, self.network.free_port())
        self._links[link] = MemoryLink(self, link, Transport.TCP, local, remote)
        self.network.bound[Transport.TCP, local] = self._links[link]
        self._report(LinkAccepted(listener.link, link, remote))
        return local

    def broken(self, link: MemoryLink) -> None:
        """The other end closed a TCP connection."""
        self._links.pop(link.link, None)
        link.close()
        self._peers.unlink(link)
        self._report(LinkClosed(link.link, "closed by the remote end"))

    def _find_link(self, link: LinkId) -> Link | None:
        opened = self._links.get(link)
        return opened if isinstance(opened, MemoryLink) else None

    def _read_tunnel(self, descriptor: int, size: int) -> bytes:
        if not self._waiting:
            raise BlockingIOError
        return self._waiting.popleft()

    def _write_tunnel(self, descriptor: int, packet: bytes) -> int:
        if not self.device:
            count(self._counts, "tunnel write closed")
        else:
            self.delivered.append(packet)
        return len(packet)

    def _device_lost(self, error: OSError) -> None:
        self.close_device()
        self._report(DeviceLost(str(error)))
