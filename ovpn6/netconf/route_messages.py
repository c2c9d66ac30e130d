"""Between :class:`KernelRoute` and route messages, in pyroute2's names for their parts. Pure."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from ovpn6.model.addresses import IPAddress, IPNetwork
from ovpn6.netconf.interface import ROUTE_PROTOCOL
from ovpn6.netconf.namespace import FibEntry
from ovpn6.netconf.plan import Hop, KernelRoute

FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
FIB_MATCH = 0x2000
"""``RTM_F_FIB_MATCH``: answer with the route that matches, not with what becomes of it."""
UNICAST, LOCAL, UNREACHABLE = 1, 2, 7
"""``rtm_type`` of ``linux/rtnetlink.h``."""

_CLONED = 0x200
_DEAD, _ONLINK, _LINKDOWN = 1, 4, 16
_SCOPE_LINK = 253
_LOOPBACK_INDEX = 1
_PREFERENCE = {1: -1, 0: 0, 3: 1}
"""RFC 4191 section 2.1 to an order."""
_ANY = {4: bytes(4), 6: bytes(16)}


class Words(NamedTuple):
    """The fields of a ``struct rtmsg`` and the attributes behind it."""

    fields: dict[str, int]
    attributes: dict[str, Any]


def request(route: KernelRoute) -> Words:
    """What names this route entirely, to make it or to remove it."""
    destination, hop = route.destination, route.hop
    fields = {
        "family": FAMILIES[destination.version],
        "dst_len": destination.prefixlen,
        "proto": ROUTE_PROTOCOL,
        "type": UNREACHABLE if hop is None else UNICAST,
    }
    attributes: dict[str, Any] = {
        "RTA_DST": destination.network_address.packed,
        "RTA_TABLE": route.table,
        "RTA_PRIORITY": route.metric or None,
    }
    if hop is None:
        attributes["RTA_OIF"] = _LOOPBACK_INDEX if destination.version == 6 else None
        return Words(fields, attributes)
    attributes["RTA_OIF"] = hop.device
    if hop.gateway is None and destination.version == 4:
        fields["scope"] = _SCOPE_LINK
    if hop.gateway is not None:
        attributes |= _gateway_attributes(destination, hop.gateway)
    if hop.onlink:
        fields["flags"] = _ONLINK
    if hop.source is not None:
        attributes["RTA_PREFSRC"] = hop.source.packed
    if hop.mtu:
        attributes["RTA_METRICS"] = {"attrs": [("RTAX_MTU", hop.mtu)]}
    return Words(fields, attributes)


def decode_route(message: Any, namespace: int) -> FibEntry | None:
    """The route of an ``RTM_NEWROUTE``; of several hops the first that is usable.

    None for what :class:`KernelRoute` has no words for (blackhole, multicast, local) and for a
    cached exception.
    """
    if message["type"] not in (UNICAST, UNREACHABLE) or message["flags"] & _CLONED:
        return None
    attributes = dict(message["attrs"])
    version = 4 if message["family"] == FAMILIES[4] else 6
    address = attributes.get("RTA_DST", _ANY[version])
    hop = None
    if message["type"] == UNICAST:
        hop = _decode_hop(message, attributes)
        if hop is None:
            return None
    route = KernelRoute(
        namespace=namespace,
        destination=ip_network((address, message["dst_len"])),
        table=attributes.get("RTA_TABLE", message["table"]),
        metric=attributes.get("RTA_PRIORITY", 0),
        hop=hop,
    )
    preference = _PREFERENCE.get(attributes.get("RTA_PREF", 0), 0)
    usable = not message["flags"] & (_DEAD | _LINKDOWN)
    return FibEntry(route, message["proto"], preference, usable)


def chosen_hop(message: Any) -> Hop | None:
    """Which of several hops the kernel chose, from its answer without :data:`FIB_MATCH`."""
    return _decode_hop(message, dict(message["attrs"]))


def is_multipath(message: Any) -> bool:
    """Whether the route has several hops."""
    return "RTA_MULTIPATH" in dict(message["attrs"])


def host_destination(address: IPAddress) -> Words:
    """What asks for the way to one address."""
    fields = {"family": FAMILIES[address.version], "dst_len": address.max_prefixlen}
    return Words(fields, {"RTA_DST": address.packed})


def _gateway_attributes(destination: IPNetwork, gateway: IPAddress) -> dict[str, Any]:
    if gateway.version == destination.version:
        return {"RTA_GATEWAY": gateway.packed}
    return {"RTA_VIA": {"family": FAMILIES[gateway.version], "addr": gateway.packed}}


def _decode_hop(message: Any, attributes: dict[str, Any]) -> Hop | None:
    if "RTA_MULTIPATH" in attributes:
        for hop in attributes["RTA_MULTIPATH"]:
            inner = dict(hop["attrs"])
            if not hop["flags"] & (_DEAD | _LINKDOWN):
                return _hop(hop["oif"], hop["flags"], inner, attributes)
        return None
    if "RTA_OIF" not in attributes:
        return None
    return _hop(attributes["RTA_OIF"], message["flags"], attributes, attributes)


def _hop(device: int, flags: int, own: dict[str, Any], shared: dict[str, Any]) -> Hop:
    gateway = own.get("RTA_GATEWAY") or (own.get("RTA_VIA") or {}).get("addr")
    source = shared.get("RTA_PREFSRC")
    metrics = dict(shared["RTA_METRICS"]["attrs"]) if "RTA_METRICS" in shared else {}
    return Hop(
        device=device,
        gateway=ip_address(gateway) if gateway else None,
        onlink=bool(flags & _ONLINK),
        source=ip_address(source) if source else None,
        mtu=metrics.get("RTAX_MTU", 0),
    )
