"""The C packet arithmetic under address and undefined-behaviour sanitizers, over its corpus.

``make fuzz`` runs the same inputs through libFuzzer for as long as one likes.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.datapath.native_offload import HERE, SOURCES, WARNINGS, compile_c, compiler

CORPUS = HERE / "corpus"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MUTATIONS = "1000"


def test_corpus_and_mutations_of_it_are_clean_under_sanitizers(tmp_path: Path) -> None:
    need_sanitizers(tmp_path)
    replay = tmp_path / "replay"
    sources = (HERE / "fuzz.c", HERE / "replay.c", HERE / "offload.c", *SOURCES)
    compile_c(replay, "-O1", "-g", *SANITIZERS, *sources)
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) >= 16
    done = subprocess.run([replay, MUTATIONS, *inputs], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def need_sanitizers(tmp_path: Path) -> None:
    """Skips where the compiler lacks the sanitizers' libraries."""
    source = tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    words = [compiler(), *WARNINGS, *SANITIZERS, source, "-o", tmp_path / "empty"]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("the compiler has no sanitizers: the C packet arithmetic ran without")
