"""The one option table: a row for each directive, in files by subject."""

from __future__ import annotations

from ovpn6.config.options import (
    client,
    control,
    data,
    host,
    link,
    mtu,
    passed,
    process,
    refused,
    scripts,
    server,
    tls,
)
from ovpn6.config.options.row import Effect, Fold, Option, Scope, Side, Status

_TABLES = (
    link.ROWS,
    server.ROWS,
    client.ROWS,
    host.ROWS,
    mtu.ROWS,
    tls.ROWS,
    control.ROWS,
    data.ROWS,
    scripts.ROWS,
    process.ROWS,
    passed.ROWS,
    refused.ROWS,
)

OPTIONS: dict[str, Option] = {option.name: option for rows in _TABLES for option in rows}
"""Every directive by name, in the order of the manual."""

if len(OPTIONS) != sum(len(rows) for rows in _TABLES):
    raise AssertionError("a directive has two rows")

__all__ = ["OPTIONS", "Effect", "Fold", "Option", "Scope", "Side", "Status"]
