"""Which peers claim an inner prefix. The worker knows only who has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.names import PeerId


class Claims:
    """The later claim wins, and the earlier again when that one is taken back (a client that
    reconnects before its old connection is gone)."""

    def __init__(
        self, grant: Callable[[bytes, int, PeerId], None], clear: Callable[[bytes, int], None]
    ) -> None:
        """``grant`` gives a prefix (packed address, length) to a peer, ``clear`` to nobody."""
        self._grant = grant
        self._clear = clear
        self._claims: dict[IPNetwork, list[PeerId]] = {}

    def replace(
        self, peer: PeerId, before: Iterable[IPNetwork], after: Iterable[IPNetwork]
    ) -> None:
        """All claims of a peer. What it keeps is never without it."""
        kept = list(after)
        for network in before:
            claims = self._claims[network]
            claims.remove(peer)
            if network not in kept:
                self._settle(network)
        for network in kept:
            self._claims.setdefault(network, []).append(peer)
            self._settle(network)

    def _settle(self, network: IPNetwork) -> None:
        packed, length = network.network_address.packed, network.prefixlen
        claims = self._claims[network]
        if claims:
            self._grant(packed, length, claims[-1])
        else:
            del self._claims[network]
            self._clear(packed, length)
