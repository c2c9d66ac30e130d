"""From configuration to what a client's connection says of itself. PURE.

Source: OpenVPN ``ssl.c`` (push_peer_info), ``init.c`` (do_init_crypto_tls: reneg-sec).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from ovpn6 import __version__
from ovpn6.config.schema import ClientConfig, ControlConfig, Remote, TunnelConfig, WrapMode
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import Family
from ovpn6.model.specs import Framing, LinkSpec
from ovpn6.protocol.connection import ConnectionSettings
from ovpn6.protocol.negotiation_rules import client_peer_info, options_string
from ovpn6.protocol.wrapping import ClientWrapping
from ovpn6.roles.interface import RoleContext

_ALWAYS_TOLD = ("IV_GUI_VER", "IV_SSO")
_TOLD_ON_REQUEST = ("IV_PLAT_VER",)


def connection_settings(
    context: RoleContext, remote: Remote, wrapping: ClientWrapping, reneg_sec: float
) -> ConnectionSettings:
    """For one attempt at ``remote``."""
    config = context.config
    control = config.control
    return ConnectionSettings(
        is_server=False,
        transport=remote.transport,
        options=_options(config, remote),
        peer_info=client_peer_info(
            version=f"ovpn6-{__version__}",
            platform="linux",
            ciphers=context.ciphers,
            tun_mtu_max=max(config.host.tun_mtu_max, config.host.tun_mtu),
            compression_stubs=Framing.STUB in context.framings,
            data_epoch=context.data_epoch,
            ecn=context.ecn,
            extra=extra_peer_info(control),
        ),
        tls_timeout=control.tls_timeout,
        hand_window=control.hand_window,
        tran_window=control.tran_window,
        reneg_sec=reneg_sec,
        tls_mtu=control.tls_mtu,
        wall_offset=context.wall_offset,
        wrapped_client_key=wrapping.wrapped_client_key,
    )


def link_spec(
    config: TunnelConfig, client: ClientConfig, remote: Remote, endpoint: Endpoint
) -> LinkSpec:
    """The socket for one attempt."""
    local = ip_address(remote.local_address) if remote.local_address else None
    return LinkSpec(
        transport=remote.transport,
        family=Family.IPV6 if endpoint.address.version == 6 else Family.IPV4,
        local_address=local,
        local_port=0 if client.nobind else remote.local_port,
        remote=endpoint,
        connect_timeout=remote.connect_timeout,
        options=config.sockets,
    )


def unusable(client: ClientConfig) -> str:
    """Why this configuration cannot be run as a client, "" when it can."""
    for remote in client.remotes:
        try:
            ip_address(remote.local_address or "::")
        except ValueError:
            return f"local {remote.local_address}: write an address, names are not looked up"
    return ""


def spread_reneg_sec(control: ControlConfig, entropy: Callable[[int], bytes]) -> float:
    """Seconds between our renegotiations: random between ``reneg_sec_min`` and ``reneg_sec`` when
    there is a minimum, so that clients which began together do not come together; 0 never."""
    least, most = control.reneg_sec_min, control.reneg_sec
    if not most or not 0 < least < most:
        return most
    return most - int.from_bytes(entropy(4), "big") % (most - least)


def uses_tls_auth(config: TunnelConfig, remote: Remote) -> tuple[bool, int | None]:
    """Whether this connection has tls-auth, and the direction of its key."""
    if remote.tls_auth is not None or remote.tls_crypt is not None or remote.tls_crypt_v2:
        return remote.tls_auth is not None, remote.key_direction
    return config.wrap.mode is WrapMode.TLS_AUTH, config.wrap.key_direction


def extra_peer_info(control: ControlConfig) -> tuple[tuple[str, str], ...]:
    """``setenv`` variables that the other end is told: some always, the user's own ``UV_*`` only
    with ``push-peer-info``."""
    return tuple(
        (name, value)
        for name, value in control.setenv
        if name in _ALWAYS_TOLD
        or (control.push_peer_info and (name.startswith("UV_") or name in _TOLD_ON_REQUEST))
    )


def _options(config: TunnelConfig, remote: Remote) -> str:
    tls_auth, direction = uses_tls_auth(config, remote)
    return options_string(
        is_server=False,
        transport=remote.transport,
        tun_mtu=config.host.tun_mtu,
        tls_auth=tls_auth,
        key_direction=direction if tls_auth else None,
        compression=config.data.comp_stub,
    )
