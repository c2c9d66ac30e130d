"""wireguard-go of Debian sid in a scratch root: Debian 12's is years older.

Fetched from where this machine's own apt fetches, with only the suite changed (docs/vm.md).
``make clean`` removes it, and the next run fetches the newest again.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from vm import commands
from vm.apt import machine_settings
from vm.archive import Archive, machine_archive
from vm.cache import CACHE, building
from vm.errors import VmError

SUITE = "sid"
PACKAGES = ("base-files", "libc6", "wireguard-go")
BINARY = "/usr/bin/wireguard-go"
ROOT = CACHE / "bench-sid"


def wireguard_root() -> Path:
    """The root, fetched when it is not there. Raises :class:`VmError`."""
    with building():
        if not ROOT.exists():
            _make(machine_archive())
    return ROOT


def package_version(root: Path) -> str:
    """Of wireguard-go: the program itself names an older one."""
    with gzip.open(root / "usr/share/doc/wireguard-go/changelog.Debian.gz", "rt") as changes:
        return changes.readline().partition("(")[2].partition(")")[0]


def _make(named: Archive) -> None:
    later = named.at(datetime.now(UTC).strftime("%Y%m%dT000000Z"))
    try:
        _fetch(named)
    except VmError:
        # A copy of the archive frozen at a moment need not have this suite.
        if later is None:
            raise
        _fetch(later)


def _fetch(archive: Archive) -> None:
    partial = ROOT.with_name(f"{ROOT.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="ovpn6-bench-") as scratch:
        sources, settings = Path(scratch, "debian.sources"), Path(scratch, "apt.conf")
        sources.write_text(archive.main_of(SUITE).text())
        settings.write_text(machine_settings() + 'APT::Install-Recommends "false";\n')
        # Unpacked, not installed: no script of a package runs.
        commands.run(
            [
                *("mmdebstrap", "--variant=extract", "--mode=root", "--quiet"),
                *(f"--aptopt={settings}", f"--include={','.join(PACKAGES)}"),
                *(SUITE, partial, sources),
            ],
            f"fetching wireguard-go of {SUITE}",
        )
    partial.rename(ROOT)
