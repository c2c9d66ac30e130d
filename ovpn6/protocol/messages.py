"""Control messages: the texts inside TLS, one row each. PURE.

Source: OpenVPN ``push.c``, ``forward.c`` (parse_incoming_control_channel_command),
``doc/management-notes.txt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ovpn6.model.errors import UsageError
from ovpn6.model.records import dataclass

PUSH_BUNDLE_SIZE = 1024
"""Octets of one PUSH_REPLY that every peer can take, with its NUL."""
PUSH_BUNDLE_SPARE = 84
"""Octets kept free in a bundle for ``push-continuation``."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The client asks for its options."""


@dataclass(frozen=True, slots=True)
class PushReply:
    """One bundle of options; ``continues``: another follows."""

    options: tuple[str, ...]
    continues: bool


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """Refused. ``temporary``: try again, after ``backoff`` seconds (None: own timing), at
    ``advance`` ``no`` (the same server, stock's default), ``remote`` or ``addr``."""

    reason: str = ""
    temporary: bool = False
    backoff: int | None = None
    advance: str = "no"


@dataclass(frozen=True, slots=True)
class AuthPending:
    """Wait up to ``timeout`` seconds for an authentication that goes on elsewhere."""

    timeout: int
    text: str


@dataclass(frozen=True, slots=True)
class Restart:
    """The server wants the client to connect again; ``next_server`` at the next remote."""

    next_server: bool
    keep_credentials: bool
    text: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The server wants the client to end."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The peer ends now."""


@dataclass(frozen=True, slots=True)
class Info:
    """Text for the user; ``early`` before authentication is done (INFO_PRE)."""

    text: str
    early: bool


@dataclass(frozen=True, slots=True)
class CrResponse:
    """A client's answer to a challenge, base64."""

    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message this version has no row for."""

    text: str


Message = (
    PushRequest
    | PushReply
    | AuthFailed
    | AuthPending
    | Restart
    | Halt
    | Exit
    | Info
    | CrResponse
    | Unknown
)


def parse_message(text: str) -> Message:
    """The message in a control text; never raises."""
    command, _, rest = text.partition(",")
    parser = _PARSERS.get(command)
    return parser(rest) if parser else Unknown(text)


def push_replies(options: Iterable[str]) -> list[str]:
    """The PUSH_REPLY texts that carry ``options`` in order, never splitting one.

    Each fits ``PUSH_BUNDLE_SIZE``. Raises ``UsageError`` for an option that fits no bundle or has a
    comma (the wire has no escape for it).
    """
    limit = PUSH_BUNDLE_SIZE - PUSH_BUNDLE_SPARE
    bundles: list[str] = []
    bundle = "PUSH_REPLY"
    for option in options:
        length = len(option.encode())
        if "," in option or not option.isprintable() or len("PUSH_REPLY") + length >= limit:
            raise UsageError(f"option cannot be pushed: {option!r}")
        if len(bundle.encode()) + length >= limit:
            bundles.append(bundle + ",push-continuation 2")
            bundle = "PUSH_REPLY"
        bundle += f",{option}"
    return [*bundles, bundle + ",push-continuation 1" if bundles else bundle]


def auth_failed(reason: str = "") -> str:
    """The refusal with an optional reason."""
    return f"AUTH_FAILED,{reason}" if reason else "AUTH_FAILED"


def auth_failed_temporarily(reason: str, *, backoff: int, advance: str = "addr") -> str:
    """A refusal that asks to come back (only for peers with ``AUTH_FAIL_TEMP``)."""
    return f"AUTH_FAILED,TEMP[backoff {backoff},advance {advance}]: {reason}"


def auth_pending(timeout: int) -> str:
    """Tell a client to wait ``timeout`` seconds (only for peers with keywords)."""
    return f"AUTH_PENDING,timeout {timeout}"


def info_pre(text: str) -> str:
    """Text for the user before authentication is done."""
    return f"INFO_PRE,{text}"


PUSH_REQUEST = "PUSH_REQUEST"
EXIT = "EXIT"
RESTART = "RESTART"
RESTART_NEXT_SERVER = "RESTART,[N]"
HALT = "HALT"


def _push_reply(rest: str) -> Message:
    options = tuple(word for word in rest.split(",") if word)
    continues = "push-continuation 2" in options
    return PushReply(
        tuple(word for word in options if not word.startswith("push-continuation")), continues
    )


def _auth_failed(rest: str) -> Message:
    if not rest.startswith("TEMP"):
        return AuthFailed(rest)
    flags, _, text = rest[4:].removeprefix("[").partition("]")
    if not rest.startswith("TEMP["):
        flags, text = "", rest[4:]
    backoff: int | None = None
    advance = "no"
    for flag in flags.split(","):
        name, _, value = flag.strip().partition(" ")
        if name == "backoff" and value.isascii() and value.isdigit() and len(value) < 6:
            backoff = int(value)
        if name == "advance" and value in ("no", "remote", "addr"):
            advance = value
    return AuthFailed(text.removeprefix(":").strip(), True, backoff, advance)


def _auth_pending(rest: str) -> Message:
    timeout = 0
    for flag in rest.split(","):
        name, _, value = flag.strip().partition(" ")
        if name == "timeout" and value.isascii() and value.isdigit() and len(value) < 6:
            timeout = int(value)
    return AuthPending(timeout, rest)


def _restart(rest: str) -> Message:
    flags = rest[1:].partition("]")[0] if rest.startswith("[") else ""
    return Restart("N" in flags, "P" in flags, rest)


_PARSERS: dict[str, Callable[[str], Message]] = {
    "PUSH_REQUEST": lambda rest: PushRequest(),
    "PUSH_REPLY": _push_reply,
    "AUTH_FAILED": _auth_failed,
    "AUTH_PENDING": _auth_pending,
    "RESTART": _restart,
    "HALT": Halt,
    "EXIT": lambda rest: Exit(),
    "INFO": lambda rest: Info(rest, early=False),
    "INFO_PRE": lambda rest: Info(rest, early=True),
    "CR_RESPONSE": CrResponse,
}
