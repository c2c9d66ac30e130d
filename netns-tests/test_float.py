"""Ends whose outer address changes in the middle of traffic: the session goes on as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from interop import wire
from interop.ends import (
    OUR_CLIENT,
    OURS_OURS,
    PAIRINGS,
    SERVER_6,
    STOCK_OURS,
    Ends,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
    with_line,
)
from interop.streams import RATE, Stream

from ovpn6.lab import Capture, Line, ping, wait_for, wait_reachable
from ovpn6.lab.waiting import PATIENCE
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

NEW_CLIENT_ADDRESS = "2001:db8:c::99"
SECOND_SERVER_ADDRESS = "2001:db8:5::3"
OUTSIDE = "2001:db8:5::77"
"""The translator's address on the server's side."""
CLIENT_PORT = 5000

TOLERATED = RATE // 2
"""Packets of one direction that may be lost: those on the way while the address changes."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("float"))


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_with_a_new_ipv6_address_keeps_its_session(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(net, authority, pairing)
        with _traffic_goes_on(ends, capture):
            # To find a neighbour can take the router a second, and the address is used at once.
            link_address = net.client.device("to-underlay").link_address
            net.underlay.add_neighbour("to-client", NEW_CLIENT_ADDRESS, link_address)
            net.client.add_address("to-underlay", f"{NEW_CLIENT_ADDRESS}/64")
            net.client.remove_address("to-underlay", f"{net.client_addresses[0]}/64")
            _wait_both_ways(capture, NEW_CLIENT_ADDRESS)
    _wait_status_shows(ends, NEW_CLIENT_ADDRESS)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_behind_a_translator_that_changes_its_port_keeps_its_session(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    net.underlay.add_address("to-server", f"{OUTSIDE}/64")
    net.underlay.nft(_translator(net, 40001))
    with wire.watch(net) as capture:
        ends = _start_on_fixed_port(net, authority, pairing)
        _wait_both_ways(capture, OUTSIDE, 40001)
        with _traffic_goes_on(ends, capture):
            net.underlay.nft(_translator(net, 40002))
            _wait_both_ways(capture, OUTSIDE, 40002)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_that_moves_behind_a_translator_keeps_its_session(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = _start_on_fixed_port(net, authority, pairing)
        with _traffic_goes_on(ends, capture):
            net.underlay.add_address("to-server", f"{OUTSIDE}/64")
            net.underlay.nft(_translator(net, 40001))
            _wait_both_ways(capture, OUTSIDE, 40001)
    _wait_status_shows(ends, OUTSIDE)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_new_keys_are_agreed_on_at_the_new_address(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(
            net,
            authority,
            pairing,
            server_extra=["reneg-sec 5"],
            client_extra=["reneg-sec 0"],
        )
        ends.client_row()
        net.client.add_address("to-underlay", f"{NEW_CLIENT_ADDRESS}/64")
        net.client.remove_address("to-underlay", f"{net.client_addresses[0]}/64")
        wait_reachable(net.client, SERVER_6)
        wait_for(
            lambda: (
                1 in wire.data_key_ids(wire.packets(capture), NEW_CLIENT_ADDRESS)
                or not ping(net.client, SERVER_6, count=1).sent
            ),
            20,
            "data under new keys from the new address",
            [ends.server.process, ends.client.process],
        )
        assert len(wire.handshakes(wire.packets(capture))) == 1


# OpenVPN's own client takes float at its word only until the handshake is over.
@pytest.mark.parametrize("pairing", [STOCK_OURS, OURS_OURS], ids=str)
def test_a_client_with_float_follows_its_server_to_another_address(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net, "client") as capture:
        ends = start(net, authority, pairing, client_extra=["float"])
        with _traffic_goes_on(ends, capture):
            _answer_from_second_address(net)
            wait_for(
                lambda: any(
                    packet.opcode == wire.DATA and packet.destination[0] == SECOND_SERVER_ADDRESS
                    for packet in wire.packets(capture)
                ),
                10,
                "data to the server's other address",
                [ends.client.process],
            )


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_a_client_without_float_ignores_another_address(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net, "client") as capture:
        start(net, authority, pairing)
        _answer_from_second_address(net)
        assert ping(net.client, SERVER_6).received == 0
        seen = wire.packets(capture)
    assert any(p.source[0] == SECOND_SERVER_ADDRESS for p in seen)
    assert not any(p.destination[0] == SECOND_SERVER_ADDRESS for p in seen)


@contextmanager
def _traffic_goes_on(ends: Ends, capture: Capture) -> Iterator[None]:
    """Streams of both families run through the block: nearly all arrives, without a handshake."""
    with Stream(ends) as six, Stream(ends, family=4) as four:
        wait_reachable(ends.net.client, SERVER_6)
        yield
        results = six.result(), four.result()
    for result in results:
        for flow in (result.to_server, result.to_client):
            assert flow.lost <= TOLERATED, results
            assert flow.longest_gap < PATIENCE, results
    seen = wire.packets(capture)
    assert len(wire.handshakes(seen)) == 1
    assert wire.renegotiations(seen) == []


def _wait_both_ways(capture: Capture, address: str, port: int | None = None) -> None:
    """Until data went from the client's new address and to it."""

    def matches(end: tuple[str, int]) -> bool:
        return end[0] == address and port in (None, end[1])

    def both() -> bool:
        data = [packet for packet in wire.packets(capture) if packet.opcode == wire.DATA]
        sent = any(matches(packet.source) for packet in data)
        return sent and any(matches(packet.destination) for packet in data)

    wait_for(both, 10, f"data both ways at {address} port {port or 'any'}")


def _wait_status_shows(ends: Ends, address: str) -> None:
    wait_for(
        lambda: address in ends.client_row().real_address,
        10,
        f"{address} in the server's status",
        [ends.server.process],
    )


def _start_on_fixed_port(net: Line, authority: Authority, pairing: Pairing) -> Ends:
    """The translator does not remember who called: the client's own port has to be known."""
    server = pairing.server.start(net.server, server_text(authority), "server")
    server.wait_up()
    text = client_text(authority, remote_of(net))
    text = with_line(text, "nobind", f"lport {CLIENT_PORT}")
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    # Inner traffic, so that data packets are on the wire.
    wait_reachable(net.client, SERVER_6)
    return Ends(net, server, client)


def _translator(net: Line, port: int) -> str:
    """Rules that show the client as OUTSIDE with ``port``, in place of earlier ones."""
    inside = net.client_addresses[0]
    return f"""
table ip6 translator
flush table ip6 translator
table ip6 translator {{
    chain outward {{
        type filter hook postrouting priority 0
        oifname "to-server" udp sport {CLIENT_PORT} ip6 saddr set {OUTSIDE} udp sport set {port}
    }}
    chain inward {{
        type filter hook prerouting priority -300
        ip6 daddr {OUTSIDE} udp dport {port} ip6 daddr set {inside} udp dport set {CLIENT_PORT}
    }}
}}
"""


def _answer_from_second_address(net: Line) -> None:
    """The server's packets come from its second address from now on, whatever it sends from."""
    net.server.add_address("to-underlay", f"{SECOND_SERVER_ADDRESS}/64")
    net.underlay.nft(f"""
table ip6 other {{
    chain toward {{
        type filter hook prerouting priority -300
        ip6 saddr {net.server_address} udp sport 1194 ip6 saddr set {SECOND_SERVER_ADDRESS}
    }}
}}
""")
