"""Debian's cloud kernels: which there are, by major.minor, and their files in a root.

``newest`` is the newest of all that has the ``ovpn`` module.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm import apt, commands, initrd
from vm.apt import Apt, Package
from vm.cache import building
from vm.errors import VmError

NEWEST = "newest"

_IMAGES = r"linux-image-(\d\S*-cloud-amd64)"
_PARTS = re.compile(r"\b(linux-[a-z]+-\d\S*-cloud-amd64) \(= ([^)]+)\)")
_MODULE = "kernel/drivers/net/ovpn"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel whose modules are in a root."""

    release: str
    """As ``uname -r`` says."""
    image: Path
    initrd: Path | None
    """What mounts the root; None when the kernel can do it by itself."""


def kernel(root: Path, name: str) -> Kernel:
    """The kernel ``newest``, or the newest of a line such as ``6.12``; fetched when not there.

    What was fetched once is taken again without a look at the archive.
    """
    if name != NEWEST and not re.fullmatch(r"\d+\.\d+", name):
        raise VmError(f"kernels are called {NEWEST!r} or like '6.12', not {name!r}")
    chosen = root / "boot" / f"ovpn6-{name}"
    with building():
        if not chosen.exists():
            release = _fetch(root, name)
            chosen.write_text(release, encoding="utf-8")
        release = chosen.read_text(encoding="utf-8")
        small = root / "boot" / f"initrd-{release}"
        if not _is_built_in(modules_of(root, release), "virtiofs") and not small.exists():
            initrd.write(root, release, small)
    return Kernel(release, root / "boot" / f"vmlinuz-{release}", small if small.exists() else None)


def _fetch(root: Path, name: str) -> str:
    """Put the kernel's files into the root; its release."""
    prepared = apt.prepared()
    images = prepared.packages(_IMAGES)
    matching = [p for p in images if name == NEWEST or p.version.startswith(f"{name}.")]
    if not matching:
        lines = {".".join(package.version.split(".")[:2]) for package in images}
        there = sorted(lines, key=apt.version_order)
        raise VmError(f"the archive has no cloud kernel {name}; it has {', '.join(there)}")
    for image in matching:
        release = image.name.removeprefix("linux-image-")
        print(f"vm: fetching kernel {release}", file=sys.stderr, flush=True)
        _unpack(prepared, root, _closure(prepared, image), release)
        if name != NEWEST or (modules_of(root, release) / _MODULE).is_dir():
            return release
    raise VmError("no cloud kernel of the archive has the module ovpn")


def _closure(prepared: Apt, image: Package) -> tuple[Package, ...]:
    """The image with the packages of the same build that hold the rest of the kernel."""
    found = {image.name: image}
    waiting = [image]
    while waiting:
        for name, version in _PARTS.findall(waiting.pop().depends):
            if name not in found:
                versions = prepared.packages(re.escape(name))
                found[name] = next(p for p in versions if p.version == version)
                waiting.append(found[name])
    return tuple(found.values())


def _unpack(prepared: Apt, root: Path, packages: tuple[Package, ...], release: str) -> None:
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=root.parent) as scratch:
        for path in prepared.download(packages):
            commands.run(["dpkg-deb", "--extract", path, scratch], f"unpacking {path.name}")
        # New packages have their modules in /usr/lib, others in /lib, which the root links to it.
        places = (Path(scratch, "usr/lib/modules"), Path(scratch, "lib/modules"))
        modules = next(place / release for place in places if (place / release).is_dir())
        shutil.copytree(modules, modules_of(root, release), dirs_exist_ok=True, symlinks=True)
        # So is the image of new ones; that of others is in /boot.
        images = (modules / "vmlinuz", Path(scratch, f"boot/vmlinuz-{release}"))
        image = next(path for path in images if path.exists())
        shutil.copy(image, root / f"boot/vmlinuz-{release}")
    commands.run(["chroot", root, "depmod", release], f"listing the modules of {release}")


def modules_of(root: Path, release: str) -> Path:
    """Where a root has the modules of a kernel."""
    return root / "usr/lib/modules" / release


def _is_built_in(modules: Path, name: str) -> bool:
    text = (modules / "modules.builtin").read_text(encoding="utf-8")
    return f"/{name}.ko" in text
