"""What a tunnel survives: restarts of either end, a dead path, signals, dead remotes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network

import pytest
from interop import wire
from interop.ends import (
    INNER,
    OUR_CLIENT,
    OUR_SERVER,
    PAIRINGS,
    SERVER_6,
    Ends,
    Maker,
    Pairing,
    client_text,
    make_authority,
    remote_of,
    server_text,
    start,
    up_again,
    with_line,
    without_line,
)

from ovpn6.lab import Line, Tunnel, ping, wait_for, wait_reachable
from ovpn6.model.addresses import IPInterface
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import DEFAULT_NETWORK4, DEFAULT_NETWORK6

pytestmark = pytest.mark.root

QUICK = "keepalive 1 4"
"""The client gives up after 4 s of silence, the server after 8 s."""

SECOND_6 = "fd42:6f76:706e:37::1"
SECOND_NETWORK_6 = IPv6Network("fd42:6f76:706e:37::/64")
SECOND_NETWORK_4 = IPv4Network("10.87.0.0/24")
SECOND_PORT = 1195

INNER_NETWORKS = (DEFAULT_NETWORK6, DEFAULT_NETWORK4, SECOND_NETWORK_6, SECOND_NETWORK_4)

FORGOTTEN_WITHIN = {Maker.OURS: 3, Maker.STOCK: 20}
"""Seconds from the reason to a status file without the client.

