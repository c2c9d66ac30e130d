"""Probes between two ovpn6: each answer names exactly one, and nothing else comes of them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError
from ovpn6.model.names import KeyId, MessageId
from ovpn6.protocol import events
from ovpn6.protocol.connection import Connection
from ovpn6.protocol.numbered_probes import (
    ANSWER_SIZE,
    MOST_FLYING,
    Answer,
    FlyingProbes,
    Probe,
    decode_probe,
)
from ovpn6.protocol.packets import ControlPacket, Opcode, decode_control, decode_first_byte
from tests.protocol.sim import Network, Pair, entropy_of
from tests.protocol.test_connection import MODES, connected, wrapped_pair
from tests.protocol.test_probing import answers, settled

NUMBERS = st.integers(0, 2**64 - 1)


def probe_from_client(pair: Pair, probe: int, octets: int) -> bytes:
    datagram = pair.client.numbered_probe(probe, octets, pair.clock.now)
    assert datagram is not None
    assert len(datagram) == octets
    pair.network.send("server", datagram, pair.clock.now)
    return datagram


def probe_from_server(pair: Pair, probe: int, octets: int) -> bytes:
    assert pair.server is not None
    datagram = pair.server.numbered_probe(probe, octets, pair.clock.now)
    assert datagram is not None
    assert len(datagram) == octets
    pair.network.send("client", datagram, pair.clock.now)
    return datagram


def server_of(pair: Pair) -> Connection:
    assert pair.server is not None
    return pair.server


def in_clear(pair: Pair, payload: bytes, key_id: int = 0) -> bytes:
    """A datagram of the server's to the client, in a session without any wrap."""
    packet = ControlPacket(
        Opcode.ACK_V1, KeyId(key_id), server_of(pair).local_session_id, payload=payload
    )
    return packet.header() + packet.body()


def number_in(datagram: bytes) -> int:
    """Of a probe or an answer without any wrap."""
    return decode_probe(decode_control(datagram[:9], datagram[9:]).payload).number


# --- what stands on the wire ----------------------------------------------------------------------


@given(NUMBERS, st.integers(ANSWER_SIZE, 9000))
def test_a_probe_round_trips(number: int, size: int) -> None:
    encoded = Probe(number, size).encode()
    assert len(encoded) == size
    assert decode_probe(encoded) == Probe(number, size)


@given(NUMBERS, st.integers(0, 65_535))
def test_an_answer_round_trips(number: int, octets: int) -> None:
    encoded = Answer(number, octets).encode()
    assert len(encoded) == ANSWER_SIZE
    assert decode_probe(encoded) == Answer(number, octets)


@given(st.binary(max_size=40))
def test_any_payload_is_one_of_them_or_an_error_of_the_peer(payload: bytes) -> None:
    try:
        message = decode_probe(payload)
    except PeerError:
        return
    assert len(message.encode()) == len(payload)
    assert message.encode()[:9] == payload[:9]


@pytest.mark.parametrize(
    "payload",
    [b"", b"\1", b"\1" + bytes(9), b"\2" + bytes(9), b"\2" + bytes(11), b"\0" + bytes(10)],
    ids=["empty", "kind alone", "short probe", "short answer", "long answer", "unknown kind"],
)
def test_what_is_neither_is_refused(payload: bytes) -> None:
    with pytest.raises(PeerError):
        decode_probe(payload)


