"""The machine's package sources, and what is derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from vm.archive import Archive, Source, machine_archive, parse_deb822, parse_one_line
from vm.errors import VmError

KEYRING = ("Signed-By", "/usr/share/keyrings/debian-archive-keyring.gpg")

SOURCES = """\
# A comment.
Types: deb deb-src
# URIs: http://other.example/debian
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""

MAIN = Source(
    ("http://mirror.example/debian",),
    ("bookworm", "bookworm-updates"),
    ("main", "contrib"),
    (KEYRING,),
)
SECURITY = Source(
    ("http://mirror.example/debian-security",), ("bookworm-security",), ("main",), (KEYRING,)
)


def test_a_sources_file_gives_its_enabled_stanzas_of_binary_packages() -> None:
    assert tuple(parse_deb822(SOURCES)) == (MAIN, SECURITY)


def test_a_key_in_the_file_is_kept_whole() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"
    (source,) = parse_deb822(SOURCES.split("\n\n")[0].replace(KEYRING[1], key.lstrip(" ")))
    assert source.trust == (("Signed-By", key.strip()),)


def test_a_list_file_gives_a_source_a_line() -> None:
    text = """
    # deb http://commented.example/debian bookworm main
    deb [arch=amd64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main contrib # why
    deb-src http://mirror.example/debian bookworm main
    deb http://mirror.example/debian-security bookworm-security main
    """
    assert tuple(parse_one_line(text)) == (
        Source(
            ("http://mirror.example/debian",),
            ("bookworm",),
            ("main", "contrib"),
            (("Signed-By", "/keys/a.gpg"),),
        ),
        Source(("http://mirror.example/debian-security",), ("bookworm-security",), ("main",)),
    )


def test_another_release_differs_in_its_suites_alone(tmp_path: Path) -> None:
    archive = _machine(tmp_path, SOURCES)
    main, security = archive.sources("trixie", "backports")
    assert main.suites == ("trixie", "trixie-backports")
    assert (main.uris, main.components, main.trust) == (MAIN.uris, MAIN.components, MAIN.trust)
    assert security.suites == ("trixie-security",)
    assert security.uris == SECURITY.uris
    assert tuple(parse_deb822(main.text() + security.text())) == (main, security)


def test_a_machine_without_security_archive_needs_none(tmp_path: Path) -> None:
    archive = _machine(tmp_path, SOURCES.split("\n\n")[0])
    assert [source.suites for source in archive.sources("trixie")] == [("trixie",)]


def test_a_moment_in_the_path_is_replaced(tmp_path: Path) -> None:
    frozen = SOURCES.replace(".example/", ".example/archive/20250520T000000Z/")
    later = _machine(tmp_path, frozen).at("20260101T000000Z")
    assert later is not None
    assert later.security is not None
    for source in (later.main, later.security):
        assert all("/archive/20260101T000000Z/" in uri for uri in source.uris)


def test_a_path_without_a_moment_has_no_later_one(tmp_path: Path) -> None:
    assert _machine(tmp_path, SOURCES).at("20260101T000000Z") is None


def test_a_machine_without_a_source_of_its_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="bookworm"):
        _machine(tmp_path, SOURCES.replace("bookworm", "trixie"))


def _machine(etc: Path, sources: str) -> Archive:
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "apt/sources.list.d/debian.sources").write_text(sources)
    (etc / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=bookworm\n')
    return machine_archive(etc)
