"""Signals between and within lives, and what a life makes of them."""

from __future__ import annotations

import asyncio
import os
import signal

from ovpn6.daemon.signals import Signals
from ovpn6.model.names import Signal


def test_signals_of_the_process_reach_the_listener_by_openvpns_meaning() -> None:
    heard: list[Signal] = []

    async def body() -> None:
        signals = Signals()
        signals.install(asyncio.get_running_loop())
        signals.listen(heard.append)
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2, signal.SIGINT):
            os.kill(os.getpid(), number)
            while len(heard) == 0 or heard[-1].value != signal.Signals(number).name:
                await asyncio.sleep(0)
        assert signals.ending.is_set()

    asyncio.run(asyncio.wait_for(body(), 20))
    assert heard == [Signal.USR1, Signal.HUP, Signal.USR2, Signal.INT]


def test_a_signal_between_two_lives_waits_for_the_next_listener() -> None:
    async def body() -> list[Signal]:
        signals, heard = Signals(), list[Signal]()
        signals.caught(Signal.HUP)
        assert not signals.ending.is_set()
        signals.listen(heard.append)
        signals.ignore()
        signals.caught(Signal.TERM)
        assert signals.ending.is_set()
        assert heard == [Signal.HUP]
        signals.listen(heard.append)
        return heard

    assert asyncio.run(body()) == [Signal.HUP, Signal.TERM]
