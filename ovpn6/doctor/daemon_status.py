"""Reads the status file of a running daemon (``status-version json``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ovpn6.doctor.facts import Known


def known_peers(text: str) -> tuple[Known, ...]:
    """The peers whose sizes the daemon knows; none where the text is another form of status."""
    try:
        shown = json.loads(text)
        return tuple(_peers(shown))
    except (ValueError, KeyError, TypeError):
        return ()


def _peers(shown: Mapping[str, Any]) -> Iterator[Known]:
    for peer in shown["peers"]:
        path = peer["path"]
        # A client's own addresses are in its status; a server's has those of its peers.
        inner = (peer["ipv6"], peer["ipv4"]) if shown["is_server"] else ()
        if path is not None:
            yield Known(
                outer=ip_address(peer["address"]),
                path=path["mtu"],
                tunnel=path["tunnel_mtu"],
                learned=path["learned"],
                inner=tuple(ip_address(address) for address in inner if address),
            )
