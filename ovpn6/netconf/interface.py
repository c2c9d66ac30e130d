"""What the daemon asks of the host: addresses, routes, MTU and forwarding, and their removal.

Implemented by :class:`ovpn6.netconf.netlink.NetlinkHost` and, in memory, by
:class:`ovpn6.netconf.memory.MemoryHost`; both pass the same contract tests. Calls are synchronous,
take milliseconds and may be made from inside a running event loop. ``recover``
(:mod:`ovpn6.netconf.recovery`) is called once at start, before :meth:`HostState.open`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, Protocol

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import HostPlan, PeerFit

ROUTE_PROTOCOL = 54
"""``rtm_protocol`` of every route we make: unassigned in ``rt_protos`` (iproute2) and in
``linux/rtnetlink.h``. ``ip route show proto 54`` lists them."""

DEFAULT_STATE_DIR = Path("/run/ovpn6")
"""Where journals are kept; must be on a file system that does not outlive the boot."""

Notice = Callable[[str], None]
"""Takes one line about something the operator should know and that is no error."""


class Gateway(NamedTuple):
    """Next hop of a default route; ``address`` is None when the default route has none (ppp)."""

    address: IPv6Address | IPv4Address | None
    device: str


@dataclass(frozen=True, slots=True)
class Gateways:
    """The host's default gateways apart from our routes; None without a default route."""

    ipv4: Gateway | None = None
    ipv6: Gateway | None = None


class HostState(Protocol):
    """Everything one tunnel changes on the host.

    Nothing that somebody else made is changed or removed, but for ``forwarding`` and what it
    needs, whose old values come back. A route that somebody else already made (same destination,
    table and metric) is left as it is and told to the ``notice`` of the constructor.
    """

    def open(self, device: str, netns: str, instance: str, txqueuelen: int = 0) -> None:
        """Take charge of a tunnel device that exists. ``netns`` as in ``DeviceSpec``; ``instance``
        names the journal ("" is the device's name); ``txqueuelen`` 0 leaves the kernel's own.

        Again for the same device (persist-tun): nothing changes. ``HostError`` when there is no
        such device or namespace, ``UsageError`` when another device is still open.
        """

    def apply(self, plan: HostPlan) -> None:
        """Make the host's state the plan's by the difference to what is there.

        ``HostError`` when the host refuses, after what was done of the plan is undone.
        """

    def refresh_underlay(self) -> None:
        """Look up again where ``RouteVia.UNDERLAY`` destinations lead and move their routes.

        To be called when the outer network may have changed, before a reconnect. A destination
        that cannot be reached at all keeps its route.
        """

    def fit(self, fit: PeerFit, elsewhere: frozenset[IPNetwork] = frozenset()) -> None:
        """Make the host's sizes for packets to and from a peer these, whatever they were.

        Costs the same however many peers there are. A network that the plan does not lead into the
        tunnel gets no route, and none of ``elsewhere``, whose routes the data path makes.
        ``HostError`` when the host refuses.
        """

    def release(self, peer: PeerId) -> None:
        """Take back what :meth:`fit` did for a peer; nothing happens for one without."""

    def outer_fragments(self, peer: PeerId) -> int | None:
        """Fragments that left for a peer's outer address since its path was first too narrow; 0
        for an unknown peer, None when nobody counts. ``HostError`` when it cannot be read."""

    def guard(self, ports: frozenset[int]) -> None:
        """Keep the kernel from believing what is said of datagrams from these UDP ports: Packet Too
        Big, which everybody can send. The first call takes a while, and may name none. Without a
        packet filter that is told once."""

    def news(self) -> tuple[int, ...]:
        """Files that are readable when somebody else may have deleted a part of this; then
        :meth:`mend` is to be called. Theirs until the state is closed."""

    def mend(self) -> None:
        """Make again what is gone, and follow the underlay. ``HostError`` when the host refuses."""

    def default_gateways(self) -> Gateways:
        """In the daemon's own namespace, main table, without our routes (``route_net_gateway``)."""

    def forget_device(self) -> None:
        """Take everything back, as the device goes; :meth:`open` may follow. A restart with
        persist-tun does not call it, and so keeps all."""

    def close(self) -> None:
        """Remove everything we made, restore sysctls, delete the journal. May be called twice.

        Never raises for something that is already gone; ``HostError`` after the rest was undone.
        """
