"""Which server address a client tries next, and after what pause. PURE.

The remotes are walked in order (shuffled once by ``remote-random``); each is looked up when its
turn comes, and its addresses are tried one after the other, IPv6 first. After a success the same
address is tried first again.

Source: OpenVPN ``init.c`` (next_connection_entry, socket_restart_pause), ``connect-retry`` in
``doc/man-sections/client-options.rst``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ovpn6.config.schema import ClientConfig, Remote
from ovpn6.model.addresses import Endpoint, ipv6_first

PATIENT_ROUNDS = 5
"""Rounds through the whole list before the pause begins to double."""

NOINTERACT_PAUSE = 10
"""Seconds of pause that ``auth-retry nointeract`` asks for."""


class RemoteWalk:
    """A place in the list of remotes. ``entropy`` shuffles it for ``remote-random``."""

    def __init__(self, client: ClientConfig, entropy: Callable[[int], bytes]) -> None:
        self._client = client
        self._remotes = list(client.remotes)
        if client.remote_random:
            _shuffle(self._remotes, entropy)
        self._index = 0
        self._endpoints: tuple[Endpoint, ...] = ()
        self._position = 0
        self._tries = 1
        self._hold = False
        self._skip_addresses = False
        self._backoff = 0

    @property
    def remote(self) -> Remote:
        """The entry whose turn it is."""
        return self._remotes[self._index]

    @property
    def endpoint(self) -> Endpoint | None:
        """The address whose turn it is; None when the entry must be looked up."""
        return self._endpoints[self._position] if self._endpoints else None

    def resolved(self, endpoints: Iterable[Endpoint]) -> Endpoint:
        """The entry's addresses, at least one; returns the first to try."""
        self._endpoints = ipv6_first(endpoints)
        self._position = 0
        return self._endpoints[0]

    def succeeded(self) -> None:
        """The tunnel is up: begin counting anew, and come back here first."""
        self._tries = 1
        self._hold = True

    def ask(self, advance: str, backoff: int = 0) -> None:
        """A server's wish for the next attempt: ``no`` stays here, ``addr`` goes to the next
        address, ``remote`` to the next entry; at least ``backoff`` seconds from now."""
        self._hold = advance == "no"
        self._skip_addresses = advance == "remote"
        self._backoff = backoff

    def advance(self) -> bool:
        """Go on to the next attempt; True when the whole list has been tried, or is to be tried
        again from where it was."""
        if self._hold:
            self._hold = False
            return True
        if self._position + 1 < len(self._endpoints) and not self._skip_addresses:
            self._position += 1
            return False
        self._skip_addresses = False
        self._endpoints = ()
        self._position = 0
        self._tries += 1
        self._index += 1
        if self._index < len(self._remotes):
            return False
        self._index = 0
        return True

    @property
    def exhausted(self) -> bool:
        """``connect-retry-max`` rounds have brought nothing."""
        limit = self._client.connect_retry_max
        return limit > 0 and self._tries > limit * len(self._remotes)

    def take_pause(self) -> int:
        """Seconds until the next attempt; a server's backoff counts once."""
        first, longest = self._client.connect_retry
        pause = first
        if self._client.auth_retry == "nointeract":
            pause = max(pause, NOINTERACT_PAUSE)
        doublings = self._tries // len(self._remotes) - (PATIENT_ROUNDS - 1)
        if doublings > 0:
            pause = max(pause, 1) << min(doublings, 15)
        pause, self._backoff = max(pause, self._backoff), 0
        return min(pause, longest)


def _shuffle(remotes: list[Remote], entropy: Callable[[int], bytes]) -> None:
    """Fisher and Yates; the bias of 32 bits modulo a short list is of no consequence."""
    for last in range(len(remotes) - 1, 0, -1):
        chosen = int.from_bytes(entropy(4), "big") % (last + 1)
        remotes[last], remotes[chosen] = remotes[chosen], remotes[last]
