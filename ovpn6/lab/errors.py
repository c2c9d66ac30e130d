"""What a lab raises."""

from __future__ import annotations

from ovpn6.model.errors import Ovpn6Error


class LabError(Ovpn6Error):
    """Something in the lab did not go as the caller needs; the message holds the log tails."""


class LabTimeout(LabError):
    """A condition did not come true within its limit."""
