"""The stateless handshake: who is answered, who is accepted, and what strangers cost."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import ConfigError, PeerError, UsageError
from ovpn6.model.names import Instant, KeyId, LinkId, MessageId, SessionId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.protocol.acceptor import Accepted, Acceptor, Ignored, Reply, ServerWrapping, Verdict
from ovpn6.protocol.packets import CARRY_CLIENT_KEY, ControlPacket, Opcode, decode_control
from ovpn6.protocol.replay import decode_replay_id
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from ovpn6.protocol.tls_crypt_v2 import (
    ClientKey,
    ServerKey,
    split_client_key,
    timestamp_metadata,
    user_metadata,
)
from ovpn6.protocol.wrapping import ClientWrapping, PlainWrapper, TlsAuthWrapper

KEY = StaticKey(SecretBytes(bytes(range(256))))
SERVER_KEY = ServerKey(SecretBytes(bytes(range(128))))
NOW = Instant(100_000.0)
UNIX = 1_800_000_000
OFFSET = UNIX - NOW
METADATA = timestamp_metadata(UNIX - 3 * 86400)
CLIENT_KEY = ClientKey.generate(SERVER_KEY, METADATA, lambda size: bytes(size))
CLIENT_SID = SessionId(b"client01")
HAND_WINDOW = 60
SLOT = 30
PATH = Path(LinkId(1), Endpoint(ip_address("2001:db8::9"), 50000))
RESEND_WKC = bytes.fromhex("000100020001")


def endpoint(address: str, port: int = 50000, scope_id: int = 0) -> Path:
    return Path(LinkId(1), Endpoint(ip_address(address), port, scope_id))


def tls_crypt_client(strict_order: bool) -> ClientWrapping:
    return ClientWrapping(
        TlsCryptWrapper(KEY, is_server=False, wall_offset=OFFSET, strict_order=strict_order)
    )


def tls_auth_client(strict_order: bool) -> ClientWrapping:
    return ClientWrapping(
        TlsAuthWrapper(KEY, 1, "SHA256", wall_offset=OFFSET, strict_order=strict_order)
    )


def old_v2_client(key: ClientKey = CLIENT_KEY) -> ClientWrapping:
    """tls-crypt-v2 as OpenVPN 2.5 had it: replay ids from 1."""
    wrapper = TlsCryptWrapper(key.key, is_server=False, wall_offset=OFFSET, strict_order=False)
    return ClientWrapping(wrapper, key.wrapped)


@dataclass(frozen=True)
class Mode:
    server: ServerWrapping
    client: Callable[[bool], ClientWrapping]
    metadata: bytes | None = None


TLS_AUTH = ServerWrapping(tls_auth=KEY, digest="SHA256", direction=0)
TLS_CRYPT_V2 = ServerWrapping(tls_crypt_v2=SERVER_KEY)


def v2_client(strict_order: bool) -> ClientWrapping:
    return CLIENT_KEY.wrapping(wall_offset=OFFSET, strict_order=strict_order)


MODES = {
    "none": Mode(ServerWrapping(), lambda strict_order: ClientWrapping(PlainWrapper())),
    "tls-auth": Mode(TLS_AUTH, tls_auth_client),
    "tls-crypt": Mode(ServerWrapping(tls_crypt=KEY), tls_crypt_client),
    "tls-crypt-v2": Mode(replace(TLS_CRYPT_V2, force_cookie=True), v2_client, METADATA),
    "tls-crypt-v2 beside tls-auth": Mode(
        replace(TLS_AUTH, tls_crypt_v2=SERVER_KEY), v2_client, METADATA
    ),
    "tls-auth beside tls-crypt-v2": Mode(
        replace(TLS_AUTH, tls_crypt_v2=SERVER_KEY), tls_auth_client
    ),
}
EVERY_MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def acceptor(
    wrapping: ServerWrapping,
    *,
    secret: bytes = b"s" * 32,
    rate: tuple[int, int] = (100, 10),
) -> Acceptor:
    return Acceptor(wrapping, secret=secret, hand_window=HAND_WINDOW, rate=rate, wall_offset=OFFSET)


class Stranger:
    """The client's end, by hand, so that it can also misbehave."""

    def __init__(self, wrapping: ClientWrapping, session_id: SessionId = CLIENT_SID) -> None:
        self._wrapping = wrapping
        self._session_id = session_id

    def seal(self, packet: ControlPacket, now: Instant = NOW) -> bytes:
        datagram = self._wrapping.wrapper.wrap(packet.header(), packet.body(), now)
        if packet.opcode in CARRY_CLIENT_KEY:
            datagram += self._wrapping.wrapped_client_key
        return datagram

    def open(self, datagram: bytes, now: Instant = NOW) -> ControlPacket:
        return decode_control(*self._wrapping.wrapper.unwrap(datagram, now))

    def reset(self, now: Instant = NOW, *, message_id: int = 0, key_id: int = 0) -> bytes:
        opcode = (
            Opcode.CONTROL_HARD_RESET_CLIENT_V3
            if self._wrapping.wrapped_client_key
            else Opcode.CONTROL_HARD_RESET_CLIENT_V2
        )
        return self.seal(
            ControlPacket(
                opcode, KeyId(key_id), self._session_id, message_id=MessageId(message_id)
            ),
            now,
        )

    def third(
        self,
        server: SessionId,
        now: Instant = NOW,
        *,
        opcode: Opcode | None = None,
        acks: tuple[int, ...] = (0,),
        message_id: int = 1,
        key_id: int = 0,
    ) -> bytes:
        if opcode is None:
            has_key = bool(self._wrapping.wrapped_client_key)
            opcode = Opcode.CONTROL_WKC_V1 if has_key else Opcode.CONTROL_V1
        is_ack = opcode is Opcode.ACK_V1
        return self.seal(
            ControlPacket(
                opcode,
                KeyId(key_id),
                self._session_id,
                acks=tuple(MessageId(ack) for ack in acks),
                remote_session_id=server if acks else None,
                message_id=None if is_ack else MessageId(message_id),
                payload=b"" if is_ack else b"ClientHello",
            ),
            now,
        )


