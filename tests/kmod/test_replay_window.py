"""The module's replay window beside the Python reference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError
from ovpn6.model.names import PacketId
from ovpn6.protocol.data_channel import ReplayWindow
from tests.kmod.pure_files import accept, replay_window

WINDOW = 2048
FOREVER = 1 << 60

near = st.lists(
    st.one_of(st.integers(0, 70), st.integers(1, 5000), st.integers(0, 0xFFFFFFFF)), max_size=200
)
steps = st.lists(
    st.one_of(st.integers(-70, 70), st.integers(-2100, 2100), st.integers(-9000, 9000)),
    max_size=200,
)


def takes(window: ReplayWindow, packet_id: int) -> bool:
    try:
        window.accept(PacketId(packet_id))
    except PeerError:
        return False
    return True


@given(near)
def test_any_ids_are_taken_as_the_reference_takes_them(ids: list[int]) -> None:
    reference = ReplayWindow(WINDOW, 0)
    with replay_window() as window:
        for number in ids:
            assert accept(window, number, 0, FOREVER) == takes(reference, number), number


@given(st.integers(1, 0xFFFFFFFF), steps)
def test_a_walk_around_the_highest_is_taken_as_the_reference_takes_it(
    start: int, walk: list[int]
) -> None:
    reference, number = ReplayWindow(WINDOW, 0), start
    with replay_window() as window:
        for step in walk:
            number = max(0, number + step)
            assert accept(window, number, 0, FOREVER) == takes(reference, number), number


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), max_size=100))
def test_a_late_packet_is_refused_between_patience_and_four_times_that(
    packets: list[tuple[int, int]],
) -> None:
    patience, now = 30, 1000
    seen: set[int] = set()
    overtaken: dict[int, int] = {}
    with replay_window() as window:
        for wait, number in packets:
            now += wait
            taken = accept(window, number, now, patience)
            late = now - overtaken.get(number, now)
            if number in seen or late > 4 * patience:
                assert not taken
            elif late < patience:
                assert taken
            if taken:
                seen.add(number)
                overtaken |= {n: now for n in range(number) if n not in overtaken}


def test_the_last_id_of_all_is_taken_once() -> None:
    with replay_window() as window:
        assert accept(window, 0xFFFFFFFF, 0, FOREVER)
        assert not accept(window, 0xFFFFFFFF, 0, FOREVER)
        assert accept(window, 0xFFFFFFFF - WINDOW + 1, 0, FOREVER)
        assert not accept(window, 0xFFFFFFFF - WINDOW, 0, FOREVER)
