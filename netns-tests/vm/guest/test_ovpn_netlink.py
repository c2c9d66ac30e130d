"""The netlink binding on a real kernel: every request with good and bad attributes, every
notification that can be had, the dump, and the kernel's own words in every error."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from pyroute2 import GenericNetlinkSocket
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from vm.guest.kernel_rig import ROUTE_PROTOCOL

from ovpn6.datapath.kernel_open import Kernel, open_kernel
from ovpn6.datapath.ovpn_netlink.family import find_family
from ovpn6.datapath.ovpn_netlink.messages import VERSION, Command, DeleteReason, ovpnmsg
from ovpn6.datapath.ovpn_netlink.records import CODEC, Notification, PeerDeleted, PeerOrder
from ovpn6.lab.process import run
from ovpn6.model.addresses import Endpoint
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import HostError
from ovpn6.model.names import KeySlot, PeerId
from ovpn6.model.specs import DeviceSpec, Keepalive
from ovpn6.netlink.conversation import DUMP, GENERIC, Conversation
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

PEER, OTHER, NOBODY = PeerId(1), PeerId(0xFFFFFF), PeerId(77)
REMOTE = Endpoint(IPv6Address("2001:db8::1"), 5000)
INNER_4, INNER_6 = IPv4Address("192.0.2.9"), IPv6Address("fd00::1")
LIMIT = 10.0
LOOPBACK_INDEX, NO_INDEX = 1, 99_999
CLOSED_DESCRIPTOR = 9_999

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """A device for many peers and one for a single peer, a UDP socket, what is told of them."""

    many: Kernel
    single: Kernel
    udp: socket.socket
    conversation: Conversation
    family: int

    def ask(self, command: Command, attributes: Values, flags: int = 0) -> list[Any]:
        """A request with any attributes."""
        fields = {"cmd": int(command), "version": VERSION}
        kind = self.family
        return self.conversation.request(command.name, kind, CODEC, fields, attributes, flags)

    def add(self, order: PeerOrder) -> None:
        """To the device for many peers."""
        self.many.peers.new_peer(order, self.udp.fileno())

    def told(self, wanted: Callable[[Notification], bool]) -> Notification:
        """The first notification that is wanted; others are passed over."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            for notification in self.many.news.read():
                if wanted(notification):
                    return notification
            time.sleep(0.01)
        raise AssertionError("the kernel did not tell")


ORDER = PeerOrder(PEER, REMOTE, vpn_ipv6=INNER_6)


@pytest.fixture
def bench() -> Iterator[Bench]:
    many = open_kernel(DeviceSpec("many"), many_peers=True, route_protocol=ROUTE_PROTOCOL)
    single = open_kernel(DeviceSpec("single"), many_peers=False, route_protocol=ROUTE_PROTOCOL)
    conversation = Conversation(GENERIC)
    family = find_family(conversation)
    assert family is not None
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::", 0))
        yield Bench(many, single, udp, conversation, family.number)
    conversation.close()
    for kernel in (many, single):
        kernel.close()


# --- peers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        ORDER,
        replace(ORDER, peer=PeerId(0)),
        replace(ORDER, peer=PeerId(0xFFFFFE), tx_id=0xFFFFFE),
        replace(ORDER, vpn_ipv4=INNER_4, keepalive=Keepalive(10, 86_400)),
        replace(ORDER, remote=Endpoint(IPv4Address("192.0.2.1"), 65_535)),
        replace(ORDER, remote=Endpoint(IPv6Address("fe80::1"), 1, scope_id=LOOPBACK_INDEX)),
        replace(ORDER, local=IPv6Address("2001:db8::2"), tx_id=5),
    ],
    ids=["ipv6", "id-0", "largest-id", "everything-inside", "ipv4", "link-local", "local"],
)
def test_a_peer_is_read_as_it_was_made(bench: Bench, order: PeerOrder) -> None:
    bench.add(order)
    state = bench.many.peers.peer(order.peer)
    assert state is not None
    assert (state.peer, state.remote) == (order.peer, order.remote)
    assert (state.vpn_ipv4, state.vpn_ipv6) == (order.vpn_ipv4, order.vpn_ipv6)
    assert state.keepalive == (order.keepalive or Keepalive(0, 0))
    assert state.tx_id == (order.peer if order.tx_id is None else order.tx_id)
    if order.local is not None:
        assert state.local == order.local
    assert bench.many.peers.peers() == [state]


