"""Control messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import UsageError
from ovpn6.protocol import messages
from ovpn6.protocol.messages import (
    AuthFailed,
    AuthPending,
    CrResponse,
    Exit,
    Halt,
    Info,
    PushReply,
    PushRequest,
    Restart,
    Unknown,
    parse_message,
    push_replies,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PUSH_REQUEST", PushRequest()),
        ("PUSH_REPLY,route-ipv6 ::/0,ping 10", PushReply(("route-ipv6 ::/0", "ping 10"), False)),
        ("PUSH_REPLY,ping 10,push-continuation 2", PushReply(("ping 10",), True)),
        ("PUSH_REPLY,ping 10,push-continuation 1", PushReply(("ping 10",), False)),
        ("PUSH_REPLY", PushReply((), False)),
        ("AUTH_FAILED", AuthFailed()),
        ("AUTH_FAILED,bad password", AuthFailed("bad password")),
        ("AUTH_FAILED,SESSION: token expired", AuthFailed("SESSION: token expired")),
        (
            "AUTH_FAILED,TEMP[backoff 42,advance no]: come back",
            AuthFailed("come back", True, 42, "no"),
        ),
        ("AUTH_FAILED,TEMP", AuthFailed("", True)),
        ("AUTH_FAILED,TEMP:busy", AuthFailed("busy", True)),
        ("AUTH_FAILED,TEMP[backoff x,advance up]:busy", AuthFailed("busy", True)),
        ("AUTH_PENDING,timeout 30", AuthPending(30, "timeout 30")),
        ("RESTART", Restart(False, False, "")),
        ("RESTART,[N]", Restart(True, False, "[N]")),
        ("RESTART,[NP]please", Restart(True, True, "[NP]please")),
        ("HALT,closing", Halt("closing")),
        ("EXIT", Exit()),
        ("INFO,hello", Info("hello", early=False)),
        ("INFO_PRE,WEB_AUTH::x", Info("WEB_AUTH::x", early=True)),
        ("CR_RESPONSE,SGk=", CrResponse("SGk=")),
        ("PUSH_UPDATE,ping 1", Unknown("PUSH_UPDATE,ping 1")),
    ],
)
def test_each_message_is_understood(text: str, message: messages.Message) -> None:
    assert parse_message(text) == message


@given(st.text())
def test_any_text_is_some_message(text: str) -> None:
    assert isinstance(parse_message(text), messages.Message)


options = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=200)


@given(st.lists(options, max_size=60))
def test_bundles_carry_every_option_once_in_order_and_fit(pushed: list[str]) -> None:
    bundles = push_replies(pushed)
    replies = [parse_message(bundle) for bundle in bundles]
    assert all(len(bundle) < messages.PUSH_BUNDLE_SIZE for bundle in bundles)
    assert [option for reply in replies for option in reply.options] == pushed
    assert [reply.continues for reply in replies] == [True] * (len(replies) - 1) + [False]


@pytest.mark.parametrize("option", ["a,b", "x" * 940, "line\nbreak"])
def test_option_that_cannot_be_pushed_is_our_own_mistake(option: str) -> None:
    with pytest.raises(UsageError):
        push_replies([option])


def test_temporary_refusal_reads_back() -> None:
    text = messages.auth_failed_temporarily("server full", backoff=7, advance="remote")
    assert parse_message(text) == AuthFailed("server full", True, 7, "remote")
