"""The pure files against dull twins of themselves, under address and undefined-behaviour
sanitizers. The same program is libFuzzer's: ``make -C kmod fuzz``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kmod.pure_files import KMOD, SANITIZERS, compile_c

ROUNDS = "1000"


def test_any_bytes_are_clean_under_sanitizers(tmp_path: Path) -> None:
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    if subprocess.run(["cc", *SANITIZERS, empty, "-o", tmp_path / "empty"]).returncode:
        pytest.skip("the compiler has no sanitizers: the pure files ran without")
    program = tmp_path / "fuzz"
    compile_c(program, "-O1", "-g", *SANITIZERS, "-DREPLAY_MAIN", KMOD / "user/fuzz.c")
    done = subprocess.run([program, ROUNDS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "clean\n"), done.stderr
