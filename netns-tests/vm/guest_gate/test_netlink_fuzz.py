"""Requests of every kind, lawful and not, from several threads at once."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from vm.guest_gate.ends import NAME, SECONDS, SEED, Pair, device, turns, udp
from vm.guest_gate.grammar import Grammar, Surroundings, contract

from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.lab import Lab
from ovpn6.netlink.conversation import GENERIC, Conversation

pytestmark = pytest.mark.root

_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")
_REQUEST, _ACK, _DUMP = 0x01, 0x04, 0x300
_ERROR, _DONE = 2, 3
_NAMES = {number: name for name, number in contract.COMMANDS.items()}
SEEDS = (2 * SEED + 1, 2 * SEED + 2)


class Fuzzer:
    """One thread with a netlink socket of its own. ``seen`` counts (command, errno)."""

    def __init__(self, seed: int, families: list[int], surroundings: Surroundings) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        self.drawn = 0
        self._families = families
        self._dice = random.Random(-seed)
        self._grammar = Grammar(seed, surroundings)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
        self._socket.bind((0, 0))
        self._socket.settimeout(60)

    def run(self, seconds: float) -> None:
        with self._socket:
            for turn in turns(seconds):
                self._ask(turn + 1)

    def _ask(self, sequence: int) -> None:
        message = self._grammar.draw()
        flags = _REQUEST | _ACK | (_DUMP if message.is_dump else 0)
        length = _HEADER.size + len(message.payload)
        kind = self._dice.choice(self._families)
        self._socket.send(_HEADER.pack(length, kind, flags, sequence, 0) + message.payload)
        self.drawn += 1
        name = _NAMES.get(message.command, "none")
        self.seen[name, self._answer(sequence)] += 1

    def _answer(self, sequence: int) -> int:
        """Everything up to the end of the answer to one request; the error, 0 for success."""
        while True:
            data, at = self._socket.recv(1 << 16), 0
            while at < len(data):
                length, kind, _, number, _ = _HEADER.unpack_from(data, at)
                assert length >= _HEADER.size
                if number == sequence and kind in (_ERROR, _DONE):
                    (code,) = _CODE.unpack_from(data, at + _HEADER.size)
                    return -int(code)
                at += length + 3 & ~3


@pytest.fixture
def around() -> Iterator[tuple[list[int], Surroundings]]:
    """Devices of both kinds and both names, one that is not ours, one that is not there; sockets
    and what is none."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        for_pair = stack.enter_context(contextlib.closing(Pair(lab)))
        devices: list[Kernel] = []
        for number, (many, kind) in enumerate(
            ((True, NAME), (True, NAME), (True, NAME), (False, NAME), (True, "ovpn"))
        ):
            made = device(f"fuzz{number}", None, many=many, kind=kind)
            devices.append(stack.enter_context(contextlib.closing(made)))
        there = [stack.enter_context(udp()) for _ in range(6)]
        plain = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stream = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        raw = stack.enter_context(
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
        )
        local = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        file = os.open("/dev/null", os.O_RDWR)
        stack.callback(os.close, file)
        odd = [one.fileno() for one in (plain, stream, raw, local, for_pair.server_outer)]
        talk = stack.enter_context(contextlib.closing(Conversation(GENERIC)))
        # Mostly the family that most of the devices are of.
        families = [find_family(talk, name) for name in (*[NAME] * 9, "ovpn")]
        loopback, nowhere = socket.if_nametoindex("lo"), 0x7FFFFFFF
        indexes = [made.device.index for made in devices]
        yield (
            [family.number for family in families if family],
            Surroundings(
                [*indexes * 3, loopback, nowhere],
                [*(one.fileno() for one in there)] * 3 + [*odd, file, 999999, -1 & 0xFFFFFFFF],
            ),
        )


@pytest.mark.timeout(SECONDS + 600)
def test_no_request_hurts(around: tuple[list[int], Surroundings]) -> None:
    families, surroundings = around
    fuzzers = [Fuzzer(seed, families, surroundings) for seed in SEEDS]
    threads = [threading.Thread(target=fuzzer.run, args=(SECONDS,)) for fuzzer in fuzzers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = sum((fuzzer.seen for fuzzer in fuzzers), Counter())
    print(f"{sum(fuzzer.drawn for fuzzer in fuzzers)} requests")
    for (name, error), count in sorted(seen.items()):
        print(f"{name:12} {os.strerror(error) if error else 'served':40} {count}")
    # Neither is a fuzzer that gets nowhere.
    unserved = [name for name in (*contract.REQUESTS, *contract.DUMPS) if not seen[name, 0]]
    assert not unserved
