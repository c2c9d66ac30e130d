"""Reads configuration: files and command line in, frozen :mod:`ovpn6.config.schema` values out.

The only module here that opens files; :mod:`ovpn6.config.files` looks whether others are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovpn6.config import document, normalise, push, rules
from ovpn6.config.build import build_config
from ovpn6.config.draft import Draft
from ovpn6.config.files import check_files
from ovpn6.config.lexer import COMMAND_LINE, Directive, parse_arguments, scan_text
from ovpn6.config.reading import fold_all
from ovpn6.config.schema import PeerConfig, PushedConfig, TunnelConfig
from ovpn6.model.errors import ConfigError, ConfigErrors, Source
from ovpn6.model.records import replace

DEEPEST_INCLUDE = 10
"""How deep ``config`` may nest, as in OpenVPN."""


def load_config(args: list[str]) -> TunnelConfig:
    """The configuration of a command line (``--config FILE --verb 3``, or one FILE).

    Raises :class:`ovpn6.model.errors.ConfigErrors` with everything that is wrong.
    """
    reader = _Reader(Path.cwd())
    try:
        reader.take(parse_arguments(args), depth=0)
    except ConfigErrors as errors:
        reader.errors.extend(errors.errors)
    draft = Draft(base=reader.base, origin=_origin(reader.directives))
    draft.errors.extend(reader.errors)
    if not reader.directives and not reader.errors:
        advice = "give a file: ovpn6 --config FILE, or see ovpn6 --help"
        raise ConfigErrors((ConfigError("there is no configuration", COMMAND_LINE, advice),))
    in_blocks = fold_all(draft, _chroot_first(reader.directives))
    config = build_config(draft)
    rules.check(draft, config)
    check_files(draft, in_blocks, rules.SCRIPTS)
    if draft.errors:
        raise ConfigErrors(tuple(sorted(dict.fromkeys(draft.errors), key=_position)))
    return replace(config, warnings=tuple(draft.warnings), origin=draft.origin)


def load_file(path: Path) -> TunnelConfig:
    """The configuration in one file; raises as :func:`load_config`."""
    return load_config(["--config", str(path)])


def normalised(config: TunnelConfig) -> str:
    """The configuration as canonical directive lines; inline texts are shown as [[INLINE]].

    Macros are expanded, paths are absolute, defaults are left out, IPv6 comes first. It can be
    loaded again and means the same, where nothing was inline.
    """
    return normalise.normalised(config)


def help_text() -> str:
    """What ``--help`` prints."""
    return document.help_text()


def parse_peer_config(text: str, source: Source) -> PeerConfig:
    """A client-config-dir file or client-connect's output; raises ``ConfigErrors``."""
    return push.parse_peer_config(text, source)


def parse_push(options: Sequence[str]) -> PushedConfig:
    """A server's pushed options, one string each; never raises: what is unusable is ignored."""
    return push.parse_push(options)


def split_push(text: str) -> list[str]:
    """The options in a comma list, as in PUSH_REPLY."""
    return push.split_push(text)


# --- helpers ------------------------------------------------------------------------------------


class _Reader:
    """Follows ``config`` and ``cd`` through files; keeps the directives in order."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.directives: list[Directive] = []
        self.errors: list[ConfigError] = []

    def take(self, directives: Sequence[Directive], depth: int) -> None:
        """Keep these, with files they include in their place."""
        for directive in directives:
            if directive.name == "cd" and len(directive.args) == 1:
                self.base = self.base / directive.args[0]
                directive = replace(directive, args=(str(self.base),))
            self.directives.append(directive)
            if directive.name == "config" and len(directive.args) == 1:
                self._include(directive, depth + 1)

    def _include(self, directive: Directive, depth: int) -> None:
        name = directive.args[0]
        if depth > DEEPEST_INCLUDE:
            advice = "a file must not include itself"
            text = f"configuration files include each other more than {DEEPEST_INCLUDE} deep"
            self.errors.append(ConfigError(text, directive.source, advice))
            return
        try:
            text = (self.base / name).read_text(encoding="utf-8")
        except OSError as error:
            reason = f"config {name}: {error.strerror}"
            advice = f"make it, or correct the path ({self.base / name})"
            self.errors.append(ConfigError(reason, directive.source, advice))
        except ValueError:
            reason = f"config {name}: it is not text"
            self.errors.append(ConfigError(reason, directive.source, "save it as UTF-8"))
        else:
            directives, errors = scan_text(text, name)
            self.errors.extend(errors)
            self.take(directives, depth)


def _chroot_first(directives: list[Directive]) -> list[Directive]:
    """``chroot`` decides what other paths mean, wherever it stands."""
    return sorted(directives, key=lambda directive: directive.name != "chroot")


def _position(error: ConfigError) -> tuple[str, int]:
    return (error.source.name, error.source.line) if error.source else ("", 0)


def _origin(directives: list[Directive]) -> Source:
    for directive in directives:
        if directive.name == "config" and directive.args:
            return Source(directive.args[0])
    return COMMAND_LINE
