"""Every command and notification of the family ``ovpn`` as octets; what the kernel may answer."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import IPRoute  # noqa: F401 runs the package itself, before its parts are used
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ovpn6.datapath.ovpn_netlink.link_kind import MODE_MP, ovpn
from ovpn6.datapath.ovpn_netlink.messages import VERSION, Command, DeleteReason, ovpnmsg
from ovpn6.datapath.ovpn_netlink.records import (
    CODEC,
    KeyState,
    KeyUsedUp,
    PeerDeleted,
    PeerMoved,
    PeerOrder,
    decode_key,
    decode_notification,
    decode_peer,
    decode_prefix,
    encode_key,
    encode_peer,
    encode_prefix,
    name_key,
)
from ovpn6.model.addresses import Endpoint
from ovpn6.model.names import KeyId, KeySlot, PeerId
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import Keepalive, KeyMaterial, PeerCounters

FAMILY = 36
PEER = PeerId(5)
NESTED = 0x8000


IPV4_OR_IPV6 = (IPv4Address, IPv6Address)


def attribute(kind: int, value: bytes) -> bytes:
    """``struct nlattr`` and its padding."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def message(command: Command, *attributes: bytes) -> bytes:
    """A whole message as the kernel would send it."""
    body = struct.pack("=BBH", command, VERSION, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), FAMILY, 0, 0, 0) + body


def encoded(command: Command, attributes: dict[str, Any]) -> bytes:
    """Our request, without its header; the same from the codec and from pyroute2."""
    said = [("OVPN_A_IFINDEX", 7), *attributes.items()]
    request = ovpnmsg()
    request["cmd"], request["version"] = command, VERSION
    request["attrs"] = in_text(said)
    request.encode()
    quick = CODEC.encode(FAMILY, 5, 1, {"cmd": command, "version": VERSION}, said)
    assert quick[16:] == bytes(request.data[16:])
    return quick[16:]


