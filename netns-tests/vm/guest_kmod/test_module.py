"""What our module has or does that mainline's has not, and how it goes."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from vm.gate_kernel import is_gate

from ovpn6.datapath.kernel_open import Kernel, open_kernel
from ovpn6.datapath.ovpn_netlink.device import OvpnDevice
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.lab import Lab, wait_for
from ovpn6.lab.process import run
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive
from ovpn6.netlink.conversation import GENERIC, Conversation
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

NAMES = ("ovpn6", "ovpn")
ROUTE_PROTOCOL = 54
REMOTE = Endpoint(IPv6Address("2001:db8::1"), 5000)
INNER = IPv6Address("fd00::")
MANY = 5000
TEARDOWN_PEERS = 300
TEARDOWN_LIMIT = 0.1 * TEARDOWN_PEERS * 0.0152
"""Seconds: a tenth of what mainline's module takes for as many in such a guest."""


@contextmanager
def device(
    name: str = "ovpn6", device_name: str = "kmod", *, many: bool = True
) -> Iterator[Kernel]:
    """A device of one of the module's two names."""
    spec = DeviceSpec(device_name)
    made = open_kernel(spec, many_peers=many, route_protocol=ROUTE_PROTOCOL, name=name)
    with closing(made):
        yield made


@contextmanager
def udp() -> Iterator[socket.socket]:
    """A socket of both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.bind(("::", 0))
        yield opened


def fill(kernel: Kernel, outer: socket.socket, count: int) -> None:
    """Peers with keepalive, every tenth with keys: a cipher takes a while to set up."""
    for number in range(count):
        inner = IPv6Address(int(INNER) + number)
        order = PeerOrder(PeerId(number), REMOTE, vpn_ipv6=inner, keepalive=Keepalive(10, 60))
        kernel.peers.new_peer(order, outer.fileno())
        if number % 10 == 0:
            kernel.peers.new_key(PeerId(number), KeySlot.PRIMARY, key_pair(0, 0))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_speaks_for_its_own_devices_only(name: str) -> None:
    other = NAMES[1 - NAMES.index(name)]
    with device(name) as kernel, udp() as outer, closing(Conversation(GENERIC)) as conversation:
        fill(kernel, outer, 1)
        family = find_family(conversation, other)
        assert family is not None
        stranger = OvpnDevice(conversation, family, kernel.device.index)
        with pytest.raises(HostError, match="specified interface is not ovpn"):
            stranger.peers()
        assert len(kernel.peers.peers()) == 1


def test_the_own_name_may_be_used_from_a_user_namespace() -> None:
    program = (
        "import socket\n"
        "from vm.guest_kmod.test_module import device, udp, fill\n"
        "with device() as kernel, udp() as outer:\n"
        "    fill(kernel, outer, 1)\n"
        "    print(len(kernel.peers.peers()), 'peer')\n"
    )
    inside = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", program]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = run(["env", *(f"{name}={value}" for name, value in path.items()), *inside])
    assert done.stdout == "1 peer\n"


def test_a_stream_socket_is_refused_in_words() -> None:
    with (
        device(many=False) as kernel,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        socket.create_connection(listener.getsockname()[:2]) as near,
        pytest.raises(HostError, match="does not carry data over TCP yet") as caught,
    ):
        kernel.peers.new_peer(PeerOrder(PeerId(1)), near.fileno())
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_socket_serves_one_device_at_a_time() -> None:
    with device() as first, device(device_name="other") as second, udp() as outer:
        fill(first, outer, 1)
        with pytest.raises(HostError, match="in use by another device") as caught:
            fill(second, outer, 1)
        assert caught.value.errno == errno.EBUSY
        first.peers.delete_peer(PeerId(0))
        fill(second, outer, 1)
        assert len(second.peers.peers()) == 1


def test_a_socket_without_peers_is_user_spaces_again() -> None:
    data = bytes.fromhex("48000001") + bytes(40)
    with device() as kernel, udp() as outer, udp() as far:
        outer.settimeout(5)
        fill(kernel, outer, 2)
        there = ("::1", outer.getsockname()[1])
        far.sendto(data, there)
        far.sendto(b"\x38 control", there)
        assert outer.recv(100) == b"\x38 control"
        for number in (0, 1):
            kernel.peers.delete_peer(PeerId(number))
        far.sendto(data, there)
        assert outer.recv(100) == data


def test_a_socket_of_ipv4_has_no_peers_that_ipv6_leads_to() -> None:
    near = Endpoint(IPv4Address("127.0.0.1"), 5000)
    with device(many=False) as kernel, socket.socket(type=socket.SOCK_DGRAM) as outer:
        outer.bind(("127.0.0.1", 0))
        for order in (
            lambda: kernel.peers.new_peer(PeerOrder(PeerId(1), REMOTE), outer.fileno()),
            lambda: kernel.peers.set_peer(PeerOrder(PeerId(1), REMOTE)),
        ):
            with pytest.raises(HostError, match="cannot send to IPv6") as caught:
                order()
            assert caught.value.errno == errno.EAFNOSUPPORT
            if kernel.peers.peer(PeerId(1)) is None:
                kernel.peers.new_peer(PeerOrder(PeerId(1), near), outer.fileno())


def test_a_user_namespace_may_not_use_a_socket_of_another_one() -> None:
    program = (
        "import os\n"
        "from vm.guest_kmod.test_module import HostError, device, udp, fill\n"
        "with udp() as theirs:\n"
        "    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)\n"
        "    with device() as kernel, udp() as ours:\n"
        "        for one in theirs, ours:\n"
        "            try:\n"
        "                fill(kernel, one, 1)\n"
        "                print('peers:', len(kernel.peers.peers()))\n"
        "            except HostError as error:\n"
        "                print(error)\n"
    )
    path = f"PYTHONPATH={Path(__file__).parents[2]}"
    done = run(["env", path, sys.executable, "-c", program])
    assert done.stdout == "add peer 0: peer socket is of a namespace that is not yours\npeers: 1\n"


def test_a_peer_that_replaces_another_on_its_socket_is_served_by_it() -> None:
    with device(many=False) as kernel, udp() as outer, udp() as far:
        remote = Endpoint(IPv6Address("::1"), far.getsockname()[1])
        for number in (1, 2):
            kernel.peers.new_peer(PeerOrder(PeerId(number), remote), outer.fileno())
        assert [state.peer for state in kernel.peers.peers()] == [2]
        far.sendto(bytes.fromhex("48000002") + bytes(40), ("::1", outer.getsockname()[1]))
        wait_for(lambda: _received(kernel, 2), 5, "a packet for the second peer")
        outer.close()
        wait_for(lambda: not kernel.peers.peers(), 5, "the peer to go with its socket")


def _received(kernel: Kernel, peer: int) -> int:
    state = kernel.peers.peer(PeerId(peer))
    assert state is not None
    return state.counters.link_in


def test_five_thousand_peers_are_in_one_dump() -> None:
    with device() as kernel, udp() as outer:
        fill(kernel, outer, MANY)
        assert [state.peer for state in kernel.peers.peers()] == list(range(MANY))


@pytest.mark.skipif(is_gate(os.uname().release), reason="a measure, and this kernel is slow")
def test_a_device_with_many_peers_goes_at_once() -> None:
    with udp() as outer:
        with device() as kernel:
            fill(kernel, outer, TEARDOWN_PEERS)
            began = time.monotonic()
            kernel.device.remove()
            took = time.monotonic() - began
        print(f"{TEARDOWN_PEERS} peers went in {took * 1000:.1f} ms")
        assert took < TEARDOWN_LIMIT


def test_a_namespace_goes_with_live_peers() -> None:
    with ExitStack() as stack:
        outer = stack.enter_context(udp())
        lab = stack.enter_context(Lab())
        inside = lab.namespace("gone")
        spec = DeviceSpec("kmod", netns=inside.full_name)
        kernel = open_kernel(spec, many_peers=True, route_protocol=ROUTE_PROTOCOL, name="ovpn6")
        fill(kernel, outer, 50)
        for part in (kernel.news, kernel.peers, kernel.device):
            part.close()
    assert Path("/sys/module/ovpn6/refcnt").read_text() == "0\n"


def test_the_module_goes_with_live_peers_and_comes_back() -> None:
    with udp() as outer:
        for name in NAMES:
            spec = DeviceSpec(f"live-{name}")
            kernel = open_kernel(spec, many_peers=True, route_protocol=ROUTE_PROTOCOL, name=name)
            if name == "ovpn6":
                fill(kernel, outer, 100)
            for part in (kernel.news, kernel.peers, kernel.device):
                part.close()
        run(["rmmod", "ovpn6"])
        assert not Path("/sys/class/net/live-ovpn6").exists()
        run(["insmod", f"{os.environ['VM_RESULTS']}/ovpn6.ko", "compat=1"])
        with device() as again:
            fill(again, outer, 3)
            assert len(again.peers.peers()) == 3