def test_a_peer_changes_in_what_is_said_and_nothing_else(bench: Bench) -> None:
    bench.add(ORDER)
    bench.many.peers.set_peer(PeerOrder(PEER, keepalive=Keepalive(5, 30)))
    bench.many.peers.set_peer(PeerOrder(PEER, vpn_ipv4=INNER_4))
    moved = replace(REMOTE, port=6000)
    bench.many.peers.set_peer(PeerOrder(PEER, remote=moved))
    state = bench.many.peers.peer(PEER)
    assert state is not None
    assert (state.remote, state.keepalive) == (moved, Keepalive(5, 30))
    assert (state.vpn_ipv4, state.vpn_ipv6) == (INNER_4, INNER_6)


def test_a_removed_peer_is_gone_and_may_be_removed_again(bench: Bench) -> None:
    bench.add(ORDER)
    bench.many.peers.delete_peer(PEER)
    bench.many.peers.delete_peer(PEER)
    assert bench.many.peers.peer(PEER) is None
    assert bench.many.peers.peers() == []


def test_a_dump_tells_each_peer_once(bench: Bench) -> None:
    numbers = [PeerId(number) for number in range(300)]
    for number in numbers:
        remote = replace(REMOTE, port=10_000 + number)
        bench.add(PeerOrder(number, remote, vpn_ipv6=IPv6Address(int(INNER_6) + number)))
    states = bench.many.peers.peers()
    assert sorted(state.peer for state in states) == numbers
    assert all(state.remote == replace(REMOTE, port=10_000 + state.peer) for state in states)
    assert bench.single.peers.peers() == []


def test_a_device_with_one_peer_replaces_it(bench: Bench) -> None:
    for number in (PEER, OTHER):
        bench.single.peers.new_peer(PeerOrder(number, REMOTE), bench.udp.fileno())
    assert [state.peer for state in bench.single.peers.peers()] == [OTHER]
    index = bench.single.device.index
    bench.told(lambda said: said == PeerDeleted(index, PEER, DeleteReason.TEARDOWN))


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", CIPHERS)
def test_keys_are_installed_swapped_and_removed(bench: Bench, cipher: str) -> None:
    bench.add(ORDER)
    peers = bench.many.peers
    peers.new_key(PEER, KeySlot.PRIMARY, key_pair(0, 0, cipher))
    peers.new_key(PEER, KeySlot.SECONDARY, key_pair(0, 7, cipher))
    peers.swap_keys(PEER)
    first, second = (peers.key(PEER, slot) for slot in (KeySlot.PRIMARY, KeySlot.SECONDARY))
    assert first is not None
    assert second is not None
    assert (first.key_id, second.key_id) == (7, 0)
    assert first.algorithm == CIPHERS[cipher].netlink_id
    peers.delete_key(PEER, KeySlot.SECONDARY)
    peers.delete_key(PEER, KeySlot.SECONDARY)
    assert peers.key(PEER, KeySlot.SECONDARY) is None
    assert peers.key(PEER, KeySlot.PRIMARY) == first


def test_a_key_replaces_what_is_in_its_slot(bench: Bench) -> None:
    bench.add(ORDER)
    for key_id in (1, 2):
        bench.many.peers.new_key(PEER, KeySlot.PRIMARY, key_pair(0, key_id))
    state = bench.many.peers.key(PEER, KeySlot.PRIMARY)
    assert state is not None
    assert state.key_id == 2


def test_an_answer_never_holds_a_key(bench: Bench) -> None:
    bench.add(ORDER)
    bench.many.peers.new_key(PEER, KeySlot.PRIMARY, key_pair(0))
    nest = {"attrs": [("OVPN_A_KEYCONF_PEER_ID", PEER), ("OVPN_A_KEYCONF_SLOT", 0)]}
    asked = {"OVPN_A_IFINDEX": bench.many.device.index, "OVPN_A_KEYCONF": nest}
    (answer,) = bench.ask(Command.KEY_GET, asked)
    (said,) = (value["attrs"] for name, value in answer["attrs"] if name == "OVPN_A_KEYCONF")
    names = {name.removeprefix("OVPN_A_KEYCONF_") for name, _ in said}
    assert names == {"PEER_ID", "SLOT", "KEY_ID", "CIPHER_ALG"}


# --- refusals -----------------------------------------------------------------------------------


def direction(key: bytes = bytes(32), nonce_tail: bytes = bytes(8)) -> Values:
    """One direction of a key."""
    return {"attrs": [("OVPN_A_KEYDIR_CIPHER_KEY", key), ("OVPN_A_KEYDIR_NONCE_TAIL", nonce_tail)]}


