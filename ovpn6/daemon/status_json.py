"""A role's state as JSON, for programs: one object, names in snake case, times as Unix time."""

from __future__ import annotations

import json
from typing import Any

from ovpn6.daemon.status_facts import StatusFacts
from ovpn6.model.specs import PeerCounters
from ovpn6.model.status import PeerStatus


def status_json(facts: StatusFacts) -> str:
    """The whole text."""
    role = facts.role
    shown = {
        "title": facts.title,
        "updated": int(facts.unix_time),
        "is_server": role.is_server,
        "state": role.state,
        "kernel_datapath": facts.kernel_datapath,
        "peers": [_peer(facts, peer) for peer in role.peers],
        "counts": dict(sorted(role.counts.items())),
    }
    return json.dumps(shown, indent=1, ensure_ascii=True) + "\n"


def _peer(facts: StatusFacts, peer: PeerStatus) -> dict[str, Any]:
    counters = facts.counters.get(peer.peer, PeerCounters())
    return {
        "peer_id": int(peer.peer),
        "common_name": peer.common_name,
        "username": peer.username,
        "address": str(peer.path.remote.address),
        "port": peer.path.remote.port,
        "ipv6": None if peer.ipv6 is None else str(peer.ipv6),
        "ipv4": None if peer.ipv4 is None else str(peer.ipv4),
        "routes": [str(network) for network in peer.routes],
        "cipher": peer.cipher,
        "connected": _unix(facts, peer.connected),
        "link_in": counters.link_in,
        "link_out": counters.link_out,
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "packets_in": counters.packets_in,
        "packets_out": counters.packets_out,
        "path": _path(facts, peer),
    }


def _path(facts: StatusFacts, peer: PeerStatus) -> dict[str, Any] | None:
    """``mtu`` is null where it is not found out, ``outer_fragments`` where nobody counts."""
    sizes = peer.sizes
    if sizes is None:
        return None
    return {
        "mtu": sizes.path,
        "tunnel_mtu": sizes.tunnel,
        "learned": sizes.learned,
        "since": _unix(facts, sizes.since),
        "probes_sent": sizes.sent,
        "probes_lost": sizes.lost,
        "numbered_probes": sizes.numbered,
        "outer_fragments": facts.fragments.get(peer.peer, 0),
    }


def _unix(facts: StatusFacts, moment: float) -> int:
    return int(moment + facts.wall_offset)