def in_text(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """pyroute2 takes addresses as text."""
    plain: list[tuple[str, Any]] = []
    for name, value in pairs:
        if isinstance(value, dict):
            plain.append((name, {"attrs": in_text(value["attrs"])}))
        else:
            plain.append((name, str(value) if isinstance(value, IPV4_OR_IPV6) else value))
    return plain


def decoded(data: bytes) -> Any:
    """What the codec makes of it; pyroute2 says the same, but for what it does not know."""
    answer = ovpnmsg(data)
    answer.decode()
    quick = CODEC.decode(data)
    assert quick["cmd"] == answer["cmd"]
    assert quick["attrs"] == known(answer["attrs"])
    return quick


def known(pairs: Any) -> list[tuple[str, Any]]:
    """pyroute2's attributes as plain values."""
    plain = []
    for pair in pairs:
        name, value = pair[0], pair[1]
        if name != "UNKNOWN":
            nest = isinstance(value, dict)
            plain.append((name, {"attrs": known(value["attrs"])} if nest else value))
    return plain


# --- requests ---------------------------------------------------------------------------------


def test_a_new_udp_peer_over_ipv6() -> None:
    order = PeerOrder(
        PEER,
        remote=Endpoint(IPv6Address("2001:db8::9"), 1194),
        local=IPv6Address("2001:db8::1"),
        vpn_ipv4=IPv4Address("192.0.2.5"),
        vpn_ipv6=IPv6Address("2001:db8:1::5"),
        keepalive=Keepalive(10, 60),
        tx_id=9,
    )
    wanted = attribute(1, u32(7)) + attribute(
        2 | NESTED,
        attribute(1, u32(5))
        + attribute(3, IPv6Address("2001:db8::9").packed)
        + attribute(5, struct.pack(">H", 1194))
        + attribute(6, u32(11))
        + attribute(8, IPv4Address("192.0.2.5").packed)
        + attribute(9, IPv6Address("2001:db8:1::5").packed)
        + attribute(11, IPv6Address("2001:db8::1").packed)
        + attribute(13, u32(10))
        + attribute(14, u32(60))
        + attribute(24, u32(9)),
    )
    data = encoded(Command.PEER_NEW, {"OVPN_A_PEER": encode_peer(order, socket=11)})
    assert data == b"\x01\x01\0\0" + wanted


def test_a_link_local_peer_names_its_interface() -> None:
    order = PeerOrder(PEER, remote=Endpoint(IPv6Address("fe80::9"), 1194, scope_id=3))
    data = encoded(Command.PEER_SET, {"OVPN_A_PEER": encode_peer(order)})
    assert attribute(4, u32(3)) in data


def test_a_new_udp_peer_over_ipv4() -> None:
    order = PeerOrder(
        PEER, remote=Endpoint(IPv4Address("192.0.2.9"), 65535), local=IPv4Address("192.0.2.1")
    )
    nest = (
        attribute(1, u32(5))
        + attribute(2, IPv4Address("192.0.2.9").packed)
        + attribute(5, b"\xff\xff")
        + attribute(6, u32(0))
        + attribute(10, IPv4Address("192.0.2.1").packed)
    )
    data = encoded(Command.PEER_NEW, {"OVPN_A_PEER": encode_peer(order, socket=0)})
    assert data == b"\x01\x01\0\0" + attribute(1, u32(7)) + attribute(2 | NESTED, nest)


def test_a_new_tcp_peer_has_no_remote() -> None:
    data = encoded(Command.PEER_NEW, {"OVPN_A_PEER": encode_peer(PeerOrder(PEER), socket=11)})
    nest = attribute(1, u32(5)) + attribute(6, u32(11))
    assert data == b"\x01\x01\0\0" + attribute(1, u32(7)) + attribute(2 | NESTED, nest)


@pytest.mark.parametrize("command", [Command.PEER_GET, Command.PEER_DEL])
def test_a_peer_is_named_by_its_id_alone(command: Command) -> None:
    data = encoded(command, {"OVPN_A_PEER": encode_peer(PeerOrder(PEER))})
    nest = attribute(2 | NESTED, attribute(1, u32(5)))
    assert data == bytes([command, 1, 0, 0]) + attribute(1, u32(7)) + nest


def test_a_dump_holds_the_index_alone() -> None:
    assert encoded(Command.PEER_GET, {}) == b"\x03\x01\0\0" + attribute(1, u32(7))


def test_a_new_key_has_both_directions() -> None:
    key = KeyMaterial(
        KeyId(3),
        "CHACHA20-POLY1305",
        SecretBytes(b"s" * 32),
        SecretBytes(b"t" * 8),
        SecretBytes(b"r" * 32),
        SecretBytes(b"u" * 8),
    )
    nest = (
        attribute(1, u32(5))
        + attribute(2, u32(1))
        + attribute(3, u32(3))
        + attribute(4, u32(2))
        + attribute(5 | NESTED, attribute(1, b"s" * 32) + attribute(2, b"t" * 8))
        + attribute(6 | NESTED, attribute(1, b"r" * 32) + attribute(2, b"u" * 8))
    )
    data = encoded(Command.KEY_NEW, {"OVPN_A_KEYCONF": encode_key(PEER, KeySlot.SECONDARY, key)})
    assert data == b"\x06\x01\0\0" + attribute(1, u32(7)) + attribute(3 | NESTED, nest)


@pytest.mark.parametrize("command", [Command.KEY_GET, Command.KEY_DEL])
def test_a_key_is_named_by_peer_and_slot_alone(command: Command) -> None:
    data = encoded(command, {"OVPN_A_KEYCONF": name_key(PEER, KeySlot.PRIMARY)})
    nest = attribute(1, u32(5)) + attribute(2, u32(0))
    wanted = attribute(1, u32(7)) + attribute(3 | NESTED, nest)
    assert data == bytes([command, 1, 0, 0]) + wanted


def test_a_swap_names_the_peer_alone() -> None:
    data = encoded(Command.KEY_SWAP, {"OVPN_A_KEYCONF": name_key(PEER)})
    nest = attribute(3 | NESTED, attribute(1, u32(5)))
    assert data == b"\x08\x01\0\0" + attribute(1, u32(7)) + nest


@pytest.mark.parametrize(
    ("network", "attributes"),
    [
        ("2001:db8::/32", attribute(3, bytes.fromhex("20010db8") + bytes(12))),
        ("192.0.2.0/24", attribute(2, bytes([192, 0, 2, 0]))),
    ],
)
def test_a_prefix_is_an_address_with_its_length(network: str, attributes: bytes) -> None:
    body = {"OVPN_A_PREFIX": encode_prefix(PEER, ip_network(network))}
    length = u32(ip_network(network).prefixlen)
    nest = attribute(1, u32(5)) + attributes + attribute(4, length)
    wanted = attribute(1, u32(7)) + attribute(32 | NESTED, nest)
    assert encoded(Command.PREFIX_NEW, body) == b"\x20\x01\0\0" + wanted
    answer = message(Command.PREFIX_GET, attribute(32 | NESTED, nest))
    assert decode_prefix(decoded(answer)) == (PEER, ip_network(network))


def test_an_answer_without_an_address_is_no_prefix() -> None:
    nest = attribute(1, u32(5)) + attribute(4, u32(32))
    with pytest.raises(ValueError, match="OVPN_A_PREFIX_IPV6"):
        decode_prefix(decoded(message(Command.PREFIX_GET, attribute(32 | NESTED, nest))))


def test_the_link_kind_fits_pyroute2() -> None:
    ifinfmsg.ifinfo.register_link_kind(module={"ovpn": ovpn})
    link = ifinfmsg()
    info = [
        ("IFLA_INFO_KIND", "ovpn"),
        ("IFLA_INFO_DATA", {"attrs": [("IFLA_OVPN_MODE", MODE_MP)]}),
    ]
    link["attrs"] = [("IFLA_LINKINFO", {"attrs": info})]
    link.encode()
    assert bytes(link.data).endswith(attribute(2, attribute(1, b"\x01")))


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 8])
def test_statistics_of_either_size_decode(size: int) -> None:
    numbers = [attribute(16 + i, (1000 + i).to_bytes(size, "little")) for i in range(8)]
    nest = attribute(2, attribute(1, u32(5)) + b"".join(numbers))
    state = decode_peer(decoded(message(Command.PEER_GET, nest)))
    assert state.counters == PeerCounters(
        bytes_in=1000,
        bytes_out=1001,
        packets_in=1002,
        packets_out=1003,
        link_in=1004,
        link_out=1005,
    )


