"""The kernel's own tests of ``ovpn``, out of Debian's ``linux-source``, built when they are used.

    .vm/selftests-HASH/kernel/   the parts of the kernel's tree that they need, compiled
    .vm/selftests-HASH/bin, lib, python   what they need and the guest's root does not have

They are built in a Debian of its own, which goes afterwards. Nothing of it is in this repository.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from vm import apt, commands
from vm.apt import Apt, Package
from vm.build import bootstrap, say
from vm.cache import CACHE, building, remove_root
from vm.errors import VmError

DIRECTORY = "selftests"
"""Where the guest finds them, below its results."""

_TESTS = "tools/testing/selftests"
_PARTS = (
    f"{_TESTS}/net/ovpn",
    f"{_TESTS}/kselftest",
    f"{_TESTS}/kselftest.h",
    "tools/net/ynl/pyynl",
    "Documentation/netlink/specs/ovpn.yaml",
    "Documentation/netlink/genetlink.yaml",
)
_PACKAGES = (
    "gcc",
    "libc6-dev",
    # As old as the newest kernel: it has the numbers of ovpn.
    f"linux-libc-dev/{apt.RELEASE}-backports",
    "libnl-genl-3-dev",
    "libmbedtls-dev",
    "jq",
    "psmisc",
    "python3-yaml",
    "python3-jsonschema",
)
_BUILD = rf"""
set -e
cd /selftests
gcc -O1 -w -I/usr/include/libnl3 -Ikernel/{_TESTS} -o kernel/{_TESTS}/net/ovpn/ovpn-cli \
    kernel/{_TESTS}/net/ovpn/ovpn-cli.c -lmbedtls -lmbedcrypto -lnl-genl-3 -lnl-3
mkdir bin lib
cp /usr/bin/jq /usr/bin/killall bin
ldd bin/* kernel/{_TESTS}/net/ovpn/ovpn-cli | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -vE '/(libc|libm)\.so' | xargs cp --dereference --target-directory=lib
cp --recursive /usr/lib/python3/dist-packages python
"""


def build_selftests(release: str) -> Path:
    """The tests of a kernel's version, built when they were not. Raises :class:`VmError`."""
    name = f"linux-source-{'.'.join(release.split('.')[:2])}"
    recipe = json.dumps([name, release, _PARTS, _PACKAGES, _BUILD])
    kept = CACHE / f"selftests-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with building():
        if not kept.exists():
            _build(name, kept)
    return kept


def _build(name: str, kept: Path) -> None:
    prepared = apt.prepared()
    found = prepared.packages(name)
    if not found:
        raise VmError(f"the archive has no {name}")
    say(f"building the kernel's own tests out of {name} {found[0].version}")
    scratch = CACHE / "root-selftests.partial"
    if scratch.exists():
        remove_root(scratch)
    bootstrap(prepared, scratch, _PACKAGES)
    inside = scratch / "selftests"
    (inside / "kernel").mkdir(parents=True)
    _unpack(prepared, found[0], inside / "kernel")
    commands.run(["chroot", scratch, "sh", "-c", _BUILD], "building the kernel's own tests")
    shutil.copytree(inside, kept.with_suffix(".partial"), symlinks=True, dirs_exist_ok=True)
    kept.with_suffix(".partial").rename(kept)
    remove_root(scratch)


def _unpack(prepared: Apt, source: Package, target: Path) -> None:
    (package,) = prepared.download((source,))
    # A tree in an archive in a package; of it, the parts that are wanted.
    words = (
        'dpkg-deb --fsys-tarfile "$0" | tar -xO "./usr/src/$1.tar.xz" | '
        "xz --decompress --stdout --threads=0 | { tree=$1; target=$2; shift 2; "
        'tar -x -C "$target" --strip-components=1 "$@"; }'
    )
    parts = [f"{source.name}/{part}" for part in _PARTS]
    commands.run(
        ["sh", "-c", words, package, source.name, target, *parts], f"unpacking {source.name}"
    )
