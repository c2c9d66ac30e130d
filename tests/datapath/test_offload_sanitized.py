"""The C packet arithmetic and the parsers of the worker under address and undefined-behaviour
sanitizers, over their corpora.

``make fuzz`` runs the same inputs through libFuzzer for as long as one likes.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.datapath.native_offload import FASTPATH, HERE, SOURCES, WARNINGS, compile_c, compiler

CORPUS = HERE / "corpus"
WORKERS_CORPUS = HERE / "corpus-worker"
ELSEWHERE = {"module.c", "module_peers.c", "rx.c", "tx.c"}
"""Not compiled by themselves: Python's side, and what the harness includes."""
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def test_corpus_and_mutations_of_it_are_clean_under_sanitizers(tmp_path: Path) -> None:
    need_sanitizers(tmp_path)
    replay = tmp_path / "replay"
    sources = (HERE / "fuzz.c", HERE / "replay.c", HERE / "offload.c", *SOURCES)
    compile_c(replay, "-O1", "-g", *SANITIZERS, *sources)
    clean(replay, "1000", CORPUS, 16)


def test_the_workers_parsers_are_clean_over_their_corpus_too(tmp_path: Path) -> None:
    need_sanitizers(tmp_path)
    if not Path("/usr/include/openssl/evp.h").exists():
        pytest.skip("no headers of OpenSSL: the worker's parsers ran without sanitizers")
    replay = tmp_path / "replay"
    harness = (f"fuzz_{name}.c" for name in ("worker", "receive", "send"))
    worker = sorted(path for path in FASTPATH.glob("*.c") if path.name not in ELSEWHERE)
    sources = (*(HERE / name for name in harness), HERE / "replay.c", *worker)
    libraries = ("-lcrypto", "-ldl", "-lpthread")
    dialect = ("-std=gnu11", "-D_GNU_SOURCE")
    compile_c(replay, *dialect, "-O1", "-g", *SANITIZERS, *sources, *libraries)
    clean(replay, "300", WORKERS_CORPUS, 26)


def clean(replay: Path, mutations: str, corpus: Path, least: int) -> None:
    """Runs each input of a corpus, and so many mutations of it."""
    inputs = sorted(corpus.iterdir())
    assert len(inputs) >= least
    done = subprocess.run([replay, mutations, *inputs], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def need_sanitizers(tmp_path: Path) -> None:
    """Skips where the compiler lacks the sanitizers' libraries."""
    source = tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    words = [compiler(), *WARNINGS, *SANITIZERS, source, "-o", tmp_path / "empty"]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("the compiler has no sanitizers: the C packet arithmetic ran without")
