"""User names, passwords, passphrases: from files, inline, and asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovpn6.config.schema import ClientConfig, FileRef, TlsConfig
from ovpn6.daemon.credentials import client_credentials, passphrase_source
from ovpn6.model.errors import ConfigError, Source
from tests.daemon.certificates import inline


class Operator:
    """Answers questions, and remembers them."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[tuple[str, bool]] = []

    def __call__(self, prompt: str, visible: bool) -> str:
        self.questions.append((prompt, visible))
        return self.answers.pop(0)


NOBODY = Operator()


def test_without_auth_user_pass_there_is_nothing_to_send() -> None:
    credentials = client_credentials(ClientConfig(), NOBODY)
    assert (credentials.username, len(credentials.password)) == ("", 0)


@pytest.mark.parametrize("text", ["alice\nsecret\n", "alice\r\nsecret\r\n", "alice\nsecret\nmore"])
def test_two_lines_are_name_and_password(tmp_path: Path, text: str) -> None:
    path = tmp_path / "creds"
    path.write_text(text, newline="")
    ref = FileRef(Source("client.conf", 2), path=path)
    credentials = client_credentials(ClientConfig(auth_user_pass=ref), NOBODY)
    assert (credentials.username, credentials.password.reveal()) == ("alice", b"secret")


def test_a_missing_password_is_asked_for_unseen() -> None:
    operator = Operator("secret")
    credentials = client_credentials(ClientConfig(auth_user_pass=inline("alice\n")), operator)
    assert credentials.password.reveal() == b"secret"
    assert operator.questions == [("Enter Auth Password:", False)]


def test_both_are_asked_for_when_nothing_is_given() -> None:
    operator = Operator("alice", "secret")
    credentials = client_credentials(ClientConfig(auth_user_pass_prompt=True), operator)
    assert (credentials.username, credentials.password.reveal()) == ("alice", b"secret")


def test_an_empty_user_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match="user name"):
        client_credentials(ClientConfig(auth_user_pass=inline("\nsecret\n")), NOBODY)


def test_a_missing_file_is_an_error_with_its_place(tmp_path: Path) -> None:
    ref = FileRef(Source("client.conf", 9), path=tmp_path / "none")
    with pytest.raises(ConfigError, match=r"client\.conf:9: auth-user-pass: .*No such file"):
        client_credentials(ClientConfig(auth_user_pass=ref), NOBODY)


def test_secrets_do_not_show_in_a_representation() -> None:
    ref = inline("alice\nhunter2\n")
    credentials = client_credentials(ClientConfig(auth_user_pass=ref), NOBODY)
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in repr(ref)


def test_a_passphrase_comes_from_askpass_or_from_the_operator() -> None:
    given = passphrase_source(TlsConfig(askpass=inline("from file\n")), NOBODY)
    assert given("Private Key").reveal() == b"from file"
    operator = Operator("typed")
    assert passphrase_source(TlsConfig(), operator)("Private Key").reveal() == b"typed"
    assert operator.questions == [("Enter Private Key Password:", False)]


def test_an_empty_askpass_file_is_an_error() -> None:
    with pytest.raises(ConfigError, match="askpass"):
        passphrase_source(TlsConfig(askpass=inline("\n")), NOBODY)("Private Key")
