"""What a client's connection says, sorted to who knows what to do about it. PURE."""

from __future__ import annotations

from ovpn6.model.flow import SendControl
from ovpn6.model.names import Instant, Level
from ovpn6.protocol import events, messages
from ovpn6.roles import server_auth, server_data, server_leave, server_path
from ovpn6.roles.server_core import ServerCore
from ovpn6.roles.server_keys import KeyFact
from ovpn6.roles.server_peer import PeerState, ServerPeer


def handle(core: ServerCore, peer: ServerPeer, event: events.Event, now: Instant) -> None:
    """One event of a connection."""
    if peer.state is PeerState.GONE:
        return
    if isinstance(event, events.Transmit):
        core.emit(SendControl(peer.path, event.datagram))
        return
    if peer.ending:
        return
    match event:
        case events.Hello():
            server_auth.hello(core, peer, event, now)
        case events.Exchanged():
            server_data.key_fact(core, peer, event.key_id, KeyFact.EXCHANGED)
            _push_if_waiting(core, peer, now)
        case events.Acknowledged():
            server_data.key_acknowledged(core, peer, event.key_id, now)
            server_path.acknowledged(core, peer, now)
        case events.ProbeAnswered():
            server_path.answered(core, peer, event.probe, now)
        case events.RenegotiationStarted():
            # OpenVPN forgets the key before the last now; and who begins has the last.
            server_data.swap_overdue(core, peer)
            if event.by_peer:
                server_data.key_proven(core, peer)
            peer.keys.begin(event.key_id)
            who = "the client" if event.by_peer else "us"
            core.log(Level.DEBUG, f"renegotiation {event.key_id}, begun by {who}", peer)
        case events.MessageReceived():
            _message(core, peer, event.text, now)
        case events.KeyExpired():
            server_data.key_expired(core, peer, event.key_id, now)
        case events.NegotiationFailed():
            _failed(core, peer, event, now)


def _push_if_waiting(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    capabilities = peer.person.capabilities
    unasked = capabilities is not None and capabilities.push_request_optional
    if peer.state is PeerState.READY and (unasked or peer.waiting.push_wanted):
        server_data.push(core, peer, now)


def _failed(
    core: ServerCore, peer: ServerPeer, event: events.NegotiationFailed, now: Instant
) -> None:
    """Without a working key the client goes, but not before it got the TLS alert."""
    if event.fatal:
        server_leave.farewell(core, peer, now, f"TLS: {event.reason}")
        return
    core.log(Level.WARNING, f"renegotiation {event.key_id} failed: {event.reason}", peer)
    server_data.key_expired(core, peer, event.key_id, now)


def _message(core: ServerCore, peer: ServerPeer, text: str, now: Instant) -> None:
    match messages.parse_message(text):
        case messages.PushRequest():
            server_data.push_requested(core, peer, now)
        case messages.Exit():
            server_leave.farewell(core, peer, now, "the client said goodbye")
        case messages.CrResponse():
            core.stranger("answer to a challenge, but nothing here asks any", peer.about, now)
        case _:
            core.stranger("control message that a server does not take", peer.about, now)
