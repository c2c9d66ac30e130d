"""Which data path, and the reason in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovpn6.datapath.choose import choose


@pytest.mark.parametrize(
    ("disable_dco", "module", "line"),
    [
        (False, False, "data path: user space (Python): kernel has no ovpn module"),
        (True, True, "data path: user space (Python): disable-dco is set"),
        (
            False,
            True,
            "data path: user space (Python): this version does not drive the kernel's ovpn module",
        ),
    ],
)
def test_the_reason_is_named(tmp_path: Path, disable_dco: bool, module: bool, line: str) -> None:
    if module:
        (tmp_path / "ovpn").mkdir()
    assert str(choose(disable_dco=disable_dco, modules=tmp_path)) == line
