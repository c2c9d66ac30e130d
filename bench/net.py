"""The two hosts, joined by a veth with both families, and the keys that all programs share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ovpn6.lab.namespace import Namespace
from ovpn6.lab.network import Lab
from ovpn6.pki.authority import Authority

CIPHER = "AES-256-GCM"
CLIENT_OUTER = {6: "2001:db8:5::1", 4: "198.51.100.1"}
SERVER_OUTER = {6: "2001:db8:5::2", 4: "198.51.100.2"}
_PREFIX = {6: 64, 4: 24}
_OFFLOADS = ("tso", "gso", "gro", "tx", "rx")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where everything runs. ``links``: each host with its end of the veth."""

    client: Namespace
    server: Namespace
    authority: Authority
    links: tuple[tuple[Namespace, str], ...]

    @contextmanager
    def without_offloads(self) -> Iterator[None]:
        """Packets on the veth have the sizes of a real wire meanwhile."""
        self._switch("off")
        try:
            yield
        finally:
            self._switch("on")

    def _switch(self, state: str) -> None:
        settings = [word for feature in _OFFLOADS for word in (feature, state)]
        for namespace, device in self.links:
            namespace.run(["ethtool", "-K", device, *settings])


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """A lab with both hosts."""
    with Lab() as lab, TemporaryDirectory() as keys:
        authority = Authority.create(Path(keys))
        authority.issue_server("bench-server")
        authority.issue_client("bench-client")
        client, server = lab.namespace("client"), lab.namespace("server")
        ends = lab.link(
            client,
            server,
            a_addresses=_with_prefix(CLIENT_OUTER),
            b_addresses=_with_prefix(SERVER_OUTER),
            offload=True,
        )
        yield Hosts(client, server, authority, tuple((end.namespace, end.name) for end in ends))


def _with_prefix(addresses: dict[int, str]) -> tuple[str, ...]:
    return tuple(f"{address}/{_PREFIX[version]}" for version, address in addresses.items())
