"""pyroute2 reads in our messages to nftables what was meant."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

# The package itself first: it is entered in parts elsewhere.
from pyroute2 import NetNS  # noqa: F401
from pyroute2.netlink.nfnetlink import nftsocket

from ovpn6.netlink import nft_messages as nft
from ovpn6.netlink.nft_messages import Order

ADDRESS = ip_address("2001:db8::9").packed
CLASSES = {
    nftsocket.NFT_MSG_NEWTABLE: nftsocket.nft_table_msg,
    nftsocket.NFT_MSG_NEWCHAIN: nftsocket.nft_chain_msg,
    nftsocket.NFT_MSG_NEWRULE: nftsocket.nft_rule_msg,
    nftsocket.NFT_MSG_DELRULE: nftsocket.nft_rule_msg,
    nftsocket.NFT_MSG_NEWSET: nftsocket.nft_set_msg,
    nftsocket.NFT_MSG_NEWSETELEM: nftsocket.nft_set_elem_list_msg,
    nftsocket.NFT_MSG_DELSETELEM: nftsocket.nft_set_elem_list_msg,
    nftsocket.NFT_MSG_GETSETELEM: nftsocket.nft_set_elem_list_msg,
}


def packet(order: Order) -> bytes:
    """As the kernel gets it."""
    length = 20 + len(order.attributes)
    return struct.pack("=IHHII4x", length, 10 << 8 | order.kind, 0, 1, 0) + order.attributes


def read(order: Order) -> dict[str, Any]:
    """Every attribute by its name, less what they all begin with."""
    message = CLASSES[order.kind](packet(order))
    message.decode()
    return plain(message)


def plain(message: Any) -> Any:
    if hasattr(message, "get") and "attrs" in message:
        return {name.split("_", 2)[2]: plain(value) for name, value in message["attrs"]}
    if isinstance(message, list):
        return [plain(one) for one in message]
    return getattr(message, "value", message)


def steps(*expressions: nft.Expression) -> list[tuple[str, Any]]:
    """The expressions of a rule."""
    listed = read(nft.new_rule("t", "c", *expressions))["EXPRESSIONS"]
    return [(one["NAME"], one["DATA"]) for one in listed]


def test_a_table_has_an_owner() -> None:
    assert read(nft.new_table("ovpn6-tun0")) == {"NAME": "ovpn6-tun0", "FLAGS": 2}


def test_a_hook_is_a_chain_with_a_place() -> None:
    assert read(nft.new_hook("t", "in", nft.INPUT, nft.MANGLE_PRIORITY)) == {
        "TABLE": "t",
        "NAME": "in",
        "HOOK": {"HOOKNUM": 1, "PRIORITY": -150},
        "POLICY": 1,
        "TYPE": "filter",
    }
    place = read(nft.new_hook("t", "out", nft.EGRESS, nft.RAW_PRIORITY, "eth0"))["HOOK"]
    assert place == {"HOOKNUM": 1, "PRIORITY": -300, "DEV": "eth0"}
    assert read(nft.new_chain("t", "c")) == {"TABLE": "t", "NAME": "c"}


def test_a_map_has_types_and_lengths() -> None:
    said = read(nft.new_map("t", "m", nft.IPV6_ADDRESS, 16))
    assert said["FLAGS"] == {"NFT_SET_MAP"}
    assert (said["KEY_TYPE"], said["KEY_LEN"]) == (nftsocket.DATA_TYPE_IP6ADDR, 16)
    assert (said["DATA_TYPE"], said["DATA_LEN"]) == (nftsocket.DATA_TYPE_INET_SERVICE, 2)


def test_a_counted_set_gives_each_element_a_counter() -> None:
    said = read(nft.new_set("t", "s", nft.IPV4_ADDRESS, 4, counted=True))
    assert said["FLAGS"] == frozenset()
    assert said["EXPR"]["NAME"] == "counter"


def test_elements_are_keys_with_values() -> None:
    added = read(nft.add_elements("t", "m", [(ADDRESS, b"\x04\x7c")]))
    assert added["ELEM_LIST_ELEMENTS"][0] == {
        "ELEM_KEY": {"VALUE": ADDRESS},
        "ELEM_DATA": {"VALUE": b"\x04\x7c"},
    }
    removed = read(nft.delete_elements("t", "m", [ADDRESS]))
    assert removed["ELEM_LIST_ELEMENTS"] == [{"ELEM_KEY": {"VALUE": ADDRESS}}]


def test_intervals_have_an_element_behind_their_last() -> None:
    said = read(nft.new_map("t", "m", nft.IPV4_ADDRESS, 4, intervals=True))
    assert said["FLAGS"] == {"NFT_SET_MAP", "NFT_SET_INTERVAL"}
    first, behind = b"\x0a\1\0\0", b"\x0a\2\0\0"
    added = read(nft.add_intervals("t", "m", [(first, behind, b"\4\x7c"), (behind, None, b"\4\0")]))
    ends = [{"ELEM_KEY": {"VALUE": behind}, "ELEM_FLAGS": frozenset({1})}]
    starts = [
        {"ELEM_KEY": {"VALUE": first}, "ELEM_DATA": {"VALUE": b"\4\x7c"}},
        {"ELEM_KEY": {"VALUE": behind}, "ELEM_DATA": {"VALUE": b"\4\0"}},
    ]
    assert added["ELEM_LIST_ELEMENTS"] == [starts[0], *ends, starts[1]]
    removed = read(nft.delete_intervals("t", "m", [(first, behind)]))
    assert removed["ELEM_LIST_ELEMENTS"] == [{"ELEM_KEY": {"VALUE": first}}, *ends]


def test_a_rule_loads_masks_compares_and_looks_up() -> None:
    assert steps(
        nft.load_octets(nft.NETWORK_HEADER, 8, 16),
        nft.mask(b"\xff" * 6 + bytes(10)),
        nft.find("m", value=True),
        nft.limit_segments(),
        nft.leave(),
    ) == [
        (
            "payload",
            {"DREG": "NFT_REG_1", "BASE": "NFT_PAYLOAD_NETWORK_HEADER", "OFFSET": 8, "LEN": 16},
        ),
        (
            "bitwise",
            {
                "SREG": "NFT_REG_1",
                "DREG": "NFT_REG_1",
                "LEN": 16,
                "MASK": {"VALUE": b"\xff" * 6 + bytes(10)},
                "XOR": {"VALUE": bytes(16)},
            },
        ),
        ("lookup", {"SET": "m", "SREG": "NFT_REG_1", "DREG": "NFT_REG_1"}),
        (
            "exthdr",
            {"SREG": "NFT_REG_1", "TYPE": 2, "OFFSET": 2, "LEN": 2, "OP": "NFT_EXTHDR_OP_TCPOPT"},
        ),
        ("immediate", {"DREG": "NFT_REG_VERDICT", "DATA": {"VERDICT": {"CODE": "NFT_RETURN"}}}),
    ]


def test_a_rule_compares_and_jumps() -> None:
    found = steps(
        nft.load_meta(nft.META_ETHER_TYPE),
        nft.compare(b"\x86\xdd", nft.DIFFERENT),
        nft.jump("there"),
        nft.go("there"),
        nft.drop(),
    )
    assert found[0] == ("meta", {"DREG": "NFT_REG_1", "KEY": "NFT_META_PROTOCOL"})
    assert found[1][1] == {
        "SREG": "NFT_REG_1",
        "OP": "NFT_CMP_NEQ",
        "DATA": {"VALUE": b"\x86\xdd"},
    }
    verdicts = [data["DATA"]["VERDICT"] for _, data in found[2:]]
    assert verdicts == [
        {"CODE": "NFT_JUMP", "CHAIN": "there"},
        {"CODE": "NFT_GOTO", "CHAIN": "there"},
        {"CODE": "NF_DROP"},
    ]


def test_an_elements_packets_are_read() -> None:
    message = nftsocket.nft_set_elem_list_msg()
    counter = {
        "attrs": [
            ("NFTA_EXPR_NAME", "counter"),
            (
                "NFTA_EXPR_DATA",
                {"attrs": [("NFTA_COUNTER_BYTES", 9), ("NFTA_COUNTER_PACKETS", 77)]},
            ),
        ]
    }
    key = {"attrs": [("NFTA_DATA_VALUE", ADDRESS)]}
    element = {"attrs": [("NFTA_SET_ELEM_KEY", key), ("NFTA_SET_ELEM_EXPR", counter)]}
    message["attrs"] = [
        ("NFTA_SET_ELEM_LIST_TABLE", "t"),
        ("NFTA_SET_ELEM_LIST_SET", "s"),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", [element]),
    ]
    message.encode()
    assert nft.counted_packets(bytes(message.data)) == 77
    assert nft.counted_packets(packet(nft.get_element("t", "s", ADDRESS))) == 0
