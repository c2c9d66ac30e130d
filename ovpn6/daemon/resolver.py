"""Host look-ups off the event loop. IPv6 first.

``getaddrinfo`` may hang for tens of seconds and cannot be interrupted, so each runs in a daemon
thread of its own that nobody waits for at exit.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address

from ovpn6.model.addresses import Endpoint, ipv6_first, unmapped
from ovpn6.model.flow import HostResolved, Resolve
from ovpn6.model.names import Family

_FAMILIES = {
    Family.ANY: socket.AF_UNSPEC,
    Family.IPV6: socket.AF_INET6,
    Family.IPV4: socket.AF_INET,
}


def resolve_later(
    order: Resolve,
    loop: asyncio.AbstractEventLoop,
    report: Callable[[HostResolved], None],
) -> None:
    """Start a look-up; ``report`` is called from ``loop`` with the answer."""

    def work() -> None:
        answer = resolve(order)
        try:
            loop.call_soon_threadsafe(report, answer)
        except RuntimeError:
            return  # The loop has ended meanwhile; nobody asks any more.

    threading.Thread(target=work, name="resolve", daemon=True).start()


def resolve(order: Resolve) -> HostResolved:
    """Look a host up, blocking. An unknown host is an answer without endpoints."""
    try:
        found = socket.getaddrinfo(
            order.host, order.port, _FAMILIES[order.family], socket.SOCK_DGRAM
        )
    except (OSError, UnicodeError) as error:
        return HostResolved(order.job, (), str(error))
    endpoints = dict.fromkeys(_endpoint(address) for *_, address in found)
    return HostResolved(order.job, ipv6_first(endpoints))


def _endpoint(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> Endpoint:
    host, port = str(address[0]).partition("%")[0], address[1]
    scope = address[3] if len(address) == 4 else 0
    assert isinstance(port, int)
    return Endpoint(unmapped(ip_address(host)), port, scope)
