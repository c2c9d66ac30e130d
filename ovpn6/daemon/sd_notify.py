"""systemd's notification protocol (``sd_notify(3)``), without its library."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> bool:
    """Tell the service manager, e.g. ``READY=1``; False when there is none to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)
        return True
    return False
