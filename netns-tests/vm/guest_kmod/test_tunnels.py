"""Whole tunnels over our module: OpenVPN 2.7 as it is, for which it stands in for Linux' own, and
ours, which asks for it by its own name."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest
from interop.ends import (
    INNER,
    OURS_OURS,
    OURS_STOCK,
    SERVER_4,
    SERVER_6,
    STOCK_OURS,
    STOCK_STOCK,
    Ends,
    Maker,
    Pairing,
    make_authority,
    start,
)
from vm.guest.kernel_rig import device_of
from vm.guest_kmod.counted import dropped

from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.lab import Lab, Namespace, Underlay, lan, line, ping, transfer, wait_for
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

CHOSEN = r"data path: kernel \(ovpn6\): the ovpn6 module carries data packets"
KINDS = {Maker.OURS: "ovpn6", Maker.STOCK: "ovpn"}
"""Of their devices."""
SITE_6, SITE_4 = "2001:db8:a::/64", "192.168.77.0/24"
SITE_HOST = ("2001:db8:a::2", "192.168.77.2")
OCTETS = 200_000
SPOOFED = ("2001:db8:bad::2", "192.168.78.2")

AES, CHACHA = "AES-256-GCM", "CHACHA20-POLY1305"
CASES = {
    "stock-stock-ipv6": (STOCK_STOCK, Underlay.IPV6, AES),
    "stock-stock-ipv4": (STOCK_STOCK, Underlay.IPV4, CHACHA),
    "stock-ours-ipv4": (STOCK_OURS, Underlay.IPV4, AES),
    "ours-stock-ipv6": (OURS_STOCK, Underlay.IPV6, CHACHA),
    "ours-ours-ipv6": (OURS_OURS, Underlay.IPV6, AES),
}


@pytest.mark.parametrize(("pairing", "underlay", "cipher"), CASES.values(), ids=CASES)
def test_both_families_cross(
    lab: Lab, tmp_path: Path, pairing: Pairing, underlay: Underlay, cipher: str
) -> None:
    net = line(lab, underlay)
    extra = (f"data-ciphers {cipher}",)
    ends = start(net, make_authority(tmp_path), pairing, server_extra=extra, client_extra=extra)
    for end, maker in ((ends.server, pairing.server), (ends.client, pairing.client)):
        assert end.device().kind == KINDS[maker]
    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address


# --- with a network behind the client -----------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("site"))


def tunnel_to_site(
    lab: Lab, authority: Authority, pairing: Pairing, underlay: Underlay
) -> tuple[Ends, Namespace]:
    """A running tunnel, and a host of the network behind the client."""
    net = line(lab, underlay)
    host = lan(lab, net.client, SITE_6)
    near = next(name for name in net.client.devices() if name.endswith("-lan"))
    far = next(name for name in host.devices() if name.startswith("to-"))
    net.client.add_address(near, "192.168.77.1/24")
    host.add_address(far, "192.168.77.2/24")
    host.run(["ip", "route", "add", "default", "via", "192.168.77.1"])
    clients = lab.directory / "clients"
    clients.mkdir()
    (clients / "client").write_text(f"iroute-ipv6 {SITE_6}\niroute 192.168.77.0 255.255.255.0\n")
    ends = start(
        net,
        authority,
        pairing,
        server_extra=(
            f"client-config-dir {clients}",
            f"route-ipv6 {SITE_6}",
            "route 192.168.77.0 255.255.255.0",
        ),
    )
    ends.server.process.wait_for_log(CHOSEN, 1)
    assert ends.server.device().kind == "ovpn6"
    assert ends.client.device().kind == KINDS[pairing.client]
    return ends, host


def module_of(ends: Ends) -> OvpnDevice:
    """The server's device, in words of our own."""
    return device_of(ends.server.namespace.full_name, ends.server.device().name, "ovpn6")


SITES = {
    "ours-ipv6": (OURS_OURS, Underlay.IPV6),
    "stock-ipv4": (OURS_STOCK, Underlay.IPV4),
}


@pytest.mark.parametrize(("pairing", "underlay"), SITES.values(), ids=SITES)
def test_a_network_behind_a_client_is_known_by_its_prefix(
    lab: Lab, authority: Authority, pairing: Pairing, underlay: Underlay
) -> None:
    ends, host = tunnel_to_site(lab, authority, pairing, underlay)
    check_both_ways(ends, host)
    check_spoofed_sources(ends, host)
    check_a_prefix_under_traffic(ends, host)
    check_its_end(ends)


def check_both_ways(ends: Ends, host: Namespace) -> None:
    """Everybody reaches everybody."""
    for address in (*SITE_HOST, *ends.inner_addresses()):
        assert ping(ends.net.server, address).complete, address
    for address in (SERVER_6, SERVER_4):
        assert ping(host, address).complete, address
        assert transfer(host, ends.net.server, address, OCTETS), address


def check_spoofed_sources(ends: Ends, host: Namespace) -> None:
    """What is in no prefix of the client's does not leave the tunnel."""
    far = next(name for name in host.devices() if name.startswith("to-"))
    for source, bits, target in zip(SPOOFED, (64, 24), (SERVER_6, SERVER_4), strict=True):
        address = [f"{source}/{bits}", "dev", far]
        host.run(["ip", "address", "add", *address, *_at_once(source)])
        before = refused(ends)
        host.run(["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-I", source, target], check=False)
        assert refused(ends) >= before + 3
        # Else it would be the source of all that follows.
        host.run(["ip", "address", "del", *address])
        assert ping(host, target).complete


def check_a_prefix_under_traffic(ends: Ends, host: Namespace) -> None:
    """It goes and comes, and with it packets both ways."""
    flow = host.popen(["ping", "-n", "-i", "0.02", SERVER_6], "flow")
    network = ip_network(SITE_6)
    with closing(module_of(ends)) as device:
        [peer] = [peer for peer, known in device.prefixes() if known == network]
        for _ in range(2):
            device.delete_prefix(peer, network)
            before = refused(ends)
            wait_for(lambda: refused(ends) > before + 5, 20, "drops", [flow])  # noqa: B023
            assert ping(ends.net.server, SITE_HOST[0]).received == 0
            device.new_prefix(peer, network)
            seen = len(flow.log())
            flow.wait_for_log(r"icmp_seq=\d+", 20, after=seen)
    flow.stop()
    assert ping(ends.net.server, SITE_HOST[0]).complete


def check_its_end(ends: Ends) -> None:
    """Prefixes go with their client."""
    with closing(module_of(ends)) as device:
        [peer] = device.peers()
        sites = {(peer.peer, ip_network(SITE_6)), (peer.peer, ip_network(SITE_4))}
        assert set(device.prefixes()) == sites
        ends.client.stop()
        wait_for(lambda: not device.peers(), 60, "no client", [ends.server.process])
        assert device.prefixes() == []


def refused(ends: Ends) -> int:
    """Packets that the server's device received and did not hand on."""
    return dropped(ends.net.server, ends.server.device().name)


def _at_once(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []
