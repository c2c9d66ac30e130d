"""What one row of the option table holds, and the rows' constructors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from ovpn6.config.draft import Draft
from ovpn6.config.lexer import Directive
from ovpn6.config.schema import TunnelConfig
from ovpn6.model.records import dataclass

Fold = Callable[[Draft, Directive], None]
"""Puts a directive's value into the draft. Raises ``ConfigError`` (a source is added) when the
value is wrong. ``directive.args`` have the count that ``Option.usage`` permits."""

Show = Callable[[TunnelConfig], Iterable[tuple[str, ...]]]
"""The directive's words without its name, once for each line it takes; nothing for a default."""


class Status(Enum):
    """What becomes of a directive."""

    SUPPORTED = "supported"
    NOTICE = "notice"
    """Accepted; a line says why nothing happens."""
    LEGACY = "legacy"
    """Accepted with a warning: old, and harmless to leave out."""
    REFUSED = "refused"


class Side(Enum):
    """Which end a directive belongs to."""

    BOTH = "both"
    SERVER = "server"
    CLIENT = "client"


class Scope(Enum):
    """Where a directive may stand."""

    FILE = "file"
    """A configuration file or the command line."""
    CONNECTION = "connection"
    """Inside a ``<connection>`` block too."""
    PUSH = "push"
    """In what a server pushes."""
    CCD = "ccd"
    """In a client-config-dir file or what a client-connect script writes."""


def nothing_shown(config: TunnelConfig) -> Iterable[tuple[str, ...]]:
    """For directives that leave no trace of their own."""
    return ()


@dataclass(frozen=True, slots=True)
class Effect:
    """What a directive does in a file, and how a finished configuration tells of it."""

    fold: Fold
    show: Show = nothing_shown


@dataclass(frozen=True, slots=True)
class Option:
    """One directive.

    ``usage`` names its words: ``[word]`` may be left out, a last ``...`` means any number more.
    ``reason`` says why, for every status but SUPPORTED. ``lenient``: on the wrong side it is
    warned of, as OpenVPN lets it pass. ``inline``: a block ``<name>`` may hold the value.
    """

    name: str
    usage: str
    help: str
    section: str
    status: Status = Status.SUPPORTED
    side: Side = Side.BOTH
    effect: Effect | None = None
    pushed: Fold | None = None
    peer: Fold | None = None
    connection: bool = False
    inline: bool = False
    lenient: bool = False
    reason: str = ""
    advice: str = ""
    alias_of: str = ""

    @property
    def scopes(self) -> frozenset[Scope]:
        """Where it may stand."""
        passed = self.status in (Status.NOTICE, Status.LEGACY)
        places = (
            (Scope.FILE, passed or self.effect is not None),
            (Scope.CONNECTION, self.connection),
            (Scope.PUSH, self.pushed is not None),
            (Scope.CCD, self.peer is not None),
        )
        return frozenset(scope for scope, allowed in places if allowed)

    @property
    def arity(self) -> tuple[int, int]:
        """Fewest and most words after the name."""
        return arity(self.usage)

    @property
    def canonical(self) -> str:
        """The name under which the directive is kept."""
        return self.alias_of or self.name


MANY = 1000
"""More words than any line has: the upper end of ``...``."""


def arity(usage: str) -> tuple[int, int]:
    """Fewest and most words that a usage text permits."""
    words = usage.split()
    needed = sum(1 for word in words if not word.startswith("[") and word != "...")
    most = MANY if words and words[-1].strip("[]") == "..." else len(words)
    return needed, most
