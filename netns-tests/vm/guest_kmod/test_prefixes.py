"""Networks behind peers, which our module is told of by netlink and no other has."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from pathlib import Path as FilePath

import pytest
from vm.guest import test_kernel_datapath as kernel_datapath
from vm.guest.kernel_rig import LOOPBACK, KernelRig, device_of
from vm.guest_kmod.counted import dropped
from vm.guest_kmod.test_module import REMOTE, device, fill, udp

from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.messages import VERSION, Command
from ovpn6.datapath.ovpn_netlink.records import CODEC, PeerOrder
from ovpn6.lab.process import run
from ovpn6.model.addresses import Endpoint, IPNetwork, Path
from ovpn6.model.errors import HostError
from ovpn6.model.names import LinkId, PeerId
from ovpn6.netlink.conversation import GENERIC, Conversation
from tests.datapath import contract
from tests.datapath.contract import install, server_spec
from tests.datapath.packets import ip_packet

pytestmark = pytest.mark.root

MOST = 4096
ONE, TWO = PeerId(0), PeerId(1)
SITE, PART = ip_network("2001:db8:5::/48"), ip_network("2001:db8:5:7::/64")
SITE4 = ip_network("198.51.100.0/24")
EVERYTHING = ip_network("::/0")
HOST = ip_network("2001:db8:6::1/128")
OWN = "2001:db8::5/128", "192.0.2.5/32"
BEHIND = ("2001:db8:5::/48", "198.51.100.0/24")


@pytest.fixture
def peers() -> Iterator[OvpnDevice]:
    """Two peers with the addresses fd00:: and fd00::1."""
    with device() as kernel, udp() as outer:
        fill(kernel, outer, 2)
        yield kernel.peers


def told(peers: OvpnDevice) -> dict[PeerId, set[IPNetwork]]:
    """Networks by peer, each told once."""
    listed = peers.prefixes()
    assert len(set(listed)) == len(listed)
    owners = {peer for peer, _ in listed}
    return {owner: {network for peer, network in listed if peer == owner} for owner in owners}


# --- requests -----------------------------------------------------------------------------------


def test_what_was_ordered_is_told(peers: OvpnDevice) -> None:
    assert told(peers) == {}
    for network in (SITE, SITE4, EVERYTHING):
        peers.new_prefix(ONE, network)
        peers.new_prefix(ONE, network)
    peers.new_prefix(TWO, PART)
    assert told(peers) == {ONE: {SITE, SITE4, EVERYTHING}, TWO: {PART}}
    peers.delete_prefix(ONE, SITE)
    assert told(peers) == {ONE: {SITE4, EVERYTHING}, TWO: {PART}}


def test_prefixes_go_with_their_peer(peers: OvpnDevice) -> None:
    peers.new_prefix(ONE, SITE)
    peers.new_prefix(TWO, PART)
    peers.delete_peer(ONE)
    assert told(peers) == {TWO: {PART}}
    peers.new_prefix(TWO, SITE)
    assert told(peers) == {TWO: {PART, SITE}}


def test_a_prefix_moves_to_whom_it_is_ordered_for(peers: OvpnDevice) -> None:
    peers.new_prefix(ONE, SITE)
    peers.new_prefix(TWO, SITE)
    assert told(peers) == {TWO: {SITE}}
    # It is not behind that one any more, so nothing is to be taken away.
    peers.delete_prefix(ONE, SITE)
    assert told(peers) == {TWO: {SITE}}


def test_a_peers_own_address_may_be_a_prefix_of_its_own(peers: OvpnDevice) -> None:
    own = ip_network("fd00::/128")
    peers.new_prefix(ONE, own)
    assert told(peers) == {ONE: {own}}
    peers.delete_prefix(ONE, own)
    # The address stays: nobody else may have it.
    with pytest.raises(HostError, match="another peer's own address") as caught:
        peers.new_prefix(TWO, own)
    assert caught.value.errno == errno.EADDRINUSE
    peers.new_prefix(ONE, own)
    peers.set_peer(PeerOrder(ONE, vpn_ipv6=IPv6Address("fd00::7")))
    # The prefix stays, and may move now.
    assert told(peers) == {ONE: {own}}
    peers.new_prefix(TWO, own)
    peers.delete_peer(TWO)
    assert told(peers) == {}


REFUSED = {
    "bits behind": (
        {"IPV6": IPv6Address("2001:db8::1"), "LENGTH": 64},
        errno.EINVAL,
        "bits behind",
    ),
    "too long": ({"IPV4": IPv4Address("192.0.2.0"), "LENGTH": 33}, errno.EINVAL, "32 bits at most"),
    "longer": ({"IPV6": IPv6Address("2001:db8::"), "LENGTH": 129}, errno.ERANGE, "out of range"),
    "both": (
        {"IPV4": IPv4Address("0.0.0.0"), "IPV6": IPv6Address("::"), "LENGTH": 0},
        errno.EINVAL,
        "not of both",
    ),
    "neither": ({"LENGTH": 0}, errno.EINVAL, "attribute 2 is missing"),
    "no length": ({"IPV6": IPv6Address("2001:db8::")}, errno.EINVAL, "attribute 4 is missing"),
    "multicast": ({"IPV6": IPv6Address("ff00::"), "LENGTH": 8}, errno.EADDRNOTAVAIL, "unicast"),
    "multicast4": ({"IPV4": IPv4Address("224.0.0.0"), "LENGTH": 4}, errno.EADDRNOTAVAIL, "unicast"),
    "mapped": (
        {"IPV6": IPv6Address("::ffff:192.0.2.0"), "LENGTH": 120},
        errno.EADDRNOTAVAIL,
        "unicast",
    ),
    "loopback": ({"IPV6": IPv6Address("::1"), "LENGTH": 128}, errno.EADDRNOTAVAIL, "unicast"),
    "nobody": (
        {"PEER_ID": 7, "IPV6": IPv6Address("2001:db8::"), "LENGTH": 32},
        errno.ENOENT,
        "cannot find peer",
    ),
}


@pytest.mark.parametrize(("said", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_words(
    said: dict[str, object], error: int, text: str
) -> None:
    with device() as kernel, udp() as outer:
        fill(kernel, outer, 1)
        for command in (Command.PREFIX_NEW, Command.PREFIX_DEL):
            with pytest.raises(HostError, match=text) as caught:
                order(kernel.device.index, command, {"PEER_ID": 0, **said})
            assert caught.value.errno == error
        assert told(kernel.peers) == {}


def test_the_compatible_family_has_no_prefixes() -> None:
    with device("ovpn") as kernel:
        said = {"PEER_ID": 0, "IPV6": IPv6Address("2001:db8::"), "LENGTH": 32}
        with pytest.raises(HostError) as caught:
            order(kernel.device.index, Command.PREFIX_NEW, said, "ovpn")
        assert caught.value.errno == errno.EOPNOTSUPP


def test_a_device_for_one_peer_has_no_prefixes() -> None:
    with device(many=False) as kernel, udp() as outer:
        kernel.peers.new_peer(PeerOrder(PeerId(1), REMOTE), outer.fileno())
        with pytest.raises(HostError, match="everything is that peer's") as caught:
            kernel.peers.new_prefix(PeerId(1), SITE)
        assert caught.value.errno == errno.EINVAL


def test_as_many_prefixes_as_a_peer_may_have_are_in_one_dump(peers: OvpnDevice) -> None:
    site = IPv6Network("2001:db8::/32")
    networks = [
        IPv6Network((int(site.network_address) + (number << 64), 64)) for number in range(MOST + 1)
    ]
    for network in networks[:MOST]:
        peers.new_prefix(ONE, network)
    with pytest.raises(HostError, match=r"as many prefixes|at most 4096 prefixes") as caught:
        peers.new_prefix(ONE, networks[MOST])
    assert caught.value.errno == errno.ENOSPC
    peers.new_prefix(TWO, networks[MOST])
    assert told(peers) == {ONE: set(networks[:MOST]), TWO: {networks[MOST]}}


def test_prefixes_may_be_ordered_from_a_user_namespace() -> None:
    program = (
        "from ipaddress import ip_network\n"
        "from vm.guest_kmod.test_prefixes import ONE, told\n"
        "from vm.guest_kmod.test_module import device, udp, fill\n"
        "with device() as kernel, udp() as outer:\n"
        "    fill(kernel, outer, 1)\n"
        "    kernel.peers.new_prefix(ONE, ip_network('2001:db8::/32'))\n"
        "    print(told(kernel.peers))\n"
    )
    inside = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", program]
    path = f"PYTHONPATH={FilePath(__file__).parents[2]}"
    done = run(["env", path, *inside])
    assert done.stdout == "{0: {IPv6Network('2001:db8::/32')}}\n"


def order(index: int, command: Command, said: dict[str, object], name: str = "ovpn6") -> None:
    """A request as it is said, whether or not it makes sense."""
    with closing(Conversation(GENERIC)) as conversation:
        family = find_family(conversation, name)
        assert family is not None
        nest = {"attrs": [(f"OVPN_A_PREFIX_{key}", value) for key, value in said.items()]}
        conversation.request(
            "order what makes no sense",
            family.number,
            CODEC,
            {"cmd": int(command), "version": VERSION},
            {"OVPN_A_IFINDEX": index, "OVPN_A_PREFIX": nest},
        )


# --- packets ------------------------------------------------------------------------------------


class OwnRig(KernelRig):
    """By our module's own name. Routes are the operator's here."""

    def __init__(self) -> None:
        super().__init__(name="ovpn6")

    def open_device(self, end: int) -> None:
        super().open_device(end)
        if end == 0:
            for network in BEHIND:
                self.run(0, "ip", "route", "add", network, "dev", "tun0")


class TestContractByOwnName(kernel_datapath.TestContract):
    """The contract of all data paths, as Linux' own module meets it."""

    def make_rig(self) -> contract.Rig:
        return OwnRig()


