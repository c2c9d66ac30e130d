"""The pure files are compiled before the first example: that takes longer than one may."""

from __future__ import annotations

import contextlib

import pytest

from tests.kmod.pure_files import library


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    # Without a compiler those that need it say so themselves.
    with contextlib.suppress(pytest.skip.Exception):
        library()
