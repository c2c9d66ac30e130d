"""Networks to run tunnels over: a function a topology, its drawing as docstring.

Addresses come from the documentation prefixes (RFC 3849, RFC 5737). IPv6 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.model.addresses import IPAddress, IPInterface
from ovpn6.model.errors import UsageError

MAX_STAR_CLIENTS = 200

_SERVER_6 = IPv6Interface("2001:db8:5::2/64")
_SERVER_4 = IPv4Interface("198.51.100.2/24")
_CLIENT_6 = int(IPv6Address("2001:db8:c::"))
_CLIENT_4 = int(IPv4Address("192.0.2.0"))


class Underlay(Enum):
    """Which families the outer network has: the value lists the versions."""

    IPV6 = (6,)
    IPV4 = (4,)
    DUAL = (6, 4)


@dataclass(frozen=True, slots=True)
class Line:
    """The namespaces of :func:`line`. Addresses are outer ones, IPv6 first."""

    lab: Lab
    client: Namespace
    underlay: Namespace
    server: Namespace
    client_addresses: tuple[IPAddress, ...]
    server_addresses: tuple[IPAddress, ...]

    @property
    def server_address(self) -> IPAddress:
        """The address to connect to: IPv6 where there is one."""
        return self.server_addresses[0]

    def protocol(self, transport: str = "udp") -> str:
        """The ``remote`` line's protocol for ``udp`` or ``tcp``: ``udp6``, ``tcp4-client`` ..."""
        word = f"{transport}{self.server_address.version}"
        return f"{word}-client" if transport == "tcp" else word


@dataclass(frozen=True, slots=True)
class Star:
    """The namespaces of :func:`star`. Addresses are outer ones, IPv6 first."""

    lab: Lab
    clients: tuple[Namespace, ...]
    underlay: Namespace
    server: Namespace
    server_addresses: tuple[IPAddress, ...]

    @property
    def server_address(self) -> IPAddress:
        """The address to connect to: IPv6 where there is one."""
        return self.server_addresses[0]


def line(
    lab: Lab, families: Underlay = Underlay.IPV6, *, mtu: int = 1500, offload: bool = False
) -> Line:
    """A client and a server with a router between them.

         client ───2001:db8:c::/64─── underlay ───2001:db8:5::/64─── server
               ::2  192.0.2.0/30  ::1         ::1 198.51.100.0/24 ::2
               .2                 .1          .1                  .2

    Only IPv6 unless ``families`` says otherwise. ``mtu`` is that of both links.
    """
    made = _star(lab, ("client",), families, mtu, offload=offload)
    return Line(
        lab=lab,
        client=made.clients[0],
        underlay=made.underlay,
        server=made.server,
        client_addresses=tuple(
            address.ip
            for address in made.clients[0].addresses("to-underlay")
            if address.version in families.value
        ),
        server_addresses=made.server_addresses,
    )


def star(
    lab: Lab,
    count: int,
    families: Underlay = Underlay.IPV6,
    *,
    mtu: int = 1500,
    offload: bool = False,
) -> Star:
    """``count`` clients (1 to 200), each on its own link to the router before the server.

         client1 ──2001:db8:c::/64────┐
         client2 ──2001:db8:c:1::/64──┤
         client3 ──2001:db8:c:2::/64──┼── underlay ──2001:db8:5::/64── server
            ...                       │      ::1   198.51.100.0/24       ::2
         clientN ─────────────────────┘      .1                          .2

    Every client's end is ``::2``, the router's ``::1``. With IPv4 the links are /30 networks from
    192.0.2.0 upwards (through 198.18.0.0/15 past the first 64).
    """
    names = tuple(f"client{number}" for number in range(1, count + 1))
    return _star(lab, names, families, mtu, offload=offload)


def lan(lab: Lab, gateway: Namespace, prefix: str) -> Namespace:
    """A host behind a tunnel end, for routes to networks behind a peer.

         gateway ──prefix── NAME-lan
             ::1            ::2 (.1 and .2), default route to the gateway

    The gateway forwards from then on. ``prefix`` of either family (``2001:db8:a::/64``).
    """
    near, far = _pair(prefix)
    host = lab.namespace(f"{gateway.name}-lan")
    gateway.forward()
    lab.link(gateway, host, [near], [far])
    host.add_route(f"default{far.version}", near.ip)
    return host


def _star(lab: Lab, names: tuple[str, ...], families: Underlay, mtu: int, *, offload: bool) -> Star:
    if not 1 <= len(names) <= MAX_STAR_CLIENTS:
        raise UsageError(f"a star has 1 to {MAX_STAR_CLIENTS} clients, not {len(names)}")
    clients = tuple(lab.namespace(name) for name in names)
    underlay = lab.router("underlay")
    server = lab.namespace("server")
    for number, client in enumerate(clients):
        near, far = zip(*(_client_link(number, version) for version in families.value), strict=True)
        lab.link(client, underlay, near, far, mtu=mtu, offload=offload)
        _add_defaults(client, far)
    near = tuple(end for end in (_SERVER_6, _SERVER_4) if end.version in families.value)
    far = tuple(_first_host(end) for end in near)
    lab.link(server, underlay, near, far, mtu=mtu, offload=offload)
    _add_defaults(server, far)
    return Star(lab, clients, underlay, server, tuple(end.ip for end in near))


def _client_link(number: int, version: int) -> tuple[IPInterface, IPInterface]:
    """``(client's end, router's end)`` of client ``number``'s link."""
    if version == 6:
        base = IPv6Address(_CLIENT_6 + (number << 64))
        return IPv6Interface((base + 2, 64)), IPv6Interface((base + 1, 64))
    start = _CLIENT_4 if number < 64 else int(IPv4Address("198.18.0.0"))
    network = IPv4Address(start + 4 * number)
    return IPv4Interface((network + 2, 30)), IPv4Interface((network + 1, 30))


def _pair(prefix: str) -> tuple[IPInterface, IPInterface]:
    if ":" in prefix:
        six = IPv6Interface(prefix)
        length = six.network.prefixlen
        base6 = six.network.network_address
        return IPv6Interface((base6 + 1, length)), IPv6Interface((base6 + 2, length))
    four = IPv4Interface(prefix)
    length = four.network.prefixlen
    base4 = four.network.network_address
    return IPv4Interface((base4 + 1, length)), IPv4Interface((base4 + 2, length))


def _first_host(end: IPInterface) -> IPInterface:
    return _pair(str(end.network))[0]


def _add_defaults(namespace: Namespace, gateways: tuple[IPInterface, ...]) -> None:
    for gateway in gateways:
        namespace.add_route(f"default{gateway.version}", gateway.ip)
