"""Two equal ends of a tunnel, by maker and part in TLS; the keys come from server and client
profiles. The server's part runs in the line's ``server`` namespace."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interop.ends import Ends, Pairing
from ovpn6.lab import Line
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import ClientProfile, RemoteLine, ServerProfile, Wrap

SERVER_6, SERVER_4 = "fd00:2::1", "10.2.0.1"
CLIENT_6, CLIENT_4 = "fd00:2::2", "10.2.0.2"
OF_SERVER = (f"ifconfig-ipv6 {SERVER_6}/64 {CLIENT_6}", f"ifconfig {SERVER_4} {CLIENT_4}")
OF_CLIENT = (f"ifconfig-ipv6 {CLIENT_6}/64 {SERVER_6}", f"ifconfig {CLIENT_4} {SERVER_4}")
NET30 = ("topology net30",)

_BLOCK = re.compile(r"^<([a-z0-9-]+)>\n.*?^</\1>\n", re.DOTALL | re.MULTILINE)
_LINES = re.compile(r"^(?:key-direction|auth) .*\n", re.MULTILINE)


def end_text(
    authority: Authority,
    part: str,
    *lines: str,
    wrap: Wrap = Wrap.TLS_CRYPT,
    addresses: Sequence[str] | None = None,
) -> str:
    """The whole configuration of one end; ``part`` is ``server`` or ``client``, in TLS."""
    if part == "server":
        profile = authority.server_profile("server", ServerProfile(wrap=wrap))
        addresses = OF_SERVER if addresses is None else addresses
    else:
        wanted = ClientProfile((RemoteLine("unused"),), wrap=wrap)
        profile = authority.profile("client", wanted)
        addresses = OF_CLIENT if addresses is None else addresses
    other = "client" if part == "server" else "server"
    head = (f"tls-{part}", "dev tun", f"remote-cert-tls {other}", "tun-mtu 1420", "verb 4")
    keys = "".join(match.group() for match in _LINES.finditer(profile))
    blocks = "".join(match.group() for match in _BLOCK.finditer(profile))
    if part == "server":
        head += ("dh none",)
    return "\n".join((*head, *addresses, *lines)) + "\n" + keys + blocks


def remote(net: Line, of: str, transport: str = "udp", side: str = "") -> str:
    """A ``remote`` line to the end in the namespace ``of``."""
    addresses = net.server_addresses if of == "server" else net.client_addresses
    word = f"{transport}{addresses[0].version}{f'-{side}' if side else ''}"
    return f"remote {addresses[0]} 1194 {word}"


def protocol(net: Line, transport: str = "udp", side: str = "") -> str:
    """A ``proto`` line in the underlay's family."""
    return f"proto {transport}{net.server_address.version}{f'-{side}' if side else ''}"


def start(
    net: Line,
    authority: Authority,
    pairing: Pairing,
    server_lines: Sequence[str],
    client_lines: Sequence[str],
    *,
    wrap: Wrap = Wrap.TLS_CRYPT,
    limit: float = 30.0,
) -> Ends:
    """Both ends, up within ``limit`` seconds each."""
    server = pairing.server.start(
        net.server, end_text(authority, "server", *server_lines, wrap=wrap), "tls-server"
    )
    client = pairing.client.start(
        net.client, end_text(authority, "client", *client_lines, wrap=wrap), "tls-client"
    )
    server.wait_up(limit)
    client.wait_up(limit)
    return Ends(net, server, client)
