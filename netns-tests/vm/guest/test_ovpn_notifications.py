"""What the kernel tells of its own accord, and what is done when some of it was lost.

``KEY_SWAP_NTF`` follows the last of 2^32 packets under one key, and nothing shortens that: it is
tested by its octets, as the module writes them (``tests/datapath/test_ovpn_netlink.py``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from vm.guest.kernel_rig import LOOPBACK, ROUTE_PROTOCOL, KernelRig
from vm.guest.test_kernel_datapath import add_peers, device_of

from ovpn6.datapath.kernel_open import Kernel, News, open_kernel
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.messages import DeleteReason
from ovpn6.datapath.ovpn_netlink.records import (
    Notification,
    PeerDeleted,
    PeerMoved,
    PeerOrder,
)
from ovpn6.lab.waiting import wait_for
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import PeerExpired
from ovpn6.model.names import LinkId, PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive
from ovpn6.netlink.conversation import GENERIC, Conversation
from ovpn6.protocol.data_channel import SendKey
from tests.datapath.contract import CLIENT, UP, inject, install, server_spec
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

PEER = PeerId(1)
CUT_SHORT = b"\0\2\x48\0"
"""Over TCP, a data packet that ends within its peer id."""
STORM = 6_000
"""Notifications: more than a socket has room for."""


@pytest.fixture
def news() -> Iterator[News]:
    """What is told in the namespace of the test's own sockets."""
    conversation = Conversation(GENERIC)
    family = find_family(conversation)
    conversation.close()
    assert family is not None
    listening = News(family)
    yield listening
    listening.close()


@pytest.fixture
def tunnel() -> Iterator[KernelRig]:
    """The contract's two peers, with keys."""
    made = KernelRig()
    add_peers(made)
    install(made, 0)
    yield made
    made.close()


def heard(news: News, wanted: Notification) -> Callable[[], bool]:
    """Whether it has been told by now."""
    return lambda: wanted in list(news.read())


# --- peers that go ------------------------------------------------------------------------------


@pytest.fixture
def single() -> Iterator[Kernel]:
    """A device for one peer."""
    made = open_kernel(DeviceSpec("single"), many_peers=False, route_protocol=ROUTE_PROTOCOL)
    yield made
    made.close()


def udp_peer(kernel: Kernel, keepalive: Keepalive | None = None) -> socket.socket:
    """A peer at a socket that nobody reads."""
    outer = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    outer.bind((str(LOOPBACK), 0))
    itself = Endpoint(LOOPBACK, outer.getsockname()[1])
    order = PeerOrder(PEER, itself, keepalive=keepalive)
    kernel.peers.new_peer(order, outer.fileno())
    return outer


def test_a_peer_removed_by_request(news: News, single: Kernel) -> None:
    with udp_peer(single):
        single.peers.delete_peer(PEER)
        gone = PeerDeleted(single.device.index, PEER, DeleteReason.USERSPACE)
        wait_for(heard(news, gone), 5, f"{gone}")


def test_a_peer_that_goes_with_its_device(news: News, single: Kernel) -> None:
    with udp_peer(single):
        single.device.remove()
        gone = PeerDeleted(single.device.index, PEER, DeleteReason.TEARDOWN)
        wait_for(heard(news, gone), 5, f"{gone}")


def test_a_peer_that_is_silent(news: News, single: Kernel) -> None:
    times = Keepalive(1, 2)
    with udp_peer(single, times):
        # Once more: the kernel may have looked before the peer was there (kernel_keepalive).
        single.peers.set_peer(PeerOrder(PEER, keepalive=times))
        gone = PeerDeleted(single.device.index, PEER, DeleteReason.EXPIRED)
        wait_for(heard(news, gone), 15, f"{gone}")
        assert single.peers.peer(PEER) is None


def test_a_peer_whose_socket_is_closed(news: News, single: Kernel) -> None:
    udp_peer(single).close()
    gone = PeerDeleted(single.device.index, PEER, DeleteReason.TRANSPORT_DISCONNECT)
    wait_for(heard(news, gone), 5, f"{gone}")


@pytest.mark.parametrize(
    ("last_octets", "reason"),
    [(b"", DeleteReason.TRANSPORT_DISCONNECT), (CUT_SHORT, DeleteReason.TRANSPORT_ERROR)],
    ids=["closed", "nonsense"],
)
def test_a_peer_whose_connection_ends(
    news: News, single: Kernel, last_octets: bytes, reason: DeleteReason
) -> None:
    with (
        socket.create_server((str(LOOPBACK), 0), family=socket.AF_INET6) as listener,
        socket.create_connection(listener.getsockname()[:2]) as far,
    ):
        near, _ = listener.accept()
        with near:
            single.peers.new_peer(PeerOrder(PEER), near.fileno())
            if last_octets:
                far.sendall(last_octets)
            else:
                near.close()
            gone = PeerDeleted(single.device.index, PEER, reason)
            wait_for(heard(news, gone), 5, f"{gone}")


# --- peers that move ----------------------------------------------------------------------------


def test_a_peer_that_sends_from_elsewhere(news: News, tunnel: KernelRig) -> None:
    elsewhere = tunnel.open_link(1, 2)
    device = device_of(tunnel.namespaces[0].full_name, "tun0")
    device.close()
    inject(tunnel, UP, link=2)
    moved = PeerMoved(device.index, CLIENT, elsewhere)
    wait_for(heard(news, moved), 5, f"{moved}")


# --- what was lost ------------------------------------------------------------------------------


def test_after_lost_notifications_a_dump_tells_what_is_true(tunnel: KernelRig) -> None:
    server, client = tunnel.datapaths
    tunnel.open_link(1, 2)
    ways = [Path(LinkId(link), tunnel.local(0)) for link in (1, 2)]
    key = SendKey(key_pair(1), CLIENT)
    # The loop stands still meanwhile: the news are not read.
    for number in range(STORM):
        client.send_control(ways[number % 2], key.seal(UP))
    device = device_of(tunnel.namespaces[0].full_name, "tun0")
    device.delete_peer(CLIENT)
    device.close()
    tunnel.until(lambda: PeerExpired(CLIENT) in tunnel.reports[0])
    assert server.drops().counts["netlink notifications lost"] == 1
    # And what comes afterwards is heard again.
    server.remove_peer(CLIENT)
    server.add_peer(server_spec(tunnel))
    tunnel.reports[0].clear()
    device = device_of(tunnel.namespaces[0].full_name, "tun0")
    device.delete_peer(CLIENT)
    device.close()
    tunnel.until(lambda: PeerExpired(CLIENT) in tunnel.reports[0])
    assert server.drops().counts["netlink notifications lost"] == 1
