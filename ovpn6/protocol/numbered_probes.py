"""Probes of a path's size between two ovpn6: each has a number, and its answer names it. PURE.

Both travel as the payload of a P_ACK_V1 that acknowledges nothing, so the reliability layer has no
part in them, and the wrapper treats them as any control packet. Layout, network order:

    probe     1, number (8), zeros up to the size that is probed, at least two
    answer    2, number (8), octets of the probe's datagram as it arrived (2)

An answer is as long as the shortest probe, so none is ever larger than what asked for it, and to
give one takes no memory. Numbers are random: who has not seen a probe cannot answer it. OpenVPN
reads nothing behind the acknowledgements of a P_ACK_V1; all the same only those who said that they
answer are asked (``IV_NUMBERED_PROBES``; ``docs/decisions/path-mtu-probes.md``).
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.model.errors import PeerError
from ovpn6.model.records import dataclass

NUMBER_SIZE = 8
ANSWER_SIZE = 1 + NUMBER_SIZE + 2
"""Octets of payload of an answer, and of the shortest probe."""
MOST_FLYING = 64
"""Probes whose answers still count; the oldest is forgotten for the next."""

_PROBE, _ANSWER = 1, 2


@dataclass(frozen=True, slots=True)
class Probe:
    """Please answer. ``number`` has 64 bits; ``size`` is that of the payload, in octets."""

    number: int
    size: int

    def encode(self) -> bytes:
        """The payload."""
        return (bytes((_PROBE,)) + self.number.to_bytes(NUMBER_SIZE, "big")).ljust(self.size, b"\0")


@dataclass(frozen=True, slots=True)
class Answer:
    """The probe ``number`` is here, in a datagram of ``octets``."""

    number: int
    octets: int

    def encode(self) -> bytes:
        """The payload."""
        number = self.number.to_bytes(NUMBER_SIZE, "big")
        return bytes((_ANSWER,)) + number + self.octets.to_bytes(2, "big")


def decode_probe(payload: bytes) -> Probe | Answer:
    """What stands in a payload; of a probe's padding only the length counts. Raises ``PeerError``
    for whatever is neither."""
    if len(payload) < ANSWER_SIZE:
        raise PeerError("too short for a probe")
    number = int.from_bytes(payload[1 : 1 + NUMBER_SIZE], "big")
    if payload[0] == _PROBE:
        return Probe(number, len(payload))
    if payload[0] == _ANSWER and len(payload) == ANSWER_SIZE:
        return Answer(number, int.from_bytes(payload[1 + NUMBER_SIZE :], "big"))
    raise PeerError("neither a probe nor the answer to one")


class FlyingProbes:
    """Which probes may still be answered. ``entropy(n)`` gives n random bytes."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._flying: dict[int, tuple[int, int]] = {}

    def begin(self, probe: int, octets: int) -> int:
        """The number that stands for ``probe``, whose datagram has ``octets``."""
        number = int.from_bytes(self._entropy(NUMBER_SIZE), "big")
        self._flying[number] = probe, octets
        if len(self._flying) > MOST_FLYING:
            del self._flying[next(iter(self._flying))]
        return number

    def answered(self, answer: Answer) -> int | None:
        """The probe that arrived whole; None for an answer to nothing, or to less than was sent."""
        probe, octets = self._flying.get(answer.number, (None, 0))
        if probe is None or answer.octets != octets:
            return None
        del self._flying[answer.number]
        return probe

    def forget(self) -> None:
        """Answers to what was sent so far count nothing any more: it took another path."""
        self._flying.clear()
