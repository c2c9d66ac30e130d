"""Checks that the files a configuration names are there, before anything depends on them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive, split_line
from ovpn6.model.errors import ConfigError


def _readable(path: FilePath) -> str:
    """Why a file cannot be read, "" when it can."""
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a directory"
    return "" if os.access(path, os.R_OK) else "it may not be read"


def _directory(path: FilePath) -> str:
    if not path.exists():
        return "there is no such directory"
    if not path.is_dir():
        return "it is not a directory"
    return "" if os.access(path, os.R_OK | os.X_OK) else "it may not be read"


def _writable(path: FilePath) -> str:
    if path.is_dir():
        return "it is a directory"
    if path.exists():
        return "" if os.access(path, os.W_OK) else "it may not be written"
    parent = path.parent
    if not parent.is_dir():
        return f"there is no directory {parent}"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"{parent} may not be written"


def _writable_directory(path: FilePath) -> str:
    problem = _directory(path)
    return problem or ("" if os.access(path, os.W_OK) else "it may not be written")


Check = Callable[[FilePath], str]

CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(
        (
            "ca",
            "cert",
            "key",
            "pkcs12",
            "extra-certs",
            "dh",
            "tls-auth",
            "tls-crypt",
            "tls-crypt-v2",
            "crl-verify",
            "askpass",
            "auth-user-pass",
            "auth-gen-token-secret",
        ),
        _readable,
    ),
    **dict.fromkeys(("capath", "cd", "chroot", "client-config-dir"), _directory),
    **dict.fromkeys(
        ("writepid", "log", "log-append", "status", "ifconfig-pool-persist"), _writable
    ),
    "tmp-dir": _writable_directory,
}
"""What the first word of each of these directives must name."""

PRIVATE = frozenset({"key", "pkcs12", "tls-auth", "tls-crypt", "tls-crypt-v2", "askpass"})
"""Files that others should not read."""

IN_JAIL = frozenset({"capath", "crl-verify", "client-config-dir", "tmp-dir"})
"""Read while the daemon runs, so inside ``chroot`` when there is one."""

NOT_A_FILE: Mapping[str, frozenset[str]] = {
    "dh": frozenset({"none"}),
    "askpass": frozenset({"stdin"}),
    "auth-user-pass": frozenset({"stdin", "username-only"}),
}
"""Words that stand in a file's place."""


def check_files(draft: Draft, in_blocks: list[Directive], scripts: tuple[str, ...]) -> None:
    """Note every missing or unreadable file in ``draft``'s errors.

    ``in_blocks``: directives of <connection> blocks. ``scripts``: names of those that run one.
    """
    for name, check in CHECKS.items():
        for directive in draft.given.get(name, [])[-1:]:
            _check_file(draft, directive, check)
    for directive in in_blocks:
        if directive.name in CHECKS:
            _check_file(draft, directive, CHECKS[directive.name])
    for name in scripts:
        for directive in draft.given.get(name, [])[-1:]:
            _check_script(draft, directive)


def _check_file(draft: Draft, directive: Directive, check: Check) -> None:
    if directive.inline is not None or not directive.args or not directive.args[0]:
        return
    word = directive.args[0]
    if word in NOT_A_FILE.get(directive.name, frozenset()):
        return
    if directive.name == "crl-verify" and directive.args[1:] == ("dir",):
        check = _directory
    path = draft.base / word
    if draft.process.chroot is not None and directive.name in IN_JAIL:
        path = draft.process.chroot / word.lstrip("/")
    problem = check(path)
    if problem:
        advice = f"make it, or correct the path ({path})"
        draft.fail(f"{directive.name} {word}: {problem}", directive.source, advice)
    elif directive.name in PRIVATE and _open_to_others(path):
        text = f"{directive.name} {word} may be read by others: chmod 600 {word}"
        draft.warn(text, directive.source)


def _open_to_others(path: FilePath) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def _check_script(draft: Draft, directive: Directive) -> None:
    try:
        words = split_line(directive.args[0], directive.source) if directive.args else []
    except ConfigError:
        return
    if not words:
        return
    path = draft.base / words[0]
    if path.is_dir() or not os.access(path, os.X_OK):
        message = f"{directive.name}: {words[0]} is not a program that may be run"
        draft.fail(message, directive.source, f"correct the path, or chmod +x {words[0]}")
