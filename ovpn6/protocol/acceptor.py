"""The stateless server side of the three-way handshake. PURE.

A stranger's first packet is answered with a session id that is a keyed hash of the stranger's
address; only who receives that answer can name it in the third packet, and only then does a server
begin to remember. Nothing here grows with the number of strangers.

Source: OpenVPN ``mudp.c`` (``do_pre_decrypt_check``), ``ssl_pkt.c`` (``tls_pre_decrypt_lite``,
``check_session_hmac_and_pkt_id``), ``reflect_filter.c``.

Size of the answer to a reset, for amplification: the answer must acknowledge the reset, which costs
12 bytes over the request (ack id 4, session id 8). UDP payload, request to answer: none 14 to 26,
tls-auth with SHA1 42 to 54, tls-crypt 54 to 66. tls-crypt-v2 has 344 or more to 72 and never
amplifies. With tls-auth and tls-crypt only holders of the key are answered; the rate limit bounds
the rest. A smaller answer does not exist: without the ack a stock client never goes on.
"""

from __future__ import annotations

import hmac

from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId, MessageId, SessionId, Transport
from ovpn6.model.records import dataclass
from ovpn6.protocol.packets import (
    CARRY_CLIENT_KEY,
    CLIENT_RESETS,
    HEADER_SIZE,
    ControlPacket,
    Opcode,
    decode_control,
    decode_first_byte,
)
from ovpn6.protocol.replay import REPLAY_ID_SIZE, decode_replay_id
from ovpn6.protocol.static_key import StaticKey
from ovpn6.protocol.tls_crypt import TlsCryptWrapper
from ovpn6.protocol.tls_crypt_v2 import (
    ServerKey,
    check_age,
    split_client_key,
    unwrap_client_key,
)
from ovpn6.protocol.wrapping import PlainWrapper, TlsAuthWrapper, Wrapper, tls_auth_digest

RESEND_WKC_TLV = bytes.fromhex("0001 0002 0001")
"""Early negotiation in the payload of a server's reset: type 1 (flags), length 2, flag 1: send the
wrapped client key once more, behind your next packet."""


@dataclass(frozen=True, slots=True)
class ServerWrapping:
    """What clients must prove before TLS. No key at all is mode none.

    ``tls_crypt_v2`` may stand beside one of ``tls_auth`` and ``tls_crypt``: the client's opcode
    tells which it uses. ``digest`` and ``direction`` (``--key-direction``) are tls-auth's.
    ``force_cookie`` refuses tls-crypt-v2 clients that cannot send their key twice and so would make
    the server remember their first packet. ``max_age``: days since the client key's timestamp, 0
    does not check.
    """

    tls_auth: StaticKey | None = None
    tls_crypt: StaticKey | None = None
    tls_crypt_v2: ServerKey | None = None
    digest: str = "SHA1"
    direction: int | None = None
    force_cookie: bool = False
    max_age: int = 0

    @property
    def serves_v1(self) -> bool:
        """Packets without a client key are served: by tls-auth, by tls-crypt, or unprotected."""
        return bool(self.tls_auth or self.tls_crypt or not self.tls_crypt_v2)

    def __post_init__(self) -> None:
        if self.tls_auth is not None and self.tls_crypt is not None:
            raise UsageError("tls-auth and tls-crypt exclude each other")
        if self.tls_auth is not None:
            tls_auth_digest(self.digest)


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this back the way the datagram came; nothing was remembered."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client is where it says: begin a connection, ``Connection.accept`` with these and the
    same datagram. ``metadata`` is tls-crypt-v2's, with its type byte; None in other modes."""

    local: SessionId
    remote: SessionId
    wrapper: Wrapper
    metadata: bytes | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Drop and count. ``reason`` is one of a bounded set of texts, fit as a counter's name."""

    reason: str


Verdict = Reply | Accepted | Ignored


