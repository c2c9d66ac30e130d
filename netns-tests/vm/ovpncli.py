"""OpenVPN 3's command-line client, built from Debian's source package: no Debian package has it.

It is built in a Debian of its own, which goes afterwards, and kept apart from the root.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
from pathlib import Path

from vm import apt, commands
from vm.build import bootstrap, say
from vm.cache import CACHE, building, remove_root

PROGRAM = "opt/openvpn3/ovpncli"
"""Below the root."""

_SOURCE = "openvpn3-client"
_PACKAGES = ("dpkg-dev", "g++", "libasio-dev", "libssl-dev", "liblz4-dev")

# The core is headers; what its own build passes to the compiler, without CMake.
_BUILD = r"""
set -e
cd /source
dpkg-source --no-check -x *.dsc unpacked
cd unpacked/openvpn3-core
set -- -O1 -w -I. -DUSE_OPENSSL -DENABLE_EXTERNAL_PKI
for part in helper provider; do
    cc "$@" -c "openvpn/openssl/xkey/xkey_$part.c" -o "/source/$part.o"
done
c++ "$@" -std=c++17 -DASIO_STANDALONE -DUSE_ASIO -DHAVE_LZ4 test/ovpncli/cli.cpp \
    /source/helper.o /source/provider.o -o /source/ovpncli \
    -static-libstdc++ -static-libgcc -lssl -lcrypto -llz4 -lpthread
strip /source/ovpncli
"""


def install(root: Path) -> Path:
    """Put ``ovpncli`` into the root, built when it was not yet. Raises ``VmError``."""
    recipe = json.dumps([_SOURCE, _PACKAGES, _BUILD, apt.RELEASE])
    kept = CACHE / f"ovpncli-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    installed = root / PROGRAM
    with building():
        if not kept.exists():
            _build(kept)
        if not (installed.exists() and filecmp.cmp(kept, installed, shallow=False)):
            installed.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(shutil.copy(kept, installed.with_name("partial")))
            partial.rename(installed)
    return installed


def _build(kept: Path) -> None:
    prepared = apt.prepared()
    scratch = CACHE / "root-openvpn3.partial"
    if scratch.exists():
        remove_root(scratch)
    say("building OpenVPN 3's ovpncli")
    bootstrap(prepared, scratch, _PACKAGES)
    source = scratch / "source"
    source.mkdir()
    prepared.download_source(_SOURCE, source)
    commands.run(["chroot", scratch, "sh", "-c", _BUILD], "building ovpncli")
    Path(shutil.copy(source / "ovpncli", kept.with_name(f"{kept.name}.partial"))).rename(kept)
    remove_root(scratch)
