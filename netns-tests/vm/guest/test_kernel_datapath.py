"""The kernel's data path under the contract of all data paths, and what is its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path as FilePath

import pytest
from vm.guest.kernel_rig import EVERYTHING, LOOPBACK, ROUTE_PROTOCOL, KernelRig, device_of

from ovpn6.datapath.kernel_device import remove_leftovers
from ovpn6.datapath.kernel_open import open_kernel
from ovpn6.lab.process import run
from ovpn6.model.addresses import Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    ControlReceived,
    DeviceLost,
    FloatConflict,
    LinkAccepted,
    LinkClosed,
    PeerExpired,
    PeerFloated,
    PeerInactive,
)
from ovpn6.model.names import KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import DeviceSpec, Keepalive, LinkSpec, PeerSpec
from tests.datapath import contract
from tests.datapath.contract import (
    CLIENT,
    DOWN,
    SERVER,
    UP,
    inject,
    install,
    server_spec,
)
from tests.datapath.packets import ip_packet, key_pair

pytestmark = pytest.mark.root


class TestContract(contract.DatapathContract):
    """What the kernel does not do, or does not tell, is left out by name."""

    def make_rig(self) -> contract.Rig:
        return KernelRig()

    # It has no framing but none.
    test_every_framing_carries_packets = None  # type: ignore[assignment]
    # It has no OCC.
    test_an_exit_message_is_reported = None  # type: ignore[assignment]
    # It does not say when a key opens its first packet.
    test_a_key_is_confirmed_by_its_first_packet_only = None  # type: ignore[assignment]
    test_a_new_key_takes_over_while_the_old_one_still_opens = None  # type: ignore[assignment]
    # It does not say what it dropped; see below.
    test_without_a_key_nothing_is_sent = None  # type: ignore[assignment]
    test_packets_to_nobody_are_dropped = None  # type: ignore[assignment]
    test_a_source_that_is_not_the_peers_is_not_delivered = None  # type: ignore[assignment]
    test_garbage_costs_only_counters = None  # type: ignore[assignment]
    test_a_replayed_datagram_is_delivered_once = None  # type: ignore[assignment]
    test_a_dropped_key_opens_nothing = None  # type: ignore[assignment]
    test_a_forged_packet_moves_nobody = None  # type: ignore[assignment]
    test_a_removed_peer_leaves_its_counters_and_nothing_else = None  # type: ignore[assignment]
    test_an_update_moves_the_networks = None  # type: ignore[assignment]
    test_a_peer_outlives_its_link = None  # type: ignore[assignment]
    # It floats a peer after any authentic packet, and may not be told not to.
    test_a_late_packet_from_the_old_path_does_not_move_the_peer_back = None  # type: ignore[assignment]
    test_without_leave_to_float_other_paths_are_dropped = None  # type: ignore[assignment]
    # A peer with keys cannot change its socket; see below.
    test_a_peer_floats_after_an_authentic_packet = None  # type: ignore[assignment]
    # The packet that moves a peer is delivered; see below.
    test_a_peer_may_not_float_to_another_peers_path = None  # type: ignore[assignment]
    # It hands packets of a wrong length on; the host's own stack drops them.
    test_broken_inner_packets_are_not_delivered = None  # type: ignore[assignment]


@pytest.fixture
def rig() -> Iterator[KernelRig]:
    """Both peers known over UDP, no key."""
    made = KernelRig()
    add_peers(made)
    yield made
    made.close()


@pytest.fixture
def tunnel(rig: KernelRig) -> KernelRig:
    """Both peers with key id 0."""
    install(rig, 0)
    return rig


# --- what the contract asks by drop counters ----------------------------------------------------


def test_without_a_key_nothing_is_sent(rig: KernelRig) -> None:
    rig.enter(1, UP)
    rig.settle()
    assert rig.delivered(0) == []
    assert rig.datapaths[1].counters(SERVER).link_out == 0


@pytest.mark.parametrize("source", ["2001:db8::6", "192.0.2.6", "fe80::5"])
def test_a_source_that_is_not_the_peers_is_not_delivered(tunnel: KernelRig, source: str) -> None:
    destination = "2001:db8::1" if ":" in source else "192.0.2.1"
    inject(tunnel, ip_packet(source, destination), number=1)
    inject(tunnel, UP, number=2)
    tunnel.until(lambda: bool(tunnel.delivered(0)))
    assert tunnel.delivered(0) == [UP]


def test_forged_and_repeated_packets_are_not_delivered(tunnel: KernelRig) -> None:
    to_server = Path(LinkId(1), tunnel.local(0))
    for garbage in (
        b"\x48\0\0\x05" + bytes(60),
        b"\x48\0\0\x06" + bytes(60),
        b"\x4b\0\0\x05" + bytes(60),
        b"\x48\0\0\x05" + bytes(8),
        bytes([6 << 3]) + bytes(40),
        b"\xff" * 30,
    ):
        tunnel.datapaths[1].send_control(to_server, garbage)
    for number in (1, 2, 1, 2, 3):
        inject(tunnel, UP, number=number)
    tunnel.until(lambda: len(tunnel.delivered(0)) >= 3)
    tunnel.settle()
    assert tunnel.delivered(0) == [UP] * 3
    assert tunnel.reports[0] == []


def test_an_update_moves_the_networks(tunnel: KernelRig) -> None:
    spec = replace(server_spec(tunnel), networks=(ip_network("2001:db8::6/128"),))
    tunnel.datapaths[0].update_peer(spec)
    inject(tunnel, UP, number=1)
    other = ip_packet("2001:db8::6", "2001:db8::1")
    inject(tunnel, other, number=2)
    tunnel.until(lambda: bool(tunnel.delivered(0)))
    assert tunnel.delivered(0) == [other]


# --- keys ---------------------------------------------------------------------------------------


def test_a_new_key_takes_over_while_the_old_one_still_opens(tunnel: KernelRig) -> None:
    server, client = tunnel.datapaths
    server.install_key(CLIENT, KeySlot.SECONDARY, key_pair(0, 1))
    client.install_key(SERVER, KeySlot.SECONDARY, key_pair(1, 1))
    tunnel.enter(1, UP)
    tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
    client.swap_keys(SERVER)
    tunnel.enter(1, UP)
    tunnel.enter(0, DOWN)
    tunnel.until(lambda: len(tunnel.delivered(0)) == 2 and len(tunnel.delivered(1)) == 1)
    assert client.keys(SERVER) == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
    server.swap_keys(CLIENT)
    server.drop_key(CLIENT, KeySlot.SECONDARY)
    client.drop_key(SERVER, KeySlot.SECONDARY)
    tunnel.enter(0, DOWN)
    tunnel.until(lambda: len(tunnel.delivered(1)) == 2)
    assert server.keys(CLIENT) == {KeySlot.PRIMARY: 1}
    assert server.counters(CLIENT).packets_in == 2
    assert server.counters(CLIENT).bytes_out == 2 * len(DOWN)


def test_a_dropped_key_opens_nothing(tunnel: KernelRig) -> None:
    tunnel.datapaths[0].drop_key(CLIENT, KeySlot.PRIMARY)
    tunnel.datapaths[0].drop_key(CLIENT, KeySlot.PRIMARY)
    tunnel.enter(1, UP)
    tunnel.settle()
    assert tunnel.delivered(0) == []


# --- paths --------------------------------------------------------------------------------------


def test_a_peer_floats_after_an_authentic_packet(tunnel: KernelRig) -> None:
    moved = tunnel.open_link(1, 2)
    inject(tunnel, UP, link=2)
    floated = PeerFloated(CLIENT, Path(LinkId(1), moved))
    tunnel.until(lambda: floated in tunnel.reports[0])
    assert tunnel.delivered(0) == [UP]
    tunnel.enter(0, DOWN)
    # Nobody took that socket over, so the answer shows in user space.
    tunnel.until(lambda: tunnel.datapaths[1].drops().counts.get("data unknown peer") == 1)
    assert tunnel.reports[0] == [floated]


def test_a_peer_may_not_float_to_another_peers_path(tunnel: KernelRig) -> None:
    taken = Path(LinkId(1), tunnel.open_link(1, 2))
    other = (ip_network("2001:db8::6/128"),)
    tunnel.datapaths[0].add_peer(PeerSpec(PeerId(6), 6, taken, other))
    inject(tunnel, UP, link=2)
    tunnel.until(lambda: bool(tunnel.reports[0]))
    assert tunnel.reports[0] == [FloatConflict(CLIENT, taken, PeerId(6))]
    tunnel.enter(0, DOWN)
    tunnel.until(lambda: tunnel.delivered(1) == [DOWN])


def test_a_peer_with_keys_cannot_change_its_socket(tunnel: KernelRig) -> None:
    tunnel.open_link(0, 2)
    elsewhere = Path(LinkId(2), tunnel.local(1))
    with pytest.raises(HostError, match="another socket"):
        tunnel.datapaths[0].update_peer(replace(server_spec(tunnel), path=elsewhere))


def test_a_peer_outlives_its_link(tunnel: KernelRig) -> None:
    server = tunnel.datapaths[0]
    inject(tunnel, UP)
    tunnel.until(lambda: tunnel.delivered(0) == [UP])
    server.close_link(LinkId(1))
    server.send_control(Path(LinkId(1), tunnel.local(1)), b"\x38late")
    tunnel.enter(0, DOWN)
    tunnel.settle()
    assert tunnel.delivered(1) == []
    assert server.drops().counts["send closed link"] == 1
    assert server.counters(CLIENT).packets_in == 1
    assert tunnel.reports[0] == []
    with pytest.raises(HostError):
        server.install_key(CLIENT, KeySlot.PRIMARY, key_pair(0))
    assert server.remove_peer(CLIENT).packets_in == 1


# --- peers that go ------------------------------------------------------------------------------


def test_a_silent_peer_expires(tunnel: KernelRig) -> None:
    server = tunnel.datapaths[0]
    server.update_peer(replace(server_spec(tunnel), keepalive=Keepalive(1, 2)))
    tunnel.until(lambda: PeerExpired(CLIENT) in tunnel.reports[0])
    with pytest.raises(HostError, match="removed"):
        server.install_key(CLIENT, KeySlot.SECONDARY, key_pair(0, 1))
    server.remove_peer(CLIENT)
    with pytest.raises(UsageError):
        server.counters(CLIENT)
    server.add_peer(server_spec(tunnel))
    tunnel.settle()
    assert tunnel.reports[0] == [PeerExpired(CLIENT)]


def test_pings_keep_both_ends_alive(tunnel: KernelRig) -> None:
    for end, spec in ((0, server_spec(tunnel)), (1, contract.client_spec(tunnel))):
        tunnel.datapaths[end].update_peer(replace(spec, keepalive=Keepalive(1, 3)))
    tunnel.settle(7.0)
    assert tunnel.reports == ([], [])
    assert tunnel.datapaths[0].counters(CLIENT).packets_in == 0
    assert tunnel.datapaths[0].counters(CLIENT).link_in > 0


def test_a_peer_that_moves_too_little_is_reported_once(tunnel: KernelRig) -> None:
    spec = replace(server_spec(tunnel), inactive_after=2, inactive_bytes=0)
    tunnel.datapaths[0].update_peer(spec)
    tunnel.until(lambda: PeerInactive(CLIENT) in tunnel.reports[0])
    tunnel.settle(2.0)
    assert tunnel.reports[0] == [PeerInactive(CLIENT)]


def test_a_peer_that_somebody_else_removes_is_noticed(tunnel: KernelRig) -> None:
    namespace = tunnel.namespaces[0].full_name
    device = device_of(namespace, "tun0")
    device.delete_peer(CLIENT)
    device.close()
    tunnel.until(lambda: PeerExpired(CLIENT) in tunnel.reports[0])
    tunnel.datapaths[0].remove_peer(CLIENT)


# --- the device ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("delete", "tun0"), ("set", "tun0", "netns", "1")], ids=["deleted", "moved"]
)
def test_a_device_that_is_taken_away_is_reported_once(
    tunnel: KernelRig, words: tuple[str, ...]
) -> None:
    tunnel.run(0, "ip", "link", *words)
    tunnel.until(lambda: any(isinstance(report, DeviceLost) for report in tunnel.reports[0]))
    assert sum(isinstance(report, DeviceLost) for report in tunnel.reports[0]) == 1
    with pytest.raises(HostError):
        tunnel.datapaths[0].install_key(CLIENT, KeySlot.PRIMARY, key_pair(0))
    # As a restart does it; a device that was moved still holds the socket.
    tunnel.datapaths[0].remove_peer(CLIENT)
    tunnel.datapaths[0].close_link(LinkId(1))
    tunnel.open_device(0)
    tunnel.open_link(0, 1)
    tunnel.datapaths[0].add_peer(server_spec(tunnel))
    tunnel.datapaths[1].update_peer(contract.client_spec(tunnel))
    install(tunnel, 1)
    tunnel.enter(1, UP)
    tunnel.until(lambda: tunnel.delivered(0) == [UP])
    # One that was moved is taken away where it went: it holds the socket.
    assert "tun0" not in run(["ip", "link"]).stdout


def test_networks_behind_a_peer_are_kernel_routes(tunnel: KernelRig) -> None:
    server = tunnel.datapaths[0]
    networks = ("2001:db8::5/128", "192.0.2.5/32", "2001:db8:5::/48", "198.51.100.0/24")
    # What an operator's own ``route`` lines make of the same networks.
    for network in networks[2:]:
        tunnel.run(0, "ip", "route", "add", network, "dev", "tun0")
    spec = replace(server_spec(tunnel), networks=tuple(ip_network(text) for text in networks))
    server.update_peer(spec)
    for source, target in (
        ("2001:db8:5::77", "2001:db8::1"),
        ("198.51.100.7", "192.0.2.1"),
    ):
        up, down = ip_packet(source, target), ip_packet(target, source)
        tunnel.enter(1, up)
        tunnel.enter(0, down)
        tunnel.until(lambda up=up: up in tunnel.delivered(0))  # type: ignore[misc]
        tunnel.until(lambda down=down: down in tunnel.delivered(1))  # type: ignore[misc]
    tunnel.run(0, "ip", "link", "set", "tun0", "down")
    tunnel.run(0, "ip", "link", "set", "tun0", "up")
    tunnel.settle(1.0)
    assert "2001:db8:5::/48 via 2001:db8::5" in tunnel.run(0, "ip", "-6", "route")
    assert "198.51.100.0/24 via 192.0.2.5" in tunnel.run(0, "ip", "route")
    server.remove_peer(CLIENT)
    assert "via" not in tunnel.run(0, "ip", "route") + tunnel.run(0, "ip", "-6", "route")


def test_a_device_of_a_dead_process_is_removed_and_no_other(tmp_path: FilePath) -> None:
    program = (
        "import os, signal\n"
        "from ovpn6.datapath.kernel_open import open_kernel\n"
        "from ovpn6.model.specs import DeviceSpec\n"
        "open_kernel(DeviceSpec('left6'), many_peers=True, route_protocol=54)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run([sys.executable, "-c", program], check=False)
    mine = open_kernel(DeviceSpec("mine6"), many_peers=True, route_protocol=ROUTE_PROTOCOL)
    try:
        assert remove_leftovers("") == ["left6"]
        assert remove_leftovers("") == []
        assert "mine6" in run(["ip", "-br", "link"]).stdout
    finally:
        mine.close()
    assert "mine6" not in run(["ip", "-br", "link"]).stdout


# --- TCP ----------------------------------------------------------------------------------------


@pytest.fixture
def tcp() -> Iterator[tuple[KernelRig, Path, Path]]:
    """A connection without peers; the server's path to the client, the client's to the server."""
    made = KernelRig(Transport.TCP)
    server, client = made.datapaths
    bound = LinkSpec(Transport.TCP, local_address=LOOPBACK)
    at = made.loop.run_until_complete(server.open_link(LinkId(1), bound))
    spec = LinkSpec(Transport.TCP, local_address=LOOPBACK, remote=at)
    here = made.loop.run_until_complete(client.open_link(LinkId(1), spec))
    made.until(lambda: bool(made.reports[0]))
    (accepted,) = made.reports[0]
    assert isinstance(accepted, LinkAccepted)
    made.reports[0].clear()
    yield made, Path(accepted.link, here), Path(LinkId(1), at)
    made.close()


def test_tcp_carries_packets_and_control_packets(tcp: tuple[KernelRig, Path, Path]) -> None:
    rig, to_client, to_server = tcp
    controls = [bytes([7 << 3]) + bytes([i]) * (100 * i + 1) for i in range(6)]
    for control in controls[:3]:
        rig.datapaths[1].send_control(to_server, control)
        rig.datapaths[0].send_control(to_client, control)
    rig.until(lambda: [len(reports) for reports in rig.reports] == [3, 3])
    add_peers(rig, to_client, to_server)
    install(rig, 0)
    for control in controls[3:]:
        rig.enter(1, UP)
        rig.datapaths[1].send_control(to_server, control)
        rig.datapaths[0].send_control(to_client, control)
        rig.enter(0, DOWN)
    rig.until(lambda: [len(reports) for reports in rig.reports] == [6, 6])
    rig.until(lambda: rig.delivered(0) == [UP] * 3 and rig.delivered(1) == [DOWN] * 3)
    assert rig.reports[0] == [ControlReceived(to_client, control) for control in controls]
    assert rig.reports[1] == [ControlReceived(to_server, control) for control in controls]


def test_a_connection_that_ends_is_reported_once(tcp: tuple[KernelRig, Path, Path]) -> None:
    rig, to_client, to_server = tcp
    add_peers(rig, to_client, to_server)
    install(rig, 0)
    rig.enter(1, UP)
    rig.until(lambda: rig.delivered(0) == [UP])
    rig.datapaths[1].close_link(LinkId(1))
    rig.until(lambda: bool(rig.reports[0]))
    rig.settle(1.0)
    (closed,) = rig.reports[0]
    assert isinstance(closed, LinkClosed)
    assert closed.link == to_client.link
    rig.datapaths[0].remove_peer(CLIENT)


def test_a_connection_outlives_its_peer(tcp: tuple[KernelRig, Path, Path]) -> None:
    rig, to_client, to_server = tcp
    add_peers(rig, to_client, to_server)
    rig.datapaths[0].remove_peer(CLIENT)
    rig.datapaths[1].remove_peer(SERVER)
    control = bytes([7 << 3]) + b"again"
    rig.datapaths[1].send_control(to_server, control)
    rig.until(lambda: rig.reports[0] == [ControlReceived(to_client, control)])
    add_peers(rig, to_client, to_server)
    install(rig, 0)
    rig.enter(1, UP)
    rig.until(lambda: rig.delivered(0) == [UP])


# --- helpers ------------------------------------------------------------------------------------


def add_peers(rig: KernelRig, to_client: Path | None = None, to_server: Path | None = None) -> None:
    """The contract's peers, at their UDP links unless told otherwise."""
    networks = tuple(ip_network(text) for text in contract.CLIENT_NETWORKS)
    here = to_client or Path(LinkId(1), rig.local(1))
    there = to_server or Path(LinkId(1), rig.local(0))
    rig.datapaths[0].add_peer(PeerSpec(CLIENT, SERVER_SENDS_TO, here, networks))
    everything = tuple(ip_network(text) for text in EVERYTHING)
    rig.datapaths[1].add_peer(PeerSpec(SERVER, CLIENT, there, everything))


SERVER_SENDS_TO = int(SERVER)
