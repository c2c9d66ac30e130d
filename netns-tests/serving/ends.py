"""A server, and clients that join it, each of either maker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interop.ends import Maker, client_text, server_text

from ovpn6.lab import Line, Namespace, Star, Tunnel, wait_for
from ovpn6.lab.status import ClientRow
from ovpn6.model.addresses import IPAddress
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

OUTER_PORT = 1194


def make_clients(directory: Path, names: Sequence[str]) -> Authority:
    """An authority with the certificate ``server`` and one for each of ``names``."""
    authority = Authority.create(directory / "pki")
    authority.issue_server("server")
    for name in names:
        authority.issue_client(name)
    return authority


def serve(
    net: Line | Star, authority: Authority, maker: Maker, *lines: str, text: str = ""
) -> Tunnel:
    """A server that is up. ``lines`` come after the profile's, ``text`` replaces all of it."""
    server = maker.start(net.server, text or server_text(authority, *lines), "server")
    server.wait_up()
    return server


def join(
    net: Line | Star,
    authority: Authority,
    maker: Maker,
    *lines: str,
    name: str = "client",
    namespace: Namespace | None = None,
    transport: str = "udp",
    port: int = OUTER_PORT,
) -> Tunnel:
    """A client that is coming up: ``wait_up`` is the caller's."""
    if namespace is None:
        assert isinstance(net, Line)
        namespace = net.client
    remote = RemoteLine(str(net.server_address), port, f"{transport}{net.server_address.version}")
    return maker.start(namespace, client_text(authority, remote, *lines, name=name), name)


def inner(tunnel: Tunnel) -> dict[int, IPAddress]:
    """A tunnel end's own addresses by family; one of each at most."""
    found = [address.ip for address in tunnel.namespace.addresses(tunnel.device().name)]
    by_family = {address.version: address for address in found}
    assert len(by_family) == len(found), found
    return by_family


def listed(server: Tunnel, name: str, limit: float = 10.0) -> ClientRow:
    """A client's line in the status file, once it has a data channel."""

    def find() -> ClientRow | None:
        row = server.status().client(name)
        return row if row and row.cipher else None

    return wait_for(find, limit, f"{name} in the status of {server.name}", [server.process])


def wait_without_clients(server: Tunnel, limit: float = 15.0) -> None:
    """Until the status file lists nobody."""

    def empty() -> bool:
        status = server.status()
        return bool(status.title) and not status.clients and not status.routes

    wait_for(empty, limit, "a status without clients", [server.process])
