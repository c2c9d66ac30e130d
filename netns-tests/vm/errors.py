"""What the rig raises."""

from __future__ import annotations


class VmError(Exception):
    """Something that whoever runs the rig can act upon; the text says what."""
