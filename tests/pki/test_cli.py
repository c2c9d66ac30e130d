"""``ovpn6 pki`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovpn6.pki.cli import main


class Pki:
    """Calls ``ovpn6 pki`` on one directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """What the command printed (on the error stream for a ``code`` but 0)."""
        assert main(["--dir", str(self.directory), *words]) == code
        printed = self._capsys.readouterr()
        return printed.err if code else printed.out


@pytest.fixture
def pki(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pki:
    pki = Pki(tmp_path / "pki", capsys)
    pki("init")
    return pki


def test_a_whole_tunnel_in_five_commands(pki: Pki) -> None:
    pki("server", "gateway")
    pki("client", "laptop")
    pki("profile", "gateway", "--server", "--wrap", "tls-crypt-v2")
    pki("profile", "laptop", "--remote", "2001:db8::1", "443", "--proto", "udp6")
    server = (pki.directory / "profiles" / "gateway.conf").read_text()
    client = (pki.directory / "profiles" / "laptop.ovpn").read_text()
    assert "<tls-crypt-v2>" in server
    assert "remote 2001:db8::1 443 udp6" in client


def test_the_directory_may_stand_after_the_command(pki: Pki) -> None:
    assert main(["client", "laptop", "--dir", str(pki.directory)]) == 0
    assert (pki.directory / "issued" / "laptop.crt").exists()


def test_show_lists_what_is_in_force_and_what_is_revoked(pki: Pki) -> None:
    pki("client", "laptop")
    pki("client", "phone")
    pki("revoke", "laptop")
    heading, laptop, phone = pki("show").splitlines()
    assert heading.split() == ["name", "purpose", "expires", "state", "serial"]
    assert "revoked" in laptop
    assert "in force" in phone
    assert len(pki("show", "phone").splitlines()) == 2


def test_fingerprint_prints_nothing_else(pki: Pki) -> None:
    at_issue = pki("client", "laptop", "--fingerprint").strip()
    assert at_issue == pki("show", "laptop", "--fingerprint").strip()
    assert len(at_issue.split(":")) == 32
    assert pki("show", "--fingerprint").strip() != at_issue


def test_a_profile_goes_to_the_standard_output_on_request(pki: Pki) -> None:
    pki("client", "laptop")
    text = pki("profile", "laptop", "--remote", "a", "--remote", "b", "443", "--output", "-")
    assert "\nremote a 1194 udp\nremote b 443 udp\n" in text
    assert not (pki.directory / "profiles" / "laptop.ovpn").exists()


def test_a_profile_is_not_overwritten_without_force(pki: Pki) -> None:
    pki("client", "laptop")
    pki("profile", "laptop", "--remote", "a")
    assert "--force" in pki("profile", "laptop", "--remote", "b", code=1)
    pki("profile", "laptop", "--remote", "b", "--force")
    assert "remote b " in (pki.directory / "profiles" / "laptop.ovpn").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("profile", "laptop"), "--remote"),
        (("profile", "laptop", "--remote", "a", "b", "c"), "HOST [PORT]"),
        (("profile", "laptop", "--remote", "a", "70000"), "no port"),
        (("profile", "laptop", "--remote", "a", "--proto", "sctp"), "no protocol"),
        (("profile", "laptop", "--server"), "client's certificate"),
        (("profile", "gateway", "--server", "--remote", "a"), "--port"),
        (("profile", "gateway", "--server", "--network6", "2001:db8::1/64"), "host bits"),
        (("profile", "nobody", "--remote", "a"), "nobody"),
        (("revoke", "nobody"), "nobody"),
        (("show", "nobody"), "nobody"),
        (("client", "laptop"), "has a certificate"),
        (("client", "../x"), "cannot name"),
        (("init",), "already exists"),
    ],
)
def test_a_wrong_wish_is_one_line_and_exit_code_1(
    pki: Pki, words: tuple[str, ...], message: str
) -> None:
    pki("server", "gateway")
    pki("client", "laptop")
    said = pki(*words, code=1)
    assert message in said
    assert len(said.splitlines()) == 1


def test_an_unknown_word_is_exit_code_2(pki: Pki) -> None:
    pki("frobnicate", code=2)
    pki("client", "laptop", "--days", "0", code=2)
