"""New keys every few seconds under steady traffic of both families: not one packet is lost."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from interop import wire
from interop.ends import PAIRINGS, Ends, Pairing, make_authority, start
from interop.streams import Stream

from ovpn6.lab import Line, wait_for
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

INTERVAL = 3
"""Seconds."""
RENEGOTIATIONS = 3
LIMIT = 40.0


@dataclass(frozen=True, slots=True)
class Initiator:
    """Which end has the shorter interval, and so begins."""

    name: str
    server_lines: tuple[str, ...]
    client_lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}-begins"


SERVER = Initiator("server", (f"reneg-sec {INTERVAL}",), ("reneg-sec 0",))
CLIENT = Initiator("client", ("reneg-sec 0",), (f"reneg-sec {INTERVAL}",))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("renegotiation"))


@pytest.mark.parametrize("initiator", [SERVER, CLIENT], ids=str)
@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_AUTH], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_renegotiations_under_traffic_lose_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap, initiator: Initiator
) -> None:
    _run(ipv6_line, authority, pairing, wrap, initiator)


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT_V2, Wrap.NONE], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_renegotiations_lose_nothing_with_the_other_wraps(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    _run(ipv6_line, authority, pairing, wrap, CLIENT)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_both_ends_that_want_new_keys_at_the_same_time_lose_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    both = Initiator("both", (f"reneg-sec {INTERVAL} {INTERVAL}",), (f"reneg-sec {INTERVAL}",))
    _run(ipv6_line, authority, pairing, Wrap.TLS_CRYPT, both)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_renegotiations_over_tcp_lose_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    ends = start(
        ipv6_line,
        authority,
        pairing,
        transport="tcp",
        server_extra=SERVER.server_lines,
        client_extra=SERVER.client_lines,
    )
    with Stream(ends) as six, Stream(ends, family=4) as four:
        wait_for(
            lambda: ends.client.log().count("Control Channel: TLS") > RENEGOTIATIONS,
            LIMIT,
            f"{RENEGOTIATIONS} renegotiations in the client's log",
            [ends.server.process, ends.client.process],
        )
        results = six.result(), four.result()
    assert [result.lost for result in results] == [0, 0], results
    assert ends.client.log().count("Initialization Sequence Completed") == 1


def _run(
    net: Line, authority: Authority, pairing: Pairing, wrap: Wrap, initiator: Initiator
) -> None:
    with wire.watch(net) as capture:
        ends = start(
            net,
            authority,
            pairing,
            wrap=wrap,
            server_extra=initiator.server_lines,
            client_extra=initiator.client_lines,
        )
        with Stream(ends) as six, Stream(ends, family=4) as four:
            wait_for(
                lambda: _both_use(capture, ends, RENEGOTIATIONS),
                LIMIT,
                f"data under the keys of {RENEGOTIATIONS} renegotiations",
                [ends.server.process, ends.client.process],
            )
            results = six.result(), four.result()
        seen = wire.packets(capture)

    assert [result.lost for result in results] == [0, 0], results
    assert [flow.again for result in results for flow in (result.to_server, result.to_client)] == (
        [0, 0, 0, 0]
    )
    assert len(wire.handshakes(seen)) == 1
    begun = {packet.source[0] for packet in wire.renegotiations(seen)}
    names = {
        "server": {str(net.server_address)},
        "client": {str(net.client_addresses[0])},
    }
    if initiator.name in names:
        assert begun == names[initiator.name]


def _both_use(capture: wire.Capture, ends: Ends, count: int) -> bool:
    """Whether both ends sent data under key ids 0 to ``count``."""
    wanted = set(range(count + 1))
    seen = wire.packets(capture)
    addresses = (ends.net.server_address, ends.net.client_addresses[0])
    return all(wanted <= wire.data_key_ids(seen, str(address)) for address in addresses)