def receive(
    server: Acceptor,
    datagram: bytes,
    now: Instant = NOW,
    path: Path = PATH,
    transport: Transport = Transport.UDP,
) -> Verdict:
    return server.receive(path, datagram, now, transport=transport)


def hello(
    server: Acceptor,
    stranger: Stranger,
    now: Instant = NOW,
    path: Path = PATH,
    transport: Transport = Transport.UDP,
) -> ControlPacket:
    """The server's answer to a reset, opened."""
    verdict = receive(server, stranger.reset(now), now, path, transport)
    assert isinstance(verdict, Reply), verdict
    return stranger.open(verdict.datagram, now)


def reason(verdict: Verdict) -> str:
    assert isinstance(verdict, Ignored), verdict
    return verdict.reason


# --- the handshake ------------------------------------------------------------------------------


@EVERY_MODE
@pytest.mark.parametrize("transport", Transport)
def test_a_client_is_accepted_with_its_third_packet(mode: Mode, transport: Transport) -> None:
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(transport is Transport.TCP))
    answer = hello(server, stranger, transport=transport)
    assert answer == ControlPacket(
        Opcode.CONTROL_HARD_RESET_SERVER_V2,
        KeyId(0),
        answer.session_id,
        (MessageId(0),),
        CLIENT_SID,
        MessageId(0),
        RESEND_WKC if mode.metadata else b"",
    )
    verdict = receive(server, stranger.third(answer.session_id), transport=transport)
    assert isinstance(verdict, Accepted)
    assert (verdict.local, verdict.remote) == (answer.session_id, CLIENT_SID)
    assert verdict.metadata == mode.metadata


@EVERY_MODE
@pytest.mark.parametrize("transport", Transport)
def test_the_wrapper_goes_on_where_the_handshake_stopped(mode: Mode, transport: Transport) -> None:
    """It opens the third packet and what follows, once each, and the client, which saw the answer
    under replay id 1, accepts what it sends a second later."""
    server = acceptor(mode.server)
    client = mode.client(transport is Transport.TCP)
    stranger = Stranger(client)
    answer = hello(server, stranger, transport=transport)
    third = stranger.third(answer.session_id)
    verdict = receive(server, third, transport=transport)
    assert isinstance(verdict, Accepted)
    follower = stranger.third(answer.session_id, opcode=Opcode.CONTROL_V1, message_id=2)
    if mode.metadata:
        third, _ = split_client_key(third)
    for datagram, message_id in ((third, 1), (follower, 2)):
        packet = decode_control(*verdict.wrapper.unwrap(datagram, NOW))
        assert packet.message_id == message_id
    if verdict.wrapper.overhead:
        with pytest.raises(PeerError):
            verdict.wrapper.unwrap(third, NOW)
    later = Instant(NOW + 1)
    ack = ControlPacket(Opcode.ACK_V1, KeyId(0), verdict.local, (MessageId(1),), verdict.remote)
    sent = verdict.wrapper.wrap(ack.header(), ack.body(), later)
    assert stranger.open(sent, later) == ack
    if isinstance(verdict.wrapper, TlsCryptWrapper):
        assert decode_replay_id(sent[9:17]).counter == 2


