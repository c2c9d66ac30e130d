"""Log lines in OpenVPN's form, to standard output, a file or syslog.

Source: OpenVPN ``error.c``. A line is ``2026-11-22 17:11:43 [about ]text``, with ``us=`` from
``--verb 4`` on. Text that came from a peer cannot break out of its line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import syslog
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from ovpn6.config.schema import ProcessConfig
from ovpn6.model.errors import ConfigError
from ovpn6.model.names import Level
from ovpn6.model.records import dataclass

DEFAULT_VERB = 1
MICROSECONDS_FROM_VERB = 4
STRANGER_LINES = 10
"""Lines about one kind of event that strangers can cause, in each period."""
STRANGER_PERIOD = 10.0
STRANGER_KINDS = 256
MAX_LINE = 2000

_FLAGS: dict[Level, int] = {
    Level.FATAL: 0x10,
    Level.ERROR: 0x21,
    Level.WARNING: 0x40,
    Level.NOTICE: 0x02,
    Level.INFO: 0x03,
    Level.DEBUG: 0x06,
}
"""OpenVPN's message flags, which ``machine-readable-output`` prints in hexadecimal."""
_PRIORITIES: dict[Level, int] = {
    Level.FATAL: syslog.LOG_ERR,
    Level.ERROR: syslog.LOG_ERR,
    Level.WARNING: syslog.LOG_WARNING,
}
_VARYING = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]*\d[0-9a-fA-F:.%]*")
"""Begins only where a run of digits does: a peer's long text takes linear time."""


class Target(Protocol):
    """Where lines go."""

    timestamps: bool
    """Whether lines carry their own time."""

    def write(self, level: Level, line: str) -> None:
        """One line, without its newline."""


class StreamTarget:
    """A file descriptor; what cannot be written is lost, as nobody is left to be told."""

    timestamps = True

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    def write(self, level: Level, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode("utf-8", "replace"))


class SyslogTarget:
    """The system log, facility daemon."""

    timestamps = False

    def __init__(self, name: str) -> None:
        syslog.openlog(name, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, level: Level, line: str) -> None:
        syslog.syslog(_PRIORITIES.get(level, syslog.LOG_NOTICE), line)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How much and in what form. ``mute`` 0 is no limit."""

    verb: int = DEFAULT_VERB
    mute: int = 0
    timestamps: bool = True
    machine_readable: bool = False


_DEFAULT_OPTIONS = LogOptions()


class Logger:
    """Filters by verbosity, formats, and mutes repetition."""

    def __init__(
        self,
        target: Target,
        options: LogOptions = _DEFAULT_OPTIONS,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._options = options
        self._wall_clock = wall_clock
        self._mute = _Mute(options.mute)
        self._strangers: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def configure(self, options: LogOptions) -> None:
        """Other options from now on."""
        self._options = options
        self._mute = _Mute(options.mute)

    def redirect(self, target: Target) -> None:
        """Another target from now on."""
        self._target = target

    def log(self, level: Level, text: str, about: str = "") -> None:
        """One line; ``about`` (the peer) stands first."""
        if int(level.value) > self._options.verb:
            return
        for extra in self._mute.before(level, text):
            self._write(Level.NOTICE, extra)
        if not self._mute.muted:
            self._write(level, f"{about} {text}" if about else text)

    def announce(self, text: str) -> None:
        """A line that ``--verb 1`` shows already, and that is never muted."""
        if self._options.verb >= DEFAULT_VERB:
            self._write(Level.NOTICE, text)

    def stranger(self, kind: str, level: Level, text: str, about: str = "") -> None:
        """A line that anybody may cause: limited for each ``kind``, the rest is counted."""
        now = self._wall_clock()
        began, count = self._strangers.pop(kind, (now, 0))
        if not 0 <= now - began < STRANGER_PERIOD:
            if count > STRANGER_LINES:
                self.log(level, f"{count - STRANGER_LINES} more lines of this kind: {kind}")
            began, count = now, 0
        self._strangers[kind] = (began, count + 1)
        if len(self._strangers) > STRANGER_KINDS:
            self._strangers.popitem(last=False)
        if count < STRANGER_LINES:
            self.log(level, text, about)

    def _write(self, level: Level, text: str) -> None:
        options = self._options
        now = self._wall_clock()
        line = _one_line(text)
        if options.machine_readable:
            stamp = f"{int(now)}.{int(now % 1 * 1e6):06d} {_FLAGS[level]:x} "
        elif self._target.timestamps and options.timestamps:
            stamp = f"{time_string(now, microseconds=options.verb >= MICROSECONDS_FROM_VERB)} "
        else:
            stamp = ""
        self._target.write(level, stamp + line)


def time_string(unix_time: float, *, microseconds: bool = False) -> str:
    """``2026-11-22 17:11:43`` in local time, as every OpenVPN file has it."""
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_time))
    return f"{text} us={int(unix_time % 1 * 1e6)}" if microseconds else text


def log_options(process: ProcessConfig) -> LogOptions:
    """The options that a configuration asks for."""
    return LogOptions(
        verb=process.verb,
        mute=process.mute,
        timestamps=not process.suppress_timestamps,
        machine_readable=process.machine_readable_output,
    )


def open_target(process: ProcessConfig, *, background: bool) -> Target:
    """Where a configuration wants its lines.

    ``log`` takes standard output and error along, so that scripts write there too. In the
    background without ``log`` it is syslog. Raises ``ConfigError`` when the file cannot be opened.
    """
    if process.log is not None:
        redirect_output(process)
        return StreamTarget()
    if process.syslog or background:
        return SyslogTarget(process.daemon_name)
    return StreamTarget()


def redirect_output(process: ProcessConfig) -> None:
    """Point standard output and error to the log file."""
    assert process.log is not None
    mode = os.O_APPEND if process.log_append else os.O_TRUNC
    try:
        descriptor = os.open(process.log, os.O_CREAT | os.O_WRONLY | mode | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"log: {process.log}: {error.strerror}") from None
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def bridge_logging(logger: Logger) -> None:
    """Let what our layers and libraries say through :mod:`logging` end up in the same log."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Bridge):
            root.removeHandler(old)
    root.addHandler(_Bridge(logger))
    root.setLevel(logging.WARNING)


class _Bridge(logging.Handler):
    """Python's levels to ours."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARNING
        self._logger.log(level, record.getMessage())


class _Mute:
    """``--mute n``: of consecutive lines of one kind only n are printed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kind = ""
        self._count = 0
        self.muted = False

    def before(self, level: Level, text: str) -> list[str]:
        """Count a line; what must be said before it (or instead of it)."""
        if not self._limit:
            return []
        kind = f"{level.name} {_VARYING.sub('#', text)}"
        if kind != self._kind:
            suppressed = self._count - self._limit
            self._kind, self._count, self.muted = kind, 1, False
            if suppressed > 0:
                return [
                    f"{suppressed} variation(s) on previous {self._limit} message(s) "
                    "suppressed by --mute"
                ]
            return []
        self._count += 1
        self.muted = self._count > self._limit
        return ["NOTE: --mute triggered..."] if self._count == self._limit + 1 else []


def _one_line(text: str) -> str:
    """Control characters shown as ``?``; cut at a sane length."""
    clean = text
    if not text.isprintable():
        clean = "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
    return clean if len(clean) <= MAX_LINE else f"{clean[:MAX_LINE]}..."
