"""The kernels of ``make gate``: Debian's sources, as small as the rig can do with, checks on.

    .vm/gate-HASH/       a Debian with compilers, the unpacked source, and what was built of it

``gate`` has every check but one, ``races`` that one: KCSAN and KASAN exclude each other. What is
built stays, also half built: a changed configuration (``gate*.config``) or a build that was ended
goes on where it stood.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm import apt, commands
from vm.build import bootstrap, say
from vm.cache import CACHE, building, remove_root
from vm.errors import VmError
from vm.kernels import Kernel, modules_of
from vm.root import command_prefix

GATE = "gate"
RACES = "races"
CHECKS = {GATE: "gate-checks.config", RACES: "gate-races.config"}
"""What ``--kernel`` calls them, and what each has over the common configuration.

A release (``CONFIG_LOCALVERSION``) ends with the name."""

_SOURCE = "linux-source-6.12"
_PACKAGES = (
    *("make", "gcc-14", "libc6-dev", "libelf-dev", "flex", "bison", "bc"),
    *("xz-utils", "perl-base", "python3-minimal", "kmod"),
)
_COMMON = "gate.config"
_BUILT = "arch/x86/boot/bzImage"
_STAMP = "built"


def gate_kernel(root: Path, name: str) -> Kernel:
    """A kernel of :data:`CHECKS`, with its list of modules in ``root``, built when it is not there.

    Raises :class:`VmError`, also where the configuration loses a line.
    """
    with _alone():
        place = _build_root()
        source = _unpacked_source(place)
        out = _out(place, name)
        stamp = out / _STAMP
        configuration = _configuration(name)
        digest = hashlib.sha256((source + configuration).encode()).hexdigest()
        if not stamp.exists() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            _compile(place, source, name, configuration)
            stamp.write_text(digest)
        release = (out / "include/config/kernel.release").read_text().strip()
        _install(place, release, root)
    return Kernel(release, out / _BUILT, None)


def name_of(release: str) -> str:
    """Which of :data:`CHECKS` a release (``uname -r``) is, empty for Debian's own kernels."""
    name = release.rpartition("-")[2]
    return name if name in CHECKS else ""


def is_gate(release: str) -> bool:
    """Whether a release is one of :data:`CHECKS`: slow."""
    return bool(name_of(release))


def build_root() -> Path:
    """Where modules for them are built: the Debian that they were built in."""
    return _build_root_path()


def identity(name: str) -> str:
    """What the built kernel was made from."""
    return (_out(_build_root_path(), name) / _STAMP).read_text(encoding="utf-8")


@contextmanager
def _alone() -> Iterator[None]:
    # Not the lock of the cache: others would wait for half an hour.
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "gate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_root_path() -> Path:
    digest = hashlib.sha256(json.dumps([_PACKAGES, _SOURCE, apt.RELEASE]).encode()).hexdigest()
    return CACHE / f"gate-{digest[:12]}"


def _build_root() -> Path:
    wanted = _build_root_path()
    if not wanted.exists():
        for old in CACHE.glob("gate-*/"):
            remove_root(old)
        partial = CACHE / "gate.partial"
        if partial.exists():
            remove_root(partial)
        say("building a Debian with compilers for the debug kernel")
        with building():
            bootstrap(apt.prepared(), partial, _PACKAGES)
        (partial / "build").mkdir()
        partial.rename(wanted)
    return wanted


def _unpacked_source(place: Path) -> str:
    """The name of the source's directory in ``build``."""
    unpacked = place / "build/source"
    if not unpacked.exists():
        with building():
            prepared = apt.prepared()
            newest = next(iter(prepared.packages(_SOURCE)), None)
            if newest is None:
                raise VmError(f"the archive has no {_SOURCE}")
            (package,) = prepared.download((newest,))
        say(f"unpacking {package.name}")
        partial = place / "build/source.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        commands.run(["dpkg-deb", "--extract", package, partial / "package"], "unpacking")
        (archive,) = (partial / "package/usr/src").glob("*.tar.xz")
        commands.run(["tar", "-xJf", archive, "-C", partial], f"unpacking {archive.name}")
        shutil.rmtree(partial / "package")
        (partial / newest.version).touch()
        partial.rename(unpacked)
    (tree,) = (path for path in unpacked.iterdir() if path.is_dir())
    return tree.name


def _out(place: Path, name: str) -> Path:
    return place / f"build/out-{name}"


def _configuration(name: str) -> str:
    parts = (_COMMON, CHECKS[name])
    return "\n".join(Path(__file__).with_name(part).read_text("utf-8") for part in parts)


def _compile(place: Path, source: str, name: str, configuration: str) -> None:
    out = _out(place, name)
    out.mkdir(exist_ok=True)
    (out / "wanted.config").write_text(configuration, encoding="utf-8")
    inside = f"/build/{out.name}"
    make = f"make -C /build/source/{source} O={inside} CC=gcc-14 HOSTCC=gcc-14"
    _run(place, f"KCONFIG_ALLCONFIG={inside}/wanted.config {make} allnoconfig", "configuring")
    lost = _lost_lines(configuration, out / ".config")
    if lost:
        listed = "\n".join(lost)
        raise VmError(f"{_COMMON} or {CHECKS[name]} has lines that do not survive:\n{listed}")
    say(f"building the kernel {name}: ten minutes of two processors, and more on a busy machine")
    _run(place, f"{make} -j$(nproc) bzImage modules", "building")
    # Where the makefile of modules looks for it, and what tells modprobe what is built in.
    _run(
        place,
        f"{make} INSTALL_MOD_PATH=/build/modules modules_install && "
        f"release=$(cat {inside}/include/config/kernel.release) && "
        "mkdir -p /usr/lib/modules/$release && "
        f"ln -sfn {inside} /usr/lib/modules/$release/build",
        "installing",
    )


def _lost_lines(configuration: str, configured: Path) -> list[str]:
    """Lines of the wanted configuration that the sources' rules did away with."""
    there = set(configured.read_text(encoding="utf-8").splitlines())
    wanted = configuration.splitlines()
    absent = {line[2:].split()[0] for line in wanted if line.endswith(" is not set")}
    on = {line.split("=")[0] for line in there if line.startswith("CONFIG_")}
    lost = [line for line in wanted if line.startswith("CONFIG_") and line not in there]
    return lost + [f"# {name} is not set" for name in sorted(absent & on)]


def _run(place: Path, script: str, what: str) -> None:
    log = f"/build/{what}.log"
    try:
        commands.run([*command_prefix(place), "sh", "-c", f"({script}) >{log} 2>&1"], what)
    except VmError:
        said = (place / log.lstrip("/")).read_text(encoding="utf-8", errors="replace")
        tail = "\n".join(said.splitlines()[-20:])
        raise VmError(f"{what} the kernel failed (all: {place}{log}):\n{tail}") from None


def _install(place: Path, release: str, root: Path) -> None:
    """Let ``modprobe`` in the guest know what is built in."""
    made = place / "build/modules/lib/modules" / release
    installed = modules_of(root, release)
    if installed.exists() and (installed / "modules.builtin").stat().st_mtime >= (
        (made / "modules.builtin").stat().st_mtime
    ):
        return
    shutil.copytree(made, installed, dirs_exist_ok=True, symlinks=True)
    (installed / "build").unlink(missing_ok=True)
    commands.run(["chroot", root, "depmod", release], f"listing the modules of {release}")
