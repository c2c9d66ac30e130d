"""The command ``vm``: build a root, boot a kernel on it, run a command there."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from vm import boot, cache, gate_kernel, kmod, openvpn26_program, ovpncli, root, selftests
from vm.build import build
from vm.errors import VmError
from vm.kernels import NEWEST, Kernel, kernel

_FAILED = 122
"""The exit code when the rig could not do its part."""


def main(arguments: list[str]) -> int:
    """Run a subcommand; returns an exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except VmError as error:
        print(f"vm: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(options: argparse.Namespace) -> int:
    made = build()
    chosen = _kernel(made, options.kernel)
    results = Path(options.results).absolute() if options.results else cache.new_run_directory()
    results.mkdir(parents=True, exist_ok=True)
    for old in ("rc", "out", "dmesg", "console", "junit.xml", kmod.MODULE):
        (results / old).unlink(missing_ok=True)
    if options.kmod:
        shutil.copy(kmod.build_module(chosen.release).module, results)
    if options.selftests:
        built = selftests.build_selftests(chosen.release)
        shutil.copytree(built, results / selftests.DIRECTORY, symlinks=True, dirs_exist_ok=True)
    print(f"vm: booting {chosen.release}; results in {results}", file=sys.stderr, flush=True)
    started = time.monotonic()
    outcome = boot.run(
        made,
        chosen,
        options.command,
        results,
        limit=options.limit,
        memory_mib=options.memory,
        wire=boot.Wire(Path(options.wire).absolute(), options.end) if options.wire else None,
    )
    took = time.monotonic() - started
    if outcome.reason:
        print(f"vm: {outcome.reason}", file=sys.stderr)
    print(f"vm: exit code {outcome.exit_code} after {took:.1f} s", file=sys.stderr)
    return outcome.exit_code


def _build(options: argparse.Namespace) -> int:
    made = build()
    for name in options.kernel or [NEWEST]:
        print(f"{made} with {_kernel(made, name).release}")
    if options.openvpn26:
        print(openvpn26_program.install(made))
    if options.openvpn3:
        print(ovpncli.install(made))
    return 0


def _kmod(options: argparse.Namespace) -> int:
    made = build()
    for name in options.kernel or [NEWEST]:
        print(kmod.build_module(_kernel(made, name).release).module)
    return 0


def _selftests(options: argparse.Namespace) -> int:
    options.kmod = options.selftests = True
    options.command = ["python3", "netns-tests/vm/guest_kmod/selftests.py", *options.test]
    return _run(options)


def _kernel(made: Path, name: str) -> Kernel:
    if name in gate_kernel.CHECKS:
        return gate_kernel.gate_kernel(made, name)
    return kernel(made, name)


def _chroot(options: argparse.Namespace) -> int:
    command = root.command_prefix(build())
    os.execvp(command[0], [*command, *options.command])


def _clean(_: argparse.Namespace) -> int:
    kept = cache.remove_everything()
    if kept:
        raise VmError(f"in use: {', '.join(str(path) for path in kept)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="boot a kernel, run a command in the checkout there")
    run.add_argument(
        "--kernel",
        default=NEWEST,
        help=f"like 7.3, 6.12, 6.1, {NEWEST} with ovpn (default), "
        f"or one that checks itself: {', '.join(gate_kernel.CHECKS)}",
    )
    run.add_argument("--limit", type=float, default=900, help="seconds for the command (900)")
    run.add_argument("--memory", type=int, default=2048, help="MiB of the guest (2048)")
    run.add_argument(
        "--kmod", action="store_true", help=f"build our module first: $VM_RESULTS/{kmod.MODULE}"
    )
    run.add_argument("--results", metavar="DIR", help="where out, rc, dmesg and console go")
    run.add_argument("--wire", metavar="DIR", help="a cable to another guest with the same DIR")
    run.add_argument("--end", type=int, choices=(0, 1), default=0, help="of the cable, which (0)")
    run.set_defaults(selftests=False)
    run.add_argument("command", nargs="+", metavar="-- COMMAND")
    run.set_defaults(run=_run)

    made = commands.add_parser("build", help="make the root and fetch kernels, if not there")
    made.add_argument("--kernel", action="append", help="as for run; may be repeated")
    made.add_argument(
        "--openvpn26", action="store_true", help="OpenVPN 2.6 too, beside the root's own 2.7"
    )
    made.add_argument(
        "--openvpn3", action="store_true", help="OpenVPN 3's ovpncli too, from Debian's source"
    )
    made.set_defaults(run=_build)

    module = commands.add_parser("kmod", help="build our module, without a warning, for kernels")
    module.add_argument("--kernel", action="append", help="as for run; may be repeated")
    module.set_defaults(run=_kmod)

    theirs = commands.add_parser(
        "selftests", help="the kernel's own tests of ovpn, on its module and on ours"
    )
    theirs.add_argument("--kernel", default=NEWEST, help="as for run")
    theirs.add_argument("--limit", type=float, default=5400, help="seconds for all (5400)")
    theirs.add_argument("--memory", type=int, default=2048, help="MiB of the guest (2048)")
    theirs.add_argument("--results", metavar="DIR", help="where out, rc, dmesg and console go")
    theirs.add_argument("test", nargs="*", help="like test-float; all of UDP when none is named")
    theirs.set_defaults(run=_selftests, wire=None)

    inside = commands.add_parser("chroot", help="run a command of the root on this machine")
    inside.add_argument("command", nargs="+", metavar="-- COMMAND")
    inside.set_defaults(run=_chroot)

    clean = commands.add_parser("clean", help="remove everything that was made or fetched")
    clean.set_defaults(run=_clean)
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    # What runs is ended on the way out.
    raise KeyboardInterrupt


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
