"""What a device counts."""

from __future__ import annotations

import json

from ovpn6.lab import Namespace


def dropped(namespace: Namespace, device: str) -> int:
    """Packets that it received and did not hand on."""
    told = namespace.run(["ip", "-json", "-stats", "link", "show", "dev", device]).stdout
    return int(json.loads(told)[0]["stats64"]["rx"]["dropped"])