GOOD_PEER: Values = {
    "ID": 2,
    "REMOTE_IPV6": "2001:db8::1",
    "REMOTE_PORT": 5001,
    "SOCKET": "udp",
    "VPN_IPV6": "fd00::2",
}
GOOD_KEY: Values = {
    "PEER_ID": PEER,
    "SLOT": 0,
    "KEY_ID": 0,
    "CIPHER_ALG": 1,
    "ENCRYPT_DIR": direction(),
    "DECRYPT_DIR": direction(),
}

PEER_REFUSALS: tuple[tuple[Command, Values, int, str], ...] = (
    (Command.PEER_NEW, {"ID": None}, errno.EINVAL, "attribute 1 is missing"),
    (Command.PEER_NEW, {"SOCKET": None}, errno.EINVAL, "attribute 6 is missing"),
    (Command.PEER_NEW, {"ID": PEER}, errno.EEXIST, "cannot add new peer .id=1."),
    (Command.PEER_NEW, {"ID": 0x1000000}, errno.ERANGE, "integer out of range"),
    (Command.PEER_NEW, {"TX_ID": 0x1000000}, errno.ERANGE, "integer out of range"),
    (Command.PEER_NEW, {"REMOTE_IPV6": None}, errno.EINVAL, "remote port without IP address"),
    (Command.PEER_NEW, {"REMOTE_PORT": None}, errno.EINVAL, "remote IP address without port"),
    (Command.PEER_NEW, {"REMOTE_PORT": 0}, errno.ERANGE, "integer out of range"),
    (Command.PEER_NEW, {"REMOTE_IPV4": "192.0.2.1"}, errno.EINVAL, "both remote IPv4 or IPv6"),
    (Command.PEER_NEW, {"LOCAL_IPV4": "192.0.2.2"}, errno.EINVAL, "local IPv4 address without"),
    (Command.PEER_NEW, {"VPN_IPV6": None}, errno.EINVAL, "at least one VPN IP"),
    (Command.PEER_NEW, {"VPN_IPV6": str(INNER_6)}, errno.EADDRINUSE, "cannot add new peer"),
    (Command.PEER_NEW, {"VPN_IPV6": "ff02::1"}, errno.EADDRNOTAVAIL, "valid unicast"),
    (Command.PEER_NEW, {"VPN_IPV4": "224.0.0.1"}, errno.EADDRNOTAVAIL, "valid unicast"),
    (Command.PEER_NEW, {"SOCKET": "closed"}, errno.ENOTSOCK, "cannot lookup peer socket"),
    (Command.PEER_NEW, {"SOCKET": "file"}, errno.ENOTSOCK, "cannot lookup peer socket"),
    (Command.PEER_NEW, {"SOCKET": "tcp"}, errno.EINVAL, "remote IP address with TCP socket"),
    (Command.PEER_NEW, {"KEEPALIVE_INTERVAL": 5}, errno.EINVAL, "required together"),
    (
        Command.PEER_NEW,
        {"KEEPALIVE_INTERVAL": 5, "KEEPALIVE_TIMEOUT": 86_401},
        errno.ERANGE,
        "integer out of range",
    ),
    (Command.PEER_NEW, {"SOCKET_NETNSID": 1}, errno.EINVAL, "Unsupported attribute"),
    (Command.PEER_NEW, {"LOCAL_PORT": 9}, errno.EINVAL, "Unsupported attribute"),
    (Command.PEER_NEW, {"LINK_TX_BYTES": 9}, errno.EINVAL, "Unsupported attribute"),
    (Command.PEER_SET, {"ID": None, "SOCKET": None}, errno.EINVAL, "attribute 1 is missing"),
    (Command.PEER_SET, {"ID": PEER}, errno.EINVAL, "Unsupported attribute"),
    (Command.PEER_SET, {"ID": NOBODY, "SOCKET": None}, errno.ENOENT, "cannot find peer"),
    (Command.PEER_GET, {}, errno.EINVAL, "unexpected attribute"),
)
"""Changes to a good peer (None: left out), and what becomes of them."""

