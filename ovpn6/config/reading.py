"""From directives to a draft: looks each one's row up, checks its place and words, folds it.

Shared by files, the command line, pushes and client-config-dir files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path as FilePath

from ovpn6.config.draft import Draft
from ovpn6.config.files import IN_JAIL
from ovpn6.config.lexer import Directive, parse_text
from ovpn6.config.options import OPTIONS, Fold, Option, Scope, Status
from ovpn6.model.errors import ConfigError, ConfigErrors

_ONLY_IN = {
    Scope.PUSH: "only a server pushes it",
    Scope.CCD: "it belongs into a file of client-config-dir",
}


def fold_all(draft: Draft, directives: Iterable[Directive]) -> list[Directive]:
    """Fold a configuration's directives; errors go to ``draft.errors``.

    Answers the directives that stand in <connection> blocks.
    """
    given = list(directives)
    forgiven = _forgiven(given)
    in_blocks: list[Directive] = []
    for directive in given:
        if directive.name == "connection" and directive.inline is not None:
            in_blocks += _fold_block(draft, directive, forgiven)
        else:
            _fold_noting(draft, directive, Scope.FILE, forgiven)
    return in_blocks


def option_of(directive: Directive) -> Option:
    """The directive's row. Raises ``ConfigError``, with names that are near."""
    option = OPTIONS.get(directive.name)
    if option is None:
        near = get_close_matches(directive.name, OPTIONS, n=3, cutoff=0.7)
        advice = f"did you mean {' or '.join(near)}?" if near else "see `ovpn6 --help`"
        raise ConfigError(f"unknown directive {directive.name!r}", directive.source, advice)
    return option


def checked_fold(option: Option, directive: Directive, scope: Scope) -> Fold | None:
    """How to fold the directive in this place; None when nothing is to be done.

    Raises ``ConfigError`` when it is refused, misplaced, or has the wrong number of words.
    """
    folds = {
        Scope.PUSH: option.pushed,
        Scope.CCD: option.peer,
    }
    if scope not in option.scopes:
        raise _misplaced(option, directive, scope)
    _check_words(option, directive)
    if scope in folds:
        return folds[scope]
    return option.effect.fold if option.effect is not None else None


def fold_one(draft: Draft, directive: Directive, scope: Scope) -> None:
    """Fold one directive. Raises ``ConfigError`` with its source."""
    option = option_of(directive)
    fold = checked_fold(option, directive, scope)
    if scope is Scope.FILE:
        draft.given.setdefault(option.canonical, []).append(directive)
    if option.status in (Status.NOTICE, Status.LEGACY):
        old = "; remove the line" if option.status is Status.LEGACY else ""
        draft.warn(f"{option.name} does nothing: {option.reason}{old}", directive.source)
    if fold is None:
        return
    base = draft.base
    if draft.process.chroot is not None and option.canonical in IN_JAIL:
        draft.base = FilePath("/")
    try:
        fold(draft, directive)
    except ConfigError as error:
        advice = error.advice or f"usage: {option.name} {option.usage}".rstrip()
        message = f"{option.name}: {error.message}"
        raise ConfigError(message, directive.source, advice) from None
    finally:
        draft.base = base


# --- helpers ------------------------------------------------------------------------------------


def _forgiven(directives: Iterable[Directive]) -> frozenset[str]:
    """What ``ignore-unknown-option`` names; "*" when the profile is for later versions too."""
    names: set[str] = set()
    for directive in directives:
        if directive.name == "ignore-unknown-option":
            names.update(word.removeprefix("--") for word in directive.args)
        if directive.name == "setenv" and directive.args == ("FORWARD_COMPATIBLE", "1"):
            names.add("*")
    return frozenset(names)


def _is_forgiven(name: str, forgiven: Collection[str]) -> bool:
    if name in forgiven:
        return True
    return "*" in forgiven and name not in OPTIONS


def _fold_noting(
    draft: Draft, directive: Directive, scope: Scope, forgiven: Collection[str]
) -> None:
    """Fold, or note the error; an unknown or refused one that is forgiven only warns."""
    if directive.name == "setenv" and directive.args[:1] == ("opt",):
        if len(directive.args) < 2:
            draft.fail("setenv opt needs a directive", directive.source)
            return
        directive = Directive(directive.args[1], directive.args[2:], directive.source)
        forgiven = {directive.name}
    option = OPTIONS.get(directive.name)
    refused = option is None or option.status is Status.REFUSED
    if refused and _is_forgiven(directive.name, forgiven):
        reason = option.reason if option is not None else "it is unknown"
        draft.warn(f"{directive.name} is left out: {reason}", directive.source)
        return
    try:
        fold_one(draft, directive, scope)
    except ConfigError as error:
        draft.errors.append(error)


def _fold_block(draft: Draft, block: Directive, forgiven: Collection[str]) -> list[Directive]:
    draft.given.setdefault("connection", []).append(block)
    source = block.source
    try:
        inside = parse_text(block.inline or "", source.name, source.line + 1)
    except ConfigErrors as errors:
        draft.errors.extend(errors.errors)
        return []
    with draft.block(source):
        for directive in inside:
            _fold_noting(draft, directive, Scope.CONNECTION, forgiven)
    return inside


def _misplaced(option: Option, directive: Directive, scope: Scope) -> ConfigError:
    if option.status is Status.REFUSED and scope in (Scope.FILE, Scope.CONNECTION):
        message = f"{option.name} is not supported: {option.reason}"
        return ConfigError(message, directive.source, option.advice)
    if scope is Scope.CONNECTION:
        message = f"{option.name} cannot stand in a <connection> block"
        return ConfigError(message, directive.source, "move it out of the block")
    if scope is Scope.FILE:
        why = next(text for place, text in _ONLY_IN.items() if place in option.scopes)
        return ConfigError(f"{option.name} cannot stand here", directive.source, why)
    place = "be pushed" if scope is Scope.PUSH else "be set for one client"
    return ConfigError(f"{option.name} cannot {place}", directive.source, "remove it")


def _check_words(option: Option, directive: Directive) -> None:
    usage = f"usage: {option.name} {option.usage}".rstrip()
    if directive.inline is not None:
        if not option.inline:
            message = f"{option.name} cannot be a block <{option.name}>"
            raise ConfigError(message, directive.source, usage)
        return
    if option.name == "connection":
        raise ConfigError("connection is a block", directive.source, "write <connection>")
    fewest, most = option.arity
    if not fewest <= len(directive.args) <= most:
        count = len(directive.args)
        what = "too few" if count < fewest else "too many"
        quoting = "" if count < fewest else "; quote a word that holds spaces"
        message = f"{option.name}: {what} words"
        raise ConfigError(message, directive.source, usage + quoting)
