"""What a client does about the server's control messages, but for the push. PURE.

Source: OpenVPN ``push.c`` (receive_auth_failed, server_pushed_signal, receive_exit_message,
server_pushed_info), ``options_util.c`` (parse_auth_failed_temp).
"""

from __future__ import annotations

from ovpn6.model.names import Level
from ovpn6.model.records import dataclass
from ovpn6.protocol.messages import AuthFailed, Exit, Halt, Info, Message, Restart
from ovpn6.roles.client_news import Ending, Step, Then, log


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """What a refusal means. ``retry`` is ``auth-retry``; ``token_in_use``: a pushed token was sent
    in place of the password; ``password_known``: the password itself is still in memory."""

    retry: str
    token_in_use: bool
    password_known: bool


def answer(message: Message, policy: AuthPolicy) -> list[Step]:
    """Log lines, and an ``Ending`` where the message ends the session."""
    match message:
        case AuthFailed():
            return _refused(message, policy)
        case Restart():
            return [
                log(
                    Level.WARNING,
                    f"Connection reset command was pushed by server ('{message.text}')",
                ),
                Ending(
                    "server-pushed-connection-reset",
                    advance="addr" if message.next_server else "",
                ),
            ]
        case Halt():
            return [
                log(Level.WARNING, f"Halt command was pushed by server ('{message.text}')"),
                Ending("server-pushed-halt", Then.EXIT),
            ]
        case Exit():
            return [
                log(Level.INFO, "CC-EEN exit message received by peer"),
                Ending("remote-exit"),
            ]
        case Info():
            return [log(Level.INFO, f"Info command was pushed by server ('{message.text}')")]
        case _:
            return [log(Level.WARNING, f"Received unexpected control message: {message}")]


def _refused(message: AuthFailed, policy: AuthPolicy) -> list[Step]:
    reason = f",{message.reason}" if message.reason else ""
    kind = ",TEMP" if message.temporary else ""
    line = log(Level.ERROR, f"AUTH: Received control message: AUTH_FAILED{kind}{reason}")
    return [line, _ending_of_refusal(message, policy)]


def _ending_of_refusal(message: AuthFailed, policy: AuthPolicy) -> Ending:
    if message.temporary:
        return Ending(
            "auth-temp-failure (server temporary reject)",
            advance=message.advance,
            backoff=message.backoff or 0,
        )
    if policy.token_in_use:
        if policy.password_known:
            return Ending("auth-failure (auth-token)", advance="no")
        return Ending("auth-failure (auth-token)", Then.AGAIN)
    if policy.retry == "interact":
        return Ending("auth-failure", Then.AGAIN)
    if policy.retry == "nointeract":
        return Ending("auth-failure", advance="no")
    return Ending("auth-failure", Then.EXIT)
