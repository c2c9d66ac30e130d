"""One peer's control channel, from first packet to last: session, key ids, wrapping. PURE.

A connection is one session (one pair of session ids) and at most two negotiations: the newest
and the one before, which lives on for a hand window after it was replaced. Its data key lives for
the transition window, or until two newer ones are there: when the next negotiation begins the other
end may still seal with it. Bytes and time go in, events come out, in order. Source: OpenVPN wire
protocol, "Control channel"; OpenVPN ``ssl.c``, which drops the key when the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.names import Instant, KeyId, SessionId, Transport
from ovpn6.model.records import dataclass
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import DataFormat, KeyMaterial
from ovpn6.protocol import events
from ovpn6.protocol.events import Event
from ovpn6.protocol.key_derivation import (
    EKM_DATA_LABEL,
    EKM_DYNAMIC_TLS_CRYPT_LABEL,
    KEY_BLOCK_SIZE,
    KeySource,
    key_block_from_prf,
    key_material,
)
from ovpn6.protocol.key_exchange import KeyMethod2
from ovpn6.protocol.negotiation import Negotiation, NegotiationPlan, State
from ovpn6.protocol.negotiation_rules import parse_peer_info
from ovpn6.protocol.numbered_probes import ANSWER_SIZE, Answer, FlyingProbes, Probe, decode_probe
from ovpn6.protocol.packets import CLIENT_RESETS, ControlPacket, Opcode, decode_first_byte
from ovpn6.protocol.probing import AckOrder, ProbeIds
from ovpn6.protocol.reliability import AckQueue
from ovpn6.protocol.session import Session
from ovpn6.protocol.tls import TlsFactory
from ovpn6.protocol.wrapping import Wrapper, dynamic_wrapper

RENEGOTIATION_PAUSE = 1.0
"""Seconds from a key exchange to the next that a client may begin: each costs a server a TLS
handshake and perhaps a script. A soft reset that comes sooner is dropped, and so comes again."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sends as user name and password."""

    username: str = ""
    password: SecretBytes = SecretBytes(b"")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Constant for a connection's life. Times in seconds; ``wall_offset`` + now = Unix time."""

    is_server: bool
    transport: Transport
    options: str
    """Our OCC options string (``negotiation_rules.options_string``)."""
    peer_info: str = ""
    """Our peer-info, lines ended by newline (``negotiation_rules.client_peer_info``,
    ``point_to_point.peer_info``); a server with clients has none."""
    tls_timeout: float = 2.0
    hand_window: float = 60.0
    tran_window: float = 3600.0
    reneg_sec: float = 3600.0
    """Seconds until we begin a renegotiation; 0 never. Spread by the role."""
    tls_mtu: int = 1250
    wall_offset: float = 0.0
    wrapped_client_key: bytes = b""
    """tls-crypt-v2: our WKc, appended to op 10 and, when asked, op 11."""


