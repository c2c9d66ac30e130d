"""Who may begin a session with one of two equal ends. PURE.

A stranger costs nothing before it has proved its address (to the TLS server) or sent an authentic
reset (to the TLS client). Who is not the configured peer does not get here.
"""

from __future__ import annotations

from ovpn6.config.schema import Remote
from ovpn6.model.addresses import Path
from ovpn6.model.errors import PeerError, UsageError
from ovpn6.model.flow import Action, SendControl
from ovpn6.model.names import Instant, SessionId
from ovpn6.model.records import dataclass
from ovpn6.protocol.acceptor import Accepted, Acceptor, Ignored, Reply
from ovpn6.protocol.packets import HEADER_SIZE, Opcode, decode_first_byte
from ovpn6.roles.client_news import Step
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.point_to_point_links import Place
from ovpn6.roles.point_to_point_session import PeerSession

RESET_PAUSE = 0.9
"""Seconds between two answers to a reset beside a living session: anybody may have forged it."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The peer has begun a session; ``steps`` are the first of it."""

    session: PeerSession
    steps: list[Step]


class Admission:
    """For one end's whole life. The context has ``acceptor`` or ``wrapping``, by the part in TLS:
    raises ``UsageError`` when that is not so."""

    def __init__(self, context: RoleContext) -> None:
        if (context.acceptor if context.config.is_tls_server else context.wrapping) is None:
            raise UsageError("one of two equal ends needs what its part in TLS needs")
        self._context = context
        self._reset_answered: Instant | None = None

    def first(self, entry: Remote, path: Path) -> PeerSession | None:
        """A session for us to begin; None where only the peer can (tls-crypt-v2)."""
        acceptor, wrapping = self._context.acceptor, self._context.wrapping
        if acceptor is not None:
            wrapper = acceptor.wrapper(entry.transport)
            return PeerSession(self._context, entry, path, wrapper) if wrapper else None
        if wrapping is None:
            return None
        wrap = wrapping(entry)
        return PeerSession(self._context, entry, path, wrap.wrapper, wrap.wrapped_client_key)

    def stranger(
        self, place: Place, path: Path, datagram: bytes, now: Instant, *, beside: bool
    ) -> list[Action] | Admitted:
        """A datagram of no session. ``beside``: a session lives. Raises ``PeerError`` when it is to
        be counted and dropped."""
        if self._context.acceptor is not None:
            return self._judge(self._context.acceptor, place, path, datagram, now, beside=beside)
        opcode = decode_first_byte(datagram[0])[0] if len(datagram) >= HEADER_SIZE else None
        if opcode is not Opcode.CONTROL_HARD_RESET_SERVER_V2:
            raise PeerError("no session, and not a server's reset")
        self._pause(now, beside=beside)
        session = self.first(place.entry, path)
        if session is None:
            raise PeerError("no session, and none may begin")
        local, remote = self._context.entropy(8), datagram[1:HEADER_SIZE]
        return Admitted(session, session.accept(SessionId(local), SessionId(remote), datagram, now))

    def _judge(
        self,
        acceptor: Acceptor,
        place: Place,
        path: Path,
        datagram: bytes,
        now: Instant,
        *,
        beside: bool,
    ) -> list[Action] | Admitted:
        verdict = acceptor.receive(path, datagram, now, transport=place.entry.transport)
        match verdict:
            case Reply():
                self._pause(now, beside=beside)
                return [SendControl(path, verdict.datagram)]
            case Ignored():
                raise PeerError(verdict.reason)
            case Accepted():
                session = PeerSession(self._context, place.entry, path, verdict.wrapper)
                steps = session.accept(verdict.local, verdict.remote, datagram, now)
                return Admitted(session, steps)

    def _pause(self, now: Instant, *, beside: bool) -> None:
        last = self._reset_answered
        if beside and last is not None and now < last + RESET_PAUSE:
            raise PeerError("reset beside a living session")
        self._reset_answered = now
