"""Boots a kernel on the root and runs a command there.

The root (read-only), the checkout and the directory of results reach the guest by virtiofs; there
is no disk image and no network. The results bring back:

    out      what the command printed         dmesg   the kernel's log
    rc       its exit code                    console what the kernel printed while it ran

and whatever the command puts into ``$VM_RESULTS``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.cache import CHECKOUT, using
from vm.errors import VmError
from vm.kernel_log import complaints
from vm.kernels import Kernel

PAST_LIMIT = 124
"""The exit code of a command that was ended at its limit."""
CRASHED = 125
"""The exit code of a guest that ended without one."""
KERNEL_COMPLAINED = 123
"""The exit code where the command succeeded but the kernel's log has a complaint."""

_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
_START_LIMIT = 10.0
_END_ALLOWANCE = 300.0
"""Seconds over the command's limit for boot and end: a debug kernel on a busy machine."""
_POLL = 0.05
_TAIL_LINES = 60

# With more threads than eight, Debian 12's C library asks for the number of processors before it
# makes another arena; virtiofsd's own filter of system calls ends it for that.
_FILE_SERVER_ENVIRONMENT = {"MALLOC_ARENA_MAX": "4"}

# Emulation without hardware support. cx16 off: with it 6.12 died in one boot out of five, in an
# instruction that QEMU 7.2 emulates wrongly.
_MACHINE = ("-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,cx16=off", "-smp", "2")
_COMMAND_LINE = (
    "console=ttyS0 quiet rootfstype=virtiofs root=rootfs ro init=/vm-init panic=-1 oops=panic "
    "mitigations=off tsc=reliable net.ifnames=0 log_buf_len=4M "
    # Two processors of a busy host are slow; a real lock-up lasts longer than a minute.
    "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120"
)


@dataclass(frozen=True, slots=True)
class Wire:
    """One end, 0 or 1, of a cable between two guests: sockets in a directory that is there."""

    directory: Path
    end: int

    def arguments(self) -> tuple[str, ...]:
        """For the emulator: a network card, the guest's only one."""
        here, there = (self.directory / f"end{end}" for end in (self.end, 1 - self.end))
        local, remote = (
            f"local.type=unix,local.path={here}",
            f"remote.type=unix,remote.path={there}",
        )
        card = f"virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0{self.end + 1}"
        return ("-netdev", f"dgram,id=wire,{local},{remote}", "-device", card)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    exit_code: int
    """The command's, or one of this module's."""
    reason: str
    """Why the run failed if it is not the command's doing; else empty."""


def run(
    root: Path,
    kernel: Kernel,
    command: Sequence[str],
    results: Path,
    *,
    limit: float,
    memory_mib: int = 2048,
    wire: Wire | None = None,
) -> Outcome:
    """Boot, run ``command`` in the checkout for at most ``limit`` seconds, print what it prints."""
    _install_init(root)
    (results / "command").write_text(f"exec {shlex.join(command)}\n", encoding="utf-8")
    (results / "limit").write_text(f"{limit:g}\n", encoding="utf-8")
    with ExitStack() as stack:
        stack.enter_context(using(root))
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovpn6-vm-")))
        # Once in the guest's page cache the root stays there: nothing changes it meanwhile.
        servers = {
            directory: stack.enter_context(_shared(directory, sockets / tag, cache))
            for tag, directory, cache in (
                ("rootfs", root, "always"),
                ("checkout", CHECKOUT, "auto"),
                ("results", results, "auto"),
            )
        }
        arguments = _arguments(kernel, sockets, results / "console", memory_mib)
        arguments += wire.arguments() if wire else ()
        with _guarded(arguments, results / "qemu.log") as machine:
            end = _follow(machine, servers, results / "out", limit + _END_ALLOWANCE)
    return _judge(results, end)


