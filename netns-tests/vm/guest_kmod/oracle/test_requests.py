"""Every command with every attribute, good and bad: both modules answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from vm.guest_kmod.oracle.differences import DIFFERENCES, Case
from vm.guest_kmod.oracle.raw import (
    DUMP,
    IFINDEX,
    KEYCONF,
    NESTED,
    PEER,
    Answer,
    about,
    number,
    pack,
)
from vm.guest_kmod.oracle.scene import BOTH, Scene, scene

from ovpn6.datapath.ovpn_netlink.messages import Command

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

_LOOPBACK_INDEX, _NO_INDEX = 1, 99_999
_SHOWN = 50
_V4 = bytes((192, 0, 2, 9))
_V6 = bytes.fromhex("20010db8000000000000000000000001")
_MAPPED = bytes(10) + b"\xff\xff" + _V4
_LINK_LOCAL = bytes.fromhex("fe800000000000000000000000000001")
_MULTICAST = bytes.fromhex("ff020000000000000000000000000001")
_EMBEDDED = bytes(12) + _V4
_VALUES = (
    *(b"", b"\1", b"\0\x50"),
    *(number(value) for value in (0, 1, 2, 5, 7, 8, 77, 86_400, 86_401, 0xFFFFFF, 0x1000000)),
    number(0xFFFFFFFF),
    *(_V4, bytes((127, 0, 0, 1)), bytes((224, 0, 0, 1)), bytes((0, 1, 2, 3)), bytes(8)),
    *(_V6, bytes(16), bytes(15) + b"\1", _MAPPED, _LINK_LOCAL, _MULTICAST, _EMBEDDED),
)
_FEW = (b"", number(0), bytes(8), _V6)

_ID, _REMOTE4, _REMOTE6, _SCOPE, _PORT, _SOCKET, _VPN4, _VPN6, _LOCAL4, _LOCAL6 = (
    *(1, 2, 3, 4, 5, 6, 8, 9, 10, 11),
)
_TALKER = 5
"""A peer that is there all the time."""


def _direction(size: int = 32, tail: int = 8) -> bytes:
    return pack([(1, bytes(size)), (2, bytes(tail))])


_NEW_PEER = {_ID: number(9), _REMOTE6: _V6, _PORT: b"\x13\x88", _VPN6: _V6}
_NEW_KEY = dict(
    enumerate(
        (*(number(value) for value in (_TALKER, 0, 3, 1)), _direction(), _direction()), start=1
    )
)
_GOOD: dict[Command, dict[int, bytes]] = {
    Command.PEER_NEW: _NEW_PEER,
    Command.PEER_SET: {_ID: number(_TALKER)},
    Command.PEER_GET: {_ID: number(_TALKER)},
    Command.PEER_DEL: {_ID: number(_TALKER)},
    Command.KEY_NEW: _NEW_KEY,
    Command.KEY_GET: {1: number(_TALKER), 2: number(0)},
    Command.KEY_SWAP: {1: number(_TALKER)},
    Command.KEY_DEL: {1: number(_TALKER), 2: number(1)},
}
_KEY_DIRECTIONS = (
    *(_direction(size) for size in (0, 1, 16, 24, 31, 33, 256, 257)),
    *(_direction(tail=size) for size in (0, 7, 9)),
    *(b"", pack([(1, bytes(32))]), pack([(2, bytes(8))]), pack([(3, bytes(8))])),
)


def _cases(*, many: bool) -> Iterator[Case]:
    """Keys are the same business on either kind of device."""
    for command in _GOOD:
        of_peers = command.name.startswith("PEER")
        if not of_peers and not many:
            continue
        for attribute in range(27 if of_peers else 8):
            yield Case(command, attribute, None)
            yield from (Case(command, attribute, value) for value in _values(command, attribute))


def _values(command: Command, attribute: int) -> tuple[bytes, ...]:
    if command is Command.KEY_NEW and attribute in (5, 6):
        return _KEY_DIRECTIONS
    if not command.name.startswith("PEER"):
        return tuple(value for value in _VALUES if len(value) <= 4)
    if attribute > _LOCAL6 and attribute not in (13, 14, 24):
        return _FEW
    return _VALUES


def _flagged(command: Command, attributes: dict[int, bytes]) -> list[tuple[int, bytes]]:
    """In order, nests with their flag: without it they are refused."""
    nests = (5, 6) if command is Command.KEY_NEW else ()
    return sorted((n | NESTED if n in nests else n, value) for n, value in attributes.items())


def _add(world: Scene, attributes: dict[int, bytes], *, many: bool) -> Answer:
    wanted = attributes if many else {k: v for k, v in attributes.items() if k != _VPN6}
    pairs = sorted({_SOCKET: number(world.outer.fileno()), **wanted}.items())
    return world.family.ask(Command.PEER_NEW, about(world.kernel.peers.index, PEER, pairs))


def _prepare(world: Scene, *, many: bool) -> None:
    """The peers and keys that requests are about; the same before each."""
    index = world.kernel.peers.index
    for peer in (9, _TALKER):
        world.family.ask(Command.PEER_DEL, about(index, PEER, [(_ID, number(peer))]))
    talker = {_ID: number(_TALKER), _VPN6: _V6[:-1] + b"\5", _REMOTE6: _V6, _PORT: b"\x13\x89"}
    answers = [_add(world, talker, many=many)]
    for slot in (0, 1):
        key = {**_NEW_KEY, 2: number(slot), 3: number(slot)}
        request = about(index, KEYCONF, _flagged(Command.KEY_NEW, key))
        answers.append(world.family.ask(Command.KEY_NEW, request))
    assert all(answer.error == 0 for answer in answers), answers


def _state(world: Scene, command: Command) -> tuple[Answer, ...]:
    """Of the peers, or of the keys of one, by what a request is about."""
    index = world.kernel.peers.index
    if command.name.startswith("KEY"):
        asked = [[(1, number(_TALKER)), (2, number(slot))] for slot in (0, 1)]
        requests = [about(index, KEYCONF, pairs) for pairs in asked]
        return tuple(world.family.ask(Command.KEY_GET, request) for request in requests)
    dump = world.family.ask(Command.PEER_GET, pack([(IFINDEX, number(index))]), DUMP)
    return (replace(dump, said=tuple(sorted(dump.said))),)


def _ask(world: Scene, case: Case, *, many: bool) -> tuple[Answer, ...]:
    """What is answered, and how everything is afterwards."""
    index = world.kernel.peers.index
    good = dict(_GOOD[case.command])
    if case.command is Command.PEER_NEW:
        good[_SOCKET] = number(world.outer.fileno())
        if not many:
            del good[_VPN6]
    if case.value is None:
        good.pop(case.attribute, None)
    else:
        good[case.attribute] = case.value
    nest = PEER if case.command.name.startswith("PEER") else KEYCONF
    request = about(index, nest, _flagged(case.command, good))
    return (world.family.ask(case.command, request), *_state(world, case.command))


def _all_answers(world: Scene, cases: list[Case], *, many: bool) -> Iterator[tuple[Answer, ...]]:
    before: dict[bool, tuple[Answer, ...]] = {}
    for case in cases:
        of_peers = case.command.name.startswith("PEER")
        if of_peers not in before:
            _prepare(world, many=many)
            before[of_peers] = _state(world, case.command)
        answer = _ask(world, case, many=many)
        if answer[1:] != before[of_peers]:
            before.clear()
        yield answer


def test_every_attribute_of_every_command_is_answered_alike() -> None:
    unused = {difference.name for difference in DIFFERENCES}
    wrong = []
    for many in (True, False):
        cases = list(_cases(many=many))
        answers = []
        for name in BOTH:
            with scene(name, many=many) as world:
                answers.append(list(_all_answers(world, cases, many=many)))
        for case, theirs, ours in zip(cases, *answers, strict=True):
            if (case.attribute, case.value) == (0, None):
                assert theirs[0].error == 0, f"what is to be good is not: {case}"
            if theirs == ours:
                continue
            known = [d.name for d in DIFFERENCES if d.applies(case, theirs[0], ours[0])]
            unused -= set(known)
            if not known:
                wrong.append((case, theirs, ours))
        print(f"many={many}: {len(cases)} requests, each to both")
    for case, theirs, ours in wrong[:_SHOWN]:
        print(f"{case}\n  mainline {theirs}\n  ours     {ours}")
    assert not wrong
    assert not unused


@pytest.mark.parametrize("command", _GOOD, ids=lambda command: command.name)
def test_a_wrong_device_is_answered_alike(command: Command) -> None:
    answers = []
    for name in BOTH:
        with scene(name) as world:
            nest = PEER if command.name.startswith("PEER") else KEYCONF
            pairs = _flagged(command, _GOOD[command])
            requests = (
                *(about(index, nest, pairs) for index in (_LOOPBACK_INDEX, _NO_INDEX)),
                *(b"", pack([(IFINDEX, number(world.kernel.peers.index))])),
                pack([(4, b""), (IFINDEX, number(world.kernel.peers.index))]),
            )
            answers.append([world.family.ask(command, request) for request in requests])
    assert answers[0] == answers[1]


def test_dumps_and_unknown_commands_are_answered_alike() -> None:
    answers = []
    for name in BOTH:
        with scene(name, many=True) as world:
            index = pack([(IFINDEX, number(world.kernel.peers.index))])
            empty_nest = pack([(IFINDEX, number(world.kernel.peers.index)), (PEER | 0x8000, b"")])
            found = []
            for request in (b"", index, empty_nest, about(_NO_INDEX, PEER, [])):
                found += [world.family.ask(command, request, DUMP) for command in range(13)]
            found += [world.family.ask(command, index) for command in (0, 5, 9, 11, 12)]
            answers.append(found)
    assert answers[0] == answers[1]
