"""What the guest's Python gets."""

from __future__ import annotations

from vm.recipe import requirements


def test_the_guest_has_what_the_project_needs_and_no_linters() -> None:
    names = {text.partition(">")[0] for text in requirements()}
    assert {"cryptography", "pyOpenSSL", "pyroute2", "pytest"} <= names
    assert not {"mypy", "ruff"} & names
