"""What a role is to the daemon: a pure step function with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ovpn6.config.schema import Remote, TunnelConfig
from ovpn6.model.flow import Action, Input
from ovpn6.model.names import Instant
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Framing
from ovpn6.model.status import RoleStatus
from ovpn6.protocol.acceptor import Acceptor
from ovpn6.protocol.connection import Credentials
from ovpn6.protocol.tls import TlsFactory
from ovpn6.protocol.wrapping import ClientWrapping


class Role(Protocol):
    """Server or client."""

    def step(self, happened: Input, now: Instant) -> list[Action]:
        """Take one input; the actions are to be carried out in order."""

    def next_deadline(self) -> Instant | None:
        """When a ``Tick`` is wanted; None is never."""

    def status(self) -> RoleStatus:
        """Now."""


@dataclass(frozen=True, slots=True)
class RoleContext:
    """What a role needs from outside, all decided before it starts.

    ``ciphers``, ``framings`` and ``data_epoch`` are the intersection of configuration and chosen
    datapath: what may be advertised. ``wall_offset`` + now = Unix time. ``entropy(n)`` gives n
    random bytes. ``environment`` is the base of every script's environment.
    """

    config: TunnelConfig
    tls: TlsFactory
    entropy: Callable[[int], bytes]
    wall_offset: float
    ciphers: tuple[str, ...]
    framings: frozenset[Framing]
    occ: bool
    environment: Mapping[str, str]
    acceptor: Acceptor | None = None
    """Server only."""
    wrapping: Callable[[Remote], ClientWrapping] | None = None
    """Client only: the control-packet protection for one remote, fresh for each attempt."""
    credentials: Credentials = Credentials()
    pool_text: str = ""
    """Server only: the persisted pool file's text."""
    auth_token_secret: SecretBytes | None = None
    """Server only: the text of ``auth-gen-token-secret``'s file; without one a key is drawn."""
    data_epoch: bool = False
    """The epoch format of data packets."""
    ecn: bool = False
    """Our data path carries congestion marks of outer packets inside."""
