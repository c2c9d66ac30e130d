"""Peers on paths of different width at one server, and a peer behind a translator (NAT64)."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from interop.ends import client_text, make_authority, server_text
from serving.ends import inner

from ovpn6.lab import Lab, Namespace, Ovpn6, Process, Tunnel, star, transfer, wait_for
from ovpn6.model.addresses import IPAddress
from ovpn6.mtu.overhead import Encapsulation, sizes
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import RemoteLine

pytestmark = pytest.mark.root

SETTLED = 20.0
HEADERS = {6: 48, 4: 28}
"""IP and ICMP."""
GRANULARITY = 16
TRANSLATED = "2001:db8:64::"
"""The translator's prefix, /96."""
FRAGMENTS = """
table inet watch {
    counter fragments {}
    chain forward {
        type filter hook forward priority 0
        exthdr frag exists counter name fragments
    }
}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("peers"))


def passes(source: Namespace, target: IPAddress, size: int) -> bool:
    """Whether an echo request of so many octets, not to be fragmented, is answered."""
    payload = str(size - HEADERS[target.version])
    words = ["ping", "-n", "-q", "-c1", "-W1", "-M", "do", "-s", payload, str(target)]
    return source.run(words, check=False).returncode == 0


def largest_is(source: Namespace, target: IPAddress, size: int) -> bool:
    return passes(source, target, size) and not passes(source, target, size + 1)


# --- two clients ---


def test_each_client_of_a_server_has_the_sizes_of_its_own_path(
    lab: Lab, authority: Authority
) -> None:
    net = star(lab, 2, mtu=9000)
    narrow, wide = net.clients
    narrow.set_up("to-underlay", mtu=1280)
    net.underlay.set_up("to-client1", mtu=1280)
    server = Ovpn6(net.server, server_text(authority, "tun-mtu 9000"))
    server.wait_up()
    remote = RemoteLine(str(net.server_address), 1194, "udp6")
    clients = [
        Ovpn6(namespace, client_text(authority, remote, "tun-mtu 9000", name=name), name=name)
        for namespace, name in ((narrow, "client"), (wide, "other"))
    ]
    for client, path in zip(clients, (1280, 9000), strict=True):
        client.wait_up()
        fits = sizes(path, Encapsulation(6, epoch=True), 9000)
        _wait_fitted(server, client, {6: fits.route_ipv6, 4: fits.tunnel})
    for client in clients:
        for address in inner(server).values():
            assert transfer(client.namespace, net.server, str(address))


def _wait_fitted(server: Tunnel, client: Tunnel, largest: dict[int, int]) -> None:
    """Until both directions refuse the next octet, in each family."""
    ends = (server, client)

    def fitted() -> bool:
        return all(
            largest_is(source.namespace, inner(target)[version], size)
            for source, target in (ends, ends[::-1])
            for version, size in largest.items()
        )

    wait_for(fitted, SETTLED, f"{largest} to and from {client.name}", [s.process for s in ends])


# --- behind a translator ---


@dataclass(frozen=True, slots=True)
class Translated:
    """A client that has IPv6 alone, a server that has IPv4 alone."""

    client: Namespace
    r: Namespace
    translator: Namespace
    server: Namespace
    tayga: Process

    def fragments(self) -> int:
        """Of IPv6, that passed r."""
        listed = self.r.run(["nft", "-j", "list", "counters"]).stdout
        found = (each.get("counter") for each in json.loads(listed)["nftables"])
        return sum(counter["packets"] for counter in found if counter)


def translated(lab: Lab, path: int, *, black_hole: bool) -> Translated:
    """A stateless-looking NAT64 (tayga) between an IPv6-only and an IPv4-only network.

    client ──2001:db8:c::/64── r ══path══ e (2001:db8:64::/96) ──198.51.100.0/24── server
       ::2                  ::1                                .1               .2
    """
    client, r, e = lab.namespace("client"), lab.router("r"), lab.router("e")
    server = lab.namespace("server")
    lab.link(client, r, ["2001:db8:c::2/64"], ["2001:db8:c::1/64"])
    lab.link(r, e, ["2001:db8:90::1/64"], ["2001:db8:90::2/64"], mtu=path)
    lab.link(e, server, ["198.51.100.1/24"], ["198.51.100.2/24"])
    client.add_route("default6", "2001:db8:c::1")
    r.add_route(f"{TRANSLATED}/96", "2001:db8:90::2")
    e.add_route("2001:db8:c::/64", "2001:db8:90::1")
    server.add_route("default4", "198.51.100.1")
    directory = e.work_directory("tayga")
    config = directory / "tayga.conf"
    config.write_text(
        "tun-device nat64\nipv4-addr 203.0.113.1\nipv6-addr 2001:db8:90::64\n"
        f"prefix {TRANSLATED}/96\ndynamic-pool 203.0.113.0/24\ndata-dir {directory}\n"
    )
    e.run(["tayga", "--mktun", "--config", str(config)])
    e.set_up("nat64")
    e.add_route(f"{TRANSLATED}/96", device="nat64")
    e.add_route("203.0.113.0/24", device="nat64")
    tayga = e.popen(["tayga", "--nodetach", "--config", str(config)], "tayga")
    r.nft(FRAGMENTS)
    if black_hole:
        for router in (r, e):
            router.nft(
                "table inet silent {\nchain out {\ntype filter hook output priority 0\n"
                "icmpv6 type packet-too-big drop\n}\n}"
            )
    return Translated(client, r, e, server, tayga)


@pytest.mark.parametrize("black_hole", [True, False], ids=["silent", "told"])
def test_both_sides_of_a_translator_find_what_fits(
    lab: Lab, authority: Authority, black_hole: bool
) -> None:
    net = translated(lab, 1400, black_hole=black_hole)
    server = Ovpn6(net.server, server_text(authority, "tun-mtu 1500", protocol="udp4"))
    server.wait_up()
    remote = RemoteLine(f"{TRANSLATED}c633:6402", 1194, "udp6")
    client = Ovpn6(net.client, client_text(authority, remote, "tun-mtu 1500"))
    client.wait_up()
    # IPv4 is 20 octets shorter outside, so that both have the same room inside.
    fits = 1400 - Encapsulation(6, epoch=True).overhead
    there, back = inner(server), inner(client)
    ends = [server.process, client.process, net.tayga]
    for version in (6, 4):
        wait_for(
            lambda version=version: largest_is(net.client, there[version], fits),
            SETTLED,
            f"{fits} octets to the server",
            ends,
        )
        # 1380 is no common size: the search ends a little below.
        wait_for(
            lambda version=version: passes(net.server, back[version], fits - GRANULARITY),
            SETTLED,
            f"nearly {fits} octets to the client",
            ends,
        )
        assert not passes(net.server, back[version], fits + 1)
        assert transfer(net.client, net.server, str(there[version]))


def test_nothing_is_fragmented_behind_a_translator(lab: Lab, authority: Authority) -> None:
    net = translated(lab, 1400, black_hole=True)
    server = Ovpn6(net.server, server_text(authority, protocol="udp4"))
    server.wait_up()
    remote = RemoteLine(f"{TRANSLATED}c633:6402", 1194, "udp6")
    client = Ovpn6(net.client, client_text(authority, remote))
    client.wait_up()
    assert transfer(net.client, net.server, str(inner(server)[6]))
    assert net.fragments() == 0
