"""Ledgers as JSON: nothing is lost, and nothing strange is let in."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpn6.netconf.ledger import Ledger, LinkState, Setting, decode, encode
from ovpn6.netconf.plan import Hop, KernelRoute

NUMBERS = st.integers(0, 2**64 - 1)
TEXTS = st.text(max_size=15)
ADDRESSES = st.ip_addresses()
HOPS = st.builds(
    Hop,
    device=NUMBERS,
    gateway=st.none() | ADDRESSES,
    onlink=st.booleans(),
    source=st.none() | ADDRESSES,
    mtu=NUMBERS,
)
ROUTES = st.builds(
    KernelRoute,
    namespace=NUMBERS,
    destination=ADDRESSES.map(ip_network),
    table=NUMBERS,
    metric=NUMBERS,
    hop=st.none() | HOPS,
)
SETTINGS = st.builds(
    Setting,
    name=st.sampled_from(["net/ipv6/conf/eth0.7/accept_ra", "net/ipv4/conf/default/forwarding"]),
    before=st.sampled_from(["0", "1", "2", "-1"]),
    ours=st.sampled_from(["1", "2"]),
    written=st.booleans(),
)
LINKS = st.builds(LinkState, mtu=NUMBERS, up=st.booleans(), txqueuelen=NUMBERS)
LEDGERS = st.builds(
    Ledger,
    underlay_namespace=NUMBERS,
    tunnel_namespace=NUMBERS,
    netns=TEXTS,
    device=TEXTS,
    index=NUMBERS,
    link_before=LINKS,
    link_ours=LINKS,
    addresses=st.frozensets(ADDRESSES.map(ip_interface), max_size=3),
    routes=st.frozensets(ROUTES, max_size=3),
    forwarding=st.frozensets(st.sampled_from([4, 6])),
    settings=st.lists(SETTINGS, max_size=3).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def example() -> Ledger:
    route = KernelRoute(1, ip_network("::/0"), 254, 1024, Hop(3, ip_address("fe80::1")))
    link = LinkState(1500, False, 500)
    return Ledger(
        1,
        1,
        "",
        "tun0",
        7,
        link,
        link,
        addresses=frozenset({ip_interface("fd00:6::2/64")}),
        routes=frozenset({route}),
        settings=(Setting("net/ipv6/conf/eth0/accept_ra", "1", "2"),),
    )


@given(LEDGERS)
def test_a_ledger_comes_back_from_json(ledger: Ledger) -> None:
    assert decode(json.loads(json.dumps(encode(ledger)))) == ledger


@given(JSON)
def test_any_json_is_a_ledger_or_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"ledger|expected"):
        decode(value)


@given(st.data())
def test_one_wrong_value_is_a_ledger_or_a_value_error(data: st.DataObject) -> None:
    value = encode(example())
    key = data.draw(st.sampled_from(sorted(value)))
    value[key] = data.draw(JSON)
    try:
        decode(value)
    except ValueError:
        return


@pytest.mark.parametrize(
    "name",
    [
        "kernel/core_pattern",
        "net/ipv6/conf/../../../kernel/forwarding",
        "net/ipv6/conf/../forwarding",
        "net/ipv6/conf/eth0/../../forwarding",
        "/net/ipv6/conf/eth0/forwarding",
        "net/ipv6/conf/eth0/disable_ipv6",
        "net/ipv6/conf/eth0/forwarding\n",
    ],
)
def test_a_setting_we_never_write_is_refused(name: str) -> None:
    value = encode(example())
    value["settings"] = [[name, "1", "2", True]]
    with pytest.raises(ValueError, match="would not write"):
        decode(value)


def test_a_value_we_never_write_is_refused() -> None:
    value = encode(example())
    value["settings"] = [["net/ipv6/conf/eth0/forwarding", "|sh", "2", True]]
    with pytest.raises(ValueError, match="would not write"):
        decode(value)