# --- two connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_of_any_size_is_answered_in_either_direction(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    sizes = (120, 500, 1232, 1452, 8952)
    for probe, octets in enumerate(sizes):
        probe_from_client(pair, probe, octets)
        probe_from_server(pair, 100 + probe, octets)
    pair.pass_time(1)
    assert answers(pair.client_events) == [0, 1, 2, 3, 4]
    assert answers(pair.server_events) == [100, 101, 102, 103, 104]
    assert pair.peer_errors == []


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_costs_one_answer_that_is_no_larger_than_the_smallest_probe(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    before = pair.client.next_deadline(), server_of(pair).next_deadline()
    probe_from_client(pair, 7, 1400)
    pair.pass_time(120)
    [_, (to, answer)] = pair.network.sent
    assert to == "client"
    assert decode_first_byte(answer[0])[0] is Opcode.ACK_V1
    now = pair.clock.now
    assert pair.client.numbered_probe(8, len(answer) - 1, now) is None
    smallest = pair.client.numbered_probe(9, len(answer), now)
    assert smallest is not None
    assert len(smallest) == len(answer)
    assert (pair.client.next_deadline(), server_of(pair).next_deadline()) == before
    assert pair.server_events == []


@pytest.mark.parametrize("mode", MODES)
def test_any_number_of_sizes_at_once_are_told_apart(mode: str) -> None:
    """Where a copy of a message stands for one size at a time."""
    pair = settled(wrapped_pair(mode, Network()))
    pair.network.filter = lambda to, datagram: len(datagram) <= 1400
    sizes = {probe: 1500 - 10 * probe for probe in range(40)}
    for probe, octets in sizes.items():
        probe_from_client(pair, probe, octets)
    pair.pass_time(1)
    assert answers(pair.client_events) == [
        probe for probe, octets in sizes.items() if octets <= 1400
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.2]),
    repeat=st.sampled_from([0.0, 0.4]),
    jitter=st.sampled_from([0.0, 0.4]),
    mode=st.sampled_from(MODES),
    limits=st.tuples(st.integers(150, 1500), st.integers(150, 1500)),
    sizes=st.lists(st.integers(150, 1500), min_size=1, max_size=30),
)
def test_answers_are_of_probes_that_arrived_each_way_and_come_once(
    seed: int,
    loss: float,
    repeat: float,
    jitter: float,
    mode: str,
    limits: tuple[int, int],
    sizes: list[int],
) -> None:
    """Whatever a network loses, repeats and reorders, and with another path each way."""
    pair = settled(wrapped_pair(mode, Network(seed=seed)))
    network = pair.network
    network.loss, network.repeat, network.jitter = loss, repeat, jitter
    there, back = limits
    network.filter = lambda to, datagram: len(datagram) <= (there if to == "server" else back)
    for probe, octets in enumerate(sizes):
        probe_from_client(pair, probe, octets)
        probe_from_server(pair, probe, octets)
        pair.pass_time(0.05)
    pair.pass_time(5)
    for log, limit in ((pair.client_events, there), (pair.server_events, back)):
        answered = answers(log)
        fitting = {probe for probe, octets in enumerate(sizes) if octets <= limit}
        assert len(answered) == len(set(answered))
        assert set(answered) <= fitting
        # An answer is smaller than any path here, so only chance keeps one back.
        if not loss and not jitter:
            assert set(answered) == fitting
    pair.from_client(pair.client.send_message("PUSH_REQUEST", pair.clock.now))
    pair.run(lambda: events.MessageReceived("PUSH_REQUEST") in pair.server_events)


@pytest.mark.parametrize("dynamic", [False, True], ids=["", "dynamic-tls-crypt"])
@pytest.mark.parametrize("mode", MODES)
def test_probes_are_answered_at_every_moment_of_a_renegotiation(mode: str, dynamic: bool) -> None:
    pair = settled(wrapped_pair(mode, Network(delay=0.05)))
    if dynamic:
        pair.client.enable_dynamic_tls_crypt()
        server_of(pair).enable_dynamic_tls_crypt()
    sent = 0
    for key_id in (1, 2):
        pair.from_client(pair.client.renegotiate(pair.clock.now))
        for _ in range(100):
            probe_from_client(pair, sent, 700)
            probe_from_server(pair, sent, 700)
            sent += 1
            pair.pass_time(0.02)
        assert pair.both(events.Acknowledged, key_id)
    pair.pass_time(1)
    assert answers(pair.client_events) == list(range(sent))
    assert answers(pair.server_events) == list(range(sent))
    assert pair.peer_errors == []


def test_a_probe_that_is_lost_is_not_sent_again_and_ends_nothing() -> None:
    pair = settled(Pair(Network()))
    pair.network.filter = lambda to, datagram: False
    before = pair.client.next_deadline()
    probe_from_client(pair, 1, 1400)
    pair.pass_time(200)
    assert len(pair.network.sent) == 1
    assert pair.client.next_deadline() == before
    assert pair.client_events == []


def test_copies_and_numbered_probes_go_side_by_side() -> None:
    """Around the moment in which a client is told that it may number them."""
    pair = settled(wrapped_pair("tls-crypt", Network()))
    copy = pair.client.probe(1, 1300, pair.clock.now)
    assert copy is not None
    pair.network.send("server", copy, pair.clock.now)
    probe_from_client(pair, 2, 1300)
    pair.pass_time(1)
    assert answers(pair.client_events) == [1, 2]


# --- hostile --------------------------------------------------------------------------------------


def test_nobody_is_asked_or_answered_before_the_peer_is_known() -> None:
    pair = Pair()
    pair.start()
    pair.run(lambda: pair.server is not None)
    assert pair.client.numbered_probe(1, 1400, pair.clock.now) is None
    assert server_of(pair).numbered_probe(1, 1400, pair.clock.now) is None
    probe = Probe(7, 100).encode()
    packet = ControlPacket(Opcode.ACK_V1, KeyId(0), pair.client.local_session_id, payload=probe)
    with pytest.raises(PeerError, match="before the peer is known"):
        server_of(pair).receive(packet.header() + packet.body(), pair.clock.now)


