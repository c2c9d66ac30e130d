"""Probes of a path's size: which message stands for which, and what an answer proves."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovpn6.model.names import Instant, MessageId
from ovpn6.protocol import events
from ovpn6.protocol.packets import Opcode, decode_first_byte
from ovpn6.protocol.probing import LINGER, AckOrder, ProbeIds
from tests.protocol.sim import Network, Pair
from tests.protocol.test_connection import MODES, connected, wrapped_pair

NOW = Instant(50.0)
IDS = [MessageId(number) for number in (1, 2, 3)]
NEWEST_FIRST = AckOrder()
NEWEST_FIRST.learn(IDS, IDS[:1])


def answers(log: list[events.Event]) -> list[int]:
    return [event.probe for event in log if isinstance(event, events.ProbeAnswered)]


def send_from_client(pair: Pair, probe: int, octets: int) -> bytes:
    datagram = pair.client.probe(probe, octets, pair.clock.now)
    assert datagram is not None
    assert len(datagram) == octets
    pair.network.send("server", datagram, pair.clock.now)
    return datagram


def settled(pair: Pair) -> Pair:
    """Connected, with everything that was under way arrived."""
    connected(pair).pass_time(5)
    pair.client_events.clear()
    pair.server_events.clear()
    pair.peer_errors.clear()
    pair.network.sent.clear()
    return pair


# --- two connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_of_any_size_is_answered_in_either_direction(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    for probe, octets in enumerate((120, 500, 1232, 1452, 8952)):
        send_from_client(pair, probe, octets)
        pair.pass_time(0.1)
        assert pair.server is not None
        datagram = pair.server.probe(100 + probe, octets, pair.clock.now)
        assert datagram is not None
        assert len(datagram) == octets
        pair.network.send("client", datagram, pair.clock.now)
        pair.pass_time(0.1)
    assert answers(pair.client_events) == [0, 1, 2, 3, 4]
    assert answers(pair.server_events) == [100, 101, 102, 103, 104]
    assert pair.peer_errors == []


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_costs_one_small_acknowledgement_and_no_resend(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    send_from_client(pair, 7, 1400)
    pair.pass_time(120)
    [(_, _), (to, answer)] = pair.network.sent
    assert to == "client"
    assert decode_first_byte(answer[0])[0] is Opcode.ACK_V1
    assert len(answer) < 150
    assert pair.server_events == []


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "none"])
def test_each_probe_has_a_replay_id_of_its_own(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    sent = {send_from_client(pair, probe, 400) for probe in range(3)}
    assert len(sent) == 3
    pair.pass_time(1)
    assert answers(pair.client_events) == [0, 1, 2]
    assert pair.peer_errors == []


def test_probes_at_once_are_told_apart() -> None:
    pair = settled(Pair())
    sizes = {1: 1492, 2: 1400}
    pair.network.filter = lambda to, datagram: len(datagram) <= 1400
    for probe, octets in sizes.items():
        send_from_client(pair, probe, octets)
    pair.pass_time(1)
    assert answers(pair.client_events) == [2]


def test_a_probe_that_is_lost_is_not_sent_again_by_us() -> None:
    pair = settled(Pair(Network()))
    pair.network.filter = lambda to, datagram: False
    send_from_client(pair, 1, 1400)
    before = pair.client.next_deadline()
    pair.pass_time(200)
    assert len(pair.network.sent) == 1
    assert pair.client.next_deadline() == before


def test_nothing_is_probed_before_the_handshake_is_acknowledged_and_while_keys_change() -> None:
    pair = Pair()
    pair.start()
    assert pair.client.probe(1, 1400, pair.clock.now) is None
    pair.run(lambda: pair.both(events.Acknowledged))
    pair.pass_time(5)
    send_from_client(pair, 1, 1400)
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    assert pair.client.probe(2, 1400, pair.clock.now) is None
    pair.run(lambda: pair.both(events.Acknowledged, 1))
    pair.pass_time(2)
    send_from_client(pair, 3, 1400)
    pair.pass_time(1)
    assert answers(pair.client_events)[-1] == 3


def test_a_size_that_cannot_hold_a_packet_is_not_probed() -> None:
    pair = settled(Pair())
    assert pair.client.probe(1, 10, pair.clock.now) is None


def test_messages_after_probes_arrive_as_ever() -> None:
    pair = settled(wrapped_pair("tls-crypt", Network()))
    for probe in range(40):
        if pair.client.probe(probe, 1300, pair.clock.now) is not None:
            send_from_client(pair, probe, 1300)
        pair.pass_time(0.3)
    pair.from_client(pair.client.send_message("PUSH_REQUEST", pair.clock.now))
    pair.pass_time(1)
    [heard] = [e for e in pair.server_events if isinstance(e, events.MessageReceived)]
    assert heard.text == "PUSH_REQUEST"


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.2]),
    repeat=st.sampled_from([0.0, 0.3]),
    jitter=st.sampled_from([0.0, 0.4]),
    mode=st.sampled_from([mode for mode in MODES if mode != "none"]),
    limit=st.integers(600, 1500),
    sizes=st.lists(st.integers(500, 1500), min_size=1, max_size=30),
)
def test_no_answer_ever_stands_for_more_than_arrived(
    seed: int, loss: float, repeat: float, jitter: float, mode: str, limit: int, sizes: list[int]
) -> None:
    """With any wrap: there replay ids drop what a network repeats."""
    pair = settled(wrapped_pair(mode, Network()))
    pair.network.loss, pair.network.repeat, pair.network.jitter = loss, repeat, jitter
    arrived: set[int] = set()
    probed: dict[int, int] = {}

    def passes(to: str, datagram: bytes) -> bool:
        return to == "client" or len(datagram) <= limit

    pair.network.filter = passes
    for probe, octets in enumerate(sizes):
        datagram = pair.client.probe(probe, octets, pair.clock.now)
        if datagram is not None:
            probed[probe] = octets
            pair.network.send("server", datagram, pair.clock.now)
            if octets <= limit:
                arrived.add(octets)
        pair.pass_time(0.2)
    pair.pass_time(5)
    assert all(probed[probe] <= limit for probe in answers(pair.client_events))
    if not (loss or repeat or jitter):
        proven = max((probed[probe] for probe in answers(pair.client_events)), default=0)
        assert proven == max(arrived & set(probed.values()), default=0)


# --- which message stands for which probe -------------------------------------------------------


def test_the_message_acknowledged_last_stands_for_no_probe() -> None:
    ids = ProbeIds()
    assert ids.choose(1, 1400, IDS, NOW) == 1
    assert ids.answered(IDS[:1], NEWEST_FIRST) == 1
    assert ids.choose(2, 1400, [IDS[0]], NOW) is None
    assert ids.answered([IDS[1]], NEWEST_FIRST) is None
    assert ids.choose(3, 1400, [IDS[0]], NOW) == 1


def test_an_acknowledgement_proves_the_smallest_probe_that_it_may_answer() -> None:
    ids = ProbeIds()
    assert ids.choose(1, 1500, IDS[:1], NOW) == 1
    assert ids.choose(2, 1300, IDS[:1], NOW) == 1
    assert ids.answered(IDS[:1], NEWEST_FIRST) == 2


def test_a_message_does_not_stand_for_a_larger_probe_before_its_answers_are_overdue() -> None:
    ids = ProbeIds()
    assert ids.choose(1, 1300, IDS[:1], NOW) == 1
    assert ids.choose(2, 1500, IDS[:1], Instant(NOW + LINGER - 0.1)) is None
    assert ids.choose(3, 1500, IDS[:1], Instant(NOW + LINGER)) == 1


def test_a_probe_sent_again_repeats_its_message_and_leaves_the_others() -> None:
    ids = ProbeIds()
    assert [ids.choose(n, size, IDS, NOW) for n, size in ((1, 1500), (2, 1400))] == [1, 2]
    assert [ids.choose(n, size, IDS, NOW) for n, size in ((3, 1500), (4, 1400))] == [1, 2]
    assert ids.choose(5, 1350, IDS, NOW) == 3


def test_memory_for_probes_is_bounded() -> None:
    ids = ProbeIds()
    chosen = [ids.choose(number, 1400, IDS[:1], NOW) for number in range(100)]
    assert 0 < sum(1 for each in chosen if each is not None) < 20


# --- which of a peer's acknowledgements is the newest -------------------------------------------


@pytest.mark.parametrize(
    ("acks", "expected", "later", "newest"),
    [
        ((3, 2, 1), {3}, (1, 3, 2), 1),
        ((1, 2, 3), {3}, (3, 2, 1), 1),
        ((1, 2, 3), {3}, (2,), 2),
        ((3,), {3}, (2,), 2),
    ],
    ids=["first, OpenVPN 2", "last, OpenVPN 3", "alone", "alone twice"],
)
def test_the_newest_acknowledgement_is_where_the_peer_had_it_before(
    acks: tuple[int, ...], expected: set[int], later: tuple[int, ...], newest: int
) -> None:
    order = AckOrder()
    order.learn([MessageId(one) for one in acks], {MessageId(one) for one in expected})
    assert order.newest([MessageId(one) for one in later]) == newest


@pytest.mark.parametrize(
    ("acks", "expected"),
    [((), {1}), ((3, 2, 1), set()), ((3, 2, 1), {3, 1}), ((3, 2, 1), {2}), ((3, 2, 1), {3, 2})],
)
def test_what_is_ambiguous_teaches_nothing(acks: tuple[int, ...], expected: set[int]) -> None:
    order = AckOrder()
    order.learn([MessageId(one) for one in acks], {MessageId(one) for one in expected})
    assert order.newest(IDS) is None
    ids = ProbeIds()
    assert ids.choose(1, 1400, IDS[2:], NOW) == 3
    assert ids.answered([IDS[0], IDS[1]], order) is None
    assert ids.answered(IDS, order) == 1


def test_what_was_learned_stays() -> None:
    order = AckOrder()
    order.learn(IDS, IDS[:1])
    order.learn(IDS, IDS[2:])
    assert order.newest(IDS) == IDS[0]
