"""How long path MTU discovery waits for what. PURE."""

from __future__ import annotations

from ovpn6.model.records import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, and a count; RFC 8899 sections 5.1.1 and 5.1.2."""

    probe: float = 1.0
    """``PROBE_TIMER``: until an unanswered probe is sent again."""
    max_probes: int = 3
    """``MAX_PROBES``: unanswered ones before a size counts as lost."""
    confirmation: float = 10.0
    """``CONFIRMATION_TIMER``: how often the size in use is confirmed."""
    raise_: float = 600.0
    """``PMTU_RAISE_TIMER``: when larger sizes are tried again."""
