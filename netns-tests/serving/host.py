"""What a namespace's host state is: addresses, routes, links, sysctls, firewall; and snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ovpn6.lab import Namespace, Tunnel


def sysctls(namespace: Namespace, names: Iterable[str]) -> dict[str, str]:
    """Kernel parameters by name."""
    return {name: namespace.run(["sysctl", "-n", name]).stdout.strip() for name in names}


def tunnel_routes(tunnel: Tunnel) -> set[str]:
    """Destinations of the routes into the tunnel, of all tables."""
    device = tunnel.device().name
    return {
        line.split()[0]
        for family in ("-6", "-4")
        for line in tunnel.namespace.run(
            ["ip", family, "route", "show", "table", "all", "dev", device]
        ).stdout.splitlines()
        if line.strip()
    }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of the network that a tunnel could have changed and that outlives it."""

    links: object
    addresses: object
    routes: object
    rules: object
    settings: tuple[str, ...]
    firewall: str


def snapshot(namespace: Namespace) -> Snapshot:
    """The state of a namespace, without what changes by itself (counters, lifetimes)."""
    return Snapshot(
        links=_shown(namespace, ["link"], _LINK_FIELDS),
        addresses=_addresses(namespace),
        routes=[
            _shown(namespace, [family, "route", "show", "table", "all"], None)
            for family in ("-6", "-4")
        ],
        rules=[_shown(namespace, [family, "rule"], None) for family in ("-6", "-4")],
        settings=_settings(namespace),
        firewall=namespace.run(["nft", "list", "ruleset"]).stdout,
    )


_LINK_FIELDS = ("ifname", "ifindex", "mtu", "flags", "operstate", "txqlen", "link_type", "address")
_ADDRESS_FIELDS = ("family", "local", "prefixlen", "scope", "broadcast", "dynamic", "metric")
_VOLATILE = {"expires", "used", "age"}


def _shown(namespace: Namespace, words: list[str], fields: tuple[str, ...] | None) -> object:
    text = namespace.run(["ip", "-d", "-j", *words]).stdout
    rows: list[dict[str, Any]] = json.loads(text or "[]")
    if fields is not None:
        rows = [{key: row.get(key) for key in fields} for row in rows]
    else:
        rows = [{k: v for k, v in row.items() if k not in _VOLATILE} for row in rows]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _addresses(namespace: Namespace) -> object:
    rows = json.loads(namespace.run(["ip", "-j", "addr"]).stdout or "[]")
    return {
        row["ifname"]: [
            {key: info.get(key) for key in _ADDRESS_FIELDS} for info in row["addr_info"]
        ]
        for row in rows
    }


def _settings(namespace: Namespace) -> tuple[str, ...]:
    """All of ``net.ipv4`` and ``net.ipv6`` that does not count or count down."""
    shown = namespace.run(["sysctl", "-a", "-r", r"^net\.ipv[46]\."], check=False).stdout
    noise = ("ping_group", "fib_notify", "tcp_fastopen_key", "stable_secret", "_total", "_entries")
    return tuple(
        line for line in sorted(shown.splitlines()) if not any(word in line for word in noise)
    )
