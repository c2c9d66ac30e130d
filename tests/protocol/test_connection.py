"""The control channel end to end in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import KeyId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol import events
from ovpn6.protocol.acceptor import ServerWrapping
from ovpn6.protocol.connection import Credentials
from ovpn6.protocol.negotiation import TRANSITIONS, State, Trigger, next_state
from ovpn6.protocol.packets import Opcode, decode_first_byte
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from ovpn6.protocol.tls_crypt_v2 import ServerKey, wrap_client_key
from ovpn6.protocol.wrapping import ClientWrapping, TlsAuthWrapper
from tests.protocol.sim import Clock, Network, Pair, entropy_of

WALL = Clock().wall_offset


def connected(pair: Pair) -> Pair:
    pair.start()
    pair.run(lambda: pair.both(events.Acknowledged))
    return pair


def wrapped_pair(mode: str, network: Network, transport: Transport = Transport.UDP, **more) -> Pair:
    strict = transport is Transport.TCP
    entropy = entropy_of(77)
    key = StaticKey.generate(entropy)
    if mode == "none":
        return Pair(network, transport=transport, **more)
    if mode.startswith("tls-auth"):
        directions = {"tls-auth": (None, None), "tls-auth 0/1": (0, 1)}[mode]
        wrapper = TlsAuthWrapper(
            key, directions[1], "SHA256", wall_offset=WALL, strict_order=strict
        )
        server = ServerWrapping(tls_auth=key, digest="SHA256", direction=directions[0])
        return Pair(
            network,
            server_wrapping=server,
            client_wrapping=ClientWrapping(wrapper),
            transport=transport,
            **more,
        )
    if mode == "tls-crypt":
        crypt = TlsCryptWrapper(key, is_server=False, wall_offset=WALL, strict_order=strict)
        return Pair(
            network,
            server_wrapping=ServerWrapping(tls_crypt=key),
            client_wrapping=ClientWrapping(crypt),
            transport=transport,
            **more,
        )
    server_key = ServerKey.generate(entropy)
    wkc = wrap_client_key(server_key, key.material.reveal(), b"\0metadata")
    crypt = TlsCryptWrapper(
        key, is_server=False, wall_offset=WALL, strict_order=strict, first_id=0x0F000001
    )
    return Pair(
        network,
        server_wrapping=ServerWrapping(tls_crypt_v2=server_key, force_cookie=True),
        client_wrapping=ClientWrapping(crypt, wkc),
        transport=transport,
        **more,
    )


MODES = ["none", "tls-auth", "tls-auth 0/1", "tls-crypt", "tls-crypt-v2"]


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("mode", MODES)
def test_both_ends_derive_the_same_keys_under_each_wrapping(
    mode: str, transport: Transport
) -> None:
    pair = connected(wrapped_pair(mode, Network(), transport))
    assert pair.server is not None
    for use_ekm in (True, False):
        ours = pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=use_ekm)
        theirs = pair.server.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=use_ekm)
        assert ours.send_key == theirs.receive_key
        assert ours.receive_key == theirs.send_key
        assert ours.send_iv == theirs.receive_iv
        assert ours.send_key != ours.receive_key
    assert pair.peer_errors == []


def test_server_hears_who_the_client_is_before_it_derives_keys() -> None:
    pair = Pair()
    pair.start(Credentials("ann", SecretBytes(b"secret")))
    pair.run(lambda: pair.both(events.Acknowledged))
    kinds = [type(event) for event in pair.server_events]
    assert kinds.index(events.Hello) < kinds.index(events.Exchanged)
    hello = next(event for event in pair.server_events if isinstance(event, events.Hello))
    assert (hello.username, hello.password) == ("ann", SecretBytes(b"secret"))
    assert hello.identity.common_name == "client"
    assert hello.peer_info["IV_PROTO"] == "990"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    repeat=st.sampled_from([0.0, 0.3]),
    jitter=st.sampled_from([0.0, 0.5]),
    mode=st.sampled_from(MODES),
)
def test_handshake_survives_loss_repetition_and_reordering(
    seed: int, loss: float, repeat: float, jitter: float, mode: str
) -> None:
    network = Network(seed=seed, loss=loss, repeat=repeat, jitter=jitter)
    pair = wrapped_pair(mode, network)
    pair.start()

    def over() -> bool:
        heard = pair.client_events + pair.server_events
        timed_out = any(isinstance(e, events.NegotiationFailed) for e in heard)
        return timed_out or pair.both(events.Acknowledged)

    pair.run(over)
    if pair.both(events.Acknowledged):
        assert pair.server is not None
        ours = pair.client.derive_keys(KeyId(0), "AES-128-GCM", use_ekm=True)
        theirs = pair.server.derive_keys(KeyId(0), "AES-128-GCM", use_ekm=True)
        assert ours.send_key == theirs.receive_key
    else:
        assert loss > 0


def test_lost_first_reset_is_sent_again() -> None:
    lost = []

    def lose_first(to: str, datagram: bytes) -> bool:
        if not lost:
            lost.append(datagram)
            return False
        return True

    pair = connected(Pair(Network(filter=lose_first)))
    assert pair.clock.now < 1003
    resets = [d for to, d in pair.network.sent if to == "server" and d[0] >> 3 == 7]
    assert len(resets) == 2


def test_no_control_packet_exceeds_the_control_mtu() -> None:
    for mode in MODES:
        pair = connected(wrapped_pair(mode, Network(), tls_mtu=600))
        sizes = [
            len(datagram)
            for _, datagram in pair.network.sent
            if decode_first_byte(datagram[0])[0]
            not in (Opcode.CONTROL_HARD_RESET_CLIENT_V3, Opcode.ACK_V1)
        ]
        assert max(sizes) + 48 <= 600
        assert max(sizes) + 48 > 500


@pytest.mark.parametrize("by_client", [True, False])
def test_renegotiation_gives_new_keys_and_keeps_the_old_for_the_transition_window(
    by_client: bool,
) -> None:
    pair = connected(Pair(reneg_sec=(30.0, 0.0) if by_client else (0.0, 30.0)))
    assert pair.server is not None
    old = pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=True)
    pair.run(lambda: pair.both(events.Acknowledged, key_id=1))
    new = pair.client.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True)
    theirs = pair.server.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True)
    assert new.send_key == theirs.receive_key
    assert new.send_key != old.send_key
    assert pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=True).send_key == old.send_key


def test_old_key_expires_after_the_transition_window() -> None:
    pair = connected(Pair())
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.run(lambda: pair.both(events.Acknowledged, key_id=1))
    started = pair.clock.now
    pair.run(lambda: pair.both(events.KeyExpired), limit=4000)
    assert 3590 < pair.clock.now - started < 3610
    with pytest.raises(UsageError):
        pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=True)


def test_replaced_negotiation_is_forgotten_long_before_its_key() -> None:
    pair = connected(Pair())
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.run(lambda: pair.both(events.Acknowledged, key_id=1))
    pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=True)
    pair.pass_time(61)
    with pytest.raises(UsageError):
        pair.client.derive_keys(KeyId(0), "AES-256-GCM", use_ekm=True)
    assert not pair.both(events.KeyExpired)
    pair.run(lambda: pair.both(events.KeyExpired), limit=4000)


@pytest.mark.parametrize("by_client", [True, False])
def test_the_key_before_the_last_lives_until_there_is_a_third(by_client: bool) -> None:
    pair = connected(Pair())
    _renegotiate(pair, 1, by_client=by_client)
    _renegotiate(pair, 2, by_client=by_client)
    for side in (pair.client_events, pair.server_events):
        started, first, *_ = side
        assert started == events.RenegotiationStarted(
            KeyId(2), by_peer=by_client is (side is pair.server_events)
        )
        assert first == events.KeyExpired(KeyId(0)), "in time for the new key to take its place"
        assert events.Exchanged(KeyId(2)) in side


def test_a_renegotiation_that_comes_to_nothing_costs_no_key() -> None:
    pair = connected(Pair())
    _renegotiate(pair, 1, by_client=True)
    pair.pass_time(30)
    pair.network.filter = lambda to, datagram: False
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.run(lambda: bool(_failures(pair)))
    assert not any(isinstance(event, events.KeyExpired) for event in pair.client_events)
    pair.run(lambda: len(_failures(pair)) == 2, limit=4000)
    assert [
        event
        for event in pair.client_events
        if isinstance(event, events.KeyExpired | events.NegotiationFailed)
    ] == [
        events.NegotiationFailed(KeyId(2), _failures(pair)[0].reason, fatal=False),
        events.KeyExpired(KeyId(0)),
        events.KeyExpired(KeyId(1)),
        events.NegotiationFailed(KeyId(2), "no key is left", fatal=True),
    ]


def test_key_ids_count_to_seven_and_wrap_to_one() -> None:
    pair = connected(Pair())
    seen = []
    for _ in range(9):
        pair.client_events.clear()
        pair.server_events.clear()
        pair.from_client(pair.client.renegotiate(pair.clock.now))
        key_id = pair.client.newest_key_id
        pair.run(lambda key_id=key_id: pair.both(events.Acknowledged, key_id=key_id))
        seen.append(key_id)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 1, 2]


def test_both_ends_may_begin_the_same_renegotiation() -> None:
    pair = connected(Pair())
    assert pair.server is not None
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.from_server(pair.server.renegotiate(pair.clock.now))
    pair.run(lambda: pair.both(events.Acknowledged, key_id=1))
    ours = pair.client.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True)
    theirs = pair.server.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True)
    assert ours.send_key == theirs.receive_key


@pytest.mark.parametrize("mode", MODES)
def test_dynamic_tls_crypt_wraps_renegotiations_at_both_ends(mode: str) -> None:
    pair = connected(wrapped_pair(mode, Network()))
    assert pair.server is not None
    pair.client.enable_dynamic_tls_crypt()
    pair.server.enable_dynamic_tls_crypt()
    before = len(pair.network.sent)
    pair.from_server(pair.server.renegotiate(pair.clock.now))
    pair.run(lambda: pair.both(events.Acknowledged, key_id=1))
    assert pair.peer_errors == []
    soft_reset = pair.network.sent[before][1]
    assert b"V4,dev-type" not in soft_reset
    assert len(soft_reset) >= 9 + 8 + 32


def test_renegotiation_is_refused_without_dynamic_tls_crypt_at_one_end() -> None:
    pair = connected(Pair())
    pair.client.enable_dynamic_tls_crypt()
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.pass_time(10)
    assert not pair.both(events.Acknowledged, key_id=1)
    assert pair.peer_errors


def test_messages_arrive_in_order_once_under_loss() -> None:
    pair = connected(Pair(Network(seed=3, loss=0.3)))
    assert pair.server is not None
    texts = [f"INFO,{number}" for number in range(20)]
    for text in texts:
        pair.from_server(pair.server.send_message(text, pair.clock.now))
    pair.run(lambda: len(_messages(pair.client_events)) == 20)
    assert _messages(pair.client_events) == texts


def test_message_during_renegotiation_is_not_lost() -> None:
    pair = connected(Pair())
    assert pair.server is not None
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.from_server(pair.server.send_message("INFO,before", pair.clock.now))
    pair.from_client(pair.client.send_message("INFO,during", pair.clock.now))
    pair.run(lambda: bool(_messages(pair.client_events) and _messages(pair.server_events)))
    assert _messages(pair.server_events) == ["INFO,during"]


def test_refused_certificate_fails_at_both_ends_by_alert() -> None:
    pair = Pair(client_refuses=True)
    pair.start()
    pair.run(lambda: pair.both(events.NegotiationFailed), limit=5)
    failed = [e for e in pair.server_events if isinstance(e, events.NegotiationFailed)]
    assert failed[0].fatal
    assert "alert" in failed[0].reason


def test_silence_fails_after_the_hand_window() -> None:
    pair = Pair(Network(filter=lambda to, datagram: False))
    pair.start()
    pair.run(lambda: any(isinstance(e, events.NegotiationFailed) for e in pair.client_events))
    assert pair.clock.now == 1060
    assert pair.client.unanswered


def test_failed_renegotiation_is_not_fatal_while_the_old_key_lives() -> None:
    pair = connected(Pair())
    pair.network.filter = lambda to, datagram: False
    pair.from_client(pair.client.renegotiate(pair.clock.now))
    pair.run(lambda: any(isinstance(e, events.NegotiationFailed) for e in pair.client_events))
    failures = [e for e in pair.client_events if isinstance(e, events.NegotiationFailed)]
    assert [failure.fatal for failure in failures] == [False]
    pair.run(lambda: len(_failures(pair)) == 2, limit=4000)
    assert _failures(pair)[1].fatal


def test_replayed_packets_are_acknowledged_but_change_nothing() -> None:
    pair = connected(Pair())
    handshake = [d for to, d in pair.network.sent if to == "server" and d[0] >> 3 == 4]
    before = len(pair.server_events)
    assert pair.server is not None
    happened = pair.server.receive(handshake[0], pair.clock.now)
    assert [type(event) for event in happened] == [events.Transmit]
    assert happened[0].datagram[0] >> 3 == Opcode.ACK_V1
    assert len(pair.server_events) == before


def test_packet_of_another_session_is_refused() -> None:
    pair = connected(Pair())
    datagram = bytearray(next(d for to, d in pair.network.sent if to == "client"))
    datagram[1:9] = b"stranger"
    with pytest.raises(PeerError):
        pair.client.receive(bytes(datagram), pair.clock.now)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_error_of_the_peer_or_nothing(datagram: bytes) -> None:
    pair = Pair()
    pair.client.initiate(pair.clock.now, Credentials())
    try:
        pair.client.receive(datagram, pair.clock.now)
    except PeerError:
        return


def test_every_state_and_trigger_has_a_defined_next_state() -> None:
    for state in State:
        for trigger in Trigger:
            after = next_state(state, trigger)
            if trigger is Trigger.FAILURE:
                assert after is State.FAILED
            elif (state, trigger) not in TRANSITIONS:
                assert after is state
    order = list(State)
    for (state, trigger), after in TRANSITIONS.items():
        if trigger is not Trigger.FAILURE:
            assert order.index(after) == order.index(state) + 1


def _renegotiate(pair: Pair, key_id: int, *, by_client: bool) -> None:
    """Through to the end; then the events are those of this renegotiation alone."""
    pair.client_events.clear()
    pair.server_events.clear()
    pair.pass_time(2)
    if by_client:
        pair.from_client(pair.client.renegotiate(pair.clock.now))
    else:
        assert pair.server is not None
        pair.from_server(pair.server.renegotiate(pair.clock.now))
    pair.run(lambda: pair.both(events.Acknowledged, key_id=key_id))


def _messages(happened: list[events.Event]) -> list[str]:
    return [event.text for event in happened if isinstance(event, events.MessageReceived)]


def _failures(pair: Pair) -> list[events.NegotiationFailed]:
    return [e for e in pair.client_events if isinstance(e, events.NegotiationFailed)]
