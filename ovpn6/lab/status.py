"""Reads status files of version 2, which OpenVPN and ovpn6 servers write.

The format describes itself: ``HEADER,TABLE,column,...`` names the columns of the rows that follow.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass

from ovpn6.lab.errors import LabError


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One connected client. ``columns`` holds all of its line by the header's names."""

    columns: Mapping[str, str]

    @property
    def common_name(self) -> str:
        return self.columns["Common Name"]

    @property
    def real_address(self) -> str:
        """Where it connects from, as the server writes it."""
        return self.columns["Real Address"]

    @property
    def ipv6(self) -> str:
        """Its address in the tunnel, "" without one."""
        return self.columns.get("Virtual IPv6 Address", "")

    @property
    def ipv4(self) -> str:
        """Its address in the tunnel, "" without one."""
        return self.columns.get("Virtual Address", "")

    @property
    def cipher(self) -> str:
        """The data channel's cipher, "" while there is none."""
        return self.columns.get("Data Channel Cipher", "")

    @property
    def bytes_received(self) -> int:
        return int(self.columns["Bytes Received"])

    @property
    def bytes_sent(self) -> int:
        return int(self.columns["Bytes Sent"])


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A whole status file."""

    title: str
    clients: tuple[ClientRow, ...]
    routes: tuple[Mapping[str, str], ...]

    def client(self, common_name: str) -> ClientRow | None:
        """The first client of that name."""
        return next((row for row in self.clients if row.common_name == common_name), None)


def parse_status(text: str) -> ServerStatus:
    """Reads a status file. Raises :class:`LabError` for rows that no header explains."""
    headers: dict[str, list[str]] = {}
    tables: dict[str, list[dict[str, str]]] = {"CLIENT_LIST": [], "ROUTING_TABLE": []}
    title = ""
    for row in csv.reader(text.splitlines()):
        match row:
            case ["TITLE", words]:
                title = words
            case ["HEADER", table, *columns]:
                headers[table] = columns
            case [table, *values] if table in tables:
                tables[table].append(_named(table, headers, values))
    clients = tuple(ClientRow(columns) for columns in tables["CLIENT_LIST"])
    return ServerStatus(title, clients, tuple(tables["ROUTING_TABLE"]))


def _named(table: str, headers: Mapping[str, list[str]], values: list[str]) -> dict[str, str]:
    columns = headers.get(table)
    if columns is None or len(columns) != len(values):
        raise LabError(f"status file: a {table} row does not match its header: {values}")
    return dict(zip(columns, values, strict=True))