@pytest.mark.parametrize("name", ["none", "tls-auth", "tls-crypt"])
def test_a_pure_ack_may_be_the_third_packet(name: str) -> None:
    mode = MODES[name]
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(False))
    answer = hello(server, stranger)
    assert isinstance(
        receive(server, stranger.third(answer.session_id, opcode=Opcode.ACK_V1)), Accepted
    )


@EVERY_MODE
def test_answers_are_the_same_for_a_reset_sent_again(mode: Mode) -> None:
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(False))
    first = receive(server, stranger.reset())
    again = receive(server, stranger.reset())
    assert isinstance(first, Reply)
    assert first == again


@EVERY_MODE
def test_sizes_of_request_and_answer_are_what_the_module_says(mode: Mode) -> None:
    request = Stranger(mode.client(False)).reset()
    verdict = receive(acceptor(mode.server), request)
    assert isinstance(verdict, Reply)
    if mode.metadata:
        assert len(verdict.datagram) == 72 < len(request)
    else:
        assert len(verdict.datagram) == len(request) + 12


# --- cookies ------------------------------------------------------------------------------------


@given(offset=st.floats(0, SLOT, exclude_max=True), delay=st.floats(0, 4 * SLOT))
def test_an_answer_is_good_in_its_slot_and_the_two_after(offset: float, delay: float) -> None:
    server = acceptor(ServerWrapping())
    stranger = Stranger(ClientWrapping(PlainWrapper()))
    sent = Instant(NOW - NOW % SLOT + offset)
    returned = Instant(sent + delay)
    answer = hello(server, stranger, sent)
    verdict = receive(server, stranger.third(answer.session_id, returned), returned)
    slots_later = returned // SLOT - sent // SLOT
    assert isinstance(verdict, Accepted if slots_later <= 2 else Ignored)


def test_an_answer_from_the_future_is_not_good() -> None:
    server = acceptor(ServerWrapping())
    stranger = Stranger(ClientWrapping(PlainWrapper()))
    answer = hello(server, stranger, Instant(NOW + SLOT))
    assert "not one we gave" in reason(receive(server, stranger.third(answer.session_id)))


@pytest.mark.parametrize(
    "elsewhere",
    [
        endpoint("2001:db8::a"),
        endpoint("2001:db8::9", 50001),
        endpoint("2001:db8::9", 50000, 3),
        endpoint("192.0.2.9"),
    ],
    ids=str,
)
@EVERY_MODE
def test_an_answer_is_good_for_its_address_only(mode: Mode, elsewhere: Path) -> None:
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(False))
    answer = hello(server, stranger)
    third = stranger.third(answer.session_id)
    assert "not one we gave" in reason(receive(server, third, path=elsewhere))
    assert isinstance(receive(server, third), Accepted)


def test_an_answer_is_good_for_ipv4_clients_too() -> None:
    path = endpoint("192.0.2.9")
    server = acceptor(ServerWrapping())
    stranger = Stranger(ClientWrapping(PlainWrapper()))
    answer = hello(server, stranger, path=path)
    assert isinstance(receive(server, stranger.third(answer.session_id), path=path), Accepted)


def test_an_answer_is_good_for_its_client_s_session_only() -> None:
    server = acceptor(ServerWrapping())
    answer = hello(server, Stranger(ClientWrapping(PlainWrapper())))
    other = Stranger(ClientWrapping(PlainWrapper()), SessionId(b"client02"))
    assert "not one we gave" in reason(receive(server, other.third(answer.session_id)))


@given(st.binary(min_size=8, max_size=8))
def test_a_guessed_session_id_is_refused(guess: bytes) -> None:
    stranger = Stranger(ClientWrapping(PlainWrapper()))
    verdict = receive(acceptor(ServerWrapping()), stranger.third(SessionId(guess)))
    assert "not one we gave" in reason(verdict)


def test_another_start_of_the_server_does_not_know_the_answer() -> None:
    stranger = Stranger(ClientWrapping(PlainWrapper()))
    answer = hello(acceptor(ServerWrapping(), secret=b"a" * 32), stranger)
    later = acceptor(ServerWrapping(), secret=b"b" * 32)
    assert "not one we gave" in reason(receive(later, stranger.third(answer.session_id)))


