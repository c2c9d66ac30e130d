"""Warnings about data packets that were dropped as replays."""

from __future__ import annotations

import logging

log = logging.getLogger("ovpn6.datapath")


class ReplayWarnings:
    """One for all replays since the last. ``mute``: none (``mute-replay-warnings``)."""

    def __init__(self, mute: bool) -> None:
        self._mute = mute
        self._warned = 0

    def look(self, replays: int) -> None:
        """``replays``: all that there ever were."""
        if replays > self._warned and not self._mute:
            log.warning(
                "%d data packets dropped as replays since the last warning; a link that reorders "
                "or repeats packets causes them too (replay-window, mute-replay-warnings)",
                replays - self._warned,
            )
        self._warned = replays
