"""The authority's memory: which certificates exist and which are revoked. ``index.json``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass, replace
from ovpn6.pki.certificates import Purpose, Revocation

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate that was ever issued. Times are UTC; ``revoked`` None means in force."""

    name: str
    purpose: Purpose
    serial: int
    issued: datetime
    expires: datetime
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """Everything issued, oldest first, and the number of the last revocation list."""

    entries: tuple[Entry, ...] = ()
    crl_number: int = 0

    def with_entry(self, entry: Entry) -> Index:
        """The index that also knows ``entry``."""
        return replace(self, entries=(*self.entries, entry))

    def revoke(self, name: str, now: datetime) -> Index:
        """The index where every certificate of ``name`` is revoked.

        Raises :class:`ConfigError` when there is none left to revoke.
        """
        if not any(entry.name == name and entry.revoked is None for entry in self.entries):
            raise ConfigError(f"no certificate in force is named {name!r}")
        return replace(
            self,
            entries=tuple(
                replace(entry, revoked=now)
                if entry.name == name and entry.revoked is None
                else entry
                for entry in self.entries
            ),
        )

    def newest(self, name: str) -> Entry:
        """The last certificate issued to ``name``; raises :class:`ConfigError` without one."""
        for entry in reversed(self.entries):
            if entry.name == name:
                return entry
        raise ConfigError(f"no certificate is named {name!r}")

    def revocations(self) -> tuple[Revocation, ...]:
        """What a revocation list has to say now."""
        return tuple(
            Revocation(entry.serial, entry.revoked)
            for entry in self.entries
            if entry.revoked is not None
        )

    def encode(self) -> str:
        """The text of ``index.json``."""
        rows = [
            {
                "name": entry.name,
                "purpose": entry.purpose.name.lower(),
                "serial": f"{entry.serial:x}",
                "issued": entry.issued.isoformat(),
                "expires": entry.expires.isoformat(),
                "revoked": entry.revoked.isoformat() if entry.revoked else None,
            }
            for entry in self.entries
        ]
        document = {"version": _VERSION, "crl_number": self.crl_number, "certificates": rows}
        return json.dumps(document, indent=2) + "\n"

    @staticmethod
    def decode(text: str, name: str) -> Index:
        """Reads :meth:`encode`'s text; raises :class:`ConfigError` that says ``name``."""
        try:
            document = json.loads(text)
            if document["version"] != _VERSION:
                raise ConfigError(f"{name} was written by another version of ovpn6")
            return Index(
                tuple(_entry(row) for row in document["certificates"]),
                int(document["crl_number"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{name} is damaged: {error!r}") from error


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(
        name=str(row["name"]),
        purpose=Purpose[str(row["purpose"]).upper()],
        serial=int(row["serial"], 16),
        issued=datetime.fromisoformat(row["issued"]),
        expires=datetime.fromisoformat(row["expires"]),
        revoked=datetime.fromisoformat(row["revoked"]) if row["revoked"] else None,
    )