# --- what a third packet must be ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"acks": (0, 1)}, True),
        ({"message_id": 0}, True),
        ({"acks": ()}, False),
        ({"acks": (1,)}, False),
        ({"acks": (0, 2)}, False),
        ({"message_id": 2}, False),
        ({"message_id": 0xFFFFFFFF}, False),
        ({"key_id": 1}, False),
        ({"opcode": Opcode.CONTROL_SOFT_RESET_V1}, False),
        ({"opcode": Opcode.CONTROL_HARD_RESET_SERVER_V2}, False),
    ],
    ids=str,
)
def test_only_the_third_packet_of_a_handshake_is_accepted(
    change: dict[str, object], accepted: bool
) -> None:
    server = acceptor(ServerWrapping(tls_crypt=KEY))
    stranger = Stranger(tls_crypt_client(False))
    answer = hello(server, stranger)
    third = stranger.third(answer.session_id, **change)  # type: ignore[arg-type]
    assert isinstance(receive(server, third), Accepted if accepted else Ignored)


@EVERY_MODE
def test_a_reset_begins_at_message_and_key_id_zero(mode: Mode) -> None:
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(False))
    assert "message id" in reason(receive(server, stranger.reset(message_id=1)))
    assert "key id" in reason(receive(server, stranger.reset(key_id=1)))


def test_session_id_zero_is_refused() -> None:
    stranger = Stranger(ClientWrapping(PlainWrapper()), SessionId(bytes(8)))
    assert reason(receive(acceptor(ServerWrapping()), stranger.reset())) == "session id 0"


# --- keys ---------------------------------------------------------------------------------------


SERVES = {
    "none": {"none"},
    "tls-auth": {"tls-auth"},
    "tls-crypt": {"tls-crypt"},
    "tls-crypt-v2": {"tls-crypt-v2"},
    "tls-crypt-v2 beside tls-auth": {"tls-crypt-v2", "tls-auth"},
}


