"""The role loop with a role made of a script: inputs in, actions out, deadlines kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

import pytest

from ovpn6.daemon.inbox import MAX_CONTROL, Inbox
from ovpn6.daemon.loop import RoleLoop
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import (
    Action,
    ControlReceived,
    Finish,
    FloatConflict,
    Input,
    LinkAccepted,
    LinkClosed,
    Log,
    Outcome,
    PeerExited,
    PeerFloated,
    SignalReceived,
    Started,
    Tick,
)
from ovpn6.model.names import Instant, Level, LinkId, PeerId, Signal
from ovpn6.model.status import RoleStatus

PATH = Path(LinkId(1), Endpoint(IPv6Address("2001:db8::9"), 40_000))
END = Finish(Outcome.EXIT, "SIGTERM")
PACKET = ControlReceived(PATH, b"x")


class ScriptedRole:
    """Remembers what happened; ``answer`` decides."""

    def __init__(self, answer: Callable[[Input], list[Action]]) -> None:
        self.answer = answer
        self.happened: list[Input] = []
        self.deadline: Instant | None = None

    def step(self, happened: Input, now: Instant) -> list[Action]:
        self.happened.append(happened)
        return self.answer(happened)

    def next_deadline(self) -> Instant | None:
        return self.deadline

    def status(self) -> RoleStatus:
        return RoleStatus(True, "CONNECTED", (), {})


class Hands:
    """An executor that keeps the actions."""

    def __init__(self) -> None:
        self.done: list[Action] = []

    def execute(self, actions: Iterable[Action]) -> Finish | None:
        for action in actions:
            if isinstance(action, Finish):
                return action
            self.done.append(action)
        return None


def end_on_signal(happened: Input) -> list[Action]:
    return [END] if isinstance(happened, SignalReceived) else []


def play(role: ScriptedRole, *inputs: Input) -> tuple[Finish, Hands, list[str]]:
    """One life, with these inputs waiting from the start."""
    hands, complaints = Hands(), list[str]()

    async def body() -> Finish:
        inbox = Inbox()
        for happened in inputs:
            inbox.put(happened)
        loop = RoleLoop(
            role,
            hands,
            inbox,
            asyncio.get_running_loop().time,
            lambda text, about: complaints.append(f"{about} {text}"),
        )
        return await asyncio.wait_for(loop.run(), 20)

    return asyncio.run(body()), hands, complaints


def test_inputs_come_in_order_until_the_role_finishes() -> None:
    role = ScriptedRole(end_on_signal)
    signal = SignalReceived(Signal.TERM)
    finish, _, _ = play(role, Started("tun0"), PACKET, signal, PACKET)
    assert finish == END
    assert role.happened == [Started("tun0"), PACKET, signal]


def test_actions_are_carried_out_in_order() -> None:
    lines = [Log(Level.INFO, "one"), Log(Level.INFO, "two")]
    role = ScriptedRole(lambda happened: [*lines, END])
    assert play(role, Started("tun0"))[1].done == lines


def test_a_deadline_brings_a_tick() -> None:
    def answer(happened: Input) -> list[Action]:
        if isinstance(happened, Tick):
            return [END]
        role.deadline = Instant(0.0)
        return []

    role = ScriptedRole(answer)
    assert play(role, Started("tun0"))[0] == END
    assert role.happened == [Started("tun0"), Tick()]


def test_a_deadline_in_the_future_is_waited_for() -> None:
    moments: list[float] = []

    def answer(happened: Input) -> list[Action]:
        now = asyncio.get_running_loop().time()
        moments.append(now)
        if isinstance(happened, Tick):
            return [END]
        role.deadline = Instant(now + 0.05)
        return []

    role = ScriptedRole(answer)
    play(role, Started("tun0"))
    assert moments[1] - moments[0] >= 0.05


@pytest.mark.parametrize(
    ("happened", "about"),
    [
        (PACKET, "[2001:db8::9]:40000"),
        (PeerFloated(PeerId(7), PATH), "[2001:db8::9]:40000"),
        (FloatConflict(PeerId(7), PATH, PeerId(8)), "[2001:db8::9]:40000"),
        (LinkAccepted(LinkId(1), LinkId(9), PATH.remote), "[2001:db8::9]:40000"),
        (LinkClosed(LinkId(9), "reset"), "link 9"),
        (PeerExited(PeerId(7)), "peer 7"),
    ],
)
def test_what_a_remote_end_causes_may_break_the_role_but_not_the_daemon(
    happened: Input, about: str
) -> None:
    def answer(taken: Input) -> list[Action]:
        if taken == happened:
            raise IndexError("out of range")
        return end_on_signal(taken)

    finish, _, complaints = play(
        ScriptedRole(answer), Started("tun0"), happened, SignalReceived(Signal.TERM)
    )
    assert finish == END
    assert complaints[0].startswith(f"{about} BUG: IndexError: out of range (")
    assert f"{__file__}:" in complaints[0]


def test_any_other_broken_step_ends_the_daemon() -> None:
    def answer(happened: Input) -> list[Action]:
        raise IndexError("out of range")

    with pytest.raises(IndexError):
        play(ScriptedRole(answer), Started("tun0"))


def test_the_inbox_drops_control_datagrams_when_too_many_wait_but_nothing_else() -> None:
    inbox = Inbox()
    for _ in range(MAX_CONTROL + 3):
        inbox.put(PACKET)
    inbox.put(SignalReceived(Signal.TERM))
    assert inbox.dropped == 3
    taken = 0
    while isinstance(inbox.take(), ControlReceived):
        taken += 1
    assert taken == MAX_CONTROL
    inbox.put(PACKET)
    assert inbox.take() == PACKET
    assert inbox.dropped == 3
