"""What a daemon writes is what the doctor reads."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ovpn6.doctor.daemon_status import known_peers

PEER: dict[str, Any] = {
    "address": "2001:db8:c::2",
    "ipv6": "fd42::1000",
    "ipv4": None,
    "path": {"mtu": 1400, "tunnel_mtu": 1324, "learned": "probe"},
}


def test_a_servers_status_has_its_peers_paths_and_addresses() -> None:
    (known,) = known_peers(json.dumps({"is_server": True, "peers": [PEER]}))
    assert known.outer == ip_address("2001:db8:c::2")
    assert (known.path, known.tunnel, known.learned) == (1400, 1324, "probe")
    assert known.inner == (ip_address("fd42::1000"),)


def test_a_clients_own_addresses_are_not_its_peers() -> None:
    (known,) = known_peers(json.dumps({"is_server": False, "peers": [PEER]}))
    assert known.inner == ()


def test_a_peer_without_sizes_is_left_out() -> None:
    assert known_peers(json.dumps({"is_server": True, "peers": [{**PEER, "path": None}]})) == ()


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_any_other_text_says_nothing(text: str) -> None:
    assert known_peers(text) == ()