KEY_REFUSALS: tuple[tuple[Command, Values, int, str], ...] = (
    *(
        (Command.KEY_NEW, {name: None}, errno.EINVAL, f"attribute {number} is missing")
        for number, name in enumerate(GOOD_KEY, start=1)
    ),
    (Command.KEY_NEW, {"PEER_ID": NOBODY}, errno.ENOENT, "no peer with id 77"),
    (Command.KEY_NEW, {"SLOT": 2}, errno.ERANGE, "integer out of range"),
    (Command.KEY_NEW, {"KEY_ID": 8}, errno.ERANGE, "integer out of range"),
    (Command.KEY_NEW, {"CIPHER_ALG": 3}, errno.ERANGE, "integer out of range"),
    (Command.KEY_NEW, {"CIPHER_ALG": 0}, errno.EINVAL, "unsupported cipher"),
    (Command.KEY_NEW, {"ENCRYPT_DIR": direction(bytes(31))}, errno.EINVAL, "cannot install"),
    (Command.KEY_NEW, {"DECRYPT_DIR": direction(bytes(257))}, errno.ERANGE, "size out of range"),
    (
        Command.KEY_NEW,
        {"CIPHER_ALG": 2, "ENCRYPT_DIR": direction(bytes(16))},
        errno.EINVAL,
        "cannot install new key",
    ),
    (
        Command.KEY_NEW,
        {"ENCRYPT_DIR": direction(nonce_tail=bytes(7))},
        errno.ERANGE,
        "size out of range",
    ),
    (
        Command.KEY_NEW,
        {"DECRYPT_DIR": direction(nonce_tail=bytes(9))},
        errno.ERANGE,
        "size out of range",
    ),
    (Command.KEY_NEW, {"ENCRYPT_DIR": {"attrs": []}}, errno.EINVAL, "attribute 1 is missing"),
    (Command.KEY_GET, {}, errno.EINVAL, "Unknown attribute type"),
    (Command.KEY_SWAP, {}, errno.EINVAL, "Unknown attribute type"),
)

NAMED_REFUSALS: tuple[tuple[Command, Values, int, str], ...] = (
    (Command.PEER_GET, {}, errno.EINVAL, "attribute 1 is missing"),
    (Command.PEER_GET, {"ID": NOBODY}, errno.ENOENT, "cannot find peer with id 77"),
    (Command.PEER_DEL, {}, errno.EINVAL, "attribute 1 is missing"),
    (Command.PEER_DEL, {"ID": NOBODY}, errno.ENOENT, "cannot find peer with id 77"),
    (Command.KEY_GET, {"SLOT": 0}, errno.EINVAL, "attribute 1 is missing"),
    (Command.KEY_GET, {"PEER_ID": PEER}, errno.EINVAL, "attribute 2 is missing"),
    (Command.KEY_GET, {"PEER_ID": NOBODY, "SLOT": 0}, errno.ENOENT, "cannot find peer"),
    (Command.KEY_GET, {"PEER_ID": PEER, "SLOT": 1}, errno.ENOENT, "key from slot 1"),
    (Command.KEY_GET, {"PEER_ID": PEER, "SLOT": 2}, errno.ERANGE, "integer out of range"),
    (Command.KEY_SWAP, {}, errno.EINVAL, "attribute 1 is missing"),
    (Command.KEY_SWAP, {"PEER_ID": NOBODY}, errno.ENOENT, "no peer with id 77"),
    (Command.KEY_DEL, {"SLOT": 0}, errno.EINVAL, "attribute 1 is missing"),
    (Command.KEY_DEL, {"PEER_ID": PEER}, errno.EINVAL, "attribute 2 is missing"),
    (Command.KEY_DEL, {"PEER_ID": NOBODY, "SLOT": 0}, errno.ENOENT, "no peer with id 77"),
    (Command.KEY_DEL, {"PEER_ID": PEER, "SLOT": 5}, errno.ERANGE, "integer out of range"),
)
"""What only names a peer or a key, in full."""


def check_refused(
    bench: Bench, command: Command, values: Values, number: int, text: str, device: int = 0
) -> None:
    """The request fails as said, with the kernel's own words, and changes nothing."""
    with socket.socket(socket.AF_INET6) as tcp, open("/proc/self/status", "rb") as file:
        sockets = {"udp": bench.udp.fileno(), "tcp": tcp.fileno(), "file": file.fileno()}
        sockets["closed"] = CLOSED_DESCRIPTOR
        kind = "PEER" if command.name.startswith("PEER") else "KEYCONF"
        pairs = [
            (f"OVPN_A_{kind}_{name}", sockets.get(value, value) if name == "SOCKET" else value)
            for name, value in values.items()
            if value is not None
        ]
        asked = {
            "OVPN_A_IFINDEX": device or bench.many.device.index,
            f"OVPN_A_{kind}": {"attrs": pairs},
        }
        before = bench.many.peers.peers()
        with pytest.raises(HostError, match=text) as caught:
            bench.ask(command, asked)
        assert caught.value.errno == number, caught.value
        assert bench.many.peers.peers() == before


