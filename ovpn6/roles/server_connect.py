"""From "it is who it says" to "it has its options": settings, addresses, scripts, routes. PURE.

The order is OpenVPN's (``multi.c`` multi_connection_established): older peers of the same name go,
client-config-dir, client-connect, addresses and iroutes, learn-address; then the client may have
its options. Each slow step is a job; its answer comes back here.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

from ovpn6.config.load import parse_peer_config
from ovpn6.config.schema import PeerConfig
from ovpn6.model.addresses import IPNetwork
from ovpn6.model.errors import ConfigErrors, Source
from ovpn6.model.flow import ClientConfigRead, ReadClientConfig, UpdatePeer
from ovpn6.model.names import Instant, Level, Transport
from ovpn6.model.specs import DataFormat, ScriptCall, ScriptResult
from ovpn6.protocol.messages import RESTART
from ovpn6.protocol.negotiation_rules import IvProto, choose_cipher
from ovpn6.roles import server_data, server_path
from ovpn6.roles.address_pool import IsTaken
from ovpn6.roles.push import settle_compression
from ovpn6.roles.route_table import host_network
from ovpn6.roles.server_core import Job, JobKind, ServerCore
from ovpn6.roles.server_leave import (
    client_turn,
    drop,
    farewell,
    forget,
    learn_turn,
    network_text,
    pool_changed,
    refuse,
    refuse_for_now,
)
from ovpn6.roles.server_peer import PeerEvent, PeerState, ServerPeer, own_networks
from ovpn6.roles.server_scripts import peer_environment

NO_DATA_V2 = "Data channel negotiation failed (missing DATA_V2)"
NO_CIPHER = "Data channel cipher negotiation failed (no shared cipher)"


def begin(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """The client proved itself: it replaces its older self, and its settings are read."""
    _replace_older(core, peer, now)
    clients = sum(1 for other in core.peers if other.admitted)
    if clients > core.server.max_clients:
        refuse_for_now(core, peer, now, "the server is full", advance="remote")
        return
    if not _settle_protocol(core, peer, now):
        return
    server_path.begin(core, peer, now)
    if core.server.client_config_dir is None:
        _configured(core, peer, PeerConfig(), now)
        return
    core.emit(
        ReadClientConfig(core.start(Job(JobKind.CLIENT_CONFIG, peer.peer)), peer.person.common_name)
    )


def client_config_read(
    core: ServerCore, peer: ServerPeer, answer: ClientConfigRead, now: Instant
) -> None:
    """The client-config-dir file, or that there is none."""
    if core.server.ccd_exclusive and not has_own_file(answer):
        refuse(core, peer, now, "ccd-exclusive: the client has no file")
        return
    if answer.text is None:
        _configured(core, peer, PeerConfig(), now)
        return
    try:
        config = parse_peer_config(answer.text, Source(answer.source))
    except ConfigErrors as errors:
        _refuse_for_errors(core, peer, now, errors)
        return
    _configured(core, peer, config, now)


def has_own_file(answer: ClientConfigRead) -> bool:
    """A file of the client's own, not DEFAULT: what ``ccd-exclusive`` asks for."""
    return answer.text is not None and answer.source.rpartition("/")[2] != "DEFAULT"


def connect_script_finished(
    core: ServerCore, peer: ServerPeer, result: ScriptResult, now: Instant
) -> None:
    """The client-connect script has decided, and maybe written more settings."""
    if not result.ok:
        refuse(core, peer, now, "client-connect refused the client", result.reason)
        return
    peer.grant.connected = True
    if result.config_text.strip():
        try:
            added = parse_peer_config(result.config_text, Source("[client-connect]"))
        except ConfigErrors as errors:
            _refuse_for_errors(core, peer, now, errors)
            return
        peer.grant.config = merge(peer.grant.config, added)
        if not _settle_config(core, peer, now):
            return
    _connected(core, peer, now)


def network_learned(
    core: ServerCore, peer: ServerPeer, network: IPNetwork, result: ScriptResult, now: Instant
) -> None:
    """A learn-address script has decided on one network."""
    if not result.ok:
        core.log(Level.WARNING, f"learn-address refused {network}", peer)
        core.routes.withdraw(peer.peer, network)
    peer.waiting.learning -= 1
    if peer.state is PeerState.LEARNING and not peer.waiting.learning:
        _learned(core, peer, now)


