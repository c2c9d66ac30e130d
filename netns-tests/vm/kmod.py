"""Builds our kernel module against Debian's kernel headers, in a Debian of its own.

    .vm/kbuild-HASH/     that Debian: compilers, sparse, DKMS, headers of each kernel asked for
    .vm/kmod-RELEASE/    the module for a kernel, with the hash of the sources it was made from

Every warning of the compiler (``W=1``) and of sparse fails the build. Debian's sparse reads the
headers of 6.1 and 6.12; those of 7.x it does not know, and their own build leaves it out.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vm import apt, commands, gate_kernel
from vm.apt import Apt, Package
from vm.build import bootstrap, say
from vm.cache import CACHE, CHECKOUT, building, remove_root
from vm.errors import VmError
from vm.root import command_prefix

SOURCES = CHECKOUT / "kmod"
MODULE = "ovpn6.ko"

_PACKAGES = (
    "make",
    "gcc-14",
    "gcc-12",
    "libc6-dev",
    "libelf1t64",
    "pahole",
    "sparse",
    "dkms",
    "kmod",
)
"""6.1 is built with gcc 12, the others with gcc 14, as they were themselves."""
_SUFFIXES = {".c", ".h", ".in", ".sh", ".py"}
_NAMES = {"Kbuild", "Makefile", "LICENSE", "README.md"}
_PARTS = re.compile(r"\b(linux-headers-[^\s,]+-common|linux-kbuild-[^\s,]+)")
_TROUBLE = re.compile(r"^\S+:\d+:.*\b(?:warning|error):|^(?:WARNING|ERROR):|Error \d")


@dataclass(frozen=True, slots=True)
class Built:
    """A module, and what the compilers said while it was made."""

    module: Path
    log: Path


def build_module(release: str) -> Built:
    """The module for a kernel, built when the sources changed. Raises :class:`VmError`."""
    made = CACHE / f"kmod-{release}"
    built = Built(made / MODULE, made / "log")
    stamp = made / "sources"
    with building():
        root, kernel = _build_place(release)
        digest = _digest() + kernel
        if built.module.exists() and stamp.exists() and stamp.read_text() == digest:
            return built
        say(f"building {MODULE} for {release}")
        work = root / "build" / release
        copy_sources(work)
        made.mkdir(exist_ok=True)
        stamp.unlink(missing_ok=True)
        _compile(root, release, built.log)
        shutil.copy(work / MODULE, built.module)
        stamp.write_text(digest)
    return built


def copy_sources(target: Path) -> None:
    """What belongs to the module, and nothing that was built from it."""
    if target.exists():
        shutil.rmtree(target)
    for source in _sources():
        copied = target / source.relative_to(SOURCES)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copied)


def present_build_root() -> Path | None:
    """The Debian that builds if it was made."""
    wanted = _build_root_path()
    return wanted if wanted.exists() else None


def _compile(root: Path, release: str, log: Path) -> None:
    inside = f"/build/{release}"
    # With Debian's headers everything was looked at already.
    checks = "CC=gcc-14" if gate_kernel.name_of(release) else "W=1 C=2"
    build = (
        f"make -k -C {inside} KERNEL_RELEASE={release} {checks} modules >{inside}/log 2>&1 && "
        # Of the ten megabytes that a guest reads at each load.
        f"strip --strip-debug {inside}/{MODULE}"
    )
    failed = False
    try:
        commands.run([*command_prefix(root), "sh", "-c", build], f"building for {release}")
    except VmError:
        failed = True
    shutil.copy(root / f"build/{release}/log", log)
    said = log.read_text(encoding="utf-8", errors="replace")
    trouble = sorted({line for line in said.splitlines() if _TROUBLE.search(line)})
    if failed or trouble:
        listed = "\n".join(trouble)
        raise VmError(f"building for {release} gave errors or warnings (all: {log}):\n{listed}")


def _build_place(release: str) -> tuple[Path, str]:
    """The Debian that builds for a kernel, and what names the kernel's headers."""
    if name := gate_kernel.name_of(release):
        return gate_kernel.build_root(), gate_kernel.identity(name)
    root = _build_root()
    _install_headers(root, release)
    return root, ""


def _build_root_path() -> Path:
    digest = hashlib.sha256(json.dumps([_PACKAGES, apt.RELEASE]).encode()).hexdigest()
    return CACHE / f"kbuild-{digest[:12]}"


def _build_root() -> Path:
    wanted = _build_root_path()
    if not wanted.exists():
        for old in CACHE.glob("kbuild-*"):
            remove_root(old)
        partial = CACHE / "kbuild.partial"
        if partial.exists():
            remove_root(partial)
        say("building a Debian with compilers for the kernel module")
        bootstrap(apt.prepared(), partial, _PACKAGES)
        (partial / "build").mkdir()
        partial.rename(wanted)
    return wanted


def _install_headers(root: Path, release: str) -> None:
    """Unpacked only: their packages' dependencies would bring the kernel itself."""
    done = root / "build" / f"headers-{release}"
    if done.exists():
        return
    prepared = apt.prepared()
    say(f"fetching headers of {release}")
    for path in prepared.download(tuple(_header_packages(prepared, release))):
        # Older packages have /lib, which is a link in the root.
        unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"'
        commands.run(["sh", "-c", unpack, path, root], f"unpacking {path.name}")
    done.touch()


def _header_packages(prepared: Apt, release: str) -> Iterator[Package]:
    headers = _newest(prepared, f"linux-headers-{release}")
    yield headers
    for name in sorted(set(_PARTS.findall(headers.depends))):
        same = [p for p in prepared.packages(re.escape(name)) if p.version == headers.version]
        if not same:
            raise VmError(f"the archive has no {name} of version {headers.version}")
        yield same[0]


def _newest(prepared: Apt, name: str) -> Package:
    found = prepared.packages(re.escape(name))
    if not found:
        raise VmError(f"the archive has no {name} any more: netns-tests/vm/vm clean, and build")
    return found[0]


def _sources() -> list[Path]:
    return sorted(
        path
        for path in SOURCES.rglob("*")
        if (path.suffix in _SUFFIXES or path.name in _NAMES)
        and not path.name.endswith(".mod.c")
        and path.name != "conf.h"
    )


def _digest() -> str:
    state = hashlib.sha256()
    for path in _sources():
        state.update(f"{path.relative_to(SOURCES)}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()