def _judge(results: Path, end: str) -> Outcome:
    code_path, dmesg = results / "rc", results / "dmesg"
    if not code_path.exists():
        console = _tail(results / "console") or _tail(results / "qemu.log")
        return Outcome(CRASHED, f"the guest {end}. Its console:\n{console}")
    code = int(code_path.read_text(encoding="utf-8"))
    found = complaints(dmesg.read_text(encoding="utf-8", errors="replace"))
    if not found:
        late = "the command was ended at its limit" if code == PAST_LIMIT else ""
        return Outcome(code, late)
    listed = "\n".join(f"    {line}" for line in found)
    return Outcome(code or KERNEL_COMPLAINED, f"the kernel complained (see {dmesg}):\n{listed}")


def _follow(
    machine: subprocess.Popen[bytes],
    servers: Mapping[Path, subprocess.Popen[bytes]],
    out: Path,
    limit: float,
) -> str:
    """Print what arrives in ``out`` until the machine ends or cannot go on; how it ended."""
    deadline = time.monotonic() + limit
    out.touch()
    with out.open("rb") as stream:
        while True:
            # Asked before the rest of the output is read: nothing of it may be left.
            ended = _ended(machine, servers)
            if not ended and time.monotonic() > deadline:
                ended = "did not end within its limit and was stopped"
            while chunk := stream.read(65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
            if ended:
                return ended
            time.sleep(_POLL)


def _ended(
    machine: subprocess.Popen[bytes], servers: Mapping[Path, subprocess.Popen[bytes]]
) -> str:
    """Why there is no more to come; empty while there may be."""
    if machine.poll() is not None:
        return "crashed"
    for directory, server in servers.items():
        code = server.poll()
        # At the machine's end its servers end in order.
        if code:
            return f"lost its {directory}, whose virtiofsd ended with {code}, and was stopped"
    return ""


@contextmanager
def _shared(directory: Path, socket: Path, cache: str) -> Iterator[subprocess.Popen[bytes]]:
    """Offer a directory at a socket; the program that does."""
    program = next((path for path in _VIRTIOFSD if Path(path).exists()), None)
    if program is None:
        raise VmError("virtiofsd is missing; run: sh .ci/packages vm")
    log = socket.with_suffix(".log")
    arguments = [
        *(program, f"--socket-path={socket}", "-o", f"source={directory}"),
        *("-o", f"cache={cache}", "-o", "sandbox=chroot", "--thread-pool-size=4"),
    ]
    with _guarded(arguments, log, _FILE_SERVER_ENVIRONMENT) as server:
        deadline = time.monotonic() + _START_LIMIT
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise VmError(f"virtiofsd does not serve {directory}:\n{_tail(log)}")
            time.sleep(0.01)
        yield server


@contextmanager
def _guarded(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block, and with us however we end."""
    with log.open("wb") as output:
        try:
            started = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                # The terminal's interrupt is for us: we end them in order.
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise VmError(f"{error.filename} is missing; run: sh .ci/packages vm") from None
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _arguments(kernel: Kernel, sockets: Path, console: Path, memory_mib: int) -> list[str]:
    memory = f"memory-backend-memfd,id=mem,size={memory_mib}M,share=on"
    shares = [
        word
        for number, tag in enumerate(("rootfs", "checkout", "results"))
        for word in (
            *("-chardev", f"socket,id=c{number},path={sockets / tag}"),
            *("-device", f"vhost-user-fs-pci,chardev=c{number},tag={tag}"),
        )
    ]
    return [
        *("qemu-system-x86_64", *_MACHINE, "-m", f"{memory_mib}M"),
        *("-nodefaults", "-no-reboot", "-display", "none"),
        *("-object", memory, "-numa", "node,memdev=mem", *shares),
        *("-kernel", str(kernel.image)),
        *(("-initrd", str(kernel.initrd)) if kernel.initrd else ()),
        *("-serial", f"file:{console}", "-append", _COMMAND_LINE),
    ]


def _install_init(root: Path) -> None:
    """Put the first process of the guest, as it is now, into the root."""
    wanted = Path(__file__).with_name("init.sh")
    installed = root / "vm-init"
    if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
        partial = Path(shutil.copy(wanted, root / "vm-init.partial"))
        partial.chmod(0o755)
        partial.rename(installed)


def _tail(path: Path) -> str:
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
