"""Runs the kernel's own tests of ``ovpn`` in the guest, on mainline's module and then on ours.

``vm selftests``. What passes on mainline must pass on ours. Each test's output stays in the
results as ``MODULE-TEST.tap``. Arguments: names of tests, else all of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(os.environ["VM_RESULTS"])
BUILT = RESULTS / "selftests"
TESTS = BUILT / "kernel/tools/testing/selftests/net/ovpn"
LIMIT = 600.0
"""Seconds for one test: its own is 90 on a real processor."""

UDP = (
    "test",
    "test-mark",
    "test-close-socket",
    "test-float",
    "test-chachapoly",
    "test-symmetric-id",
    "test-symmetric-id-float",
    "test-large-mtu",
)
NOT_OURS = {
    "test-tcp": "the module does not carry data over TCP yet",
    "test-symmetric-id-tcp": "the module does not carry data over TCP yet",
    "test-close-socket-tcp": "the module does not carry data over TCP yet",
}

PATIENT = {
    "timeout": 'test "$1" = 1.5s && { shift; set -- 30s "$@"; }',
    "ping": 'case " $* " in *" -w 3 "*) set -- "$@" -w 60 ;; esac',
}
"""An emulated processor of a busy machine is slow: their shortest limits, twenty times as long. In
the place of programs, before which each runs."""

_POINT = re.compile(r"^(ok|not ok) \d+ (.*?)(?: # .*)?$", re.MULTILINE)


def main(names: list[str]) -> int:
    """The exit code: 0 when ours passes what mainline passes, and mainline passes something."""
    known = {path.stem for path in TESTS.glob("test*.sh")}
    chosen = names or [*UDP, *sorted(known - {*UDP, *NOT_OURS})]
    if not known.issuperset(chosen):
        print(f"no such tests: {', '.join(sorted(set(chosen) - known))}")
        return 2
    for program, words in PATIENT.items():
        script = BUILT / "bin" / program
        script.write_text(f'#!/bin/sh\n{words}\nexec /usr/bin/{program} "$@"\n')
        script.chmod(0o755)
    passed = {
        module: {name: _run(module, load, name) for name in chosen}
        for module, load in {"mainline": _load_mainline, "ours": _load_ours}.items()
    }
    worse = _report(passed)
    for name, reason in NOT_OURS.items():
        print(f"not run: {name}: {reason}")
    nothing = [name for name in chosen if not passed["mainline"][name]]
    if nothing:
        print(f"mainline passes nothing of: {', '.join(nothing)}")
    return 1 if worse or nothing else 0


def _report(passed: dict[str, dict[str, set[str]]]) -> bool:
    worse = False
    for name, theirs in passed["mainline"].items():
        ours = passed["ours"][name]
        missing = sorted(theirs - ours)
        worse = worse or bool(missing)
        print(f"{name}: mainline passes {len(theirs)}, ours {len(ours)}")
        for point in missing:
            print(f"    ours fails: {point}")
    return worse


def _run(module: str, load: Callable[[], None], name: str) -> set[str]:
    """What a test found well."""
    load()
    environment = os.environ | {
        "PATH": f"{BUILT / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(BUILT / "lib"),
        "PYTHONPATH": str(BUILT / "python"),
        "OVPN_YNL": str(BUILT / "kernel/tools/net/ynl/pyynl/cli.py"),
    }
    output = RESULTS / f"{module}-{name}.tap"
    with output.open("wb") as file:
        command = ["/usr/bin/timeout", str(LIMIT), "bash", f"{name}.sh"]
        subprocess.run(
            command, cwd=TESTS, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    text = output.read_text(encoding="utf-8", errors="replace")
    points = _POINT.findall(text)
    good = {point for verdict, point in points if verdict == "ok"}
    print(f"{module} {name}: {len(good)} of {len(points)}", flush=True)
    return good


def _load_mainline() -> None:
    _modules("modprobe", "ovpn")


def _load_ours() -> None:
    # Every test removes mainline's at its end.
    if not Path("/sys/module/ovpn6").is_dir():
        _modules("modprobe", "-a", "udp_tunnel", "ip6_udp_tunnel")
        _modules("insmod", str(RESULTS / "ovpn6.ko"), "compat=1")
    assert not Path("/sys/module/ovpn").is_dir()


def _modules(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
