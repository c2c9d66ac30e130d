"""Two equal ends whose data channels are in the kernel, by a device with one peer."""

from __future__ import annotations

import pytest
from interop.ends import OURS_OURS, OURS_STOCK, STOCK_OURS, Ends, Maker, Pairing, make_authority
from interop.equal_ends import (
    CLIENT_4,
    CLIENT_6,
    NET30,
    SERVER_4,
    SERVER_6,
    protocol,
    remote,
    start,
)

from ovpn6.lab import Line, ping, transfer, wait_for
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

IN_KERNEL = "data path: kernel (ovpn)"
PATIENCE = 120.0
"""Seconds for an end to come up: an emulator beside others needs twenty for its imports alone."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("kernel-point-to-point"))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("pairing", [OURS_OURS, OURS_STOCK, STOCK_OURS], ids=str)
def test_equal_ends_in_the_kernel(
    ipv6_line: Line, authority: Authority, pairing: Pairing, transport: str
) -> None:
    net = ipv6_line
    sides = ("server", "client") if transport == "tcp" else ("", "")
    common = ("reneg-sec 4", "keepalive 2 60", "connect-retry 1", *NET30)
    ends = start(
        net,
        authority,
        pairing,
        (protocol(net, transport, sides[0]), *common),
        (remote(net, "server", transport, sides[1]), *common),
        limit=PATIENCE,
    )
    steady = net.client.popen(["ping", "-i", "0.1", "-c", "150", "-W", "5", SERVER_6], "steady")
    carries_both_families(ends)
    for maker, end, namespace in (
        (pairing.server, ends.server, net.server),
        (pairing.client, ends.client, net.client),
    ):
        if maker is Maker.OURS:
            assert IN_KERNEL in end.log()
        shown = namespace.run(["ip", "-d", "link", "show", end.device().name]).stdout
        assert "ovpn" in shown
    wait_for(
        lambda: all(
            end.log().count("Control Channel: TLS") >= 3 for end in (ends.server, ends.client)
        ),
        PATIENCE,
        "two renegotiations in both logs",
        [ends.server.process, ends.client.process],
    )
    steady.wait(60)
    assert "150 packets transmitted, 150 received" in steady.log()


def test_a_restarted_peer_takes_its_old_place_in_the_kernel(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    ends = start(
        net,
        authority,
        OURS_OURS,
        (protocol(net), *NET30),
        (remote(net, "server"), *NET30),
        limit=PATIENCE,
    )
    for _ in range(2):
        ends.client.process.kill()
        ends.client.restart()
        ends.client.wait_up(PATIENCE)
        carries_both_families(ends)
    assert ends.server.log().count("Initialization Sequence Completed") == 3


def carries_both_families(ends: Ends) -> None:
    net = ends.net
    for address in (SERVER_6, SERVER_4):
        assert ping(net.client, address).complete, address
    for address in (CLIENT_6, CLIENT_4):
        assert ping(net.server, address).complete, address
    assert transfer(net.client, net.server, SERVER_6, 200_000)
