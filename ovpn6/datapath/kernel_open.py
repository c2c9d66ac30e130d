"""Everything the kernel's data path holds of the kernel, opened and closed as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ovpn6.datapath.kernel_device import KernelDevice, in_namespace, make_device
from ovpn6.datapath.kernel_prefixes import KernelPrefixes
from ovpn6.datapath.kernel_routes import KernelRoutes
from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import Family, find_family
from ovpn6.datapath.ovpn_netlink.messages import FAMILY, OWN_FAMILY
from ovpn6.datapath.ovpn_netlink.records import Notification, decode_notification
from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.model.errors import HostError
from ovpn6.model.names import PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec
from ovpn6.netlink.conversation import GENERIC, Conversation, Listener


class Behind(Protocol):
    """How the kernel learns what is behind the peers of a device. Raises ``HostError``."""

    @property
    def makes_routes(self) -> bool:
        """Whether it makes routes to these networks; else only the operator does."""

    def set(self, peer: PeerId, networks: dict[IPNetwork, IPAddress | None]) -> None:
        """A peer's networks, each with its own address of that family, None without one.

        A network that another peer held is this peer's now.
        """

    def fit(self, peer: PeerId, mtus: Mapping[int, int | None]) -> None:
        """The MTUs of the routes it makes for a peer, by IP version; None is the device's."""

    def again(self) -> None:
        """The device is up again: without it the kernel forgot all routes."""


class News:
    """What the kernel tells of peers in our own network namespace, where the sockets are."""

    def __init__(self, family: Family) -> None:
        """Raises ``HostError``."""
        self._listener = Listener(GENERIC, family.group)
        self._number = family.number

    def fileno(self) -> int:
        """For an event loop."""
        return self._listener.fileno()

    def read(self) -> Iterator[Notification]:
        """What waits, up to a budget. Raises ``Overrun`` when some of it was lost, or makes no
        sense to us."""
        for kind, packet in self._listener.read():
            if kind == self._number:
                notification = decode_notification(packet)
                if notification is not None:
                    yield notification

    def close(self) -> None:
        """May be called twice."""
        self._listener.close()


@dataclass(frozen=True, slots=True)
class Kernel:
    """A device of ours with its peers, what is behind them, and news. ``floats`` as in
    :class:`Family`."""

    device: KernelDevice
    peers: OvpnDevice
    routes: Behind
    news: News
    floats: bool

    def close(self) -> None:
        """Remove the device, and with it its peers and routes. Raises ``HostError``."""
        try:
            self.device.remove()
        finally:
            self.news.close()
            self.peers.close()
            self.device.close()


def open_kernel(
    spec: DeviceSpec, *, many_peers: bool, route_protocol: int, name: str = FAMILY
) -> Kernel:
    """Make the device. Raises ``HostError`` and leaves nothing behind then.

    ``name``: of both netlink family and link kind. Linux' own module has ``ovpn``, ours (``kmod/``)
    has ``ovpn6``.
    """
    conversation = in_namespace(spec.netns, lambda: Conversation(GENERIC))
    try:
        family = find_family(conversation, name)
        if family is None:
            raise HostError("use the kernel's data path", no_module(name))
        news = News(family)
        try:
            device = make_device(spec, many_peers=many_peers, kind=name)
        except HostError:
            news.close()
            raise
    except HostError:
        conversation.close()
        raise
    peers = OvpnDevice(conversation, family, device.index)
    routes: Behind = KernelRoutes(device.route, device.index, route_protocol)
    if name == OWN_FAMILY:
        routes = KernelPrefixes(peers)
    return Kernel(device, peers, routes, news, family.floats)


def no_module(name: str) -> str:
    """That the kernel has no module of this name, installed or built in."""
    return f"kernel has no {name} module"
