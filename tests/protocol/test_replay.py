"""Replay ids: what is accepted once, out of order, late, and over TCP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant
from ovpn6.protocol.replay import (
    REPLAY_SECONDS,
    REPLAY_WINDOW,
    ReplayFilter,
    ReplayId,
    ReplaySender,
    decode_replay_id,
)

START = Instant(1000.0)
TIME = 1_700_000_000


def accepts(
    replay_filter: ReplayFilter, counter: int, now: float = START, time: int = TIME
) -> bool:
    try:
        replay_filter.accept(ReplayId(counter, time), Instant(now))
    except PeerError:
        return False
    return True


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_an_id_is_eight_bytes_counter_first(counter: int, time: int) -> None:
    replay_id = ReplayId(counter, time)
    assert replay_id.encode() == counter.to_bytes(4, "big") + time.to_bytes(4, "big")
    assert decode_replay_id(replay_id.encode()) == replay_id


@given(st.binary(max_size=20).filter(lambda data: len(data) != 8))
def test_an_id_of_another_size_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_replay_id(data)


def test_a_sender_counts_under_the_time_of_its_first_packet() -> None:
    sender = ReplaySender(wall_offset=TIME - 1000.0, first_id=2)
    taken = [sender.take(Instant(1000.0 + step)) for step in range(3)]
    assert taken == [ReplayId(2, TIME), ReplayId(3, TIME), ReplayId(4, TIME)]


def test_a_sender_rolls_over_only_into_a_later_second() -> None:
    sender = ReplaySender(wall_offset=0.0, first_id=2**32 - 1)
    assert sender.take(START) == ReplayId(2**32 - 1, 1000)
    with pytest.raises(UsageError):
        sender.take(START)
    assert sender.take(Instant(1001.0)) == ReplayId(1, 1001)
    assert sender.take(Instant(1002.0)) == ReplayId(2, 1001)


@pytest.mark.parametrize("first_id", [0, -1, 2**32])
def test_a_sender_cannot_begin_outside_the_counter(first_id: int) -> None:
    with pytest.raises(UsageError):
        ReplaySender(wall_offset=0.0, first_id=first_id)


@pytest.mark.parametrize("strict_order", [False, True])
def test_id_zero_is_never_valid(strict_order: bool) -> None:
    assert not accepts(ReplayFilter(strict_order=strict_order), 0)


@pytest.mark.parametrize("strict_order", [False, True])
@pytest.mark.parametrize("first", [1, 2, 0x0F000001, 2**32 - 1])
def test_a_series_may_begin_anywhere(first: int, strict_order: bool) -> None:
    replay_filter = ReplayFilter(strict_order=strict_order)
    assert accepts(replay_filter, first)
    assert not accepts(replay_filter, first)


@given(st.lists(st.integers(1, 200), max_size=120))
def test_the_window_agrees_with_a_plain_set(counters: list[int]) -> None:
    replay_filter = ReplayFilter(strict_order=False)
    seen: set[int] = set()
    for counter in counters:
        fresh = counter not in seen and counter > max(seen, default=0) - REPLAY_WINDOW
        assert accepts(replay_filter, counter) == fresh
        if fresh:
            seen.add(counter)


def test_the_window_is_64_ids() -> None:
    replay_filter = ReplayFilter(strict_order=False)
    assert accepts(replay_filter, 100)
    assert accepts(replay_filter, 37)
    assert not accepts(replay_filter, 36)


def test_a_refused_id_changes_nothing() -> None:
    replay_filter = ReplayFilter(strict_order=False)
    assert accepts(replay_filter, 100)
    assert not accepts(replay_filter, 36)
    assert not accepts(replay_filter, 500, time=TIME - 1)
    assert accepts(replay_filter, 37)
    assert accepts(replay_filter, 101)


def test_a_packet_15_seconds_behind_a_later_one_is_refused() -> None:
    replay_filter = ReplayFilter(strict_order=False)
    assert accepts(replay_filter, 10, now=START)
    assert accepts(replay_filter, 12, now=START + 5)
    assert accepts(replay_filter, 9, now=START + REPLAY_SECONDS)
    assert not accepts(replay_filter, 8, now=START + REPLAY_SECONDS + 1)
    assert accepts(replay_filter, 11, now=START + REPLAY_SECONDS + 1)
    assert accepts(replay_filter, 13, now=START + 1000)


def test_a_later_time_begins_a_new_series_and_ends_the_old() -> None:
    replay_filter = ReplayFilter(strict_order=False)
    assert accepts(replay_filter, 50)
    assert accepts(replay_filter, 1, time=TIME + 1)
    assert not accepts(replay_filter, 51, time=TIME)
    assert accepts(replay_filter, 2, time=TIME + 1)
    assert accepts(replay_filter, 50, time=TIME + 1)


def test_strict_order_takes_the_next_id_only() -> None:
    replay_filter = ReplayFilter(strict_order=True)
    assert accepts(replay_filter, 5)
    assert not accepts(replay_filter, 4)
    assert not accepts(replay_filter, 7)
    assert accepts(replay_filter, 6)
    assert accepts(replay_filter, 7)


def test_strict_order_across_a_later_time_goes_on_or_begins_at_one() -> None:
    replay_filter = ReplayFilter(strict_order=True)
    assert accepts(replay_filter, 1)
    assert not accepts(replay_filter, 3, time=TIME + 1)
    assert accepts(replay_filter, 2, time=TIME + 1)
    assert accepts(replay_filter, 1, time=TIME + 2)
    assert not accepts(replay_filter, 3, time=TIME + 1)
