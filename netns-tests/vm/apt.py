"""apt with sources, lists and downloads of its own: the machine's stay as they are.

The machine's other settings (proxies, certificates, time-outs) apply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vm import commands
from vm.archive import Archive, Source, machine_archive
from vm.cache import APT
from vm.errors import VmError

RELEASE = "trixie"
"""The release of the root."""
OLDER_RELEASE = "bookworm"
"""Has the 6.1 kernels."""
OLDEST_OPENVPN = "2.7"
"""Knows the mainline module. A moment of the archive without it is too old."""

_SKIPPED_SETTINGS = ("Acquire::IndexTargets", "Acquire::Changelogs")


@dataclass(frozen=True, slots=True)
class Package:
    """A version of a package that the archive has."""

    name: str
    version: str
    depends: str


@dataclass(frozen=True, slots=True)
class Apt:
    """Package lists that are up to date, and the sources that they came from."""

    archive: Archive

    def root_sources(self) -> tuple[Source, ...]:
        """For the root: the release, its security updates, its backports."""
        return self.archive.sources(RELEASE, "backports")

    def packages(self, pattern: str) -> tuple[Package, ...]:
        """Every version of the packages whose whole name matches, newest first."""
        names = commands.run(["apt-cache", *_options(), "pkgnames"], "listing packages").split()
        wanted = [name for name in names if re.fullmatch(pattern, name)]
        if not wanted:
            return ()
        shown = commands.run(["apt-cache", *_options(), "show", *wanted], "reading packages")
        found = {_package(stanza) for stanza in shown.split("\n\n") if stanza.strip()}
        return tuple(sorted(found, key=lambda p: version_order(p.version), reverse=True))

    def download(self, packages: Sequence[Package]) -> tuple[Path, ...]:
        """The packages as files, verified by apt."""
        directory = APT / "packages"
        directory.mkdir(exist_ok=True)
        paths = tuple(directory / f"{p.name}_{p.version}.deb" for p in packages)
        for package, path in zip(packages, paths, strict=True):
            if not path.exists():
                _download(package, path)
        return paths

    def download_source(self, name: str, directory: Path) -> None:
        """The files of a source package of the release, verified by apt, not unpacked."""
        commands.fetch(
            [
                *("apt-get", *_options(), "-qq", "-o", "APT::Sandbox::User=root"),
                *("--download-only", "--target-release", RELEASE, "source", name),
            ],
            f"downloading the source of {name}",
            directory=directory,
        )


def prepared() -> Apt:
    """Fetch the lists of packages, and of the release's sources.

    Raises :class:`VmError` that says what the archive lacks.
    """
    for directory in ("lists/partial", "cache/archives/partial"):
        (APT / directory).mkdir(parents=True, exist_ok=True)
    (APT / "status").touch()
    named = machine_archive()
    now = named.at(datetime.now(UTC).strftime("%Y%m%dT000000Z"))
    try:
        return _updated(named)
    except VmError:
        if now is None:
            raise
        return _updated(now)


def version_order(version: str) -> tuple[list[tuple[int, ...]], ...]:
    """A sort key that orders versions without epoch as Debian does (deb-version(7))."""
    upstream, _, revision = version.rpartition("-") if "-" in version else (version, "", "")
    return (_order(upstream), _order(revision))


def machine_settings() -> str:
    """The machine's settings for downloads, as a file of apt's."""
    dumped = commands.run(["apt-config", "dump", "Acquire"], "reading apt's settings")
    kept = [
        line
        for line in dumped.splitlines()
        if line.startswith("Acquire::") and not line.startswith(_SKIPPED_SETTINGS)
    ]
    return "\n".join(kept) + "\n"


def _updated(archive: Archive) -> Apt:
    sources = (*archive.sources(RELEASE, "backports"), *archive.sources(OLDER_RELEASE))
    text = "".join(source.text() for source in sources) + archive.main_of(RELEASE).text("deb-src")
    (APT / "debian.sources").write_text(text, encoding="utf-8")
    commands.fetch(
        ["apt-get", *_options(), "-qq", "--error-on=any", "update"],
        f"fetching package lists of {RELEASE}, {RELEASE}-backports and {OLDER_RELEASE} "
        f"from {archive.main.uris[0]} (this machine's own source)",
    )
    updated = Apt(archive)
    found = updated.packages("openvpn")
    if not found or version_order(found[0].version) < version_order(OLDEST_OPENVPN):
        raise VmError(
            f"{archive.main.uris[0]} has no OpenVPN {OLDEST_OPENVPN} in {RELEASE}-backports"
        )
    return updated


def _download(package: Package, path: Path) -> None:
    partial = path.with_name("partial")
    partial.mkdir(exist_ok=True)
    for old in partial.iterdir():
        old.unlink()
    commands.fetch(
        [
            *("apt-get", *_options(), "-qq", "-o", "APT::Sandbox::User=root"),
            *("download", f"{package.name}={package.version}"),
        ],
        f"downloading {package.name} {package.version}",
        directory=partial,
    )
    (downloaded,) = partial.iterdir()
    downloaded.rename(path)


def _options() -> list[str]:
    settings = {
        "Dir::Etc::sourcelist": APT / "debian.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": APT / "lists",
        "Dir::State::status": APT / "status",
        "Dir::Cache": APT / "cache",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _package(stanza: str) -> Package:
    fields = dict(re.findall(r"^(Package|Version|Depends): (.*)$", stanza, re.MULTILINE))
    return Package(fields["Package"], fields["Version"], fields.get("Depends", ""))


def _order(text: str) -> list[tuple[int, ...]]:
    parts: list[tuple[int, ...]] = []
    for word, number in re.findall(r"(\D*)(\d*)", text):
        # The end of a word sorts after "~" and before everything else.
        parts.append((*(_rank(character) for character in word), 0))
        parts.append((int(number or 0),))
    return parts


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
