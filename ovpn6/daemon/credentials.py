"""User names, passwords and passphrases: from files, inline blocks or the terminal.

Source: OpenVPN ``misc.c`` ``get_user_pass_cr``. Asked for before the process goes to the
background, so that a terminal is still there.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable

from ovpn6.config.schema import ClientConfig, FileRef, TlsConfig
from ovpn6.daemon.tls_context import PassphraseSource, read_bytes
from ovpn6.model.errors import ConfigError
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.connection import Credentials

MAX_LENGTH = 4095
"""Longest user name or password, as OpenVPN with PKCS#11 has it (``USER_PASS_LEN`` - 1)."""

Ask = Callable[[str, bool], str]
"""Asks the operator: a prompt, and whether the answer may be seen."""


def ask_terminal(prompt: str, visible: bool) -> str:
    """Ask on the terminal. Raises ``ConfigError`` when there is none."""
    try:
        if not sys.stdin.isatty():
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return input(prompt) if visible else getpass.getpass(prompt)
    except (EOFError, OSError):
        raise ConfigError(
            f"cannot ask for '{prompt.rstrip(':')}' without a terminal",
            advice="give a file with it",
        ) from None


def passphrase_source(tls: TlsConfig, ask: Ask = ask_terminal) -> PassphraseSource:
    """Where the passphrase of an encrypted key comes from: ``askpass`` FILE, or the terminal."""

    def source(what: str) -> SecretBytes:
        if tls.askpass is None:
            return SecretBytes(ask(f"Enter {what} Password:", False).encode())
        line = _lines(tls.askpass, "askpass")[0]
        if not line:
            raise ConfigError("askpass: the file's first line is empty", tls.askpass.source)
        return SecretBytes(line.encode(errors="surrogateescape"))

    return source


def client_credentials(client: ClientConfig, ask: Ask = ask_terminal) -> Credentials:
    """What ``auth-user-pass`` sends; empty without it. A missing password is asked for."""
    ref = client.auth_user_pass
    if ref is None and not client.auth_user_pass_prompt:
        return Credentials()
    username, password = "", ""
    if ref is not None:
        username, password = _lines(ref, "auth-user-pass")[:2]
        if not username:
            raise ConfigError("auth-user-pass: the first line, the user name, is empty", ref.source)
    else:
        username = ask("Enter Auth Username:", True)
        if not username:
            raise ConfigError("Auth username is empty")
    if not password:
        password = ask("Enter Auth Password:", False)
    return Credentials(
        _clean(username), SecretBytes(_clean(password).encode(errors="surrogateescape"))
    )


def _lines(ref: FileRef, directive: str) -> list[str]:
    """The first two lines, "" where there is none."""
    text = read_bytes(ref, directive).decode("utf-8", "surrogateescape")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return [*lines, "", ""][:2]


def _clean(text: str) -> str:
    """Printable, and no longer than a peer can take."""
    kept = "".join(char for char in text if ord(char) >= 32 and ord(char) != 127)
    return kept[:MAX_LENGTH]