def merge(first: PeerConfig, then: PeerConfig) -> PeerConfig:
    """Settings read one after the other: single values replace, lists add up."""
    base = PeerConfig() if then.push_reset else first
    return PeerConfig(
        ifconfig_push=then.ifconfig_push or first.ifconfig_push,
        ifconfig_ipv6_push=then.ifconfig_ipv6_push or first.ifconfig_ipv6_push,
        iroutes=tuple(dict.fromkeys((*first.iroutes, *then.iroutes))),
        push=(*base.push, *then.push),
        push_reset=first.push_reset or then.push_reset,
        push_remove=(*first.push_remove, *then.push_remove),
        disable=first.disable or then.disable,
        max_routes_per_client=_newer(first.max_routes_per_client, then.max_routes_per_client),
        override_username=then.override_username or first.override_username,
        inactive=_newer(first.inactive, then.inactive),
        inactive_bytes=first.inactive_bytes if then.inactive is None else then.inactive_bytes,
        keepalive=then.keepalive or first.keepalive,
    )


def _newer(first: int | None, then: int | None) -> int | None:
    return first if then is None else then


def _replace_older(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """A client that comes again is known by its path, or by its name unless names may repeat.

    On the same path it keeps its peer id: OpenVPN's client that was made to begin a new session by
    a server's reset, which anybody on the path can replay, goes on with the id that it knows.
    """
    for other in core.peers.on_path(peer.path):
        if other is not peer and other.admitted:
            same = other.person.common_name == peer.person.common_name
            drop(core, other, now, "replaced by a new connection from the same address")
            if same:
                core.inherit_id(peer, other.peer)
        elif other is not peer and other.ending:
            forget(core, other, now)
    name = peer.person.common_name
    if core.server.duplicate_cn or not name:
        return
    for other in core.peers:
        if other is not peer and other.admitted and other.person.common_name == name:
            drop(core, other, now, f"replaced by a new connection of {name!r} from {peer.path}")


def _settle_protocol(core: ServerCore, peer: ServerPeer, now: Instant) -> bool:
    """Agree on peer ids, cipher and framing; False when the client was refused."""
    capabilities = peer.person.capabilities
    assert capabilities is not None
    if not capabilities.data_v2:
        refuse(core, peer, now, "client does not understand P_DATA_V2", NO_DATA_V2)
        return False
    if capabilities.has(IvProto.NCP_P2P):
        core.log(Level.WARNING, "client has no --pull: it will not take its options", peer)
    data = core.config.data
    cipher = choose_cipher(core.context.ciphers, capabilities, data.cipher_fallback)
    if cipher is None or cipher not in core.context.ciphers:
        offered = ":".join(capabilities.ciphers) or capabilities.occ_cipher or "none"
        ours = ":".join(core.context.ciphers)
        refuse(core, peer, now, f"no common cipher: ours {ours}, client's {offered}", NO_CIPHER)
        return False
    agreed = settle_compression(
        capabilities,
        core.context.framings,
        stub=data.comp_stub,
        # With stub-v2 here such a client means the same framing, or is told it.
        migrate=data.compress_migrate or data.comp_stub_v2,
    )
    if agreed.refusal:
        refuse(
            core,
            peer,
            now,
            f"{agreed.refusal} (remove comp-lzo/compress there, or set 'compress migrate' here)",
            agreed.refusal,
        )
        return False
    peer.grant.cipher = cipher
    if core.context.data_epoch and capabilities.data_epoch:
        peer.grant.data_format = DataFormat.EPOCH
    peer.grant.copy_ecn = core.context.ecn and capabilities.ecn
    peer.grant.numbered_probes = capabilities.numbered_probes and peer.transport is Transport.UDP
    peer.grant.framing = agreed.framing
    peer.grant.compression_push = agreed.push
    return True


def _configured(core: ServerCore, peer: ServerPeer, config: PeerConfig, now: Instant) -> None:
    peer.grant.config = config
    if not _settle_config(core, peer, now):
        return
    peer.advance(PeerEvent.CONFIGURED)
    command = core.config.scripts.client_connect
    if not command:
        peer.grant.connected = True
        _connected(core, peer, now)
        return
    core.run(
        Job(JobKind.CLIENT_CONNECT, peer.peer, turn=client_turn(core, peer)),
        ScriptCall(
            "client-connect",
            command,
            environment=peer_environment(core, peer),
            returns_config=True,
            deferrable=True,
        ),
    )


def _settle_config(core: ServerCore, peer: ServerPeer, now: Instant) -> bool:
    """Apply the client's settings as far as they are known; False when it was refused."""
    config = peer.grant.config
    if config.disable:
        refuse(core, peer, now, "the client is disabled")
        return False
    if config.override_username:
        peer.person.username = config.override_username
        if core.server.username_as_common_name:
            peer.person.common_name = config.override_username
    return _settle_addresses(core, peer, now)


def _settle_addresses(core: ServerCore, peer: ServerPeer, now: Instant) -> bool:
    """Static addresses first, the pool for a family that has none; False when refused."""
    grant, plan = peer.grant, core.plan
    ipv4, ipv6 = grant.config.ifconfig_push, grant.config.ifconfig_ipv6_push
    for static in (ipv4, ipv6):
        if static is not None and static.ip in {own.ip for own in plan.addresses}:
            refuse(core, peer, now, f"static address {static.ip} is the server's own")
            return False
    pool = core.pool
    wants_ipv4 = ipv4 is None and pool is not None and pool.addresses.first_ipv4 is not None
    wants_ipv6 = ipv6 is None and pool is not None and pool.addresses.first_ipv6 is not None
    if pool is not None and grant.lease is not None and not (wants_ipv4 or wants_ipv6):
        pool.release(grant.lease)
        grant.lease = None
    if pool is not None and grant.lease is None and (wants_ipv4 or wants_ipv6):
        grant.lease = pool.acquire(peer.person.common_name, _is_static(core))
        pool_changed(core, now)
    lease = grant.lease
    grant.ipv4 = ipv4 if isinstance(ipv4, IPv4Interface) else None
    grant.ipv6 = ipv6 if isinstance(ipv6, IPv6Interface) else None
    if lease is not None and wants_ipv4 and lease.ipv4 is not None:
        grant.ipv4 = IPv4Interface((lease.ipv4, _ipv4_prefix(core)))
    if lease is not None and wants_ipv6 and lease.ipv6 is not None:
        grant.ipv6 = IPv6Interface((lease.ipv6, _ipv6_prefix(core)))
    if grant.ipv4 is None and grant.ipv6 is None:
        refuse_for_now(core, peer, now, "no tunnel address is free")
        return False
    return True


def _is_static(core: ServerCore) -> IsTaken:
    return lambda address: core.routes.owner_of(host_network(address)) is not None


def _ipv4_prefix(core: ServerCore) -> int:
    if core.server.pool_netmask is not None:
        return bin(int(core.server.pool_netmask)).count("1")
    return core.plan.ipv4.network.prefixlen if core.plan.ipv4 is not None else 32


def _ipv6_prefix(core: ServerCore) -> int:
    if core.server.pool_ipv6 is not None:
        return core.server.pool_ipv6.network.prefixlen
    return core.plan.ipv6.network.prefixlen if core.plan.ipv6 is not None else 128


def _connected(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    """Claim the client's networks, and ask the learn-address script about each."""
    peer.advance(PeerEvent.CONNECTED)
    for network in _claims(core, peer):
        previous = core.peers.get(core.routes.claim(peer.peer, network))
        if previous is not None:
            _dispossess(core, previous, network, now)
        _learn(core, peer, network, "add" if previous is None else "update")
    if not peer.waiting.learning:
        _learned(core, peer, now)


def _claims(core: ServerCore, peer: ServerPeer) -> list[IPNetwork]:
    config = peer.grant.config
    limit = config.max_routes_per_client
    limit = core.server.max_routes_per_client if limit is None else limit
    wanted = list(dict.fromkeys((*own_networks(peer.grant), *config.iroutes)))
    if len(wanted) > limit:
        core.log(
            Level.WARNING,
            f"{len(wanted) - limit} iroutes over max-routes-per-client {limit} are left out",
            peer,
        )
    return wanted[:limit]


def _dispossess(core: ServerCore, loser: ServerPeer, network: IPNetwork, now: Instant) -> None:
    """A newer claim took this network from a peer."""
    if network in own_networks(loser.grant):
        farewell(core, loser, now, f"its address {network_text(network)} went to another", RESTART)
        return
    core.log(Level.WARNING, f"iroute {network} went to another client", loser)
    if loser.in_datapath:
        core.emit(UpdatePeer(server_data.peer_spec(core, loser)))
        server_path.lead(core, loser)


def _learn(core: ServerCore, peer: ServerPeer, network: IPNetwork, operation: str) -> None:
    command = core.config.scripts.learn_address
    if not command:
        return
    peer.waiting.learning += 1
    core.run(
        Job(JobKind.LEARN, peer.peer, network=network, turn=learn_turn(network)),
        ScriptCall(
            "learn-address",
            command,
            (operation, network_text(network), peer.name),
            peer_environment(core, peer),
        ),
    )


def _learned(core: ServerCore, peer: ServerPeer, now: Instant) -> None:
    peer.advance(PeerEvent.LEARNED)
    for network in core.routes.networks(peer.peer):
        core.log(Level.INFO, f"internal address or route {network_text(network)}", peer)
    capabilities = peer.person.capabilities
    unasked = capabilities is not None and capabilities.push_request_optional
    if unasked or peer.waiting.push_wanted:
        server_data.push(core, peer, now)


def _refuse_for_errors(
    core: ServerCore, peer: ServerPeer, now: Instant, errors: ConfigErrors
) -> None:
    for error in errors.errors:
        core.log(Level.ERROR, str(error), peer)
    refuse(core, peer, now, "its settings have errors", "Server configuration error")
