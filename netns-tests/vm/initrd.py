"""An initial RAM disk for kernels that have virtiofs as a module: load it, mount, go on."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from vm import commands

_MODULES = ("virtio_pci", "virtiofs")

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "/modules/$module"; done < /order
/bin/busybox mount -t virtiofs -o ro rootfs /root && exec /bin/busybox switch_root /root /vm-init
"""


def write(root: Path, release: str, path: Path) -> None:
    """Write the disk (cpio, format newc) for a kernel whose modules are in the root."""
    modules = list(_ordered_modules(root, release))
    order = "".join(f"{module.name}\n" for module in modules)
    archive = b"".join(
        [
            *(
                _entry(name, stat.S_IFDIR | 0o755, b"")
                for name in ("bin", "dev", "modules", "root")
            ),
            _entry("init", stat.S_IFREG | 0o755, _INIT.encode()),
            _entry("bin/busybox", stat.S_IFREG | 0o755, (root / "bin/busybox").read_bytes()),
            _entry("order", stat.S_IFREG | 0o644, order.encode()),
            *(
                _entry(f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
                for module in modules
            ),
            _entry("TRAILER!!!", 0, b""),
        ]
    )
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(archive)
    partial.rename(path)


def _ordered_modules(root: Path, release: str) -> Iterator[Path]:
    """The modules and what they need, each after what it needs."""
    seen = set()
    for name in _MODULES:
        shown = commands.run(
            ["chroot", root, "modprobe", "--set-version", release, "--show-depends", name],
            f"looking up the module {name} of {release}",
        )
        for line in shown.splitlines():
            action, _, file = line.strip().partition(" ")
            if action == "insmod" and file not in seen:
                seen.add(file)
                # Absolute in the root; /lib is a link there.
                yield root / file.split()[0].lstrip("/")


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """A file in cpio's newc form: thirteen numbers of eight hexadecimal digits, name, content."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
