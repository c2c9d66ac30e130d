"""How a client goes: what it was given is taken back, scripts are told, others go on. PURE.

release   take everything back; the connection stays for the peer's resends
refuse    AUTH_FAILED, then remembered for a while
farewell  a last message (or none), then remembered for a while
forget    nothing is left
"""

from __future__ import annotations

from ovpn6.model.addresses import IPNetwork
from ovpn6.model.flow import CloseLink, RemovePeer, SavePool
from ovpn6.model.names import Instant, Level, Transport
from ovpn6.model.specs import ScriptCall
from ovpn6.protocol import messages
from ovpn6.roles import script_env, server_path
from ovpn6.roles.leases import format_leases
from ovpn6.roles.server_core import Job, JobKind, ServerCore, TimerKind, Turn
from ovpn6.roles.server_peer import PeerEvent, PeerState, ServerPeer
from ovpn6.roles.server_scripts import base_environment, peer_environment

GRACE = 5.0
"""Seconds that a connection outlives its last message, to repeat it and to acknowledge."""
BACKOFF = 10
"""Seconds after which a client that came at a bad time may come again."""
_REASON_LIMIT = 512


def refuse(
    core: ServerCore, peer: ServerPeer, now: Instant, why: str, client_reason: str = ""
) -> None:
    """Refuse for good. ``why`` is for our log, ``client_reason`` what the client may know."""
    text = script_env.printable(client_reason).replace(",", ";")[:_REASON_LIMIT]
    _refuse_with(core, peer, now, why, messages.auth_failed(text))


def refuse_for_now(
    core: ServerCore, peer: ServerPeer, now: Instant, why: str, *, advance: str = "addr"
) -> None:
    """Refuse a client that may come again. One that does not understand this is left without an
    answer, as OpenVPN does: a plain AUTH_FAILED would end it."""
    capabilities = peer.person.capabilities
    if capabilities is not None and capabilities.auth_failed_temp:
        text = messages.auth_failed_temporarily(why, backoff=BACKOFF, advance=advance)
        _refuse_with(core, peer, now, why, text)
        return
    core.log(Level.WARNING, f"refused for now: {why}", peer)
    core.count(f"refused: {why}")
    forget(core, peer, now)


def farewell(
    core: ServerCore, peer: ServerPeer, now: Instant, why: str, message: str | None = None
) -> None:
    """End a connection; ``message`` tells the client, None when there is nothing to tell."""
    if peer.ending:
        return
    _log_end(core, peer, now, why)
    if message is not None:
        core.enqueue(peer, peer.connection.send_message(message, now))
    release(core, peer, now)
    peer.advance(PeerEvent.GOODBYE)
    peer.waiting.deadline = Instant(now + GRACE)
    core.touch(peer)


def drop(core: ServerCore, peer: ServerPeer, now: Instant, why: str) -> None:
    """End a connection whose client cannot be told any more."""
    if not peer.ending:
        _log_end(core, peer, now, why)
    forget(core, peer, now)


def forget(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Take everything back, and keep nothing."""
    if peer.state is PeerState.GONE:
        return
    release(core, peer, now)
    peer.advance(PeerEvent.FORGOTTEN)
    core.peers.remove(peer)
    core.timers.set((TimerKind.PEER, peer.peer), None)
    alone = not core.peers.on_path(peer.path)
    if peer.transport is Transport.TCP and alone and peer.path.link in core.links:
        del core.links[peer.path.link]
        core.emit(CloseLink(peer.path.link))


def release(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Take back what a client holds, and run the scripts that say so. Does nothing twice."""
    core.cancel_jobs(peer.peer)
    if peer.grant.connected:
        peer.grant.connected = False
        _run_disconnect(core, peer, now)
    for network in core.routes.release(peer.peer):
        unlearn(core, network)
    if peer.in_datapath:
        peer.in_datapath = False
        core.emit(RemovePeer(peer.peer))
    server_path.leave(core, peer)
    if peer.grant.lease is not None and core.pool is not None:
        core.pool.release(peer.grant.lease)
        peer.grant.lease = None
        pool_changed(core, now)


def unlearn(core: ServerCore, network: IPNetwork) -> None:
    """Tell the learn-address script that nobody has a network any more."""
    if core.config.scripts.learn_address:
        core.run(
            Job(JobKind.UNLEARN, network=network, turn=learn_turn(network)),
            ScriptCall(
                "learn-address",
                core.config.scripts.learn_address,
                ("delete", network_text(network)),
                base_environment(core),
            ),
        )


def learn_turn(network: IPNetwork) -> Turn:
    """learn-address hears of one network in the order of what happened."""
    return ("network", str(network))


def client_turn(core: ServerCore, peer: ServerPeer) -> Turn | None:
    """A client's client-connect waits for the client-disconnect of its older self."""
    name = peer.person.common_name
    return ("client", name) if name and not core.server.duplicate_cn else None


def network_text(network: IPNetwork) -> str:
    """As learn-address scripts see it: a host without its prefix length."""
    is_host = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if is_host else str(network)


def pool_changed(core: ServerCore, now: Instant) -> None:
    """Write the pool file now, or when the interval since the last time is over."""
    interval = core.server.ifconfig_pool_persist_interval
    if core.server.ifconfig_pool_persist is None or not interval:
        return
    saved = core.pool_saved_at
    if saved is None or now >= saved + interval:
        save_pool(core, now)
    else:
        core.timers.set((TimerKind.SAVE_POOL, 0), Instant(saved + interval))


def save_pool(core: ServerCore, now: Instant) -> None:
    """Write the pool file; an interval of 0 means that it is only ever read."""
    server = core.server
    writable = server.ifconfig_pool_persist is not None and server.ifconfig_pool_persist_interval
    if core.pool is not None and writable:
        core.pool_saved_at = now
        core.timers.set((TimerKind.SAVE_POOL, 0), None)
        core.emit(SavePool(format_leases(core.pool)))


def _refuse_with(core: ServerCore, peer: ServerPeer, now: Instant, why: str, text: str) -> None:
    if peer.ending:
        return
    core.log(Level.WARNING, f"refused: {why}", peer)
    core.count("refused clients")
    core.enqueue(peer, peer.connection.send_message(text, now))
    release(core, peer, now)
    peer.advance(PeerEvent.REFUSED)
    peer.waiting.deadline = Instant(now + GRACE)
    core.touch(peer)


def _log_end(core: ServerCore, peer: ServerPeer, now: Instant, why: str) -> None:
    """The end of a candidate is a stranger's doing."""
    if peer.admitted:
        core.log(Level.INFO, f"disconnected: {why}", peer)
    else:
        core.stranger(why, peer.about, now)


def _run_disconnect(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    if not core.config.scripts.client_disconnect:
        return
    environment = peer_environment(core, peer)
    environment["time_duration"] = str(int(now - peer.created))
    core.run(
        Job(JobKind.CLIENT_DISCONNECT, peer.peer, turn=client_turn(core, peer)),
        ScriptCall(
            "client-disconnect",
            core.config.scripts.client_disconnect,
            environment=environment,
            peer=peer.peer if peer.in_datapath else None,
        ),
    )
