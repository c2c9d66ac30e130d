"""How long after its acknowledgement a new key begins to seal. PURE."""

from __future__ import annotations

SWAP_DEFERRAL = 3.0
"""Seconds from the last acknowledgement to the change; one retransmission takes two."""


def swap_deferral(reneg_sec: float) -> float:
    """Seconds, well within ``reneg_sec`` (0 is never)."""
    return min(SWAP_DEFERRAL, reneg_sec / 2) if reneg_sec else SWAP_DEFERRAL