@pytest.mark.parametrize("client", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
@pytest.mark.parametrize("server", SERVES)
def test_only_clients_of_the_server_s_mode_are_answered(server: str, client: str) -> None:
    reset = Stranger(MODES[client].client(False)).reset()
    verdict = receive(acceptor(MODES[server].server), reset)
    assert isinstance(verdict, Reply if client in SERVES[server] else Ignored)


@EVERY_MODE
@given(data=st.data())
def test_a_mangled_packet_is_ignored(mode: Mode, data: st.DataObject) -> None:
    server = acceptor(mode.server)
    stranger = Stranger(mode.client(False))
    answer = hello(server, stranger)
    for datagram in (stranger.reset(), stranger.third(answer.session_id)):
        bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
        mangled = bytearray(datagram)
        mangled[bit // 8] ^= 1 << bit % 8
        verdict = receive(server, bytes(mangled))
        if mode.server != ServerWrapping():
            assert isinstance(verdict, Ignored)


def test_a_key_past_its_age_is_ignored() -> None:
    stranger = Stranger(v2_client(False))
    for max_age, expected in ((2, Ignored), (3, Reply)):
        server = acceptor(replace(TLS_CRYPT_V2, max_age=max_age))
        assert isinstance(receive(server, stranger.reset()), expected)


def test_a_key_without_a_timestamp_has_no_place_where_ages_are_checked() -> None:
    key = ClientKey.generate(SERVER_KEY, user_metadata(b"someone"), lambda size: bytes(size))
    stranger = Stranger(key.wrapping(wall_offset=OFFSET, strict_order=False))
    assert isinstance(receive(acceptor(TLS_CRYPT_V2), stranger.reset()), Reply)
    server = acceptor(replace(TLS_CRYPT_V2, max_age=1000))
    assert "timestamp" in reason(receive(server, stranger.reset()))


def test_an_old_tls_crypt_v2_client_is_accepted_with_its_first_packet() -> None:
    reset = Stranger(old_v2_client()).reset()
    verdict = receive(acceptor(TLS_CRYPT_V2), reset)
    assert isinstance(verdict, Accepted)
    assert (verdict.remote, verdict.metadata) == (CLIENT_SID, METADATA)
    packet = decode_control(*verdict.wrapper.unwrap(split_client_key(reset)[0], NOW))
    assert packet.opcode is Opcode.CONTROL_HARD_RESET_CLIENT_V3
    sent = verdict.wrapper.wrap(b"\x40" + verdict.local, b"\0", NOW)
    assert decode_replay_id(sent[9:17]).counter == 1


def test_force_cookie_ignores_an_old_tls_crypt_v2_client() -> None:
    server = acceptor(replace(TLS_CRYPT_V2, force_cookie=True))
    assert "force-cookie" in reason(receive(server, Stranger(old_v2_client()).reset()))


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError):
        ServerWrapping(tls_auth=KEY, tls_crypt=KEY)
    with pytest.raises(ConfigError):
        ServerWrapping(tls_auth=KEY, digest="none")
    with pytest.raises(UsageError):
        acceptor(ServerWrapping(), secret=b"short")


# --- what strangers cost ------------------------------------------------------------------------


@EVERY_MODE
def test_answers_are_limited_for_all_strangers_together(mode: Mode) -> None:
    server = acceptor(mode.server, rate=(3, 10))

    def answered(now: float) -> int:
        count = 0
        for port in range(8):
            reset = Stranger(mode.client(False)).reset(Instant(now))
            path = endpoint("2001:db8::9", 40000 + port)
            count += isinstance(receive(server, reset, Instant(now), path), Reply)
        return count

    assert answered(NOW) == 3
    assert answered(NOW + 9.9) == 0
    assert answered(NOW + 10) == 3


def test_a_completed_handshake_gives_its_answer_back() -> None:
    server = acceptor(ServerWrapping(), rate=(2, 10))
    for port in range(20):
        path = endpoint("2001:db8::9", 40000 + port)
        stranger = Stranger(ClientWrapping(PlainWrapper()))
        answer = hello(server, stranger, path=path)
        verdict = receive(server, stranger.third(answer.session_id), path=path)
        assert isinstance(verdict, Accepted)


def test_old_tls_crypt_v2_clients_count_against_the_limit() -> None:
    """They make the server remember without any proof of address."""
    server = acceptor(TLS_CRYPT_V2, rate=(2, 10))
    verdicts = [receive(server, Stranger(old_v2_client()).reset()) for _ in range(3)]
    assert [type(verdict) for verdict in verdicts] == [Accepted, Accepted, Ignored]


def test_packets_that_fail_do_not_use_up_the_limit() -> None:
    server = acceptor(ServerWrapping(tls_crypt=KEY), rate=(1, 10))
    for _ in range(5):
        receive(server, bytes((0x38,)) + bytes(range(60)))
    assert isinstance(receive(server, Stranger(tls_crypt_client(False)).reset()), Reply)


def test_no_rate_is_no_limit() -> None:
    server = acceptor(ServerWrapping(), rate=(0, 0))
    reset = Stranger(ClientWrapping(PlainWrapper())).reset()
    assert all(isinstance(receive(server, reset), Reply) for _ in range(500))


@EVERY_MODE
@given(garbage=st.binary(max_size=400), opcode=st.integers(0, 31))
def test_any_bytes_are_judged_without_an_error(mode: Mode, garbage: bytes, opcode: int) -> None:
    server = acceptor(mode.server)
    for datagram in (garbage, bytes((opcode << 3,)) + garbage):
        verdict = receive(server, datagram)
        if mode.server != ServerWrapping():
            assert isinstance(verdict, Ignored)
        elif isinstance(verdict, Reply):
            assert datagram[0] == Opcode.CONTROL_HARD_RESET_CLIENT_V2 << 3
            assert len(verdict.datagram) == 26
        else:
            assert isinstance(verdict, Ignored)


@pytest.mark.parametrize("name", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
def test_ten_thousand_strangers_leave_nothing_behind(name: str) -> None:
    """Garbage, resets and unknown thirds, each from another address. Remembering as
    little as eight bytes of each would show."""
    mode = MODES[name]
    server = acceptor(mode.server)
    random = Random(6)
    reset = Stranger(mode.client(False)).reset()
    third = Stranger(mode.client(False)).third(SessionId(b"unknown!"))
    kinds = (reset, third, random.randbytes(14), b"\x38" + random.randbytes(60))
    now = float(NOW)

    def flood(count: int) -> set[str]:
        reasons = set()
        for index in range(count):
            address = f"2001:db8::{random.getrandbits(16):x}:{random.getrandbits(16):x}"
            datagram = kinds[index % len(kinds)]
            cut = datagram[: random.randrange(1, len(datagram))] if index % 8 > 3 else datagram
            path = endpoint(address, random.randrange(1, 65536))
            verdict = receive(server, cut, Instant(now + index / 100), path)
            if isinstance(verdict, Ignored):
                reasons.add(verdict.reason)
        return reasons

    flood(100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        reasons = flood(10_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(reasons) < 20
    assert grown < 20_000