def test_an_answer_counts_once() -> None:
    pair = settled(Pair(Network(repeat=1.0)))
    probe_from_client(pair, 1, 1400)
    pair.pass_time(1)
    assert answers(pair.client_events) == [1]
    [answer] = {datagram for to, datagram in pair.network.sent if to == "client"}
    for _ in range(3):
        assert pair.client.receive(answer, pair.clock.now) == []


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "none"])
def test_a_wrap_lets_neither_a_replayed_nor_a_changed_answer_in(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    probe_from_client(pair, 1, 1400)
    pair.pass_time(1)
    [answer] = [datagram for to, datagram in pair.network.sent if to == "client"]
    with pytest.raises(PeerError, match="replay"):
        pair.client.receive(answer, pair.clock.now)
    with pytest.raises(PeerError, match="authentication"):
        pair.client.receive(answer[:-1] + bytes([answer[-1] ^ 1]), pair.clock.now)
    assert answers(pair.client_events) == [1]


def test_an_answer_to_nothing_and_one_to_another_size_change_nothing() -> None:
    pair = settled(Pair(Network()))
    now = pair.clock.now
    number = number_in(probe_from_client(pair, 1, 1400))
    forged = [Answer(number ^ 1 << bit, 1400) for bit in range(64)]
    forged += [Answer(number, octets) for octets in (0, 1399, 1401, 65_535)]
    for answer in forged:
        assert pair.client.receive(in_clear(pair, answer.encode()), now) == []
    pair.pass_time(1)
    assert answers(pair.client_events) == [1]


def test_numbers_cannot_be_told_from_those_before() -> None:
    """They are the core's entropy, all 64 bits of it."""
    pair = settled(Pair())
    numbers = [number_in(probe_from_client(pair, probe, 100)) for probe in range(200)]
    assert len(set(numbers)) == 200
    for bit in range(64):
        ones = sum(number >> bit & 1 for number in numbers)
        assert 50 < ones < 150


def test_answers_that_come_by_the_path_before_count_nothing() -> None:
    pair = settled(Pair())
    probe_from_client(pair, 1, 1400)
    pair.client.forget_probes()
    probe_from_client(pair, 2, 1400)
    pair.pass_time(1)
    assert answers(pair.client_events) == [2]


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_of_probes_is_not_amplified_and_leaves_nothing_behind(mode: str) -> None:
    pair = settled(wrapped_pair(mode, Network()))
    server, now = server_of(pair), pair.clock.now
    smallest = next(
        octets for octets in range(200) if pair.client.numbered_probe(0, octets, now) is not None
    )
    flood = [pair.client.numbered_probe(0, smallest + n % 7, now) for n in range(2000)]
    before = server.next_deadline()
    tracemalloc.start()
    for datagram in flood:
        assert datagram is not None
        [answer] = server.receive(datagram, now)
        assert isinstance(answer, events.Transmit)
        assert len(answer.datagram) == smallest <= len(datagram)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000
    assert server.next_deadline() == before


def test_an_answer_is_never_answered() -> None:
    pair = settled(Pair())
    for octets in (0, 20, 65_535):
        assert pair.client.receive(in_clear(pair, Answer(5, octets).encode()), pair.clock.now) == []


@pytest.mark.parametrize("key_id", [1, 5])
def test_a_probe_under_a_key_id_of_no_negotiation_is_dropped(key_id: int) -> None:
    pair = settled(Pair())
    with pytest.raises(PeerError, match="no negotiation"):
        pair.client.receive(in_clear(pair, Probe(1, 100).encode(), key_id), pair.clock.now)


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=64))
def test_any_payload_gives_a_small_answer_or_none(payload: bytes) -> None:
    pair = _SETTLED
    datagram = in_clear(pair, payload)
    try:
        happened = pair.client.receive(datagram, pair.clock.now)
    except PeerError:
        return
    for event in happened:
        assert isinstance(event, events.Transmit)
        assert len(event.datagram) <= len(datagram)


def test_what_follows_acknowledgements_is_nothing_as_with_openvpn() -> None:
    pair = settled(Pair())
    packet = ControlPacket(
        Opcode.ACK_V1,
        KeyId(0),
        server_of(pair).local_session_id,
        acks=(MessageId(1),),
        remote_session_id=pair.client.local_session_id,
        payload=Probe(1, 100).encode(),
    )
    assert pair.client.receive(packet.header() + packet.body(), pair.clock.now) == []


# --- what is remembered ---------------------------------------------------------------------------


def test_only_the_newest_probes_are_remembered() -> None:
    flying = FlyingProbes(entropy_of(1))
    numbers = [flying.begin(probe, 1400) for probe in range(3 * MOST_FLYING)]
    answered = [flying.answered(Answer(number, 1400)) for number in numbers]
    assert answered[-MOST_FLYING:] == list(range(2 * MOST_FLYING, 3 * MOST_FLYING))
    assert set(answered[:-MOST_FLYING]) == {None}


_SETTLED = connected(Pair())
