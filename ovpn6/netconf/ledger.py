"""What one instance made on the host: the truth that undoing goes by, and its JSON form.

Pure. A ledger that was written by another version, or damaged, gives ``ValueError``: the text is
trusted for nothing, so a name that we would not write is refused here.
"""

from __future__ import annotations

import re
from dataclasses import field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ovpn6.model.addresses import IPInterface
from ovpn6.model.records import dataclass, replace
from ovpn6.netconf.plan import Hop, KernelRoute

VERSION = 1
_SETTING_NAME = re.compile(
    r"net/ipv[46]/conf/(?!\.{1,2}/)[^/\s\0]{1,15}/(forwarding|force_forwarding|accept_ra)"
)
_SETTING_VALUE = re.compile(r"-?[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Setting:
    """A sysctl, ``net/ipv6/conf/eth0/accept_ra``, its value before us and the one we gave it.

    ``written`` False: we did not write it, but restoring another one leaves it at ``ours``.
    """

    name: str
    before: str
    ours: str
    written: bool = True


@dataclass(frozen=True, slots=True)
class LinkState:
    """What we may change of the tunnel device itself."""

    mtu: int
    up: bool
    txqueuelen: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that one instance changed. ``link_before`` and ``link_ours`` differ where we changed
    the device; ``forwarding`` are the IP versions the ``settings`` stand for."""

    underlay_namespace: int
    tunnel_namespace: int
    netns: str
    device: str
    index: int
    link_before: LinkState
    link_ours: LinkState
    addresses: frozenset[IPInterface] = frozenset()
    routes: frozenset[KernelRoute] = frozenset()
    forwarding: frozenset[int] = frozenset()
    settings: tuple[Setting, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to undo."""
        made = self.addresses or self.routes or self.settings
        return not made and self.link_before == self.link_ours


def encode(ledger: Ledger) -> dict[str, Any]:
    """A JSON object."""
    return {
        "version": VERSION,
        "underlay_namespace": ledger.underlay_namespace,
        "tunnel_namespace": ledger.tunnel_namespace,
        "netns": ledger.netns,
        "device": ledger.device,
        "index": ledger.index,
        "link_before": _encode_link(ledger.link_before),
        "link_ours": _encode_link(ledger.link_ours),
        "addresses": sorted(str(address) for address in ledger.addresses),
        "routes": [encode_route(route) for route in sorted(ledger.routes, key=str)],
        "forwarding": sorted(ledger.forwarding),
        "settings": [[s.name, s.before, s.ours, s.written] for s in ledger.settings],
    }


def decode(value: object) -> Ledger:
    """The ledger of a JSON object; ``ValueError`` for anything that :func:`encode` never gives."""
    try:
        return _decode(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a ledger: {error!r}") from None


def without_device(ledger: Ledger) -> Ledger:
    """What is left of it when the device has gone: the kernel removed the rest."""
    routes = frozenset(
        route
        for route in ledger.routes
        if route.hop is None
        or route.namespace != ledger.tunnel_namespace
        or route.hop.device != ledger.index
    )
    return replace(ledger, addresses=frozenset(), routes=routes, link_before=ledger.link_ours)


def _decode(value: object) -> Ledger:
    data = _expect(value, dict)
    if data["version"] != VERSION:
        raise ValueError(f"a ledger of version {data['version']!r}")
    return Ledger(
        underlay_namespace=_expect(data["underlay_namespace"], int),
        tunnel_namespace=_expect(data["tunnel_namespace"], int),
        netns=_expect(data["netns"], str),
        device=_expect(data["device"], str),
        index=_expect(data["index"], int),
        link_before=_decode_link(data["link_before"]),
        link_ours=_decode_link(data["link_ours"]),
        addresses=frozenset(
            ip_interface(_expect(text, str)) for text in _expect(data["addresses"], list)
        ),
        routes=frozenset(decode_route(item) for item in _expect(data["routes"], list)),
        forwarding=frozenset(_expect(item, int) for item in _expect(data["forwarding"], list)),
        settings=tuple(_decode_setting(item) for item in _expect(data["settings"], list)),
    )


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{kind.__name__} expected, not {value!r}")
    return value


def _encode_link(link: LinkState) -> dict[str, Any]:
    return {"mtu": link.mtu, "up": link.up, "txqueuelen": link.txqueuelen}


def _decode_link(value: object) -> LinkState:
    data = _expect(value, dict)
    return LinkState(
        _expect(data["mtu"], int), _expect(data["up"], bool), _expect(data["txqueuelen"], int)
    )


def encode_route(route: KernelRoute) -> dict[str, Any]:
    """A JSON object."""
    hop = route.hop
    return {
        "namespace": route.namespace,
        "destination": str(route.destination),
        "table": route.table,
        "metric": route.metric,
        "hop": hop
        and {
            "device": hop.device,
            "gateway": hop.gateway and str(hop.gateway),
            "onlink": hop.onlink,
            "source": hop.source and str(hop.source),
            "mtu": hop.mtu,
        },
    }


def decode_route(value: object) -> KernelRoute:
    """The inverse; ``ValueError``."""
    try:
        return _decode_route(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a route: {error!r}") from None


def _decode_route(value: object) -> KernelRoute:
    data = _expect(value, dict)
    hop = data["hop"]
    return KernelRoute(
        namespace=_expect(data["namespace"], int),
        destination=ip_network(_expect(data["destination"], str)),
        table=_expect(data["table"], int),
        metric=_expect(data["metric"], int),
        hop=None if hop is None else _decode_hop(hop),
    )


def _decode_hop(value: object) -> Hop:
    data = _expect(value, dict)
    gateway, source = data["gateway"], data["source"]
    return Hop(
        device=_expect(data["device"], int),
        gateway=None if gateway is None else ip_address(_expect(gateway, str)),
        onlink=_expect(data["onlink"], bool),
        source=None if source is None else ip_address(_expect(source, str)),
        mtu=_expect(data["mtu"], int),
    )


def _decode_setting(value: object) -> Setting:
    name, before, ours, written = _expect(value, list)
    if not _SETTING_NAME.fullmatch(_expect(name, str)):
        raise ValueError(f"a setting we would not write: {name!r}")
    for text in (before, ours):
        if not _SETTING_VALUE.fullmatch(_expect(text, str)):
            raise ValueError(f"a value we would not write: {text!r}")
    return Setting(name, before, ours, _expect(written, bool))
