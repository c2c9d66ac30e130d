"""What a status text shows, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ovpn6.model.names import PeerId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import PeerCounters
from ovpn6.model.status import RoleStatus


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """All a status text shows. ``wall_offset`` turns the role's clock into Unix time;
    ``fragments``: outer ones sent to each peer, None where nobody counts."""

    role: RoleStatus
    counters: Mapping[PeerId, PeerCounters]
    unix_time: float
    wall_offset: float
    title: str
    kernel_datapath: bool = False
    fragments: Mapping[PeerId, int | None] = field(default_factory=dict)
