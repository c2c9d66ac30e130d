"""The contract's modules; and the pure files, compiled before the first example, for which that
would take too long."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.kmod.pure_files import KMOD, library


@pytest.fixture
def netlink(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of ``kmod/netlink``."""
    monkeypatch.syspath_prepend(KMOD / "netlink")
    names = ("contract", "generate")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name)


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    # Without a compiler those that need it say so themselves.
    with contextlib.suppress(pytest.skip.Exception):
        library()
