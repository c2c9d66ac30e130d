"""Path MTU discovery by probes of the control channel: every peer answers, in every wrap.

The path is narrow and nobody says so: what is found out was probed.
"""

from __future__ import annotations

import re

import pytest
from interop.ends import (
    OURS_OURS,
    OURS_STOCK,
    STOCK_OURS,
    Ends,
    Maker,
    Pairing,
    make_authority,
    start,
)

from ovpn6.lab import Lab, Tunnel, Underlay, wait_for
from ovpn6.lab.narrow import narrow
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

CONVERGED = 15.0
"""Seconds; common sizes take a few round trips."""
QUICK = ("path-mtu-timers 0.2 2 600",)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("path-mtu"))


def ours(ends: Ends, pairing: Pairing) -> list[Tunnel]:
    """The ends that are ours."""
    both = ((ends.server, pairing.server), (ends.client, pairing.client))
    return [end for end, maker in both if maker is Maker.OURS]


def wait_for_path(end: Tunnel, octets: int) -> None:
    end.process.wait_for_log(rf"path MTU {octets} \(probe\)", CONVERGED)


@pytest.mark.parametrize("wrap", list(Wrap), ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", [OURS_OURS, OURS_STOCK, STOCK_OURS], ids=str)
def test_every_peer_answers_probes_in_every_wrap(
    lab: Lab, certificates: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = narrow(lab, Underlay.IPV6, path=1400, black_hole=True)
    quick = {
        "server_extra": QUICK if pairing.server is Maker.OURS else (),
        "client_extra": QUICK if pairing.client is Maker.OURS else (),
    }
    ends = start(net.line, certificates, pairing, wrap=wrap, **quick)
    for end in ours(ends, pairing):
        wait_for_path(end, 1400)
        assert not re.search(r"no probe of the path is answered", end.log())


@pytest.mark.parametrize("path", [1280, 1400, 1492])
@pytest.mark.parametrize("outer", [Underlay.IPV6, Underlay.IPV4], ids=lambda outer: outer.name)
def test_the_size_of_a_silent_path_is_found_with_the_usual_timers(
    lab: Lab, certificates: Authority, outer: Underlay, path: int
) -> None:
    net = narrow(lab, outer, path=path, black_hole=True)
    ends = start(net.line, certificates, OURS_OURS, server_extra=("tun-mtu 1500",))
    for end in ours(ends, OURS_OURS):
        if path == 1280 and outer is Underlay.IPV6:
            continue
        wait_for_path(end, path)


@pytest.mark.parametrize("pairing", [OURS_OURS, OURS_STOCK, STOCK_OURS], ids=str)
def test_each_direction_has_a_size_of_its_own(
    lab: Lab, certificates: Authority, pairing: Pairing
) -> None:
    """An answer proves the way from us to the peer, and only that one."""
    net = narrow(lab, Underlay.IPV6, path=1500, black_hole=True)
    net.r.nft(
        """
        table inet one_way {
            chain forward {
                type filter hook forward priority 10
                oifname "to-q" meta length > 1400 drop
            }
        }
        """
    )
    ends = start(net.line, certificates, pairing)
    if pairing.client is Maker.OURS:
        wait_for_path(ends.client, 1400)
    if pairing.server is Maker.OURS:
        ends.server.process.wait_for_log(r"path MTU 149\d \(probe\)", CONVERGED)


@pytest.mark.parametrize("pairing", [OURS_OURS, OURS_STOCK, STOCK_OURS], ids=str)
def test_a_jumbo_path_is_found_where_both_ends_take_it(
    lab: Lab, certificates: Authority, pairing: Pairing
) -> None:
    net = narrow(lab, Underlay.IPV6, path=9000, black_hole=True)
    jumbo = ("tun-mtu 8900", "tun-mtu-max 8900")
    ends = start(
        net.line,
        certificates,
        pairing,
        server_extra=jumbo[: 2 if pairing.server is Maker.OURS else 1],
        client_extra=jumbo,
    )
    for end in ours(ends, pairing):
        end.process.wait_for_log(r"path MTU 89\d\d \(probe\): IPv6 8900, IPv4 8900", CONVERGED)


def test_the_status_file_tells_what_was_found(lab: Lab, certificates: Authority) -> None:
    net = narrow(lab, Underlay.IPV6, path=1400, black_hole=True)
    ends = start(net.line, certificates, OURS_OURS, server_extra=QUICK)
    wait_for_path(ends.server, 1400)

    def told() -> bool:
        row = ends.client_row()
        return (row.columns["Path MTU"], row.columns["Path MTU Learned From"]) == ("1400", "probe")

    wait_for(told, CONVERGED, "the path's MTU in the status file")
    row = ends.client_row()
    # Epoch keys: 76 octets around the inner packet.
    assert int(row.columns["Tunnel MTU"]) == 1400 - 76
    assert int(row.columns["Probes Sent"]) > int(row.columns["Probes Lost"]) > 0
