"""The native worker built with sanitizers: changes of every kind under load, and its contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FASTPATH = ROOT / "ovpn6" / "datapath" / "fastpath"
STRESS = ("-m", "tests.datapath.native.stress", "5")
SINGLE = (*STRESS, "single")
SEVERAL = (*STRESS, "several")
CONTRACT = (
    *("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/datapath/test_fastpath.py"),
    *("tests/datapath/test_fastpath_packets.py", "tests/datapath/test_fastpath_keys.py"),
    "tests/datapath/test_fastpath_workers.py",
)
LIMIT = 300
RUNTIMES = {"thread": ("libtsan.so",), "address,undefined": ("libasan.so", "libubsan.so")}


BREAKAGES = {
    "address,undefined": ("grace.c", "while (!passed(", "while (0 && !passed("),
    "thread": ("opened.c", "pthread_mutex_lock(&one->worker->peers.lock);", ""),
}
"""By what finds it: file, what stands there, what takes its place. Nobody waits until the threads
have let go of what is freed; floats take no lock."""


def sanitized(tmp_path: Path, sanitizer: str, *, broken: bool = False) -> dict[str, str]:
    """A copy of the package with a worker of that kind; the environment that uses it."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc: the native worker was not run under sanitizers")
    for name in ("ovpn6", "tests"):
        copied = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=copied)
    sources = tmp_path / FASTPATH.relative_to(ROOT)
    if broken:
        name, whole, instead = BREAKAGES[sanitizer]
        text = (sources / name).read_text()
        assert whole in text
        (sources / name).write_text(text.replace(whole, instead))
    target = sources / "_fastpath.abi3.so"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", "-O1", "-g", f"-fsanitize={sanitizer}", "-D_GNU_SOURCE"),
            *("-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
            *(f"-I{sysconfig.get_path('include')}", *sources.glob("*.c")),
            *("-lcrypto", "-ldl", "-lpthread", "-o", target),
        ],
        check=True,
    )
    found = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in RUNTIMES[sanitizer]
    ]
    return os.environ | {
        "PYTHONPATH": str(tmp_path),
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "halt_on_error=1",
    }


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize("sanitizer", list(RUNTIMES))
def test_changes_under_load_and_the_contract_are_clean(tmp_path: Path, sanitizer: str) -> None:
    environment = sanitized(tmp_path, sanitizer)
    for words in (STRESS, SINGLE, SEVERAL, CONTRACT):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
        assert "Sanitizer" not in done.stderr


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("sanitizer", BREAKAGES)
def test_sanitizers_find_a_broken_worker(tmp_path: Path, sanitizer: str) -> None:
    """So they look, and the changes are such that there is something to be found. Most times the
    first run finds it; where other processes take the threads' turns away, a later one."""
    environment = sanitized(tmp_path, sanitizer, broken=True)
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, *STRESS],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        if "Sanitizer" in done.stderr:
            assert done.returncode != 0
            return
    pytest.fail("five runs found nothing")
