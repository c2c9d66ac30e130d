"""The sizes of each client's path, from the moment it is known what it speaks. PURE."""

from __future__ import annotations

from collections.abc import Iterable

from ovpn6.model.addresses import Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import Action, Log, PacketTooBig, SendProbe
from ovpn6.model.names import Instant
from ovpn6.model.records import replace
from ovpn6.roles.path_mtu import ANSWERS_WAIT, PathRules, PeerPath
from ovpn6.roles.push import pushed_mtu
from ovpn6.roles.server_core import ServerCore
from ovpn6.roles.server_peer import ServerPeer


def begin(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """The client's data format is agreed on: probe its path while the rest is decided."""
    capabilities, device = peer.person.capabilities, core.config.host.tun_mtu
    assert capabilities is not None
    taken = pushed_mtu(device, capabilities)
    rules = PathRules(
        config=core.config.mtu,
        transport=peer.transport,
        device=device,
        limit=device if taken is None else taken,
        data_format=peer.grant.data_format,
        framing=peer.grant.framing,
        numbered_probes=peer.grant.numbered_probes,
    )
    peer.sizes = PeerPath(rules, peer.path, peer.connection)
    if peer.connection.acknowledged:
        acknowledged(core, peer, now)


def acknowledged(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """The client has everything of a negotiation."""
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.acknowledged(now))


def answered(core: ServerCore, peer: ServerPeer, probe: int, now: Instant) -> None:
    """The client has a probe."""
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.answered(probe, now))


def enter(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """The client is about to enter the data path; it uses it once it has read its options."""
    if peer.sizes is not None:
        networks = core.routes.networks(peer.peer)
        _emit(core, peer, peer.sizes.enter(peer.peer, networks, now, ANSWERS_WAIT))


def lead(core: ServerCore, peer: ServerPeer) -> None:
    """The client's networks have changed."""
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.lead(core.routes.networks(peer.peer)))


def moved(core: ServerCore, peer: ServerPeer, path: Path, now: Instant) -> None:
    """The client is reached by another path."""
    peer.connection.forget_probes()
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.moved(path, now))


def tick(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Whatever is due."""
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.tick(now))


def leave(core: ServerCore, peer: ServerPeer) -> None:
    """The client has left the data path, or never comes into it."""
    if peer.sizes is not None:
        _emit(core, peer, peer.sizes.leave())
        peer.sizes = None


def too_big(core: ServerCore, hint: PacketTooBig, now: Instant) -> None:
    """A router's word about a path."""
    for peer in core.peers.on_path(hint.path):
        if peer.sizes is not None:
            own = peer.connection.local_session_id
            _emit(core, peer, peer.sizes.too_big(hint, own, now))


def refused(core: ServerCore, order: SendProbe, error: HostError, now: Instant) -> None:
    """The host did not send a probe."""
    for peer in core.peers.on_path(order.path):
        if peer.sizes is not None:
            _emit(core, peer, peer.sizes.refused(order, error, now))


def _emit(core: ServerCore, peer: ServerPeer, actions: Iterable[Action]) -> None:
    """Behind the rest of the step: a client's options leave before the host is asked for anything,
    and no data packet comes from it, nor is taken there, before it has them."""
    core.touch(peer)
    for action in actions:
        core.emit_last(replace(action, about=peer.about) if isinstance(action, Log) else action)
