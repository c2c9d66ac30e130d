"""No tunnel: the link itself, which bounds everything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.net import SERVER_OUTER, Hosts
from bench.peers.program import Joined


class BareLink:
    """A candidate without daemons."""

    name = "bare link"

    def version(self) -> str:
        return "veth, MTU 1500"

    @contextmanager
    def joined(self, hosts: Hosts, outer: int) -> Iterator[Joined]:
        """What is outside is all there is."""
        yield Joined(hosts.client, hosts.server, {outer: SERVER_OUTER[outer]}, ())
