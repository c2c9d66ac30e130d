"""Everything the kernel's data path holds of the kernel, opened and closed as one."""

from __future__ import annotations

from collections.abc import Iterator

from ovpn6.datapath.kernel_device import KernelDevice, in_namespace, make_device
from ovpn6.datapath.kernel_routes import KernelRoutes
from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import Family, find_family
from ovpn6.datapath.ovpn_netlink.messages import FAMILY
from ovpn6.datapath.ovpn_netlink.records import Notification, decode_notification
from ovpn6.model.errors import HostError
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec
from ovpn6.netlink.conversation import GENERIC, Conversation, Listener

NO_MODULE = "kernel has no ovpn module"


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
    """A device of ours with its peers, routes and news. ``floats`` as in :class:`Family`."""

    device: KernelDevice
    peers: OvpnDevice
    routes: KernelRoutes
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

    ``name``: of both netlink family and link kind. Our own module (``kmod/``) has ``ovpn6``.
    """
    conversation = in_namespace(spec.netns, lambda: Conversation(GENERIC))
    try:
        family = find_family(conversation, name)
        if family is None:
            raise HostError("use the kernel's data path", NO_MODULE)
        news = News(family)
        try:
            device = make_device(spec, many_peers=many_peers, kind=name)
        except HostError:
            news.close()
            raise
    except HostError:
        conversation.close()
        raise
    return Kernel(
        device=device,
        peers=OvpnDevice(conversation, family, device.index),
        routes=KernelRoutes(device.route, device.index, route_protocol),
        news=news,
        floats=family.floats,
    )