@pytest.fixture
def tunnel() -> Iterator[OwnRig]:
    """Both peers with key id 0; networks behind the client."""
    made = OwnRig()
    kernel_datapath.add_peers(made)
    install(made, 0)
    lead(made, *BEHIND)
    yield made
    made.close()


def lead(rig: OwnRig, *networks: str) -> None:
    """These are behind the client, beside its own addresses."""
    spec = replace(server_spec(rig), networks=tuple(map(ip_network, (*OWN, *networks))))
    rig.datapaths[0].update_peer(spec)


PAIRS = (("2001:db8:5::77", "2001:db8::1"), ("198.51.100.7", "192.0.2.1"))


@pytest.mark.parametrize(("inside", "outside"), PAIRS)
def test_networks_behind_a_peer_need_no_gateway(tunnel: OwnRig, inside: str, outside: str) -> None:
    up, down = ip_packet(inside, outside), ip_packet(outside, inside)
    tunnel.enter(1, up)
    tunnel.enter(0, down)
    tunnel.until(lambda: up in tunnel.delivered(0) and down in tunnel.delivered(1))
    routes = tunnel.run(0, "ip", "route") + tunnel.run(0, "ip", "-6", "route")
    assert "via" not in routes


@pytest.mark.parametrize(
    ("source", "target"), [("2001:db8:7::1", "2001:db8::1"), ("203.0.113.9", "192.0.2.1")]
)
def test_a_source_in_no_prefix_of_the_peer_is_dropped(
    tunnel: OwnRig, source: str, target: str
) -> None:
    before = dropped(tunnel.namespaces[0], "tun0")
    tunnel.enter(1, ip_packet(source, target))
    good = ip_packet("2001:db8:5::77", "2001:db8::1")
    tunnel.enter(1, good)
    tunnel.until(lambda: bool(tunnel.delivered(0)))
    assert tunnel.delivered(0) == [good]
    assert dropped(tunnel.namespaces[0], "tun0") == before + 1


