"""A kernel that refuses the native worker's trains: every packet leaves all the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datapath.native_offload import HERE, compile_c

ROOT = HERE.parents[2]
NO_SEGMENT = 1


@pytest.mark.parametrize(
    ("variable", "refusal", "trains", "notices"),
    [
        # No train goes out of this device: told, and not tried again.
        ("REFUSE_SEND", errno.EIO, 1, [(NO_SEGMENT, errno.EIO)]),
        # Larger than this path's MTU, which says nothing about other peers: tried again.
        ("REFUSE_SEND", errno.EMSGSIZE, 2, []),
        ("REFUSE_SEND", errno.EINVAL, 2, []),
        # A kernel that does not know them would not refuse, and is never given one.
        ("REFUSE_ASK", errno.ENOPROTOOPT, 0, [(NO_SEGMENT, errno.ENOPROTOOPT)]),
    ],
)
def test_refused_trains_leave_as_single_datagrams(
    tmp_path: Path, variable: str, refusal: int, trains: int, notices: list[tuple[int, int]]
) -> None:
    pytest.importorskip("ovpn6.datapath.fastpath._fastpath")
    shim = tmp_path / "refuse.so"
    compile_c(shim, "-std=gnu11", "-O1", "-shared", "-fPIC", HERE / "refuse.c", "-ldl")
    done = subprocess.run(
        [sys.executable, "-m", "tests.datapath.native.refused"],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(shim), variable: str(refusal)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == f"{trains} {notices}"
