"""The exception tree: one branch for each party who can act on it."""

from __future__ import annotations

from ovpn6.model.records import dataclass


class Ovpn6Error(Exception):
    """Root of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a piece of configuration was written; ``line`` counts from 1, 0 when there is none."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


class ConfigError(Ovpn6Error):
    """The operator must change something; ``source`` says where, ``advice`` what to do."""

    def __init__(self, message: str, source: Source | None = None, advice: str = "") -> None:
        self.message = message
        self.source = source
        self.advice = advice
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{message}{f' ({advice})' if advice else ''}")


class ConfigErrors(Ovpn6Error):
    """Every :class:`ConfigError` of one reading, at once."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class PeerError(Ovpn6Error):
    """The remote end is wrong: drop what it sent, count it, go on."""


class HostError(Ovpn6Error):
    """The host refused ``operation``; ``errno`` is its reason, 0 when it gave none."""

    def __init__(self, operation: str, message: str, errno: int = 0) -> None:
        self.operation = operation
        self.errno = errno
        super().__init__(f"{operation}: {message}")


class UsageError(Ovpn6Error):
    """Our own code called something in a way its contract forbids."""


def bug_text(error: Exception) -> str:
    """An exception that nobody expected, in one line: what, and where it was raised."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "?"
    return f"BUG: {type(error).__name__}: {error} ({place})"