class Acceptor:
    """Judges datagrams from addresses that have no connection.

    ``secret``: at least 16 random bytes, fresh for each start. ``hand_window`` in seconds: an
    answer stays usable for one to one and a half of it. ``rate`` ``(n, s)``: at most n answers in s
    seconds, 0 is no limit; a completed handshake gives its answer back. ``wall_offset`` + now is
    Unix time.
    """

    def __init__(
        self,
        wrapping: ServerWrapping,
        *,
        secret: bytes,
        hand_window: int,
        rate: tuple[int, int],
        wall_offset: float,
    ) -> None:
        self._wrapping = wrapping
        self._cookies = _Cookies(secret, hand_window)
        self._limit = _RateLimit(*rate)
        self._wall_offset = wall_offset

    def wrapper(self, transport: Transport) -> Wrapper | None:
        """For a server that begins, as one of two equal ends may; None with tls-crypt-v2, where
        only the client can."""
        if not self._wrapping.serves_v1:
            return None
        strict = transport is Transport.TCP
        return _Profile(self._wrapping, None, self._wall_offset, strict).wrapper()

    def receive(
        self, path: Path, datagram: bytes, now: Instant, *, transport: Transport
    ) -> Verdict:
        """What to do about one datagram. Never raises for anything a stranger sends."""
        try:
            opcode = _screen(datagram)
            opened = self._open(opcode, datagram, now, transport)
            if opcode in CLIENT_RESETS:
                return self._begin(path.remote, opened, now)
            return self._complete(path.remote, opened, now)
        except PeerError as error:
            return Ignored(str(error))

    def _open(self, opcode: Opcode, datagram: bytes, now: Instant, transport: Transport) -> _Opened:
        """The packet inside, and how its client wraps. Raises ``PeerError``."""
        key: StaticKey | None = None
        metadata: bytes | None = None
        early = False
        if opcode in CARRY_CLIENT_KEY:
            key, metadata, datagram = self._open_client_key(datagram, now)
            early = _offers_early_negotiation(datagram)
        elif not self._wrapping.serves_v1:
            raise PeerError("tls-crypt-v2 needed")
        profile = _Profile(self._wrapping, key, self._wall_offset, transport is Transport.TCP)
        packet = decode_control(*profile.wrapper().unwrap(datagram, now))
        return _Opened(packet, profile, metadata, early)

    def _open_client_key(self, datagram: bytes, now: Instant) -> tuple[StaticKey, bytes, bytes]:
        """``(client key, metadata, wrapped packet)``."""
        server_key = self._wrapping.tls_crypt_v2
        if server_key is None:
            raise PeerError("client uses tls-crypt-v2, which is not configured")
        wrapped_packet, wkc = split_client_key(datagram)
        key, metadata = unwrap_client_key(server_key, wkc)
        if self._wrapping.max_age:
            check_age(metadata, self._wrapping.max_age, now + self._wall_offset)
        return key, metadata, wrapped_packet

    def _begin(self, remote: Endpoint, opened: _Opened, now: Instant) -> Verdict:
        """The first packet: answer it, or take in a client that cannot be asked for a third."""
        packet = opened.packet
        if packet.message_id != 0:
            raise PeerError("hard reset with a message id")
        is_v2 = packet.opcode in CARRY_CLIENT_KEY
        cookieless = is_v2 and not opened.early_negotiation
        if cookieless and self._wrapping.force_cookie:
            raise PeerError("tls-crypt-v2 client cannot resend its key, force-cookie is set")
        self._limit.take(now)
        local = self._cookies.make(remote, packet.session_id, now)
        if cookieless:
            return Accepted(local, packet.session_id, opened.profile.wrapper(), opened.metadata)
        answer = ControlPacket(
            Opcode.CONTROL_HARD_RESET_SERVER_V2,
            KeyId(0),
            local,
            acks=(MessageId(0),),
            remote_session_id=packet.session_id,
            message_id=MessageId(0),
            payload=RESEND_WKC_TLV if is_v2 else b"",
        )
        wrapper = opened.profile.wrapper()
        return Reply(wrapper.wrap(answer.header(), answer.body(), now))

    def _complete(self, remote: Endpoint, opened: _Opened, now: Instant) -> Verdict:
        """The third packet: it must name the session id that we answered this address with."""
        packet = opened.packet
        if packet.remote_session_id is None or 0 not in packet.acks:
            raise PeerError("no session, and no ack of our hello")
        if max(packet.acks) > 1 or (packet.message_id or 0) > 1:
            raise PeerError("no session, and not the third packet of one")
        self._cookies.check(remote, packet.session_id, packet.remote_session_id, now)
        self._limit.give_back()
        # The answer took replay id 1.
        wrapper = opened.profile.wrapper(first_id=2)
        return Accepted(packet.remote_session_id, packet.session_id, wrapper, opened.metadata)


