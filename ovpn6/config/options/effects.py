"""The usual effects: most rows of the option table are one of these.

A field is named ``section.field`` as in :class:`ovpn6.config.schema.TunnelConfig`, where a draft
has the sections ``pushed`` and ``peer`` besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path as FilePath
from typing import Any

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive, join_words, split_line
from ovpn6.config.options.row import Effect
from ovpn6.config.schema import FileRef, TunnelConfig
from ovpn6.config.values import Parser
from ovpn6.model.errors import ConfigError
from ovpn6.model.records import replace

INLINE_MARK = "[[INLINE]]"
"""Stands for the text of an inline block wherever configuration is shown."""

Line = tuple[str, ...]


def put(draft: Draft, section: str, **values: Any) -> None:
    """Replace fields of one section of a draft."""
    setattr(draft, section, replace(getattr(draft, section), **values))


def field_of(config: TunnelConfig, path: str) -> tuple[Any, Any]:
    """A field's value and its default; (None, None) when the configuration lacks the section."""
    section_name, name = path.split(".")
    section = getattr(config, section_name)
    if section is None:
        return None, None
    default = next(field.default for field in fields(section) if field.name == name)
    return getattr(section, name), default


def sets(path: str, *parsers: Parser[Any], more: Sequence[str] = ()) -> Effect:
    """The first word sets ``path``, the following ones the fields ``more``, where given."""
    section, name = path.split(".")
    names = (name, *more)

    def fold(draft: Draft, directive: Directive) -> None:
        values = {
            field: parse(text)
            for field, parse, text in zip(names, parsers, directive.args, strict=False)
        }
        put(draft, section, **values)

    def show(config: TunnelConfig) -> Iterable[Line]:
        pairs = [field_of(config, f"{section}.{each}") for each in names]
        if all(value == default for value, default in pairs):
            return ()
        words = [str(value) for value, _ in pairs if value is not None]
        return ((*words,),)

    return Effect(fold, show)


def flag(path: str, value: bool = True) -> Effect:
    """The directive's presence sets ``path``."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        put(draft, section, **{name: value})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, default = field_of(config, path)
        return ((),) if found == value and found != default else ()

    return Effect(fold, show)


def joined(path: str, parse: Parser[tuple[str, ...]], separator: str = ":") -> Effect:
    """One word that is a list; shown again with ``separator``."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        put(draft, section, **{name: parse(directive.args[0])})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, default = field_of(config, path)
        return ((separator.join(found),),) if found != default else ()

    return Effect(fold, show)


def appends(
    path: str, parse: Callable[[Draft, Directive], Any], words: Callable[[Any], Line]
) -> Effect:
    """Every directive adds one item to the tuple ``path``."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        items = getattr(getattr(draft, section), name)
        put(draft, section, **{name: (*items, parse(draft, directive))})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, _ = field_of(config, path)
        return [words(item) for item in found or ()]

    return Effect(fold, show)


def nothing() -> Effect:
    """The directive asks for what is always so."""
    return Effect(lambda draft, directive: None)


def command(what: str) -> Effect:
    """Not a setting but a command, which the command line carries out alone."""

    def fold(draft: Draft, directive: Directive) -> None:
        message = f"--{directive.name} is a command and not a setting"
        raise ConfigError(message, advice=f"run `ovpn6 --{directive.name}` to {what}")

    return Effect(fold)


# --- files --------------------------------------------------------------------------------------


def absolute(draft: Draft, text: str) -> FilePath:
    """A path as written, made absolute."""
    if not text:
        raise ConfigError("an empty word is not a path")
    return draft.base / text


def file_ref(draft: Draft, directive: Directive) -> FileRef:
    """The file that the first word names, or the inline text."""
    if directive.inline is not None:
        return FileRef(directive.source, inline=directive.inline)
    return FileRef(directive.source, path=absolute(draft, directive.args[0]))


def shown_ref(reference: FileRef) -> str:
    """A file reference as the word that normalised output shows."""
    return INLINE_MARK if reference.path is None else str(reference.path)


def file(path: str) -> Effect:
    """A file or its inline text."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        put(draft, section, **{name: file_ref(draft, directive)})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, _ = field_of(config, path)
        return ((shown_ref(found),),) if found else ()

    return Effect(fold, show)


def location(path: str) -> Effect:
    """A path of a file to write, or of a directory."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        put(draft, section, **{name: absolute(draft, directive.args[0])})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, _ = field_of(config, path)
        return ((str(found),),) if found else ()

    return Effect(fold, show)


# --- scripts ------------------------------------------------------------------------------------


def script_words(draft: Draft, directive: Directive) -> tuple[str, ...]:
    """A script and its arguments, written as one word with quotes of its own."""
    words = split_line(directive.args[0], directive.source)
    if not words:
        raise ConfigError("no script is named")
    return (str(absolute(draft, words[0])), *words[1:])


def script(path: str) -> Effect:
    """A user's script; the last one given runs."""
    section, name = path.split(".")

    def fold(draft: Draft, directive: Directive) -> None:
        if getattr(getattr(draft, section), name):
            draft.warn(f"this {directive.name} script replaces an earlier one", directive.source)
        put(draft, section, **{name: script_words(draft, directive)})

    def show(config: TunnelConfig) -> Iterable[Line]:
        found, _ = field_of(config, path)
        return ((join_words(found),),) if found else ()

    return Effect(fold, show)
