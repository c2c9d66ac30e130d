"""OpenVPN 2.7 in user space, on this machine's kernel, with ours as the other end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from interop import wire
from interop.ends import INNER, Ends, client_text, make_authority, remote_of, server_text
from interop.streams import Stream

from ovpn6.lab import Lab, Line, Namespace, Ovpn6, Tunnel, line, ping, transfer, wait_for
from ovpn6.model.ciphers import DEFAULT_DATA_CIPHERS
from ovpn6.pki.authority import Authority
from vm.openvpn27 import StockOpenVPN27
from vm.root import why_missing

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "never"),
]

Program = Callable[[Namespace, str], Tunnel]
PAIRINGS: dict[str, tuple[Program, Program]] = {
    "our-server": (Ovpn6, StockOpenVPN27),
    "our-client": (StockOpenVPN27, Ovpn6),
}
PROTOCOLS = ("udp", "tcp")
EPOCH_KEYS = "aead-epoch"
"""What the server pushes when both have them; either end logs the push."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("openvpn27"))


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_openvpn_2_7_and_ours_carry_both_families(
    lab: Lab, authority: Authority, pairing: str, transport: str
) -> None:
    server_program, client_program = PAIRINGS[pairing]
    net = line(lab)
    server = server_program(net.server, server_text(authority, protocol=f"{transport}6"))
    server.wait_up()
    client = client_program(net.client, client_text(authority, remote_of(net, transport)))
    client.wait_up()
    ends = Ends(net, server, client)

    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address
    for address in ends.inner_addresses():
        assert ping(net.server, address).complete, address
    stock = client if client_program is StockOpenVPN27 else server
    assert re.search(r"^.*OpenVPN 2\.7\.", stock.log(), re.MULTILINE)
    assert EPOCH_KEYS in stock.log()


@pytest.mark.parametrize("transport", PROTOCOLS)
@pytest.mark.parametrize("cipher", DEFAULT_DATA_CIPHERS)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_openvpn_2_7_follows_us_through_epochs(
    lab: Lab, authority: Authority, pairing: str, cipher: str, transport: str
) -> None:
    net = line(lab)
    ends, stock = _start(
        net, authority, pairing, f"data-ciphers {cipher}", "epoch-keys 20000", transport=transport
    )
    with wire.watch(net) as capture:
        for address in INNER:
            assert transfer(net.client, net.server, address), address
        for address in INNER:
            assert ping(net.client, address, count=20).complete, address
        for address in ends.inner_addresses():
            assert ping(net.server, address, count=20).complete, address
    moves = re.findall(r"Received data packet with new epoch (\d+)", stock.log())
    assert len(moves) > 4
    assert "ecrypt error" not in stock.log()
    if transport == "udp":
        for end in (net.client_addresses[0], net.server_addresses[0]):
            epochs = wire.data_epochs(wire.packets(capture), str(end))
            assert epochs == sorted(epochs)
            assert len(epochs) > 4, end


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_openvpn_2_7_begins_anew_with_each_negotiation(
    lab: Lab, authority: Authority, pairing: str
) -> None:
    net = line(lab)
    ours, theirs = ("epoch-keys 100", "reneg-sec 4"), ("reneg-sec 0",)
    ends, _ = _start(net, authority, pairing, *ours, stock_extra=theirs)
    client = str(net.client_addresses[0])
    with wire.watch(net) as capture, Stream(ends) as stream:
        wait_for(
            lambda: {1, 2} <= wire.data_key_ids(wire.packets(capture), client),
            30,
            "data under the keys of two renegotiations",
            [ends.server.process, ends.client.process],
        )
        result = stream.result()
    assert result.lost == 0, result
    for end in (net.client_addresses[0], net.server_addresses[0]):
        epochs = wire.data_epochs(wire.packets(capture), str(end), 1)
        assert epochs == sorted(epochs)
        assert epochs[0] == 1
        assert epochs[-1] > 2


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_openvpn_2_7_takes_the_classic_format_when_we_decline(
    lab: Lab, authority: Authority, pairing: str
) -> None:
    net = line(lab)
    _, stock = _start(net, authority, pairing, "epoch-keys no")
    assert "protocol-flags" in stock.log()
    assert EPOCH_KEYS not in stock.log()
    for address in INNER:
        assert ping(net.client, address).complete, address
        assert transfer(net.client, net.server, address), address


def _start(
    net: Line,
    authority: Authority,
    pairing: str,
    *our_extra: str,
    stock_extra: Sequence[str] = (),
    transport: str = "udp",
) -> tuple[Ends, Tunnel]:
    """Both ends up, and which of them is the stock one."""
    server_program, client_program = PAIRINGS[pairing]
    ours, theirs = (*our_extra, "disable-dco"), (*stock_extra, "disable-dco")
    server_extra = theirs if server_program is StockOpenVPN27 else ours
    client_extra = theirs if client_program is StockOpenVPN27 else ours
    text = server_text(authority, *server_extra, protocol=f"{transport}6")
    server = server_program(net.server, text)
    server.wait_up()
    remote = remote_of(net, transport)
    client = client_program(net.client, client_text(authority, remote, *client_extra))
    client.wait_up()
    return Ends(net, server, client), client if client_program is StockOpenVPN27 else server
