"""When a client asks for its options, and how long it waits for them. PURE.

Asked one second after the key exchange, then every five, until the hand window is over or, when the
server says that authentication goes on elsewhere, as long as it says within bounds.
Source: OpenVPN ``forward.c`` (check_push_request), ``push.c`` (send_push_request,
receive_auth_pending).
"""

from __future__ import annotations

from ovpn6.config.schema import ControlConfig
from ovpn6.model.names import Instant

FIRST_REQUEST = 1.0
"""Seconds from the key exchange; a server that pushes unasked is quicker."""
REQUEST_INTERVAL = 5.0


class PushWait:
    """Begins when the first key exchange is through."""

    def __init__(self, now: Instant, control: ControlConfig) -> None:
        self._control = control
        self._began = now
        self._next_request = Instant(now + FIRST_REQUEST)
        self._over = Instant(now + control.hand_window)

    def is_over(self, now: Instant) -> bool:
        """Waited long enough."""
        return now >= self._over

    def waited(self, now: Instant) -> int:
        """Whole seconds."""
        return int(now - self._began)

    def take_request(self, now: Instant) -> bool:
        """Whether to ask now; the next request is five seconds later."""
        if now < self._next_request:
            return False
        self._next_request = Instant(now + REQUEST_INTERVAL)
        return True

    def extend(self, timeout: int) -> int:
        """``AUTH_PENDING``: wait ``timeout`` seconds since the exchange (0: the hand window), at
        most half the renegotiation time. Returns the seconds in force."""
        control = self._control
        longest = max(control.reneg_sec // 2, control.hand_window)
        seconds = min(timeout or control.hand_window, longest)
        self._over = Instant(self._began + seconds)
        return seconds

    def next_deadline(self) -> Instant:
        """When something of this is due."""
        return min(self._next_request, self._over)
