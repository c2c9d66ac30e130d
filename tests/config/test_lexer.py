"""The syntax of configuration files and command lines."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.config.lexer import (
    Directive,
    join_words,
    parse_arguments,
    parse_text,
    scan_text,
    split_line,
)
from ovpn6.model.errors import ConfigError, ConfigErrors, Source

HERE = Source("x", 1)
LINES = st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=("Cs",)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("verb 4", ["verb", "4"]),
        ("  verb\t4  ", ["verb", "4"]),
        ("verb 4 # much", ["verb", "4"]),
        ("verb 4 ;much", ["verb", "4"]),
        ("setenv A b#c;d", ["setenv", "A", "b#c;d"]),
        ('push "route 10.0.0.0 255.0.0.0"', ["push", "route 10.0.0.0 255.0.0.0"]),
        ("up 'a \\ b'", ["up", "a \\ b"]),
        (r'up "a \"b\" c"', ["up", 'a "b" c']),
        (r"cd /a\ b\\c", ["cd", "/a b\\c"]),
        ('x "" y', ["x", "", "y"]),
        ('x "a"b', ["x", "a", "b"]),
        ("x it's", ["x", "it's"]),
        ("# all comment", []),
        ("", []),
    ],
)
def test_line_splits_into_words(line: str, words: list[str]) -> None:
    assert split_line(line, HERE) == words


@pytest.mark.parametrize("line", ['x "open', "x 'open", r"x C:\dir", "x \\", "x a\0b"])
def test_broken_line_is_a_config_error_with_its_source(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_line(line, HERE)
    assert str(caught.value).startswith("x:1: ")


@given(st.lists(LINES, min_size=1))
def test_joined_words_split_into_the_same_words(words: list[str]) -> None:
    assert split_line(join_words(words), HERE) == words


@given(st.text())
def test_any_text_gives_directives_or_config_errors(text: str) -> None:
    directives, errors = scan_text(text, "x")
    assert all(directive.source.line >= 1 for directive in directives)
    assert all(error.source is not None for error in errors)
    with pytest.raises(ConfigErrors) if errors else nullcontext():
        assert parse_text(text, "x") == directives


@given(st.text(alphabet="<>/ab \n\"'\\#;"))
def test_any_text_of_special_characters_gives_directives_or_config_errors(text: str) -> None:
    directives, errors = scan_text(text, "x")
    assert len(directives) + len(errors) <= text.count("\n") + 1


def test_every_broken_line_is_told_and_the_others_are_kept() -> None:
    directives, errors = scan_text('verb 4\nx "a\ndev tun\ny "b\n', "f")
    assert [directive.name for directive in directives] == ["verb", "dev"]
    assert [error.source for error in errors] == [Source("f", 2), Source("f", 4)]


def test_directives_carry_file_and_line() -> None:
    directives = parse_text("\n# c\nverb 4\n\ndev tun\n", "f.conf")
    assert [directive.source for directive in directives] == [
        Source("f.conf", 3),
        Source("f.conf", 5),
    ]


def test_block_keeps_its_lines_as_they_are() -> None:
    text = '<ca>\n# not a comment\n  x "y\n </ca>\nverb 3\n'
    block, verb = parse_text(text, "f")
    assert block == Directive("ca", (), Source("f", 1), inline='# not a comment\n  x "y\n')
    assert verb.source == Source("f", 5)


def test_block_with_windows_line_ends_is_read_as_with_others() -> None:
    (block,) = parse_text("<ca>\r\nabc\r\n</ca>\r\n", "f")
    assert block.inline == "abc\n"


def test_block_without_end_is_an_error_at_its_first_line() -> None:
    with pytest.raises(ConfigErrors, match=r"f:2: <key> is never closed"):
        parse_text("verb 3\n<key>\nabc\n", "f")


def test_dashes_before_a_directive_in_a_file_are_dropped() -> None:
    assert parse_text("--verb 4\n", "f")[0].name == "verb"


def test_byte_order_mark_is_dropped() -> None:
    assert parse_text("\ufeffverb 4\n", "f")[0].name == "verb"


def test_command_line_words_belong_to_the_directive_before_them() -> None:
    directives = parse_arguments(["--remote", "2001:db8::1", "1194", "--nobind", "--verb", "4"])
    assert [(directive.name, directive.args) for directive in directives] == [
        ("remote", ("2001:db8::1", "1194")),
        ("nobind", ()),
        ("verb", ("4",)),
    ]
    assert {str(directive.source) for directive in directives} == {"[command line]"}


def test_lone_word_on_the_command_line_is_a_configuration_file() -> None:
    (directive,) = parse_arguments(["a.conf"])
    assert (directive.name, directive.args) == ("config", ("a.conf",))


def test_words_before_the_first_directive_are_an_error() -> None:
    with pytest.raises(ConfigErrors, match="unexpected word 'a'"):
        parse_arguments(["a", "--verb", "4"])
