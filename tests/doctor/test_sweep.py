"""The search for the largest size, against paths that are simulated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.doctor.echo import Outcome
from ovpn6.doctor.facts import Told
from ovpn6.doctor.sweep import search

MOST_VOLLEYS = 12


class Way:
    """Passes up to ``path``; says so where it is not ``silent``; loses each ``nth`` first try."""

    def __init__(self, path: int, *, silent: bool = True, lossy: bool = False) -> None:
        self.path, self.silent, self.lossy = path, silent, lossy
        self.tried: set[int] = set()
        self.volleys = 0

    def send(self, sizes: list[int], wait: float) -> Outcome:
        found = Outcome()
        self.volleys += 1
        for size in sizes:
            first = size not in self.tried
            self.tried.add(size)
            if self.lossy and first:
                continue
            if size <= self.path:
                found.answered.add(size)
            elif not self.silent:
                found.told[size] = Told(None, self.path)
        return found


@given(st.integers(1280, 9000), st.integers(1280, 9000), st.booleans(), st.booleans())
def test_the_border_is_found_to_the_octet_in_a_few_volleys(
    path: int, link: int, silent: bool, lossy: bool
) -> None:
    way = Way(path, silent=silent, lossy=lossy)
    found = search(way.send, 6, link)
    assert found.largest == min(path, link)
    assert found.lost == (path + 1 if path < link else None)
    assert (found.told is not None) == (path < link and not silent)
    assert way.volleys <= MOST_VOLLEYS


def test_a_path_below_the_usual_least_is_found_too() -> None:
    found = search(Way(700).send, 4, 1500)
    assert (found.largest, found.lost) == (700, 701)
