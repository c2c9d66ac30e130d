"""Complete configuration files: one text holds everything a tunnel end needs.

The text works unchanged with ovpn6 and with OpenVPN 2.6. Pure: reads no file.
"""

from __future__ import annotations

import re
from dataclasses import field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from ovpn6.model.ciphers import DEFAULT_DATA_CIPHERS
from ovpn6.model.errors import ConfigError
from ovpn6.model.records import dataclass

DEFAULT_PORT = 1194
DEFAULT_NETWORK6 = IPv6Network("fd42:6f76:706e:36::/64")
DEFAULT_NETWORK4 = IPv4Network("10.86.0.0/24")
TUN_MTU = 1420
"""Fits IPv6 over a 1500-byte path with every cipher."""

_PROTOCOLS = re.compile(r"(udp|tcp)([46]?)")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 a-z-]+-----.*-----END [A-Z0-9 a-z-]+-----", re.DOTALL)


class Wrap(Enum):
    """How the control channel is protected outside of TLS."""

    TLS_CRYPT = "tls-crypt"
    TLS_CRYPT_V2 = "tls-crypt-v2"
    TLS_AUTH = "tls-auth"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RemoteLine:
    """Where a client connects. ``protocol``: ``udp`` or ``tcp``, with 4 or 6 for one family."""

    host: str
    port: int = DEFAULT_PORT
    protocol: str = "udp"


@dataclass(frozen=True, slots=True)
class Material:
    """The text blocks of one end: PEM and static keys. ``crl`` "" leaves revocation out."""

    ca: str
    certificate: str
    key: str
    wrap_key: str = ""
    crl: str = ""

    def __repr__(self) -> str:
        return "Material()"


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """What a client's file says besides its keys.

    ``fingerprints`` (``AB:CD:..``) pin the server's certificate in place of the CA. ``extra`` are
    further lines, as they are.
    """

    remotes: tuple[RemoteLine, ...]
    wrap: Wrap = Wrap.TLS_CRYPT
    data_ciphers: tuple[str, ...] = DEFAULT_DATA_CIPHERS
    fingerprints: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What a server's file says besides its keys. A network of None is not served.

    ``crl_path`` names a revocation list that the server reads again when it changes; without one
    the list of today goes into the file.
    """

    protocol: str = "udp6"
    port: int = DEFAULT_PORT
    wrap: Wrap = Wrap.TLS_CRYPT
    network6: IPv6Network | None = DEFAULT_NETWORK6
    network4: IPv4Network | None = DEFAULT_NETWORK4
    data_ciphers: tuple[str, ...] = DEFAULT_DATA_CIPHERS
    crl_path: str = ""
    extra: tuple[str, ...] = field(default=())


def client_text(name: str, profile: ClientProfile, material: Material) -> str:
    """The ``.ovpn`` file of client ``name``. Raises :class:`ConfigError` for a wrong wish."""
    if not profile.remotes:
        raise ConfigError("a profile needs a server", advice="--remote HOST [PORT]")
    remotes = tuple(
        f"remote {remote.host} {remote.port} {_protocol(remote.protocol, 'client')}"
        for remote in profile.remotes
    )
    datagrams = all(remote.protocol.startswith("udp") for remote in profile.remotes)
    lines = (
        f"# {name}: a client for ovpn6 or OpenVPN 2.6 and later. It holds a private key.",
        "client",
        "dev tun",
        *remotes,
        "nobind",
        "persist-tun",
        "remote-cert-tls server",
        f"data-ciphers {':'.join(profile.data_ciphers)}",
        *(("explicit-exit-notify 1",) if datagrams else ()),
        "verb 3",
        *profile.extra,
    )
    return _text(lines, profile.wrap, "1", material, profile.fingerprints)


def server_text(name: str, profile: ServerProfile, material: Material) -> str:
    """The configuration of server ``name``. Raises :class:`ConfigError` for a wrong wish."""
    if profile.network6 is None and profile.network4 is None:
        raise ConfigError("a server needs an IPv6 or an IPv4 network")
    lines = [
        f"# {name}: a server for ovpn6 or OpenVPN 2.6 and later. It holds a private key.",
        "dev tun",
        f"proto {_protocol(profile.protocol, 'server')}",
        f"port {profile.port}",
        "topology subnet",
    ]
    if profile.network6 is not None:
        lines.append(f"server-ipv6 {profile.network6}")
    if profile.network4 is not None:
        net4 = profile.network4
        lines.append(f"server {net4.network_address} {net4.netmask}")
    else:
        lines += ["mode server", "tls-server"]
    lines += [
        f"tun-mtu {TUN_MTU}",
        "keepalive 10 60",
        "persist-tun",
        "dh none",
        "remote-cert-tls client",
        f"data-ciphers {':'.join(profile.data_ciphers)}",
    ]
    if profile.protocol.startswith("udp"):
        lines.append("explicit-exit-notify 1")
    if profile.crl_path:
        lines.append(f'crl-verify "{profile.crl_path}"')
    lines += ["verb 3", *profile.extra]
    return _text(lines, profile.wrap, "0", material, ())


def _protocol(protocol: str, side: str) -> str:
    """OpenVPN's word for ``protocol`` on this side: TCP has to say who listens."""
    match = _PROTOCOLS.fullmatch(protocol)
    if match is None:
        raise ConfigError(f"{protocol!r} is no protocol", advice="udp, udp6, udp4, tcp, tcp6, tcp4")
    return f"{protocol}-{side}" if match[1] == "tcp" else protocol


def _text(
    lines: tuple[str, ...] | list[str],
    wrap: Wrap,
    direction: str,
    material: Material,
    fingerprints: tuple[str, ...],
) -> str:
    blocks = []
    if fingerprints:
        blocks.append(("peer-fingerprint", "\n".join(fingerprints)))
    else:
        blocks.append(("ca", _pem(material.ca)))
    blocks += [("cert", _pem(material.certificate)), ("key", _pem(material.key))]
    if material.crl:
        blocks.append(("crl-verify", _pem(material.crl)))
    settings = list(lines)
    if wrap is not Wrap.NONE:
        blocks.append((wrap.value, _pem(material.wrap_key)))
    if wrap is Wrap.TLS_AUTH:
        settings.append(f"key-direction {direction}")
    body = [*settings, *(f"<{tag}>\n{content}\n</{tag}>" for tag, content in blocks)]
    return "\n".join(body) + "\n"


def _pem(text: str) -> str:
    """The PEM block alone, without the comments that some tools write around it."""
    match = _PEM.search(text)
    if match is None:
        raise ConfigError("a key or certificate file holds no PEM block")
    return match[0]
