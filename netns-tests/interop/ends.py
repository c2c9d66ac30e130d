"""Tunnel ends by maker and their configurations, which both makers read unchanged.

``OVPN6_CONTROL_GROUP=1`` in the environment adds OpenVPN at both ends to every test that runs
with each pairing: it tells a wrong test from a wrong product.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from ovpn6.lab import Line, Namespace, Ovpn6, StockOpenVPN, Tunnel, wait_for
from ovpn6.lab.runners import stock_binary
from ovpn6.lab.status import ClientRow
from ovpn6.model.ciphers import DEFAULT_DATA_CIPHERS
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import (
    DEFAULT_NETWORK4,
    DEFAULT_NETWORK6,
    ClientProfile,
    RemoteLine,
    ServerProfile,
    Wrap,
)

UP = r"Initialization Sequence Completed"

SERVER_6 = "fd42:6f76:706e:36::1"
SERVER_4 = "10.86.0.1"
INNER = (SERVER_6, SERVER_4)
"""The server's addresses in the tunnel."""


class Maker(Enum):
    """Whose program runs at an end."""

    OURS = "ours"
    STOCK = "stock"

    def start(
        self, namespace: Namespace, config: str, name: str, *, arguments: Sequence[str] = ()
    ) -> Tunnel:
        """Start an end. ``arguments`` come before the configuration."""
        program = Ovpn6 if self is Maker.OURS else StockOpenVPN
        return program(namespace, config, name=f"{name}-{self.value}", arguments=arguments)

    def start_with_hosts(self, namespace: Namespace, config: str, name: str, hosts: Path) -> Tunnel:
        """Start an end that sees the file ``hosts`` as ``/etc/hosts``; changing it is seen too."""
        program = [stock_binary()]
        if self is Maker.OURS:
            program = [sys.executable, "-P", "-m", "ovpn6"]
        mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", *program]
        return Tunnel(namespace, command, config, f"{name}-{self.value}")


@dataclass(frozen=True, slots=True)
class Pairing:
    """Who makes which end."""

    server: Maker
    client: Maker

    def __str__(self) -> str:
        return f"{self.server.value}-server-{self.client.value}-client"


OURS_STOCK = Pairing(Maker.OURS, Maker.STOCK)
STOCK_OURS = Pairing(Maker.STOCK, Maker.OURS)
OURS_OURS = Pairing(Maker.OURS, Maker.OURS)
STOCK_STOCK = Pairing(Maker.STOCK, Maker.STOCK)

_CONTROL_GROUP = (STOCK_STOCK,) if os.environ.get("OVPN6_CONTROL_GROUP") else ()
PAIRINGS = (OURS_STOCK, STOCK_OURS, OURS_OURS, *_CONTROL_GROUP)
OUR_SERVER = (OURS_STOCK, OURS_OURS, *_CONTROL_GROUP)
"""Pairings for what the server alone decides."""
OUR_CLIENT = (STOCK_OURS, OURS_OURS, *_CONTROL_GROUP)
"""Pairings for what the client alone decides."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A running server and client, both up, on a line."""

    net: Line
    server: Tunnel
    client: Tunnel

    def client_row(self, common_name: str = "client", limit: float = 5.0) -> ClientRow:
        """The client's line in the server's status file, once its data channel is there."""

        def find() -> ClientRow | None:
            row = self.server.status().client(common_name)
            return row if row and row.cipher else None

        what = f"{common_name} in the server's status"
        return wait_for(find, limit, what, [self.server.process])

    def inner_addresses(self) -> tuple[str, str]:
        """The client's addresses in the tunnel, IPv6 first."""
        six, four = self.net.client.addresses(self.client.device().name)
        return str(six.ip), str(four.ip)


@contextmanager
def up_again(end: Tunnel, limit: float = 30.0) -> Iterator[None]:
    """What is done in the block makes the running ``end`` come up once more."""
    position = len(end.log())
    yield
    end.process.wait_for_log(UP, limit, after=position)


def make_authority(directory: Path) -> Authority:
    """An authority with the certificates ``server``, ``client`` and ``other``."""
    authority = Authority.create(directory / "pki")
    authority.issue_server("server")
    authority.issue_client("client")
    authority.issue_client("other")
    return authority


def server_text(
    authority: Authority,
    *extra: str,
    protocol: str = "udp6",
    wrap: Wrap = Wrap.TLS_CRYPT,
    ciphers: tuple[str, ...] = DEFAULT_DATA_CIPHERS,
    port: int = 1194,
    network6: IPv6Network = DEFAULT_NETWORK6,
    network4: IPv4Network = DEFAULT_NETWORK4,
) -> str:
    """A server's whole configuration; ``extra`` lines come last, so that they overrule."""
    wanted = ServerProfile(
        protocol=protocol,
        port=port,
        wrap=wrap,
        network6=network6,
        network4=network4,
        data_ciphers=ciphers,
        crl_path=str(authority.files.crl),
        extra=extra,
    )
    return authority.server_profile("server", wanted)


def client_text(
    authority: Authority,
    remote: RemoteLine | Sequence[RemoteLine],
    *extra: str,
    name: str = "client",
    wrap: Wrap = Wrap.TLS_CRYPT,
) -> str:
    """A client's whole configuration; ``extra`` lines come last, so that they overrule."""
    remotes = (remote,) if isinstance(remote, RemoteLine) else tuple(remote)
    return authority.profile(name, ClientProfile(remotes, wrap=wrap, extra=extra))


def remote_of(net: Line, transport: str = "udp", port: int = 1194) -> RemoteLine:
    """The line's server as a ``remote``, in the family that the underlay has."""
    return RemoteLine(str(net.server_address), port, f"{transport}{net.server_address.version}")


def start(
    net: Line,
    authority: Authority,
    pairing: Pairing,
    *,
    transport: str = "udp",
    wrap: Wrap = Wrap.TLS_CRYPT,
    server_extra: Sequence[str] = (),
    client_extra: Sequence[str] = (),
) -> Ends:
    """Both ends up over ``udp`` or ``tcp`` in the underlay's family."""
    protocol = f"{transport}{net.server_address.version}"
    server = pairing.server.start(
        net.server, server_text(authority, *server_extra, protocol=protocol, wrap=wrap), "server"
    )
    server.wait_up()
    client = pairing.client.start(
        net.client,
        client_text(authority, remote_of(net, transport), *client_extra, wrap=wrap),
        "client",
    )
    client.wait_up()
    return Ends(net, server, client)


def without_line(text: str, line: str) -> str:
    """A configuration without one of its lines, which must be there."""
    changed = text.replace(f"{line}\n", "", 1)
    assert changed != text, f"no line {line!r}"
    return changed


def with_line(text: str, old: str, new: str) -> str:
    """A configuration with the line ``new`` in place of ``old``, which must be there."""
    changed = text.replace(f"{old}\n", f"{new}\n", 1)
    assert changed != text, f"no line {old!r}"
    return changed


def with_block(text: str, tag: str, content: str) -> str:
    """A configuration with other content in the inline block ``tag``, which must be there."""
    block = re.compile(rf"<{tag}>\n.*?</{tag}>\n", re.DOTALL)
    assert block.search(text), f"no block {tag!r}"
    replacement = f"<{tag}>\n{content.strip()}\n</{tag}>\n" if content else ""
    return block.sub(lambda _: replacement, text, count=1)
