"""Makes the root: Debian with OpenVPN of its backports and the project's dependencies."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vm import apt, commands
from vm.apt import RELEASE, Apt
from vm.cache import building, remove_other_roots, remove_root
from vm.errors import VmError
from vm.recipe import (
    CHECKOUT_POINT,
    PACKAGES,
    PYTHON_VERSION,
    RESULTS_POINT,
    SITE,
    requirements,
    root_directory,
)

# Wheels that run on the root's C library (2.41), newest first as pip wants them.
_PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 17))


def build() -> Path:
    """The root of the present recipe, made when it is not there. Raises :class:`VmError`."""
    if os.geteuid() != 0:
        raise VmError("the rig needs root: it makes a Debian root and mounts")
    wanted = root_directory()
    with building():
        if not wanted.exists():
            remove_other_roots(wanted)
            _make(wanted)
    return wanted


def present_root() -> Path | None:
    """The root of the present recipe if it was made."""
    wanted = root_directory()
    return wanted if wanted.exists() else None


def say(text: str) -> None:
    """Tell whoever waits what goes on."""
    print(f"vm: {text}", file=sys.stderr, flush=True)


def _make(wanted: Path) -> None:
    prepared = apt.prepared()
    partial = wanted.with_name(f"{wanted.name}.partial")
    if partial.exists():
        remove_root(partial)
    say(f"building a {RELEASE} root with {', '.join(PACKAGES)}")
    bootstrap(prepared, partial, PACKAGES)
    say(f"installing the project's dependencies for Python {PYTHON_VERSION}")
    _install_dependencies(partial)
    for point in (CHECKOUT_POINT, RESULTS_POINT):
        (partial / point).mkdir()
    # Only now is it whole.
    partial.rename(wanted)


def bootstrap(prepared: Apt, root: Path, packages: Sequence[str]) -> None:
    """Make a directory into a Debian with apt and ``packages``."""
    with tempfile.TemporaryDirectory(prefix="ovpn6-vm-") as scratch:
        sources = Path(scratch, "debian.sources")
        sources.write_text("".join(source.text() for source in prepared.root_sources()))
        settings = Path(scratch, "apt.conf")
        settings.write_text(apt.machine_settings() + 'APT::Install-Recommends "false";\n')
        commands.fetch(
            [
                *("mmdebstrap", "--variant=apt", "--mode=root", "--quiet"),
                *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*"),
                *("--dpkgopt=path-exclude=/usr/share/man/*", f"--aptopt={settings}"),
                *(f"--include={','.join(packages)}", RELEASE, root, sources),
            ],
            f"building a {RELEASE} root",
        )
    # The machine's settings were for the download.
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)


def _install_dependencies(root: Path) -> None:
    site = root / SITE
    commands.fetch(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--target", site, "--no-compile", "--only-binary=:all:"),
            *("--implementation", "cp", "--python-version", PYTHON_VERSION),
            *(word for platform in _PLATFORMS for word in ("--platform", platform)),
            *requirements(),
        ],
        f"installing dependencies for Python {PYTHON_VERSION}",
    )
    shutil.rmtree(site / "bin", ignore_errors=True)
    paths = f"/{SITE}\n/{CHECKOUT_POINT}\n"
    (root / "usr/lib/python3/dist-packages/ovpn6-vm.pth").write_text(paths)
    # The root is read-only later: what Python would compile at each start is compiled once.
    commands.run(
        ["chroot", root, "python3", "-m", "compileall", "-q", f"/{SITE}"], "compiling modules"
    )
