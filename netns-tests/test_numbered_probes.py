"""Which probes of a path's MTU are in use: numbered ones between two ovpn6, else copies.

The path is narrow and nobody says so. Without a wrap a capture shows what each end sends.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from interop import equal_ends, wire
from interop.ends import OURS_OURS, OURS_STOCK, STOCK_OURS, Ends, Maker, Pairing, make_authority
from interop.ends import start as start_server_and_client

from ovpn6.lab import Lab, Line, Underlay, wait_for
from ovpn6.lab.narrow import narrow
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

PATH = 1400
LIMIT = 20.0
QUICK = ("path-mtu-timers 0.2 0.5 600",)
LEAST_PROBE = 1280 - 48
"""Octets of UDP payload; the packets of a handshake are smaller."""
OPTION = "numbered-probes"

Start = Callable[[Line, Authority, Pairing], Ends]


def server_and_client(net: Line, authority: Authority, pairing: Pairing) -> Ends:
    return start_server_and_client(
        net,
        authority,
        pairing,
        wrap=Wrap.NONE,
        server_extra=QUICK if pairing.server is Maker.OURS else (),
        client_extra=QUICK if pairing.client is Maker.OURS else (),
    )


def equals(net: Line, authority: Authority, pairing: Pairing) -> Ends:
    there = (equal_ends.protocol(net), *equal_ends.NET30)
    here = (equal_ends.remote(net, "server"), "nobind", *equal_ends.NET30)
    return equal_ends.start(
        net,
        authority,
        pairing,
        (*there, *(QUICK if pairing.server is Maker.OURS else ())),
        (*here, *(QUICK if pairing.client is Maker.OURS else ())),
        wrap=Wrap.NONE,
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("probes"))


@pytest.mark.parametrize("begin", [server_and_client, equals], ids=["clients", "equal-ends"])
@pytest.mark.parametrize("pairing", [OURS_OURS, OURS_STOCK, STOCK_OURS], ids=str)
def test_probes_are_numbered_between_two_ovpn6_and_copies_for_a_stock_peer(
    lab: Lab, authority: Authority, pairing: Pairing, begin: Start
) -> None:
    net = narrow(lab, Underlay.IPV6, path=PATH, black_hole=True)
    addresses = {net.line.server_addresses[0]: pairing.server}
    addresses[net.line.client_addresses[0]] = pairing.client
    ours = [str(address) for address, maker in addresses.items() if maker is Maker.OURS]
    wanted = wire.ACK if pairing == OURS_OURS else wire.CONTROL
    with net.capture("udp") as capture:
        ends = begin(net.line, authority, pairing)
        for end, maker in ((ends.server, pairing.server), (ends.client, pairing.client)):
            if maker is Maker.OURS:
                end.process.wait_for_log(rf"path MTU {PATH} \(probe\)", LIMIT)

        def probes(source: str) -> list[int]:
            return [
                packet.opcode
                for packet in wire.packets(capture)
                if packet.source[0] == source
                and packet.opcode in (wire.CONTROL, wire.ACK)
                and len(packet.payload) >= LEAST_PROBE
            ]

        def confirmed() -> bool:
            """The size in use, more than once, and all but the first by what is agreed on."""
            return all(probes(source).count(wanted) >= 4 for source in ours)

        wait_for(confirmed, LIMIT, "confirmations", [ends.server.process, ends.client.process])
        sent = {source: probes(source) for source in ours}
        bare = [
            packet
            for packet in wire.packets(capture)
            if packet.opcode == wire.ACK and packet.payload[9] == 0
        ]

    for opcodes in sent.values():
        first = opcodes.index(wanted)
        assert set(opcodes[first:]) == {wanted}
        # A client asks by copies until it is told; everybody else knows from the start.
        assert set(opcodes[:first]) <= {wire.CONTROL}
    # A stock peer is never sent what it does not know.
    assert bool(bare) == (pairing == OURS_OURS)
    logs = ends.server.log() + ends.client.log()
    assert (OPTION in logs) == (pairing == OURS_OURS and begin is server_and_client)
    assert "no probe of the path is answered" not in logs