class Connection:
    """One peer's control channel. Begin with exactly one of ``initiate`` and ``accept``."""

    def __init__(
        self,
        settings: ConnectionSettings,
        wrapper: Wrapper,
        tls: TlsFactory,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._settings = settings
        self._session = Session(
            SessionId(b""),
            None,
            wrapper,
            settings.wrapped_client_key,
            is_server=settings.is_server,
        )
        self._tls = tls
        self._entropy = entropy
        self._credentials = Credentials()
        self._newest: Negotiation | None = None
        self._older: Negotiation | None = None
        self._expiring: dict[KeyId, Instant] = {}
        """Replaced keys and the ends of their transition windows; may outlast the negotiations."""
        self._reneg_sec = settings.reneg_sec
        self._probes = ProbeIds()
        """Of the newest negotiation."""
        self._ack_order = AckOrder()
        self._numbered = FlyingProbes(entropy)
        self._waiting_texts: list[str] = []
        self._dynamic_secret = SecretBytes(b"")
        """What dynamic tls-crypt begins with; the first negotiation may be gone by then."""

    # --- how it begins -------------------------------------------------------------------------

    def initiate(self, now: Instant, credentials: Credentials) -> list[Event]:
        """Send the hard reset: a client's, or that of one of two equal ends in the server's part,
        which goes on when the client's own reset comes."""
        self._credentials = credentials
        self._session.local = SessionId(self._entropy(8))
        self._newest = self._negotiation(KeyId(0), self._own_reset(), 0, now)
        return self._flush(now)

    def accept(
        self, local: SessionId, remote: SessionId, datagram: bytes, now: Instant
    ) -> list[Event]:
        """Server: take over from the acceptor with the datagram that it accepted.

        That is the third packet of the handshake; or a client's hard reset where the acceptor did
        not ask for the round trip first. A client, one of two equal ends, accepts the reset of a
        server that begins.
        """
        if not datagram:
            raise PeerError("empty datagram")
        opcode, _ = decode_first_byte(datagram[0])
        begins = opcode in CLIENT_RESETS or opcode is Opcode.CONTROL_HARD_RESET_SERVER_V2
        self._session.local, self._session.remote = local, remote
        reset = self._own_reset() if begins else None
        self._newest = self._negotiation(KeyId(0), reset, 0 if begins else 1, now)
        return self.receive(datagram, now)

    # --- what happens --------------------------------------------------------------------------

    def receive(self, datagram: bytes, now: Instant) -> list[Event]:
        """A control datagram of this connection. Raises ``PeerError`` when it is to be counted and
        dropped (bad wrap, replay, wrong session, wrong key id): nothing has changed then."""
        packet = self._session.open(datagram, now)
        negotiation = self._negotiation_for(packet, now)
        happened: list[Event] = []
        if negotiation is None:
            happened += self._begin_renegotiation(packet.key_id, now, by_peer=True)
            negotiation = self._must_newest()
        if packet.opcode is Opcode.ACK_V1 and not packet.acks and packet.payload:
            return self._numbered_received(packet, negotiation, len(datagram), now)
        if packet.message_id is not None:
            negotiation.receive(packet.opcode, packet.message_id, packet.payload, now)
        if self._session.remote is None:
            negotiation.peer_appeared(now)
        self._session.remote = packet.session_id
        self._ack_order.learn(packet.acks, negotiation.waiting)
        negotiation.acknowledge(packet.acks, now)
        if packet.opcode is Opcode.ACK_V1 and negotiation is self._newest:
            probe = self._probes.answered(packet.acks, self._ack_order)
            if probe is not None:
                happened.append(events.ProbeAnswered(probe))
        return happened + self._flush(now)

    def tick(self, now: Instant) -> list[Event]:
        """Do what is due: resend, begin a renegotiation, expire keys, give up."""
        happened: list[Event] = []
        newest = self._newest
        if newest is None:
            return happened
        if newest.unfinished and now >= newest.plan.deadline:
            newest.fail(_timed_out(self._settings.hand_window), now)
        if self._older is not None and _has_passed(self._older.retires_at, now):
            self._older = None
        over = [key_id for key_id, end in self._expiring.items() if now >= end]
        happened += self._expire(over)
        if over and not self._expiring and not newest.established:
            happened.append(
                events.NegotiationFailed(newest.plan.key_id, "no key is left", fatal=True)
            )
        if _has_passed(self._renegotiation_due(), now):
            happened += self.renegotiate(now)
        return happened + self._flush(now)

    def next_deadline(self) -> Instant | None:
        """When :meth:`tick` is wanted next."""
        moments = [self._renegotiation_due(), *self._expiring.values()]
        moments += [n.next_deadline() for n in (self._newest, self._older) if n is not None]
        return min((moment for moment in moments if moment is not None), default=None)

    def send_message(self, text: str, now: Instant) -> list[Event]:
        """Send a control message; while keys are being exchanged it waits for the end of that."""
        newest = self._must_newest()
        if newest.established:
            newest.write(text, now)
        elif newest.state is State.FAILED and self._older is not None:
            self._older.write(text, now)
        else:
            self._waiting_texts.append(text)
        return self._flush(now)

    def renegotiate(self, now: Instant) -> list[Event]:
        """Begin a renegotiation now; nothing when one is under way."""
        newest = self._must_newest()
        if newest.state is not State.ACKNOWLEDGED:
            return []
        started = self._begin_renegotiation(_next_key_id(newest.plan.key_id), now, by_peer=False)
        return started + self._flush(now)

    def probe(self, probe: int, octets: int, now: Instant) -> bytes | None:
        """A datagram of ``octets`` that changes nothing and that the peer acknowledges;
        ``ProbeAnswered`` names ``probe`` then. It is to be sent in one piece or not at all.

        None while keys are being exchanged, as a peer knows only the newest negotiation, while no
        message is to spare for it, and when so few octets cannot hold a packet.
        """
        newest = self._must_newest()
        key_id = newest.plan.key_id
        padding = octets - self._session.smallest_control(key_id)
        if newest.state is not State.ACKNOWLEDGED or padding < 0:
            return None
        message_id = self._probes.choose(probe, octets, newest.acknowledged, now)
        if message_id is None:
            return None
        return self._session.build(
            key_id, AckQueue(), now, Opcode.CONTROL_V1, message_id, bytes(padding)
        )

    def numbered_probe(self, probe: int, octets: int, now: Instant) -> bytes | None:
        """As :meth:`probe`, for a peer that has said that it answers these: any number of them at
        a time, and while keys are being exchanged too."""
        negotiation = self._finished_by_both()
        if negotiation is None:
            return None
        key_id = negotiation.plan.key_id
        size = octets - self._session.smallest_ack(key_id)
        if size < ANSWER_SIZE:
            return None
        asked = Probe(self._numbered.begin(probe, octets), size)
        return self._session.build(key_id, AckQueue(), now, payload=asked.encode())

    def forget_probes(self) -> None:
        """The peer is reached by another path: answers to probes of the old one count nothing."""
        self._probes.forget()
        self._numbered.forget()

    # --- what a role decides -------------------------------------------------------------------

    def set_credentials(self, credentials: Credentials) -> None:
        """Replace what the next key exchange sends (an auth token)."""
        self._credentials = credentials

    def derive_keys(
        self,
        key_id: KeyId,
        cipher: str,
        *,
        use_ekm: bool,
        data_format: DataFormat = DataFormat.CLASSIC,
    ) -> KeyMaterial:
        """The data keys of an exchanged negotiation. Raises ``UsageError`` before ``Exchanged``."""
        negotiation = self._established(key_id)
        if use_ekm:
            block = negotiation.tls.export(EKM_DATA_LABEL, KEY_BLOCK_SIZE)
        else:
            block = self._block_from_prf(negotiation)
        is_server = self._settings.is_server
        return key_material(block, key_id, cipher, is_server=is_server, data_format=data_format)

    def enable_dynamic_tls_crypt(self) -> None:
        """Key ids above 0 are wrapped by a key from the first negotiation's exporter."""
        if self._session.renegotiation_wrapper is not None:
            return
        if not len(self._dynamic_secret):
            raise UsageError("dynamic tls-crypt before the first key exchange")
        self._session.renegotiation_wrapper = dynamic_wrapper(
            self._dynamic_secret.reveal(),
            self._session.wrapper.static_key,
            is_server=self._settings.is_server,
            wall_offset=self._settings.wall_offset,
            strict_order=self._settings.transport is Transport.TCP,
        )
        self._dynamic_secret = SecretBytes(b"")

    def set_reneg_sec(self, seconds: float) -> None:
        """Change how long after a key exchange we begin the next; 0 never."""
        self._reneg_sec = seconds

    def export(self, key_id: KeyId, label: str, length: int) -> bytes:
        """Keying material of one negotiation."""
        return self._established(key_id).tls.export(label, length)

    # --- what is known -------------------------------------------------------------------------

    @property
    def local_session_id(self) -> SessionId:
        """Ours."""
        return self._session.local

    @property
    def remote_session_id(self) -> SessionId | None:
        """The peer's; None while a client has no answer."""
        return self._session.remote

    @property
    def newest_key_id(self) -> KeyId:
        """Of the newest negotiation, finished or not."""
        return self._must_newest().plan.key_id

    @property
    def acknowledged(self) -> bool:
        """The peer has all of the newest negotiation: it can be probed."""
        return self._newest is not None and self._newest.state is State.ACKNOWLEDGED

    @property
    def unanswered(self) -> bool:
        """The peer has not answered anything yet."""
        return self._session.remote is None

    # --- negotiations --------------------------------------------------------------------------

    def _negotiation_for(self, packet: ControlPacket, now: Instant) -> Negotiation | None:
        """The packet's negotiation; None when it begins the next one."""
        newest = self._must_newest()
        for negotiation in (newest, self._older):
            if negotiation is not None and negotiation.plan.key_id == packet.key_id:
                return negotiation
        if (
            packet.opcode is Opcode.CONTROL_SOFT_RESET_V1
            and packet.message_id == 0
            and packet.key_id == _next_key_id(newest.plan.key_id)
            and newest.established
        ):
            soonest = _must(newest.established_at) + RENEGOTIATION_PAUSE
            if self._settings.is_server and now < soonest:
                raise PeerError("renegotiation too soon")
            return None
        raise PeerError("no negotiation with this key id")

    def _begin_renegotiation(self, key_id: KeyId, now: Instant, *, by_peer: bool) -> list[Event]:
        newest = self._must_newest()
        self._expiring[newest.plan.key_id] = Instant(now + self._settings.tran_window)
        self._older = newest
        self._probes = ProbeIds()
        self._newest = self._negotiation(key_id, Opcode.CONTROL_SOFT_RESET_V1, 0, now)
        return [events.RenegotiationStarted(key_id, by_peer)]

    def _expire(self, key_ids: Iterable[KeyId]) -> list[Event]:
        """Replaced keys whose time is over."""
        happened: list[Event] = []
        for key_id in key_ids:
            del self._expiring[key_id]
            if self._older is not None and self._older.plan.key_id == key_id:
                self._older = None
            happened.append(events.KeyExpired(key_id))
        return happened

    def _finished_by_both(self) -> Negotiation | None:
        """The newest that the peer has finished too."""
        newest, older = self._must_newest(), self._older
        if newest.state is State.ACKNOWLEDGED:
            return newest
        return older if older is not None and older.established else None

    def _numbered_received(
        self, packet: ControlPacket, negotiation: Negotiation, octets: int, now: Instant
    ) -> list[Event]:
        """A numbered probe, which is answered at once and forgotten; or the answer to one."""
        if not negotiation.established:
            raise PeerError("a probe before the peer is known")
        message = decode_probe(packet.payload)
        if isinstance(message, Answer):
            probe = self._numbered.answered(message)
            return [] if probe is None else [events.ProbeAnswered(probe)]
        answer = Answer(message.number, octets).encode()
        reply = self._session.build(packet.key_id, AckQueue(), now, payload=answer)
        return [events.Transmit(reply)]

    # --- packets and events out ----------------------------------------------------------------

    def _flush(self, now: Instant) -> list[Event]:
        happened: list[Event] = []
        newest = self._must_newest()
        while newest.established and self._waiting_texts:
            newest.write(self._waiting_texts.pop(0), now)
        happened += self._news(newest, now)
        for negotiation in (self._older, newest):
            if negotiation is not None:
                happened += self._packets(negotiation, now)
                happened += [events.MessageReceived(text) for text in negotiation.messages]
                negotiation.messages.clear()
        return happened

    def _news(self, negotiation: Negotiation, now: Instant) -> list[Event]:
        """What the role has not heard yet of this negotiation, before the packets that follow."""
        told, negotiation.told = negotiation.told, negotiation.state
        if told is negotiation.state:
            return []
        key_id = negotiation.plan.key_id
        if negotiation.state is State.FAILED:
            fatal = self._older is None
            return [events.NegotiationFailed(key_id, negotiation.failure, fatal)]
        happened: list[Event] = []
        if negotiation.established and told not in (State.EXCHANGED, State.ACKNOWLEDGED):
            if key_id == 0:
                secret = negotiation.tls.export(EKM_DYNAMIC_TLS_CRYPT_LABEL, KEY_BLOCK_SIZE)
                self._dynamic_secret = SecretBytes(secret)
            # There are places for two keys: this one and the last.
            happened += self._expire(tuple(self._expiring)[:-1])
            happened += [self._hello(negotiation), events.Exchanged(key_id)]
        if negotiation.state is State.ACKNOWLEDGED:
            happened.append(events.Acknowledged(key_id))
            if self._older is not None:
                # Long enough for what is still under way on it; then its TLS state is only weight.
                self._older.retires_at = Instant(now + self._settings.hand_window)
        return happened

    def _hello(self, negotiation: Negotiation) -> Event:
        message = _must(negotiation.peer_message)
        return events.Hello(
            key_id=negotiation.plan.key_id,
            identity=negotiation.tls.identity,
            options=message.options,
            username=message.username,
            password=message.password,
            peer_info=parse_peer_info(message.peer_info),
        )

    def _packets(self, negotiation: Negotiation, now: Instant) -> list[Event]:
        key_id, acks = negotiation.plan.key_id, negotiation.acks
        datagrams = [
            self._session.build(key_id, acks, now, packet.opcode, packet.message_id, packet.payload)
            for packet in negotiation.take_due(now)
        ]
        while acks.owed:
            datagrams.append(self._session.build(key_id, acks, now))
        return [events.Transmit(datagram) for datagram in datagrams]

    # --- inside --------------------------------------------------------------------------------

    def _negotiation(
        self, key_id: KeyId, reset: Opcode | None, first_id: int, now: Instant
    ) -> Negotiation:
        settings = self._settings
        limit = self._session.payload_limit
        plan = NegotiationPlan(
            key_id=key_id,
            is_server=settings.is_server,
            reset=reset,
            first_id=first_id,
            deadline=Instant(now + settings.hand_window),
            tls_timeout=settings.tls_timeout,
            payload_limit=limit(key_id, settings.tls_mtu, with_client_key=False),
            payload_limit_with_key=limit(key_id, settings.tls_mtu, with_client_key=True),
        )
        return Negotiation(plan, self._tls(), self._own_message, self._entropy, now)

    def _own_reset(self) -> Opcode:
        if self._settings.is_server:
            return Opcode.CONTROL_HARD_RESET_SERVER_V2
        if self._settings.wrapped_client_key:
            return Opcode.CONTROL_HARD_RESET_CLIENT_V3
        return Opcode.CONTROL_HARD_RESET_CLIENT_V2

    def _own_message(self, source: KeySource) -> KeyMethod2:
        settings = self._settings
        if settings.is_server:
            return KeyMethod2(source, settings.options, peer_info=settings.peer_info)
        return KeyMethod2(
            source,
            settings.options,
            self._credentials.username,
            self._credentials.password,
            settings.peer_info,
        )

    def _block_from_prf(self, negotiation: Negotiation) -> bytes:
        peer = _must(negotiation.peer_message).source
        own = negotiation.own_source
        local, remote = self._session.local, _must(self._session.remote)
        if self._settings.is_server:
            return key_block_from_prf(peer, own, remote, local)
        return key_block_from_prf(own, peer, local, remote)

    def _renegotiation_due(self) -> Instant | None:
        newest = self._newest
        if not self._reneg_sec or newest is None or newest.state is not State.ACKNOWLEDGED:
            return None
        return Instant(_must(newest.established_at) + self._reneg_sec)

    def _established(self, key_id: KeyId) -> Negotiation:
        for negotiation in (self._newest, self._older):
            if negotiation is not None and negotiation.plan.key_id == key_id:
                if negotiation.established:
                    return negotiation
                break
        raise UsageError(f"key id {key_id} is not established")

    def _must_newest(self) -> Negotiation:
        return _must(self._newest)


_T = TypeVar("_T")


def _must(value: _T | None) -> _T:
    if value is None:
        raise UsageError("the connection has not begun")
    return value


def _next_key_id(key_id: KeyId) -> KeyId:
    """1 to 7 and around to 1: 0 is only ever a session's first."""
    return KeyId(key_id % 7 + 1)


def _has_passed(moment: Instant | None, now: Instant) -> bool:
    return moment is not None and now >= moment


def _timed_out(hand_window: float) -> str:
    return f"TLS key negotiation failed to occur within {hand_window:g} seconds"
