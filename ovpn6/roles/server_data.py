"""A client's data channel: options pushed, keys installed and changed, paths that move. PURE."""

from __future__ import annotations

import base64

from ovpn6.model.addresses import Path
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import AddPeer, DropKey, InstallKey, SwapKeys, UpdatePeer
from ovpn6.model.names import Instant, KeyId, KeySlot, Level, Transport
from ovpn6.model.records import replace
from ovpn6.model.specs import KeyMaterial, PeerSpec
from ovpn6.protocol.messages import push_replies
from ovpn6.protocol.negotiation_rules import IvProto
from ovpn6.roles import server_path
from ovpn6.roles.key_change import SERVER_DEFERRAL, swap_deferral
from ovpn6.roles.push import PushFacts, auth_token_option, is_pushable, push_options
from ovpn6.roles.server_core import ServerCore
from ovpn6.roles.server_keys import KeyFact, KeyStep
from ovpn6.roles.server_leave import drop, farewell
from ovpn6.roles.server_peer import PeerEvent, PeerState, ServerPeer

PUSH_REPEAT = 30
"""Seconds in which a repeated PUSH_REQUEST is not answered again (OpenVPN ``push.c``)."""


def push_requested(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """The client asks for its options: give them, give them again, or as soon as they are known."""
    if peer.state is PeerState.READY:
        push(core, peer, now)
        return
    peer.waiting.push_wanted = True
    pushed = peer.grant.pushed_at
    if peer.state is PeerState.ACTIVE and pushed is not None and now >= pushed + PUSH_REPEAT:
        _send_options(core, peer, now)


def push(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Let the client into the data channel, then tell it its options.

    In this order: its first packet may come as soon as it has them.
    """
    key_id = peer.keys.newest_usable()
    if key_id is None:
        peer.waiting.push_wanted = True
        return
    key = _derive(core, peer, key_id)
    core.emit(AddPeer(peer_spec(core, peer)), InstallKey(peer.peer, KeySlot.PRIMARY, key))
    peer.in_datapath = True
    server_path.enter(core, peer, now)
    peer.keys.first_installed(key_id)
    capabilities = peer.person.capabilities
    assert capabilities is not None
    if peer.connection.newest_key_id:
        # It renegotiated before it was told to change the wrapping, so both ends go on without.
        capabilities = replace(
            capabilities, iv_proto=capabilities.iv_proto & ~IvProto.DYN_TLS_CRYPT
        )
        peer.person.capabilities = capabilities
    if capabilities.dyn_tls_crypt:
        peer.connection.enable_dynamic_tls_crypt()
    peer.advance(PeerEvent.PUSHED)
    _send_options(core, peer, now)
    timeout = core.config.data.session_timeout
    peer.waiting.deadline = Instant(now + timeout) if timeout else None
    core.touch(peer)


def push_token(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Replace the client's token."""
    if peer.person.token is not None:
        text = f"PUSH_REPLY,{auth_token_option(peer.person.token)}"
        core.enqueue(peer, peer.connection.send_message(text, now))


def peer_spec(core: ServerCore, peer: ServerPeer) -> PeerSpec:
    """The order for the datapath, as things are now."""
    config, data = peer.grant.config, core.config.data
    return PeerSpec(
        peer=peer.peer,
        send_id=peer.peer,
        path=peer.path,
        networks=core.routes.networks(peer.peer),
        keepalive=config.keepalive or data.keepalive,
        framing=peer.grant.framing,
        float_allowed=peer.transport is Transport.UDP,
        inactive_after=data.inactive if config.inactive is None else config.inactive,
        inactive_bytes=data.inactive_bytes if config.inactive is None else config.inactive_bytes,
        copy_ecn=peer.grant.copy_ecn,
    )


def key_fact(core: ServerCore, peer: ServerPeer, key_id: KeyId, fact: KeyFact) -> None:
    """Something became known of a key id; do what follows."""
    _carry_out(core, peer, key_id, peer.keys.learn(key_id, fact))


def key_acknowledged(core: ServerCore, peer: ServerPeer, key_id: KeyId, now: Instant) -> None:
    """The client has all that we said of a negotiation: it can make the key, and soon will have it.

    A packet under the key says so for certain, but not every datapath tells of it; and a client
    whose data channel is in its kernel acknowledges before the key is there.
    """
    if peer.keys.slots.get(KeySlot.PRIMARY) in (None, key_id):
        return
    reneg_sec = core.config.control.reneg_sec
    peer.waiting.swap = key_id
    peer.waiting.swap_at = Instant(now + swap_deferral(SERVER_DEFERRAL, reneg_sec))
    core.touch(peer)


def swap_overdue(core: ServerCore, peer: ServerPeer) -> None:
    """An acknowledged key waits no longer."""
    key_id, peer.waiting.swap, peer.waiting.swap_at = peer.waiting.swap, None, None
    if key_id is not None:
        key_fact(core, peer, key_id, KeyFact.CONFIRMED)


def key_proven(core: ServerCore, peer: ServerPeer) -> None:
    """The client shows that it has every key before the one that it asks for."""
    key_id = peer.keys.slots.get(KeySlot.SECONDARY)
    if key_id is not None and peer.keys.is_usable(key_id):
        key_fact(core, peer, key_id, KeyFact.CONFIRMED)


def key_expired(core: ServerCore, peer: ServerPeer, key_id: KeyId, now: Instant) -> None:
    """A key's time is over."""
    steps = peer.keys.expire(key_id)
    _carry_out(core, peer, key_id, steps)
    if KeyStep.KEYLESS in steps:
        drop(core, peer, now, "its last key expired")


def floated(core: ServerCore, peer: ServerPeer, path: Path, now: Instant) -> None:
    """The datapath has moved the peer."""
    core.log(Level.INFO, f"floated to {path}", peer)
    core.peers.move(peer, path)
    server_path.moved(core, peer, path, now)


def float_conflict(
    core: ServerCore, peer: ServerPeer, owner: ServerPeer | None, path: Path, now: Instant
) -> None:
    """A peer came from a path that is another's: allowed when both are the same client."""
    if owner is not None and owner is not peer:
        same_name = bool(peer.person.common_name) and (
            owner.person.common_name == peer.person.common_name
        )
        same_certificates = [c.sha256 for c in owner.person.identity.chain] == [
            c.sha256 for c in peer.person.identity.chain
        ]
        if not (same_name and same_certificates):
            core.stranger("float to a path of another client", peer.about, now)
            return
        drop(core, owner, now, "replaced: the same client floated to its path")
    floated(core, peer, path, now)
    core.emit(UpdatePeer(peer_spec(core, peer)))


def session_over(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """``session-timeout``: the client may come again."""
    farewell(core, peer, now, "session-timeout", "RESTART")


def _carry_out(core: ServerCore, peer: ServerPeer, key_id: KeyId, steps: list[KeyStep]) -> None:
    if not peer.in_datapath:
        return  # it has said goodbye, and lives on only for the control channel's last words
    for step in steps:
        if step is KeyStep.INSTALL:
            key = _derive(core, peer, key_id)
            core.emit(InstallKey(peer.peer, KeySlot.SECONDARY, key))
        elif step is KeyStep.SWAP:
            core.emit(SwapKeys(peer.peer))
        elif step is KeyStep.DROP_SECONDARY:
            core.emit(DropKey(peer.peer, KeySlot.SECONDARY))


def _derive(core: ServerCore, peer: ServerPeer, key_id: KeyId) -> KeyMaterial:
    capabilities = peer.person.capabilities
    if capabilities is None:
        raise UsageError("keys before the client was heard")
    grant = peer.grant
    return peer.connection.derive_keys(
        key_id, grant.cipher, use_ekm=capabilities.ekm, data_format=grant.data_format
    )


def _options(core: ServerCore, peer: ServerPeer) -> list[str]:
    person, grant, tun_mtu = peer.person, peer.grant, core.config.host.tun_mtu
    capabilities = person.capabilities
    assert capabilities is not None
    facts = PushFacts(
        server_ipv4=core.plan.ipv4,
        server_ipv6=core.plan.ipv6,
        ipv4=grant.ipv4,
        ipv6=grant.ipv6,
        peer=peer.peer,
        cipher=grant.cipher,
        capabilities=capabilities,
        data_format=grant.data_format,
        tun_mtu=tun_mtu,
        token=person.token,
        compression=grant.compression_push,
        copy_ecn=grant.copy_ecn,
        numbered_probes=grant.numbered_probes,
    )
    options = push_options(core.server.push, grant.config, facts)
    if person.token is not None and person.username != person.login:
        user = base64.b64encode(person.username.encode()).decode()
        options.append(f"auth-token-user {user}")
    for option in options:
        if not is_pushable(option):
            core.log(
                Level.ERROR, f"cannot be pushed (comma, control or too long): {option!r}", peer
            )
    return [option for option in options if is_pushable(option)]


def _send_options(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    options = _options(core, peer)
    shown = ["auth-token [hidden]" if o.startswith("auth-token ") else o for o in options]
    core.log(Level.INFO, f"pushes: {', '.join(shown)}", peer)
    peer.grant.pushed_at = now
    for reply in push_replies(options):
        core.enqueue(peer, peer.connection.send_message(reply, now))
