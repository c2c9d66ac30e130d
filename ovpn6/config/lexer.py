"""OpenVPN's configuration syntax: text or a command line in, :class:`Directive` values out.

Knows quoting, comments and inline blocks; knows nothing of which directives exist. The rules are
those of OpenVPN's ``options_parse.c`` (``parse_line``, ``check_inline_file``):

* ``#`` and ``;`` begin a comment where a word could begin; inside a word they are ordinary.
* ``"..."`` with backslash escapes, ``'...'`` without; a closing quote ends the word.
* a backslash may stand before a backslash, a double quote or white space, nothing else.
* a line that is one word ``<name>`` begins a block, which ends at a line beginning ``</name>``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ovpn6.model.errors import ConfigError, ConfigErrors, Source
from ovpn6.model.records import dataclass, replace

COMMAND_LINE = Source("[command line]")
"""The source of directives given as arguments."""

_SPACE = " \t\v\f\r\n"


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive: its name without dashes, its words, and where it stands.

    ``inline`` is the text of a block ``<name>``, each line ended by newline; ``args`` is () then.
    """

    name: str
    args: tuple[str, ...]
    source: Source
    inline: str | None = None

    def __repr__(self) -> str:
        """Without the words: they may be keys and tokens."""
        return f"Directive({self.name}, {self.source})"


def parse_text(text: str, name: str, first_line: int = 1) -> list[Directive]:
    """The directives of a file's text; ``name`` and ``first_line`` make up their sources.

    Raises ``ConfigErrors`` with every line that cannot be read.
    """
    directives, errors = scan_text(text, name, first_line)
    if errors:
        raise ConfigErrors(tuple(errors))
    return directives


def scan_text(
    text: str, name: str, first_line: int = 1
) -> tuple[list[Directive], list[ConfigError]]:
    """As :func:`parse_text`, with the lines that cannot be read beside those that can."""
    directives: list[Directive] = []
    errors: list[ConfigError] = []
    lines = text.removeprefix("\ufeff").split("\n")
    at = 0
    while at < len(lines):
        source = Source(name, first_line + at)
        line = lines[at]
        at += 1
        try:
            words = split_line(line, source)
            tag = _block_tag(words)
            if tag is None:
                directives.extend(_directive(words, source))
                continue
            body, at = _block_body(lines, at, tag, source)
            directives.append(Directive(tag, (), source, inline=body))
        except ConfigError as error:
            errors.append(error)
    return directives, errors


def parse_arguments(args: Sequence[str]) -> list[Directive]:
    """The directives of a command line: ``--name`` and every word until the next ``--``.

    A lone word is a configuration file, as in ``openvpn FILE``. Raises ``ConfigErrors``.
    """
    if len(args) == 1 and not args[0].startswith("--"):
        return [Directive("config", (args[0],), COMMAND_LINE)]
    directives: list[Directive] = []
    errors: list[ConfigError] = []
    for word in args:
        if word.startswith("--") and len(word) > 2:
            directives.append(Directive(word[2:], (), COMMAND_LINE))
        elif directives:
            last = directives[-1]
            directives[-1] = replace(last, args=(*last.args, word))
        else:
            advice = "begin with a directive: --config FILE, or --help"
            errors.append(ConfigError(f"unexpected word {word!r}", COMMAND_LINE, advice))
    if errors:
        raise ConfigErrors(tuple(errors))
    return directives


def split_line(line: str, source: Source) -> list[str]:
    """The words of one line without its comment. Raises ``ConfigError``."""
    if "\0" in line:
        raise ConfigError("a zero byte is not text", source, "save the file as UTF-8 text")
    words: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in _SPACE:
            at += 1
        if at >= len(line) or line[at] in "#;":
            return words
        match line[at]:
            case '"':
                word, at = _double_quoted(line, at + 1, source)
            case "'":
                word, at = _single_quoted(line, at + 1, source)
            case _:
                word, at = _bare(line, at, source)
        words.append(word)


def join_words(words: Sequence[str]) -> str:
    """One line that :func:`split_line` reads back as ``words``; they must not hold newlines."""
    return " ".join(_quoted(word) for word in words)


# --- helpers ------------------------------------------------------------------------------------


def _directive(words: list[str], source: Source) -> list[Directive]:
    if not words:
        return []
    name = words[0]
    if name.startswith("--") and len(name) > 2:
        name = name[2:]
    return [Directive(name, tuple(words[1:]), source)]


def _block_tag(words: list[str]) -> str | None:
    if len(words) != 1 or len(words[0]) < 3:
        return None
    word = words[0]
    if not (word.startswith("<") and word.endswith(">")) or word.startswith("</"):
        return None
    return word[1:-1]


def _block_body(lines: list[str], at: int, tag: str, source: Source) -> tuple[str, int]:
    close = f"</{tag}>"
    for end in range(at, len(lines)):
        if lines[end].lstrip(_SPACE).startswith(close):
            body = "".join(line.removesuffix("\r") + "\n" for line in lines[at:end])
            return body, end + 1
    raise ConfigError(f"<{tag}> is never closed", source, f"end the block with a line {close}")


def _escaped(line: str, at: int, source: Source) -> str:
    """The character that a backslash before ``line[at]`` stands for."""
    if at < len(line) and line[at] in '\\"' + _SPACE:
        return line[at]
    raise ConfigError(
        'a backslash must stand before \\, " or a space', source, "write \\\\ for a backslash"
    )


def _bare(line: str, at: int, source: Source) -> tuple[str, int]:
    word = ""
    while at < len(line) and line[at] not in _SPACE:
        if line[at] == "\\":
            at += 1
            word += _escaped(line, at, source)
        else:
            word += line[at]
        at += 1
    return word, at


def _double_quoted(line: str, at: int, source: Source) -> tuple[str, int]:
    word = ""
    while at < len(line):
        if line[at] == '"':
            return word, at + 1
        if line[at] == "\\":
            at += 1
            word += _escaped(line, at, source)
        else:
            word += line[at]
        at += 1
    raise ConfigError('no closing quotation mark (")', source)


def _single_quoted(line: str, at: int, source: Source) -> tuple[str, int]:
    end = line.find("'", at)
    if end < 0:
        raise ConfigError("no closing quotation mark (')", source)
    return line[at:end], end + 1


def _quoted(word: str) -> str:
    plain = word and not any(character in word for character in _SPACE + "\\\"'#;<>")
    if plain:
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
