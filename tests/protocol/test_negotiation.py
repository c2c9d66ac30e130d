"""One negotiation alone: what the first packets of a peer may be."""

from __future__ import annotations

import random

import pytest

from ovpn6.model.names import Instant, KeyId, MessageId
from ovpn6.protocol.key_exchange import KeyMethod2, KeySource
from ovpn6.protocol.negotiation import Negotiation, NegotiationPlan, State
from ovpn6.protocol.packets import Opcode
from tests.protocol.sim import FakeTls

NOW = Instant(100.0)
LIMIT = 1000
ENTROPY = random.Random(3).randbytes


def renegotiating_server() -> Negotiation:
    """A server that has sent its soft reset."""
    plan = NegotiationPlan(
        key_id=KeyId(1),
        is_server=True,
        reset=Opcode.CONTROL_SOFT_RESET_V1,
        first_id=0,
        deadline=Instant(160.0),
        tls_timeout=2.0,
        payload_limit=LIMIT,
    )
    tls = FakeTls(is_server=True, entropy=ENTROPY)
    made = Negotiation(plan, tls, _too_early, ENTROPY, NOW)
    assert [packet.opcode for packet in made.take_due(NOW)] == [Opcode.CONTROL_SOFT_RESET_V1]
    return made


def first_flight() -> list[bytes]:
    """A client's, cut into payloads."""
    tls = FakeTls(is_server=False, entropy=ENTROPY)
    tls.start()
    flight = tls.outgoing()
    return [flight[i : i + LIMIT] for i in range(0, len(flight), LIMIT)]


@pytest.mark.parametrize("acknowledged_first", [True, False])
@pytest.mark.parametrize("own_reset", [True, False], ids=["openvpn-2", "openvpn-3"])
def test_a_client_may_answer_a_soft_reset_with_its_first_flight(
    own_reset: bool, acknowledged_first: bool
) -> None:
    server = renegotiating_server()
    packets = [(Opcode.CONTROL_V1, payload) for payload in first_flight()]
    if own_reset:
        packets.insert(0, (Opcode.CONTROL_SOFT_RESET_V1, b""))
    if acknowledged_first:
        server.acknowledge((MessageId(0),), NOW)
    for number, (opcode, payload) in enumerate(packets):
        server.receive(opcode, MessageId(number), payload, NOW)
    server.acknowledge((MessageId(0),), NOW)
    assert server.failure == ""
    assert server.state is State.HANDSHAKING
    # The server's own flight, which it sends when it has read all of the client's.
    assert {packet.opcode for packet in server.take_due(NOW)} == {Opcode.CONTROL_V1}


def test_a_flight_out_of_order_without_a_reset_is_read() -> None:
    server = renegotiating_server()
    for number, payload in reversed(list(enumerate(first_flight()))):
        server.receive(Opcode.CONTROL_V1, MessageId(number), payload, NOW)
    server.acknowledge((MessageId(0),), NOW)
    assert server.failure == ""
    assert {packet.opcode for packet in server.take_due(NOW)} == {Opcode.CONTROL_V1}


def _too_early(source: KeySource) -> KeyMethod2:
    raise AssertionError("no key exchange yet")
