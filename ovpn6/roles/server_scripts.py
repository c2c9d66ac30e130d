"""The environments of the server's scripts, from what the server knows. PURE."""

from __future__ import annotations

from ovpn6.roles import script_env
from ovpn6.roles.script_env import Environment
from ovpn6.roles.server_core import ServerCore
from ovpn6.roles.server_peer import ServerPeer
from ovpn6.roles.server_plan import server_routes, tunnel_gateways


def base_environment(core: ServerCore) -> Environment:
    """What every script gets."""
    config = core.config
    gateways = tunnel_gateways(config, core.plan)
    environment = {
        **core.context.environment,
        **script_env.listen_environment(core.server.listens),
        **script_env.tunnel_environment(
            core.device, config.host.tun_mtu, core.plan.addresses, context=core.script_context
        ),
        **script_env.route_environment(server_routes(config), gateways),
        "redirect_gateway": "0",
    }
    if 4 in gateways:
        environment["route_vpn_gateway"] = str(gateways[4])
    return environment


def stranger_environment(core: ServerCore, peer: ServerPeer) -> Environment:
    """A client that is not in yet: certificates, ``untrusted_*``, peer-info."""
    person = peer.person
    return {
        **base_environment(core),
        **script_env.identity_environment(person.identity),
        **script_env.peer_info_environment(person.peer_info),
        **script_env.endpoint_environment("untrusted", peer.path.remote),
        "common_name": person.common_name,
    }


def peer_environment(core: ServerCore, peer: ServerPeer) -> Environment:
    """A client that proved itself: ``trusted_*``, its addresses, when it came."""
    environment = {
        **stranger_environment(core, peer),
        **script_env.endpoint_environment("trusted", peer.path.remote),
        **script_env.pool_environment(peer.grant.ipv4, peer.grant.ipv6, core.plan.ipv6),
        **script_env.time_environment(core.wall(peer.created)),
    }
    if peer.person.username:
        environment["username"] = peer.person.username
    return environment
