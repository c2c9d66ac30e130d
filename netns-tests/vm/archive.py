"""Where this machine gets Debian from, and what the same place is for another suite.

The machine's own apt sources are read, never changed; only the suite differs in what is derived.
A source that names a moment in its path (a frozen copy of the archive) may lack a suite that is
younger: then the same place at a later moment is what may have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vm.errors import VmError

_MOMENT = re.compile(r"(?<=/)\d{8}T\d{6}Z(?=/|$)")
_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+(.+)")

# Fields that apt needs to trust a source; the others are about what to fetch.
_TRUST = ("Signed-By", "Trusted", "Check-Valid-Until", "Check-Date")


@dataclass(frozen=True, slots=True)
class Source:
    """A stanza of apt's sources (sources.list(5)): binary packages only."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    trust: tuple[tuple[str, str], ...] = ()
    """Fields such as ``Signed-By``, as they stand in the file."""

    def text(self, types: str = "deb") -> str:
        """The stanza in the deb822 form, with a blank line after it."""
        lines = [
            f"Types: {types}",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            *(f"{name}: {value}" for name, value in self.trust),
        ]
        return "\n".join(lines) + "\n\n"


@dataclass(frozen=True, slots=True)
class Archive:
    """The machine's Debian: its code name, the main archive, the security archive if it uses it."""

    codename: str
    main: Source
    security: Source | None

    def main_of(self, codename: str) -> Source:
        """The release ``codename`` itself."""
        return replace(self.main, suites=(codename,))

    def sources(self, codename: str, *extra: str) -> tuple[Source, ...]:
        """What ``codename`` is there, with ``extra`` parts such as ``backports``."""
        suites = (codename, *(f"{codename}-{part}" for part in extra))
        made = [replace(self.main_of(codename), suites=suites)]
        if self.security:
            made.append(replace(self.security, suites=(f"{codename}-security",)))
        return tuple(made)

    def at(self, moment: str) -> Archive | None:
        """The same place at ``moment`` (``20260101T000000Z``); None where paths name no moment."""

        def moved(source: Source) -> Source:
            return replace(source, uris=tuple(_MOMENT.sub(moment, uri) for uri in source.uris))

        later = replace(
            self, main=moved(self.main), security=moved(self.security) if self.security else None
        )
        return None if later == self else later


def machine_archive(etc: Path = Path("/etc")) -> Archive:
    """The archive that this machine's apt is set up for. Raises :class:`VmError`."""
    codename = _codename(etc / "os-release")
    sources = tuple(_read_sources(etc / "apt"))
    main = next((source for source in sources if codename in source.suites), None)
    if main is None:
        raise VmError(f"apt on this machine has no source with the suite {codename!r} of Debian")
    security = f"{codename}-security"
    return Archive(codename, main, next((s for s in sources if security in s.suites), None))


def parse_one_line(text: str) -> Iterable[Source]:
    """The sources of a ``.list`` file."""
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
        trust = [(name, options[name.lower()]) for name in _TRUST if name.lower() in options]
        yield Source((match[2],), (match[3],), tuple(match[4].split()), tuple(trust))


def parse_deb822(text: str) -> Iterable[Source]:
    """The sources of a ``.sources`` file that are enabled and hold binary packages."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = {
            match[1].lower(): match[2].strip()
            for match in re.finditer(r"^(\S+?):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        trust = [(name, fields[name.lower()]) for name in _TRUST if name.lower() in fields]
        yield Source(
            tuple(fields.get("uris", "").split()),
            tuple(fields.get("suites", "").split()),
            tuple(fields.get("components", "").split()),
            tuple(trust),
        )


def _read_sources(apt: Path) -> Iterable[Source]:
    parts = apt / "sources.list.d"
    for path in (apt / "sources.list", *sorted(parts.glob("*.list"))):
        if path.is_file():
            yield from parse_one_line(path.read_text(encoding="utf-8"))
    for path in sorted(parts.glob("*.sources")):
        yield from parse_deb822(path.read_text(encoding="utf-8"))


def _codename(os_release: Path) -> str:
    match = re.search(r'^VERSION_CODENAME="?(\w+)', os_release.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise VmError("this machine is not a Debian release: /etc/os-release names no code name")
    return match[1]
