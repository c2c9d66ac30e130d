"""OpenVPN 2.6, the release's own, beside the 2.7 of its backports: the program alone, whose
libraries 2.7 has brought."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vm import apt, commands
from vm.build import say
from vm.cache import building
from vm.errors import VmError

PROGRAM = "opt/openvpn26/openvpn"
"""Below the root."""

_VERSION = "2.6."


def install(root: Path) -> Path:
    """Put the program into the root when it is not there. Raises ``VmError``."""
    installed = root / PROGRAM
    with building():
        if not installed.exists():
            _fetch(installed)
    return installed


def _fetch(installed: Path) -> None:
    prepared = apt.prepared()
    found = [p for p in prepared.packages("openvpn") if p.version.startswith(_VERSION)]
    if not found:
        raise VmError(f"the archive has no OpenVPN {_VERSION}x")
    say(f"fetching OpenVPN {found[0].version}")
    (package,) = prepared.download(found[:1])
    installed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=installed.parent) as scratch:
        commands.run(["dpkg-deb", "--extract", package, scratch], f"unpacking {package.name}")
        Path(scratch, "usr/sbin/openvpn").rename(installed)
