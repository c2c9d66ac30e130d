"""Programs that read OpenVPN's configuration: OpenVPN itself and ovpn6, same file for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vm.openvpn27 import StockOpenVPN27
from vm.root import program_prefix

from bench.machine import numbers
from bench.net import CIPHER, SERVER_OUTER, Hosts
from bench.peers.program import Joined
from ovpn6.lab import process
from ovpn6.lab.runners import StockOpenVPN, Tunnel, stock_binary
from ovpn6.lab.traffic import wait_reachable
from ovpn6.pki.profile import (
    DEFAULT_NETWORK4,
    DEFAULT_NETWORK6,
    TUN_MTU,
    ClientProfile,
    RemoteLine,
    ServerProfile,
)

_PORT = 1194
_INNER = {
    6: str(DEFAULT_NETWORK6.network_address + 1),
    4: str(DEFAULT_NETWORK4.network_address + 1),
}


@dataclass(frozen=True, slots=True)
class OpenVPN:
    """A candidate. ``lines`` go into the configuration of both ends; ``command`` prints, with
    ``--version``, what ``libraries`` is about."""

    name: str
    runner: Callable[..., Tunnel]
    command: Callable[[], tuple[str, ...]]
    lines: tuple[str, ...] = ("disable-dco",)
    end_client: Callable[[Tunnel], object] = lambda client: client.process.kill()
    """A polite goodbye takes OpenVPN a second, and it may be one of a hundred."""

    def version(self) -> str:
        shown = process.run([*self.command(), "--version"], check=False).stdout
        library = next((line for line in shown.splitlines() if "OpenSSL " in line[18:]), "")
        return f"{numbers(shown)}, OpenSSL {numbers(library.partition('OpenSSL')[2])}"

    @contextmanager
    def joined(self, hosts: Hosts, outer: int) -> Iterator[Joined]:
        with self.server(hosts, outer) as server, self.client(hosts, outer) as client:
            client.wait_up()
            for address in _INNER.values():
                wait_reachable(hosts.client, address)
            yield Joined(hosts.client, hosts.server, _INNER, (server.process, client.process))

    @contextmanager
    def server(self, hosts: Hosts, outer: int = 6) -> Iterator[Tunnel]:
        """A server, ready. It takes any number of clients of one name."""
        profile = ServerProfile(
            protocol=f"udp{outer}",
            port=_PORT,
            data_ciphers=(CIPHER,),
            extra=("duplicate-cn", "connect-freq-initial 5000 1", *self.lines),
        )
        text = hosts.authority.server_profile("bench-server", profile)
        tunnel = self.runner(hosts.server, text, name="server")
        try:
            tunnel.wait_up()
            yield tunnel
        finally:
            tunnel.stop()

    @contextmanager
    def client(self, hosts: Hosts, outer: int = 6, name: str = "client") -> Iterator[Tunnel]:
        """A client, just started."""
        profile = ClientProfile(
            remotes=(RemoteLine(SERVER_OUTER[outer], _PORT, f"udp{outer}"),),
            data_ciphers=(CIPHER,),
            extra=(f"tun-mtu {TUN_MTU}", *self.lines),
        )
        text = hosts.authority.profile("bench-client", profile)
        tunnel = self.runner(hosts.client, text, name=name)
        try:
            yield tunnel
        finally:
            self.end_client(tunnel)


STOCK = OpenVPN("OpenVPN 2.6", StockOpenVPN, lambda: (stock_binary(),))
"""The machine's own."""
STOCK_27 = OpenVPN("OpenVPN 2.7", StockOpenVPN27, lambda: (*program_prefix(), "/usr/sbin/openvpn"))
"""Debian's backports, in the root of netns-tests/vm."""
