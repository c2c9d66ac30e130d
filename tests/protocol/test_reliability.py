"""Windows, resending and acknowledgements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError
from ovpn6.model.names import Instant, MessageId
from ovpn6.protocol.packets import Opcode
from ovpn6.protocol.reliability import RECEIVE_WINDOW, AckQueue, ReceiveWindow, SendWindow


def ids(*values: int) -> tuple[MessageId, ...]:
    return tuple(MessageId(value) for value in values)


def window_of(count: int) -> SendWindow:
    window = SendWindow(2.0)
    for _ in range(count):
        window.queue(Opcode.CONTROL_V1, b"", Instant(0))
    return window


def test_timeout_doubles_with_each_resend() -> None:
    window = window_of(1)
    moments = []
    now = 0.0
    while now < 100:
        if window.take_due(Instant(now)):
            moments.append(now)
        now += 1
    assert moments == [0, 2, 6, 14, 30, 62]


def test_window_closes_at_six_and_a_lost_oldest_holds_it_closed() -> None:
    window = window_of(6)
    assert window.free == 0
    window.acknowledge(ids(1, 2, 3, 4, 5))
    assert window.free == 0
    window.acknowledge(ids(0))
    assert window.free == 6
    assert window.empty


def test_three_later_acknowledgements_resend_at_once() -> None:
    window = window_of(5)
    window.take_due(Instant(0))
    window.acknowledge(ids(1, 2))
    assert window.take_due(Instant(0.1)) == []
    window.acknowledge(ids(3))
    assert [packet.message_id for packet in window.take_due(Instant(0.1))] == [0]


def test_acknowledging_the_unknown_changes_nothing() -> None:
    window = window_of(2)
    assert not window.acknowledge(ids(7, 99))
    assert window.acknowledge(ids(0))
    assert not window.acknowledge(ids(0))


@given(st.permutations(range(RECEIVE_WINDOW)), st.lists(st.integers(0, RECEIVE_WINDOW - 1)))
def test_packets_come_out_once_and_in_order(order: list[int], repeats: list[int]) -> None:
    window = ReceiveWindow()
    out: list[int] = []
    for message_id in [*order, *repeats]:
        window.accept(MessageId(message_id), bytes([message_id]))
        out += [number for number, _ in window.take()]
    assert out == list(range(RECEIVE_WINDOW))


def test_id_past_the_window_is_refused() -> None:
    window = ReceiveWindow()
    window.accept(MessageId(RECEIVE_WINDOW - 1), b"")
    with pytest.raises(PeerError):
        window.accept(MessageId(RECEIVE_WINDOW), b"")


def test_recent_acknowledgements_fill_the_packet_again() -> None:
    acks = AckQueue()
    for number in range(6):
        acks.add(MessageId(number))
    assert acks.take(4) == (0, 1, 2, 3)
    assert acks.take(4) == (4, 5, 3, 2)
    assert not acks.owed
    assert acks.take(8)[:2] == (5, 4)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=500))
def test_a_peer_cannot_make_us_owe_without_bound(numbers: list[int]) -> None:
    acks = AckQueue()
    for number in numbers:
        acks.add(MessageId(number))
    taken = 0
    while acks.owed:
        acks.take(8)
        taken += 1
    assert taken <= 3
