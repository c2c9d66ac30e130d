"""What a server starts with, from its context; and its state for the status file. PURE."""

from __future__ import annotations

from ovpn6.model.secrets import SecretBytes
from ovpn6.model.status import PeerStatus
from ovpn6.roles import auth_token
from ovpn6.roles.address_pool import AddressPool
from ovpn6.roles.auth_token import TokenAuthority
from ovpn6.roles.interface import RoleContext
from ovpn6.roles.leases import load_leases
from ovpn6.roles.server_core import ServerCore
from ovpn6.roles.server_peer import PeerState, ServerPeer
from ovpn6.roles.server_plan import ServerPlan


def make_pool(context: RoleContext, plan: ServerPlan) -> tuple[AddressPool | None, list[str]]:
    """The pool with what its file suggests, and notices of what it does not fit."""
    if plan.pool is None:
        return None, []
    server = plan.server
    pool = AddressPool(
        plan.pool,
        remember_names=not server.duplicate_cn,
        reserved=[own.ip for own in plan.addresses],
    )
    fixed = not server.ifconfig_pool_persist_interval
    return pool, load_leases(pool, context.pool_text, fixed=fixed)


def make_tokens(context: RoleContext) -> TokenAuthority | None:
    """Who issues tokens, None without ``auth-gen-token``. Raises ``ConfigError`` for a bad key."""
    server = context.config.server
    if server is None or not server.auth_gen_token:
        return None
    secret, file = context.auth_token_secret, server.auth_gen_token_secret
    if secret is None:
        key = SecretBytes(context.entropy(auth_token.KEY_SIZE))
    else:
        key = auth_token.parse_key(secret.reveal().decode(), file.source if file else None)
    renewal = server.auth_gen_token_renewal or context.config.control.reneg_sec
    return TokenAuthority(key, server.auth_gen_token_lifetime, renewal)


def shown_peers(core: ServerCore) -> tuple[PeerStatus, ...]:
    """The clients that have their addresses."""
    return tuple(
        _status(core, peer)
        for peer in core.peers
        if peer.state in (PeerState.READY, PeerState.ACTIVE)
    )


def _status(core: ServerCore, peer: ServerPeer) -> PeerStatus:
    grant = peer.grant
    return PeerStatus(
        peer=peer.peer,
        common_name=peer.name,
        username=peer.person.username,
        path=peer.path,
        ipv4=grant.ipv4.ip if grant.ipv4 is not None else None,
        ipv6=grant.ipv6.ip if grant.ipv6 is not None else None,
        cipher=grant.cipher,
        connected=peer.created,
        routes=core.routes.networks(peer.peer),
        sizes=peer.sizes.status() if peer.sizes is not None else None,
    )
