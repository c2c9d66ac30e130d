"""Tunnels in the kernel over an underlay that loses, delays, reorders and repeats packets.

The disturbances are netem's, at both ends of the router, so that they meet both directions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from interop import wire
from interop.ends import INNER, OURS_OURS, PAIRINGS, Ends, Pairing, make_authority
from interop.ends import start as start_ends
from interop.streams import Result, Stream
from vm.guest.test_kernel_tunnels import IN_KERNEL

from ovpn6.lab import Capture, Lab, Line, Underlay, line, wait_for, wait_reachable
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

LOSSY = "loss 15%"
SLOW = "delay 150ms 20ms"
OUT_OF_ORDER = "delay 40ms reorder 70% 30%"
TWICE = "duplicate 40%"
ALL_AT_ONCE = "delay 30ms 10ms loss 5% duplicate 10% reorder 50%"

LONG = pytest.mark.long
SOME = tuple(
    pytest.param(pairing, marks=() if pairing is OURS_OURS else LONG) for pairing in PAIRINGS
)

RENEGOTIATE = ("reneg-sec 5",)
QUICK = ("keepalive 1 12",)
"""Six pings in a row must be lost: the module's own come up to two seconds apart."""
THREE_TIMEOUTS = 36.0
"""Seconds."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("netem"))


def disturb(net: Line, how: str) -> None:
    """In place of what was there before."""
    for device in ("to-client", "to-server"):
        command = f"tc qdisc replace dev {device} root netem {how}"
        net.underlay.run(command.split())


def start(
    net: Line, authority: Authority, pairing: Pairing, *server_extra: str, transport: str = "udp"
) -> Ends:
    """Both ends up, all that is ours in the kernel."""
    ends = start_ends(net, authority, pairing, transport=transport, server_extra=server_extra)
    for end in (ends.server, ends.client):
        assert end.device().kind == "ovpn"
        if end.name.endswith("ours"):
            end.process.wait_for_log(IN_KERNEL)
    return ends


@pytest.mark.parametrize(
    ("transport", "how"),
    [
        ("udp", LOSSY),
        pytest.param("udp", SLOW, marks=LONG),
        ("udp", OUT_OF_ORDER),
        pytest.param("udp", TWICE, marks=LONG),
        ("udp", ALL_AT_ONCE),
        ("tcp", ALL_AT_ONCE),
    ],
)
def test_a_tunnel_comes_up_and_takes_new_keys(
    lab: Lab, authority: Authority, transport: str, how: str
) -> None:
    net = line(lab, Underlay.IPV6)
    disturb(net, how)
    ends = start(net, authority, OURS_OURS, *RENEGOTIATE, transport=transport)
    for address in INNER:
        wait_reachable(net.client, address, 30)
    wait_renegotiated(ends, 1)
    for address in INNER:
        wait_reachable(net.client, address, 30)
    assert times_up(ends) == 1


@pytest.mark.parametrize("pairing", SOME, ids=str)
def test_packets_out_of_order_are_all_delivered(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = line(lab, Underlay.IPV6)
    ends = start(net, authority, pairing)
    disturb(net, OUT_OF_ORDER)
    with wire.watch(net) as capture:
        results = stream_for(ends, 4.0)
        disordered = arrivals(net, capture)
    assert disordered.late > 100
    assert [(result.lost, again(result)) for result in results] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("pairing", SOME, ids=str)
def test_a_packet_that_comes_twice_is_delivered_once(
    lab: Lab, authority: Authority, pairing: Pairing
) -> None:
    net = line(lab, Underlay.IPV6)
    ends = start(net, authority, pairing)
    disturb(net, TWICE)
    with wire.watch(net) as capture:
        results = stream_for(ends, 4.0)
        repeated = arrivals(net, capture)
    assert repeated.twice > 100
    assert [(result.lost, again(result)) for result in results] == [(0, 0), (0, 0)]


def test_a_renegotiation_loses_nothing_of_a_slow_path_out_of_order(
    lab: Lab, authority: Authority
) -> None:
    net = line(lab, Underlay.IPV6)
    disturb(net, "delay 150ms reorder 30%")
    ends = start(net, authority, OURS_OURS, *RENEGOTIATE)
    with Stream(ends) as six, Stream(ends, family=4) as four:
        wait_renegotiated(ends, 2)
        results = six.result(), four.result()
    assert [(result.lost, again(result)) for result in results] == [(0, 0), (0, 0)]
    assert times_up(ends) == 1


@pytest.mark.parametrize("how", ["loss 30%", pytest.param("delay 400ms 100ms", marks=LONG)])
def test_keepalive_holds_a_quiet_tunnel(lab: Lab, authority: Authority, how: str) -> None:
    net = line(lab, Underlay.IPV6)
    ends = start(net, authority, OURS_OURS, *QUICK)
    disturb(net, how)
    time.sleep(THREE_TIMEOUTS)
    assert ends.server.log().count("authenticated") == times_up(ends) == 1
    for address in INNER:
        wait_reachable(net.client, address)


# --- helpers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Data packets on the way to the server: ``late`` ones came after a younger one."""

    late: int
    twice: int


def arrivals(net: Line, capture: Capture) -> Arrivals:
    """Of the client's data packets, by their packet ids."""
    client = str(net.client_addresses[0])
    late = twice = youngest = 0
    seen: set[int] = set()
    for packet in wire.packets(capture):
        if packet.opcode != wire.DATA or packet.source[0] != client:
            continue
        number = int.from_bytes(packet.payload[4:8], "big")
        if number in seen:
            twice += 1
        elif number < youngest:
            late += 1
        seen.add(number)
        youngest = max(youngest, number)
    return Arrivals(late, twice)


def stream_for(ends: Ends, seconds: float) -> tuple[Result, Result]:
    """What streams of both families carried in that time."""
    with Stream(ends) as six, Stream(ends, family=4) as four:
        time.sleep(seconds)
        return six.result(), four.result()


def again(result: Result) -> int:
    """Packets that were delivered more than once."""
    return result.to_server.again + result.to_client.again


def wait_renegotiated(ends: Ends, times: int) -> None:
    """Until the client has that many more keys than the first."""
    wait_for(
        lambda: ends.client.log().count("Control Channel: TLS") > times,
        60,
        f"{times} renegotiations in the client's log",
        [ends.server.process, ends.client.process],
    )


def times_up(ends: Ends) -> int:
    """How often the client came up."""
    return ends.client.log().count("Initialization Sequence Completed")
