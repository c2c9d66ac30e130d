"""Finds the largest packet that comes through, and where what is larger is lost, there or back.

Several sizes go at once, so that a search takes a few round trips; what is lost is sent again.
"""

from __future__ import annotations

from collections.abc import Callable

from ovpn6.doctor.echo import Echo, Outcome
from ovpn6.doctor.facts import Hole, Place, Sweep, Told
from ovpn6.model.addresses import IPAddress
from ovpn6.model.records import dataclass, replace

Send = Callable[[list[int], float], Outcome]

SMALL = 100
LEAST = {6: 1280, 4: 576}
"""Where a search begins."""
COMMON = (1280, 1352, 1400, 1420, 1428, 1452, 1472, 1480, 1492, 1500, 2000, 4000, 9000)
VOLLEY = 8
TRIES = 2
WAIT = 1.0
"""Seconds; what is further away than that is not answered for us."""
HOPS = 16


@dataclass(frozen=True, slots=True)
class _Range:
    """``largest`` was answered, ``lost`` the smallest that was not; ``told`` of it."""

    largest: int
    lost: int | None
    told: Told | None


def sweep(place: Place, target: IPAddress, link: str, link_mtu: int) -> Sweep:
    """Sweep the sizes to ``target``, up to the MTU of the device ``link`` that leads there.

    Inside the tunnel the host's own route MTU is heeded, as everything that is sent there does.
    Raises ``HostError`` when there is no route or no right to send.
    """
    found = Sweep(place, target, link, link_mtu)
    with Echo(target, heed_path=place is Place.INNER) as echo:
        if not _again(echo.volley, [SMALL]).answered:
            return found
        whole = search(lambda sizes, wait: echo.volley(sizes, wait), target.version, link_mtu)
        found = replace(found, largest=whole.largest, lost=whole.lost, told=whole.told)
        if place is Place.OUTER:
            found = replace(found, fragments=_fragments(echo, whole.largest))
        if whole.lost is None or whole.told is not None:
            return found
        if found.fragments:
            pieces = search(
                lambda sizes, wait: echo.volley(sizes, wait, pieces=True), target.version, link_mtu
            )
            found = replace(found, back=pieces.largest)
        return replace(found, hole=_hole(echo, whole.lost))


def search(send: Send, version: int, most: int) -> _Range:
    """The border between what is answered and what is not, at most ``most`` octets."""
    passes = SMALL
    lost: int | None = None
    told: dict[int, Told] = {}
    sizes = sorted({size for size in COMMON if LEAST[version] <= size < most} | {most})
    while sizes:
        seen = _again(send, sizes)
        told |= seen.told
        passes = max([passes, *seen.answered])
        failed = [size for size in sizes if size not in seen.answered and size > passes]
        lost = min(failed, default=lost)
        sizes = _between(passes, lost)
    return _Range(passes, lost, told.get(lost) if lost is not None else None)


def _between(passes: int, lost: int | None) -> list[int]:
    """Up to :data:`VOLLEY` sizes in the gap, none when there is no gap."""
    if lost is None or lost - passes <= 1:
        return []
    step = max((lost - passes) // (VOLLEY + 1), 1)
    return list(range(passes + step, lost, step))[:VOLLEY]


def _again(send: Send, sizes: list[int]) -> Outcome:
    """All of what tries bring; only what was not decided is sent again."""
    found = Outcome()
    for _ in range(TRIES):
        left = [size for size in sizes if size not in found.answered and size not in found.told]
        if not left:
            break
        seen = send(left, WAIT)
        found.answered |= seen.answered
        found.told |= seen.told
    return found


def _fragments(echo: Echo, largest: int) -> bool:
    """Whether a request of a size that passes is answered when it goes in two pieces."""
    size = min(largest, 1280)
    seen = _again(lambda sizes, wait: echo.volley(sizes, wait, pieces=True), [size])
    return size in seen.answered


def _hole(echo: Echo, lost: int) -> Hole | None:
    """The last router that a packet of ``lost`` octets comes to, and the next one of small ones."""
    small = echo.trail(SMALL, HOPS, WAIT)
    large = echo.trail(lost, HOPS, WAIT)
    reached = max(large.expired, default=0)
    further = [hop for hop in small.expired if hop > reached]
    end = min(small.answered, default=0)
    if not reached and not further:
        return None
    beyond = small.expired[min(further)] if further else (echo.target if end else None)
    return Hole(large.expired.get(reached), beyond)