@pytest.mark.parametrize(("command", "change", "number", "text"), PEER_REFUSALS)
def test_a_wrong_peer_is_refused_in_the_kernels_words(
    bench: Bench, command: Command, change: Values, number: int, text: str
) -> None:
    bench.add(ORDER)
    check_refused(bench, command, GOOD_PEER | change, number, text)


@pytest.mark.parametrize(("command", "change", "number", "text"), KEY_REFUSALS)
def test_a_wrong_key_is_refused_in_the_kernels_words(
    bench: Bench, command: Command, change: Values, number: int, text: str
) -> None:
    bench.add(ORDER)
    check_refused(bench, command, GOOD_KEY | change, number, text)


@pytest.mark.parametrize(("command", "values", "number", "text"), NAMED_REFUSALS)
def test_a_wrong_name_is_refused_in_the_kernels_words(
    bench: Bench, command: Command, values: Values, number: int, text: str
) -> None:
    bench.add(ORDER)
    check_refused(bench, command, values, number, text)


_ENOUGH_FOR = {
    Command.PEER_NEW: GOOD_PEER.keys(),
    Command.PEER_SET: GOOD_PEER.keys() - {"SOCKET"},
    Command.PEER_GET: {"ID"},
    Command.PEER_DEL: {"ID"},
    Command.KEY_NEW: GOOD_KEY.keys(),
    Command.KEY_GET: {"PEER_ID", "SLOT"},
    Command.KEY_SWAP: {"PEER_ID"},
    Command.KEY_DEL: {"PEER_ID", "SLOT"},
}


@pytest.mark.parametrize("command", _ENOUGH_FOR, ids=lambda command: command.name)
def test_a_device_that_is_none_of_the_modules_is_refused(bench: Bench, command: Command) -> None:
    wanted = _ENOUGH_FOR[command]
    values = {name: value for name, value in (GOOD_PEER | GOOD_KEY).items() if name in wanted}
    none, not_ovpn = "ifindex does not match any interface", "specified interface is not ovpn"
    check_refused(bench, command, values, errno.ENODEV, none, NO_INDEX)
    check_refused(bench, command, values, errno.EINVAL, not_ovpn, LOOPBACK_INDEX)
    with pytest.raises(HostError, match="attribute 1 is missing"):
        bench.ask(command, {})


# --- others' ways -------------------------------------------------------------------------------


def test_a_dump_takes_nothing_but_the_device(bench: Bench) -> None:
    index = {"OVPN_A_IFINDEX": bench.many.device.index}
    with pytest.raises(HostError, match="Unknown attribute type"):
        bench.ask(Command.PEER_GET, {**index, "OVPN_A_PEER": {"attrs": []}}, DUMP)
    with pytest.raises(HostError, match="ifindex does not match any interface"):
        bench.ask(Command.PEER_GET, {"OVPN_A_IFINDEX": NO_INDEX}, DUMP)
    assert bench.ask(Command.PEER_GET, index, DUMP) == []


def test_a_notification_is_no_request(bench: Bench) -> None:
    for command in (Command.PEER_DEL_NTF, Command.KEY_SWAP_NTF, Command.PEER_FLOAT_NTF):
        with pytest.raises(HostError) as caught:
            bench.ask(command, {"OVPN_A_IFINDEX": bench.many.device.index})
        assert caught.value.errno == errno.EOPNOTSUPP


def test_a_user_namespace_is_told_what_it_lacks() -> None:
    program = "from ovpn6.datapath.choose import probe_kernel; print(probe_kernel('ovpn'))"
    inside = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", program]
    assert "wants CAP_NET_ADMIN outside of any user namespace" in run(inside).stdout


def test_pyroute2_itself_speaks_by_these_classes(bench: Bench) -> None:
    bench.add(ORDER)
    with GenericNetlinkSocket() as theirs:
        theirs.bind("ovpn", ovpnmsg)
        request = ovpnmsg()
        request["cmd"], request["version"] = Command.PEER_GET, VERSION
        request["attrs"] = [("OVPN_A_IFINDEX", bench.many.device.index)]
        (answer,) = theirs.nlm_request(request, theirs.prid, NLM_F_REQUEST | NLM_F_DUMP)
    assert answer.get(("peer", "id")) == PEER
    assert answer.get(("peer", "remote_ipv6")) == str(REMOTE.address)
    assert answer.get(("peer", "vpn_rx_bytes")) == 0