@dataclass(frozen=True, slots=True)
class _Profile:
    """Makes the wrappers for one datagram's client; ``client_key`` only with tls-crypt-v2."""

    wrapping: ServerWrapping
    client_key: StaticKey | None
    wall_offset: float
    strict_order: bool

    def wrapper(self, *, first_id: int = 1) -> Wrapper:
        """One with nothing received yet."""
        tls_crypt = self.client_key or self.wrapping.tls_crypt
        if tls_crypt is not None:
            return TlsCryptWrapper(
                tls_crypt,
                is_server=True,
                wall_offset=self.wall_offset,
                strict_order=self.strict_order,
                first_id=first_id,
            )
        if self.wrapping.tls_auth is not None:
            return TlsAuthWrapper(
                self.wrapping.tls_auth,
                self.wrapping.direction,
                self.wrapping.digest,
                wall_offset=self.wall_offset,
                strict_order=self.strict_order,
                first_id=first_id,
            )
        return PlainWrapper()


@dataclass(frozen=True, slots=True)
class _Opened:
    """An authentic datagram of a stranger."""

    packet: ControlPacket
    profile: _Profile
    metadata: bytes | None
    early_negotiation: bool


class _Cookies:
    """Session ids that need no memory: a keyed hash over address, client and time slot.

    A slot is half a hand window; the current and the two before are good. Time is the shell's
    monotonic clock: a step of the wall clock ends no handshake.
    """

    def __init__(self, secret: bytes, hand_window: int) -> None:
        if len(secret) < 16:
            raise UsageError("the acceptor's secret needs 16 bytes or more")
        self._secret = secret
        self._slot_seconds = max(1, (hand_window + 1) // 2)

    def make(self, remote: Endpoint, client: SessionId, now: Instant) -> SessionId:
        return self._hash(remote, client, self._slot(now))

    def check(self, remote: Endpoint, client: SessionId, claimed: SessionId, now: Instant) -> None:
        newest = self._slot(now)
        good = [
            hmac.compare_digest(self._hash(remote, client, slot), claimed)
            for slot in (newest, newest - 1, newest - 2)
        ]
        if not any(good):
            raise PeerError("session id is not one we gave to this address")

    def _slot(self, now: Instant) -> int:
        return int(now // self._slot_seconds)

    def _hash(self, remote: Endpoint, client: SessionId, slot: int) -> SessionId:
        message = b"".join(
            (
                slot.to_bytes(8, "big", signed=True),
                remote.port.to_bytes(2, "big"),
                remote.scope_id.to_bytes(4, "big"),
                client,
                remote.address.packed,
            )
        )
        return SessionId(hmac.digest(self._secret, message, "sha256")[:8])


class _RateLimit:
    """At most ``count`` in each period of ``seconds``, for all strangers together."""

    def __init__(self, count: int, seconds: int) -> None:
        self._count = count
        self._seconds = seconds
        self._used = 0
        self._since: Instant | None = None

    def take(self, now: Instant) -> None:
        """Raises ``PeerError`` when the period's share is used up."""
        if not self._count or not self._seconds:
            return
        if self._since is None or now >= self._since + self._seconds:
            self._since = now
            self._used = 0
        if self._used >= self._count:
            raise PeerError("over connect-freq-initial")
        self._used += 1

    def give_back(self) -> None:
        self._used = max(0, self._used - 1)


_OPCODES = CLIENT_RESETS | {Opcode.CONTROL_V1, Opcode.ACK_V1, Opcode.CONTROL_WKC_V1}


def _screen(datagram: bytes) -> Opcode:
    """What can be refused before any cryptography. Raises ``PeerError``."""
    if len(datagram) < HEADER_SIZE:
        raise PeerError("control packet shorter than its header")
    opcode, key_id = decode_first_byte(datagram[0])
    if opcode not in _OPCODES:
        raise PeerError("no session for this opcode")
    if key_id != 0:
        raise PeerError("no session for this key id")
    if not any(datagram[1:HEADER_SIZE]):
        raise PeerError("session id 0")
    return opcode


def _offers_early_negotiation(wrapped_packet: bytes) -> bool:
    """The top byte of the replay counter holds the four bits of 0x0f."""
    replay_id = decode_replay_id(wrapped_packet[HEADER_SIZE : HEADER_SIZE + REPLAY_ID_SIZE])
    return (replay_id.counter >> 24) & 0x0F == 0x0F
