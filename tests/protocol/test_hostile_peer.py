"""What a peer can make a connection hold or do, before and after it is authenticated."""

from __future__ import annotations

import tracemalloc

import pytest

from ovpn6.model.errors import PeerError
from ovpn6.model.names import KeyId, MessageId, SessionId
from ovpn6.protocol import events
from ovpn6.protocol.connection import RENEGOTIATION_PAUSE, Connection
from ovpn6.protocol.negotiation import MOST_UNSENT
from ovpn6.protocol.packets import ControlPacket, Opcode
from ovpn6.protocol.reliability import RECEIVE_WINDOW
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from tests.protocol.sim import Clock, Network, Pair, entropy_of
from tests.protocol.test_connection import connected, wrapped_pair

FLOOD = 200


def soft_reset(pair: Pair, number: int = 0) -> bytes:
    """Packet ``number`` of a renegotiation that the client begins, without any protection."""
    opcode = Opcode.CONTROL_V1 if number else Opcode.CONTROL_SOFT_RESET_V1
    packet = ControlPacket(
        opcode,
        KeyId(1),
        pair.client.local_session_id,
        message_id=MessageId(number),
        payload=bytes(1000) if number else b"",
    )
    return packet.header() + packet.body()


def flood(server: Connection, pair: Pair) -> int:
    """Send renegotiation packets that acknowledge nothing; how many the server took."""
    taken = 0
    for number in range(1, FLOOD):
        try:
            server.receive(soft_reset(pair, number), pair.clock.now)
        except PeerError:
            break
        taken += 1
    return taken


def test_before_our_reset_is_acknowledged_a_peer_fills_its_window_and_no_more() -> None:
    pair = connected(Pair())
    pair.pass_time(RENEGOTIATION_PAUSE)
    assert pair.server is not None
    pair.server.receive(soft_reset(pair), pair.clock.now)
    assert flood(pair.server, pair) == RECEIVE_WINDOW


def test_after_a_failed_handshake_what_comes_is_acknowledged_and_forgotten() -> None:
    pair = connected(Pair())
    pair.pass_time(RENEGOTIATION_PAUSE)
    assert pair.server is not None
    server, now = pair.server, pair.clock.now
    server.receive(soft_reset(pair), now)
    ack = ControlPacket(
        Opcode.ACK_V1,
        KeyId(1),
        pair.client.local_session_id,
        acks=(MessageId(0),),
        remote_session_id=server.local_session_id,
    )
    server.receive(ack.header() + ack.body(), now)
    happened = server.receive(soft_reset(pair, 1), now)
    assert any(isinstance(event, events.NegotiationFailed) for event in happened)
    tracemalloc.start()
    for number in range(2, 4 * FLOOD):
        assert server.receive(soft_reset(pair, number), now)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000


def test_a_client_that_renegotiates_again_at_once_is_put_off() -> None:
    pair = connected(Pair())
    assert pair.server is not None
    with pytest.raises(PeerError, match="renegotiation too soon"):
        pair.server.receive(soft_reset(pair), pair.clock.now)
    pair.pass_time(RENEGOTIATION_PAUSE)
    happened = pair.server.receive(soft_reset(pair), pair.clock.now)
    assert events.RenegotiationStarted(KeyId(1), by_peer=True) in happened


def test_a_holder_of_the_shared_key_cannot_move_the_replay_state_of_another_connection() -> None:
    pair = connected(wrapped_pair("tls-crypt", Network()))
    assert pair.server is not None
    other = TlsCryptWrapper(
        StaticKey.generate(entropy_of(77)),
        is_server=False,
        wall_offset=Clock().wall_offset + 1_000_000,
        strict_order=False,
    )
    forged = ControlPacket(
        Opcode.CONTROL_V1, KeyId(0), SessionId(b"stranger"), message_id=MessageId(9)
    )
    datagram = other.wrap(forged.header(), forged.body(), pair.clock.now)
    with pytest.raises(PeerError, match="another session"):
        pair.server.receive(datagram, pair.clock.now)
    pair.from_client(pair.client.send_message("PUSH_REQUEST", pair.clock.now))
    pair.run(lambda: events.MessageReceived("PUSH_REQUEST") in pair.server_events)
    assert pair.peer_errors == []


def test_dynamic_tls_crypt_may_be_enabled_when_the_first_negotiation_is_gone() -> None:
    pair = connected(Pair())
    assert pair.server is not None
    for key_id in (1, 2):
        pair.pass_time(RENEGOTIATION_PAUSE)
        pair.from_client(pair.client.renegotiate(pair.clock.now))
        pair.run(lambda: pair.both(events.Acknowledged, key_id=key_id))  # noqa: B023
    pair.client.enable_dynamic_tls_crypt()
    pair.server.enable_dynamic_tls_crypt()
    pair.from_client(pair.client.send_message("PUSH_REQUEST", pair.clock.now))
    pair.run(lambda: events.MessageReceived("PUSH_REQUEST") in pair.server_events)


def test_a_peer_that_acknowledges_nothing_is_given_up() -> None:
    pair = connected(Pair())
    assert pair.server is not None
    happened: list[events.Event] = []
    for _ in range(2 * MOST_UNSENT // 10_000):
        happened += pair.server.send_message("x" * 10_000, pair.clock.now)
    failures = [event for event in happened if isinstance(event, events.NegotiationFailed)]
    assert [failure.fatal for failure in failures] == [True]
