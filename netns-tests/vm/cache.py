"""Where the rig keeps what it made: outside git, named by what it was made from.

    .vm/apt/             package lists and downloaded packages
    .vm/root-HASH/       a Debian root; HASH is of its recipe
    .vm/runs/            what came back from the last boots
    .vm/kbuild-HASH/     a Debian that builds the kernel module; .vm/kmod-RELEASE/ the module
    .vm/selftests-HASH/  the kernel's own tests of ovpn
    .vm/gate-HASH/       a Debian that builds the debug kernel, and that kernel
    .vm/gate/            what came back from the parts of the gate

``OVPN6_VM_CACHE`` puts it elsewhere, for example where a fresh checkout finds it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("OVPN6_VM_CACHE") or CHECKOUT / ".vm").absolute()
APT = CACHE / "apt"
RUNS = CACHE / "runs"

KEPT_RUNS = 10

_OURS = (
    *("apt", "runs", "vm-test", "two-kernels", "ovpncli-*", "unpacked-*", "root-*.users", "lock"),
    *("kbuild-*", "kbuild.partial", "kmod-*", "selftests-*"),
    *("gate", "gate-*", "gate.partial", "gate.lock"),
    # The scratch root of ``make bench``.
    "bench-*",
)


@contextmanager
def building() -> Iterator[None]:
    """Hold the cache for changes: one builder at a time, later ones wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def using(root: Path) -> Iterator[None]:
    """Keep ``root`` from being removed by a later build."""
    with _user_lock(root).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def remove_other_roots(wanted: Path | None) -> None:
    """Remove roots but ``wanted``, and half-made ones, as long as nobody uses them."""
    for root in CACHE.glob("root-*/"):
        if root == wanted:
            continue
        with _user_lock(root).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            remove_root(root)


def remove_everything() -> tuple[Path, ...]:
    """Remove what the rig put into the cache, and nothing else; the roots in use stay."""
    if not CACHE.exists():
        return ()
    with building():
        remove_other_roots(None)
        kept = tuple(CACHE.glob("root-*/"))
        for pattern in () if kept else _OURS:
            for path in CACHE.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    with contextlib.suppress(OSError):
        # Somebody else's files may be there as well.
        CACHE.rmdir()
    return kept


def remove_root(root: Path) -> None:
    """Remove a root. Refuses when something is mounted in it: that would be the host's."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{root}/")]
    if inside:
        raise OSError(f"{root} is not removed: unmount {', '.join(inside)} first")
    shutil.rmtree(root, ignore_errors=False)
    _user_lock(root).unlink(missing_ok=True)


def new_run_directory() -> Path:
    """A directory for what a boot brings back. Those of the oldest boots go."""
    RUNS.mkdir(parents=True, exist_ok=True)
    runs = sorted(RUNS.iterdir(), key=lambda path: int(path.name))
    for old in runs[: -KEPT_RUNS + 1]:
        shutil.rmtree(old, ignore_errors=True)
    number = int(runs[-1].name) + 1 if runs else 1
    while True:
        made = RUNS / str(number)
        try:
            made.mkdir()
        except FileExistsError:
            number += 1
        else:
            return made


def _user_lock(root: Path) -> Path:
    return root.with_name(f"{root.name}.users")