OpenVPN keeps a client for 5 s after its farewell, and looks every 10 s at most what there is to do
once it has no clients. Ours writes its status every second, as told.
"""

BLOCK = "table inet block { chain forward { type filter hook forward priority 0; drop; }; }"
UNBLOCK = "delete table inet block"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("recovery"))


@contextmanager
def kept_device(ends: Ends) -> Iterator[None]:
    """The client has the same interface with the same addresses, before and after."""
    before = ends.client.device(), ends.inner_addresses()
    yield
    after = ends.client.device(), ends.inner_addresses()
    assert (after[0].name, after[0].index, after[1]) == (before[0].name, before[0].index, before[1])
    _check_traffic(ends)


def _check_traffic(ends: Ends) -> None:
    for address in INNER:
        wait_reachable(ends.net.client, address)
    for address in ends.inner_addresses():
        wait_reachable(ends.net.server, address)


# --- the server goes and comes ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_server_that_restarts_in_order_has_its_clients_back(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing)
    with kept_device(ends), up_again(ends.client):
        ends.server.restart()


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_server_that_was_killed_has_its_clients_back_when_it_starts_again(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing, server_extra=[QUICK])
    with kept_device(ends), up_again(ends.client):
        ends.server.process.kill()
        ends.server.restart()


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_over_tcp_a_killed_server_has_its_clients_back(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing, transport="tcp")
    with kept_device(ends), up_again(ends.client):
        ends.server.process.kill()
        ends.server.restart()


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_reacts_at_once_to_a_server_that_says_goodbye(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    with wire.watch(ipv6_line) as capture:
        ends = start(ipv6_line, authority, pairing)
        ends.server.stop()
        # Long before the 60 s of silence after which it would restart by itself.
        wait_for(
            lambda: len(wire.handshakes(wire.packets(capture))) > 1,
            8,
            "a new session's first packet",
            [ends.client.process],
        )


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_server_that_ends_for_good_sends_its_clients_to_the_next(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    first = pairing.server.start(
        net.server, server_text(authority, "explicit-exit-notify 2"), "first-server"
    )
    first.wait_up()
    second = _second_server(net, authority, pairing)
    remotes = (remote_of(net), remote_of(net, port=SECOND_PORT))
    client = pairing.client.start(net.client, client_text(authority, remotes), "client")
    client.wait_up()
    assert ping(net.client, SERVER_6).complete
    with up_again(client, limit=10):
        first.stop()
    wait_reachable(net.client, SECOND_6)
    assert second.process.running


# --- the client goes ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_server_forgets_a_client_that_says_goodbye(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing)
    ends.client_row()
    assert ends.client.stop() == 0
    # Silence would take 120 s.
    _wait_forgotten(ends, FORGOTTEN_WITHIN[pairing.server])


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_server_forgets_a_client_that_fell_silent(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing, server_extra=[QUICK])
    ends.client_row()
    ends.client.process.kill()
    _wait_forgotten(ends, 8 + FORGOTTEN_WITHIN[pairing.server])


def _wait_forgotten(ends: Ends, limit: float) -> None:
    wait_for(
        lambda: not ends.server.status().clients,
        limit,
        "a status without clients",
        [ends.server.process],
    )


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_client_that_was_killed_comes_back_to_the_same_server(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing)
    ends.client.process.kill()
    ends.client.restart()
    ends.client.wait_up()
    _check_traffic(ends)
    assert len(ends.server.status().clients) <= 1


# --- the path breaks ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_dead_path_is_noticed_and_used_again_when_it_is_back(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net, "client") as capture:
        ends = start(net, authority, pairing, server_extra=[QUICK])
        with kept_device(ends), up_again(ends.client):
            net.underlay.nft(BLOCK)
            wait_for(
                lambda: len(wire.handshakes(wire.packets(capture))) > 1,
                15,
                "the client's attempt at a new session",
                [ends.client.process],
            )
            net.underlay.nft(UNBLOCK)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_a_short_gap_in_the_path_costs_no_handshake(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    with wire.watch(net, "client") as capture:
        ends = start(net, authority, pairing)
        net.underlay.nft(BLOCK)
        assert ping(net.client, SERVER_6, count=2).received == 0
        net.underlay.nft(UNBLOCK)
        _check_traffic(ends)
        assert len(wire.handshakes(wire.packets(capture))) == 1


@pytest.mark.parametrize("pairing", OUR_CLIENT, ids=str)
def test_without_persist_tun_a_client_gives_its_addresses_back_while_it_has_no_server(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    server = pairing.server.start(net.server, server_text(authority), "server")
    server.wait_up()
    text = without_line(client_text(authority, remote_of(net)), "persist-tun")
    client = pairing.client.start(net.client, text, "client")
    client.wait_up()
    assert len(_inner_addresses(client)) == 2
    with up_again(client):
        net.underlay.nft(BLOCK)
        client.process.signal(signal.SIGUSR1)
        wait_for(lambda: not _inner_addresses(client), 10, "no addresses", [client.process])
        net.underlay.nft(UNBLOCK)
    _check_traffic(Ends(net, server, client))


# --- signals ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_sigusr1_makes_a_client_connect_anew_over_the_same_device(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    with wire.watch(ipv6_line) as capture:
        ends = start(ipv6_line, authority, pairing)
        with kept_device(ends), up_again(ends.client):
            ends.client.process.signal(signal.SIGUSR1)
        assert len(wire.handshakes(wire.packets(capture))) == 2


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_sigusr1_makes_a_server_start_over_and_its_clients_come_back(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing, server_extra=[QUICK])
    with kept_device(ends), up_again(ends.client), up_again(ends.server):
        ends.server.process.signal(signal.SIGUSR1)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_sighup_makes_a_server_use_its_changed_configuration(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(ipv6_line, authority, pairing, server_extra=[QUICK])
    assert ends.client_row().cipher == "AES-256-GCM"
    changed = server_text(authority, QUICK, ciphers=("AES-128-GCM",))
    ends.server.config_path.write_text(changed)
    with up_again(ends.client), up_again(ends.server):
        ends.server.process.signal(signal.SIGHUP)
    _check_traffic(ends)
    wait_for(
        lambda: ends.client_row().cipher == "AES-128-GCM",
        5,
        "the new cipher in the status",
        [ends.server.process],
    )


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_sighup_makes_a_client_use_its_changed_configuration(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    ends = start(net, authority, pairing)
    _second_server(net, authority, pairing)
    ends.client.config_path.write_text(client_text(authority, remote_of(net, port=SECOND_PORT)))
    with up_again(ends.client):
        ends.client.process.signal(signal.SIGHUP)
    wait_reachable(net.client, SECOND_6)
    six, four = _inner_addresses(ends.client)
    assert six.ip in SECOND_NETWORK_6
    assert four.ip in SECOND_NETWORK_4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda it: it.name)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_both_ends_end_in_order(
    ipv6_line: Line, authority: Authority, pairing: Pairing, number: signal.Signals
) -> None:
    ends = start(ipv6_line, authority, pairing)
    for end in (ends.client, ends.server):
        end.process.signal(number)
        assert end.process.wait(10) == 0
        assert end.namespace.tunnels() == ()


def _second_server(net: Line, authority: Authority, pairing: Pairing) -> Tunnel:
    """Another server in the same namespace: other port, other networks."""
    text = server_text(
        authority, port=SECOND_PORT, network6=SECOND_NETWORK_6, network4=SECOND_NETWORK_4
    )
    # The name of a free device, for the first server's stays.
    text = with_line(text, "dev tun", "dev tun7")
    server = pairing.server.start(net.server, text, "second-server")
    server.wait_up()
    return server


def _inner_addresses(end: Tunnel) -> list[IPInterface]:
    """The addresses of the end's tunnel device, IPv6 first; none while there is no device."""
    return [
        address
        for address in end.namespace.addresses()
        if any(address.ip in network for network in INNER_NETWORKS)
    ]