def test_a_source_in_another_peers_longer_prefix_is_dropped(tunnel: OwnRig) -> None:
    # The stranger's peer has a part of the client's network.
    other = device_of(tunnel.namespaces[0].full_name, "tun0", "ovpn6")
    with closing(other):
        stranger = replace(server_spec(tunnel), peer=PeerId(6), networks=(HOST, PART))
        nowhere = Path(LinkId(1), Endpoint(LOOPBACK, 9))
        tunnel.datapaths[0].add_peer(replace(stranger, path=nowhere))
        assert (PeerId(6), PART) in other.prefixes()
        before = dropped(tunnel.namespaces[0], "tun0")
        tunnel.enter(1, ip_packet("2001:db8:5:7::1", "2001:db8::1"))
        good = ip_packet("2001:db8:5:8::1", "2001:db8::1")
        tunnel.enter(1, good)
        tunnel.until(lambda: bool(tunnel.delivered(0)))
        assert tunnel.delivered(0) == [good]
        assert dropped(tunnel.namespaces[0], "tun0") == before + 1
        tunnel.datapaths[0].remove_peer(PeerId(6))
        again = ip_packet("2001:db8:5:7::1", "2001:db8::1")
        tunnel.enter(1, again)
        tunnel.until(lambda: again in tunnel.delivered(0))


def test_a_prefix_that_is_taken_away_under_traffic_carries_no_more(tunnel: OwnRig) -> None:
    up, down = ip_packet(*PAIRS[0]), ip_packet(*reversed(PAIRS[0]))
    for turn in range(20):
        lead(tunnel, *BEHIND)
        crossed = len(tunnel.delivered(0)), len(tunnel.delivered(1))
        for _ in range(10):
            tunnel.enter(1, up)
            tunnel.enter(0, down)
        lead(tunnel)
        for _ in range(10):
            tunnel.enter(1, up)
            tunnel.enter(0, down)
        mark = ip_packet("2001:db8::5", "2001:db8::1", bytes([turn]))
        tunnel.enter(1, mark)
        tunnel.until(lambda: mark in tunnel.delivered(0))  # noqa: B023
        # Whose prefix it is is looked up on the way in: some may have come too late.
        assert len(tunnel.delivered(0)) <= crossed[0] + 11
        tunnel.until(lambda: len(tunnel.delivered(1)) == crossed[1] + 10)  # noqa: B023
    lead(tunnel, *BEHIND)
    last = ip_packet(PAIRS[0][0], PAIRS[0][1], b"last")
    tunnel.enter(1, last)
    tunnel.until(lambda: last in tunnel.delivered(0))


def test_a_dead_process_leaves_no_device_of_ours() -> None:
    program = (
        "import os, signal\n"
        "from ovpn6.datapath.kernel_open import open_kernel\n"
        "from ovpn6.model.specs import DeviceSpec\n"
        "open_kernel(DeviceSpec('left6'), many_peers=True, route_protocol=54, name='ovpn6')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run([sys.executable, "-c", program], check=False)
    assert kernel_datapath.remove_leftovers("") == ["left6"]
    assert kernel_datapath.remove_leftovers("") == []
