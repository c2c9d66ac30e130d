"""Which sizes to probe next. PURE. RFC 8899 section 5.3."""

from __future__ import annotations

COMMON = (
    *(1260, 1280, 1300, 1352, 1356, 1400, 1420, 1432, 1440, 1452, 1454, 1460, 1464, 1472, 1480),
    *(1488, 1492, 1496, 1500, 2000, 2304, 4000, 4352, 8000, 8996, 9000),
)
"""Path MTUs met in the field: Ethernet, PPPoE, tunnels over both, NAT64, cellular, jumbo."""

GRANULARITY = 16
"""The search ends when what is known to pass and what is not are at most this far apart."""

VOLLEY = 3
"""Most sizes to begin with at a time: a connection has few messages to probe with."""


def next_sizes(passes: int, fails: int | None, ceiling: int) -> list[int]:
    """Sizes to try at once, largest first, above one that passes and below one that does not.

    ``fails`` is None while nothing has failed. Empty when the search is over: no common size is
    left between the two, and they are at most :data:`GRANULARITY` apart.
    """
    limit = ceiling if fails is None else min(fails - 1, ceiling)
    inside = _common_sizes(passes, limit, ceiling)
    if not inside and limit - passes >= GRANULARITY:
        step = max((limit - passes) // VOLLEY, 1)
        inside = list(range(passes + step, limit + 1, step))[::-1]
    return _spread(inside)


def sizes_between(passes: int, doubtful: int, ceiling: int) -> list[int]:
    """Sizes to try while it is not known yet whether ``doubtful`` passes, largest first."""
    return _spread(_common_sizes(passes, doubtful - 1, ceiling))


def _common_sizes(above: int, limit: int, ceiling: int) -> list[int]:
    """Those above the one and not above the other, largest first; the ceiling is one of them."""
    inside = {size for size in COMMON if above < size <= limit}
    if above < limit == ceiling:
        inside.add(ceiling)
    return sorted(inside, reverse=True)


def _spread(sizes: list[int]) -> list[int]:
    """All of them when they are few, else the two ends and what lies evenly between."""
    last = len(sizes) - 1
    if last < VOLLEY:
        return sizes
    return [sizes[round(i * last / (VOLLEY - 1))] for i in range(VOLLEY)]