def test_statistics_beyond_four_octets_decode() -> None:
    nest = attribute(2, attribute(1, u32(5)) + attribute(20, (1 << 40).to_bytes(8, "little")))
    assert decode_peer(decoded(message(Command.PEER_GET, nest))).counters.link_in == 1 << 40


def test_a_peer_with_everything_decodes() -> None:
    nest = (
        attribute(1, u32(5))
        + attribute(3, IPv6Address("fe80::9").packed)
        + attribute(4, u32(3))
        + attribute(5, struct.pack(">H", 1194))
        + attribute(7, struct.pack("=i", -1))
        + attribute(8, IPv4Address("192.0.2.5").packed)
        + attribute(9, IPv6Address("2001:db8:1::5").packed)
        + attribute(11, IPv6Address("2001:db8::1").packed)
        + attribute(12, struct.pack(">H", 1195))
        + attribute(13, u32(10))
        + attribute(14, u32(60))
        + attribute(24, u32(9))
        + attribute(99, b"from a later kernel")
    )
    state = decode_peer(decoded(message(Command.PEER_GET, attribute(2 | NESTED, nest))))
    assert state.peer == PEER
    assert state.remote == Endpoint(IPv6Address("fe80::9"), 1194, 3)
    assert state.local == IPv6Address("2001:db8::1")
    assert state.vpn_ipv4 == IPv4Address("192.0.2.5")
    assert state.vpn_ipv6 == IPv6Address("2001:db8:1::5")
    assert state.keepalive == Keepalive(10, 60)
    assert state.tx_id == 9


def test_a_mapped_address_is_an_ipv4_address() -> None:
    mapped = IPv6Address("::ffff:192.0.2.9").packed
    nest = attribute(1, u32(5)) + attribute(3, mapped) + attribute(5, b"\x04\xaa")
    state = decode_peer(decoded(message(Command.PEER_GET, attribute(2, nest))))
    assert state.remote == Endpoint(IPv4Address("192.0.2.9"), 1194)


def test_a_tcp_peer_has_no_remote() -> None:
    nest = attribute(1, u32(5))
    assert decode_peer(decoded(message(Command.PEER_GET, attribute(2, nest)))).remote is None


@pytest.mark.parametrize("key_id", [u32(3), struct.pack("=H", 3)])
def test_a_key_decodes(key_id: bytes) -> None:
    nest = attribute(1, u32(5)) + attribute(2, u32(1)) + attribute(3, key_id) + attribute(4, u32(2))
    state = decode_key(decoded(message(Command.KEY_GET, attribute(3, nest))))
    assert state == KeyState(PEER, KeySlot.SECONDARY, KeyId(3), 2)


@pytest.mark.parametrize(
    "answer", [message(Command.PEER_GET), message(Command.PEER_GET, attribute(2, b""))]
)
def test_an_answer_without_a_peer_is_a_value_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match="OVPN_A_PEER"):
        decode_peer(decoded(answer))


