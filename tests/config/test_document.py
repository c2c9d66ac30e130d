"""The manual is the one that the table gives."""

from __future__ import annotations

from pathlib import Path

from ovpn6.config.document import options_page
from ovpn6.config.load import help_text
from ovpn6.config.options import OPTIONS, Scope, Status

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def test_page_is_current() -> None:
    assert PAGE.read_text() == options_page(), "python -m ovpn6.config.document > docs/options.md"


def test_page_names_every_directive() -> None:
    page = options_page()
    assert all(f"`{name}" in page for name in OPTIONS)


def test_help_names_every_directive_that_does_something() -> None:
    words = set(help_text().split())
    for name, option in OPTIONS.items():
        if option.status is Status.SUPPORTED and Scope.FILE in option.scopes:
            assert f"--{name}" in words


def test_help_fits_into_a_hundred_columns() -> None:
    assert max(len(line) for line in help_text().splitlines()) <= 100
