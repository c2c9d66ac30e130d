"""Epoch keys between two ends of ours, and with a stock end that has none (OpenVPN 2.6).

With OpenVPN 2.7, which has them: ``vm/test_openvpn27.py``.
"""

from __future__ import annotations

import pytest
from interop import wire
from interop.ends import (
    INNER,
    OURS_OURS,
    OURS_STOCK,
    PAIRINGS,
    SERVER_6,
    Maker,
    Pairing,
    make_authority,
    start,
)
from interop.streams import Stream

from ovpn6.lab import Line, ping, transfer, wait_for
from ovpn6.pki.authority import Authority

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("data_path")]

SOON = "epoch-keys 20000"
"""An epoch lasts some 220 large packets: four of them are more than a socket's buffer, so that no
burst of lost packets leads out of the other end's sight."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("epoch-keys"))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_both_ends_walk_through_epochs_and_nothing_is_damaged(
    ipv6_line: Line, authority: Authority, transport: str
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(
            net,
            authority,
            OURS_OURS,
            transport=transport,
            server_extra=[SOON, "disable-dco"],
            client_extra=[SOON, "disable-dco"],
        )
        for address in INNER:
            assert transfer(net.client, net.server, address), address
        for address in (*INNER, *ends.inner_addresses()):
            source = net.client if address in INNER else net.server
            assert ping(source, address).complete, address
    assert "aead-epoch" in ends.client.log()
    if transport == "udp":
        for end in (net.client_addresses[0], net.server_addresses[0]):
            epochs = wire.data_epochs(wire.packets(capture), str(end))
            assert epochs == sorted(epochs)
            assert len(epochs) > 4, end


@pytest.mark.parametrize("leader", ["server", "client"])
def test_an_end_without_a_limit_follows_the_other(
    ipv6_line: Line, authority: Authority, leader: str
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        extra = {"server": ["disable-dco"], "client": ["disable-dco"]}
        extra[leader].append(SOON)
        start(
            net,
            authority,
            OURS_OURS,
            server_extra=extra["server"],
            client_extra=extra["client"],
        )
        assert transfer(net.client, net.server, SERVER_6)
    seen = wire.packets(capture)
    for end in (net.client_addresses[0], net.server_addresses[0]):
        epochs = wire.data_epochs(seen, str(end))
        assert epochs == sorted(epochs)
        assert len(epochs) > 2, end


def test_each_negotiation_begins_at_the_first_epoch_and_nothing_is_lost(
    ipv6_line: Line, authority: Authority
) -> None:
    net = ipv6_line
    client = str(net.client_addresses[0])
    with wire.watch(net) as capture:
        ends = start(
            net,
            authority,
            OURS_OURS,
            server_extra=["epoch-keys 100", "disable-dco", "reneg-sec 3"],
            client_extra=["epoch-keys 100", "disable-dco", "reneg-sec 0"],
        )
        with Stream(ends) as stream:
            wait_for(
                lambda: {0, 1, 2} <= wire.data_key_ids(wire.packets(capture), client),
                20,
                "data under the keys of two renegotiations",
                [ends.server.process, ends.client.process],
            )
            result = stream.result()
    assert result.lost == 0, result
    seen = wire.packets(capture)
    for key_id in (0, 1):
        epochs = wire.data_epochs(seen, client, key_id)
        assert epochs == list(range(1, epochs[-1] + 1))
        assert epochs[-1] > 2


@pytest.mark.parametrize("decliner", ["server", "client"])
def test_either_end_may_decline(ipv6_line: Line, authority: Authority, decliner: str) -> None:
    net = ipv6_line
    extra = {"server": ["disable-dco"], "client": ["disable-dco"]}
    extra[decliner].append("epoch-keys no")
    ends = start(
        net, authority, OURS_OURS, server_extra=extra["server"], client_extra=extra["client"]
    )
    assert "aead-epoch" not in ends.client.log()
    for address in INNER:
        assert transfer(net.client, net.server, address), address


@pytest.mark.parametrize("pairing", [each for each in PAIRINGS if each is not OURS_OURS], ids=str)
def test_openvpn_2_6_is_served_in_the_classic_format(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    limited: dict[str, list[str]] = {"server_extra": [], "client_extra": []}
    limited["server_extra" if pairing.server is Maker.OURS else "client_extra"] = [
        SOON,
        "disable-dco",
    ]
    ends = start(net, authority, pairing, **limited)
    stock = ends.client if pairing is OURS_STOCK else ends.server
    assert "aead-epoch" not in stock.log()
    for address in INNER:
        assert transfer(net.client, net.server, address), address
