"""How long after its acknowledgement a new key begins to seal. PURE.

Until then the other end may not have it. OpenVPN forgets the key before once the next negotiation
begins, so the wait is well within the time between two of them.
"""

from __future__ import annotations

CLIENT_DEFERRAL = 3.0
"""Seconds for a client: a server makes its key when our last acknowledgement reaches it, and one
that is lost comes again after two."""
SERVER_DEFERRAL = 1.0
"""Seconds for a server: a client that acknowledged everything has only to install its key."""


def swap_deferral(longest: float, interval: float) -> float:
    """Seconds to wait; ``interval`` from a new key to the next negotiation, 0 when it is not known.

    OpenVPN counts whole seconds, so the next interval may be one shorter, and the machine slow.
    """
    return min(longest, interval / 3) if interval else longest