# --- notifications ----------------------------------------------------------------------------

INDEX = attribute(1, u32(7))


@pytest.mark.parametrize("reason", list(DeleteReason))
def test_a_deleted_peer(reason: DeleteReason) -> None:
    nest = attribute(2 | NESTED, attribute(15, u32(reason)) + attribute(1, u32(5)))
    told = decode_notification(message(Command.PEER_DEL_NTF, INDEX, nest))
    assert told == PeerDeleted(7, PEER, reason)


def test_a_deleted_peer_for_a_reason_of_a_later_kernel() -> None:
    nest = attribute(2, attribute(15, u32(17)) + attribute(1, u32(5)))
    told = decode_notification(message(Command.PEER_DEL_NTF, INDEX, nest))
    assert told == PeerDeleted(7, PEER, 17)


@pytest.mark.parametrize("key_id", [struct.pack("=H", 3), u32(3)])
def test_a_used_up_key_of_either_size(key_id: bytes) -> None:
    nest = attribute(3, attribute(1, u32(5)) + attribute(3, key_id))
    told = decode_notification(message(Command.KEY_SWAP_NTF, INDEX, nest))
    assert told == KeyUsedUp(7, PEER, KeyId(3))


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        (attribute(2, IPv4Address("192.0.2.9").packed), Endpoint(IPv4Address("192.0.2.9"), 1194)),
        (
            attribute(3, IPv6Address("fe80::9").packed) + attribute(4, u32(3)),
            Endpoint(IPv6Address("fe80::9"), 1194, 3),
        ),
    ],
    ids=["IPv4", "IPv6"],
)
def test_a_peer_that_moved(address: bytes, remote: Endpoint) -> None:
    nest = attribute(2, attribute(1, u32(5)) + address + attribute(5, b"\x04\xaa"))
    told = decode_notification(message(Command.PEER_FLOAT_NTF, INDEX, nest))
    assert told == PeerMoved(7, PEER, remote)


def test_another_command_is_no_notification() -> None:
    assert decode_notification(message(Command.PEER_GET, INDEX)) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        message(Command.PEER_DEL_NTF)[:18],
        message(Command.PEER_DEL_NTF),
        message(Command.PEER_DEL_NTF, INDEX),
        message(Command.PEER_DEL_NTF, INDEX, attribute(2, attribute(1, u32(5)))),
        message(Command.PEER_DEL_NTF, INDEX, attribute(2, attribute(15, u32(1)))),
        message(Command.KEY_SWAP_NTF, INDEX, attribute(3, attribute(1, u32(5)))),
        message(Command.PEER_FLOAT_NTF, INDEX, attribute(2, attribute(1, u32(5)))),
    ],
)
def test_a_notification_that_lacks_something_is_a_value_error(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode_notification(packet)


ENDPOINTS = st.builds(
    Endpoint,
    st.ip_addresses().filter(lambda a: a.version == 4 or a.ipv4_mapped is None),
    st.integers(1, 65535),
)
ORDERS = st.builds(
    PeerOrder,
    st.integers(0, 0xFFFFFF).map(PeerId),
    remote=st.none() | ENDPOINTS,
    vpn_ipv4=st.none() | st.ip_addresses(v=4),
    vpn_ipv6=st.none() | st.ip_addresses(v=6),
    keepalive=st.builds(Keepalive, st.integers(0, 86400), st.integers(0, 86400)),
    tx_id=st.none() | st.integers(0, 0xFFFFFF),
)


@given(ORDERS)
def test_orders_come_back_as_they_were(order: PeerOrder) -> None:
    body = encoded(Command.PEER_GET, {"OVPN_A_PEER": encode_peer(order)})
    state = decode_peer(decoded(struct.pack("=IHHII", 16 + len(body), FAMILY, 0, 0, 0) + body))
    said = (state.peer, state.remote, state.vpn_ipv4, state.vpn_ipv6, state.keepalive, state.tx_id)
    assert said == (
        order.peer,
        order.remote,
        order.vpn_ipv4,
        order.vpn_ipv6,
        order.keepalive,
        order.tx_id,
    )


@given(st.binary(max_size=64))
def test_any_octets_give_a_notification_or_a_value_error(body: bytes) -> None:
    for command in (Command.PEER_DEL_NTF, Command.KEY_SWAP_NTF, Command.PEER_FLOAT_NTF):
        try:
            decode_notification(message(command, body))
        except ValueError:
            continue
