"""The user-space data path on real TUN devices, each in a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from datapath_ends import PEER, Ends, in_python, natively

from ovpn6.datapath.interface import Datapath
from ovpn6.lab.network import Lab
from ovpn6.model.errors import HostError
from ovpn6.model.flow import DeviceLost
from ovpn6.model.names import Transport
from ovpn6.model.specs import DeviceSpec


@pytest.fixture(params=[in_python, natively])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    with Lab() as lab:
        made = Ends(lab, request.param)
        yield made
        made.close()


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("target", ["2001:db8:a::1", "192.0.2.1"])
def test_pings_of_all_sizes_cross(ends: Ends, transport: Transport, target: str) -> None:
    ends.join(transport)
    namespace = ends.namespaces[1]
    for size in (1, 1000, 1372, 4000):
        ends.run(namespace, "ping", "-c3", "-i0.01", "-W5", f"-s{size}", target)
    # ping waits for two round trips only: the last replies may still be on their way.
    ends.until(lambda: agree(ends))
    assert ends.paths[0].counters(PEER).packets_in >= 12


def test_the_device_is_named_and_dressed_as_asked(ends: Ends) -> None:
    shown = ends.run(ends.namespaces[0], "ip", "link", "show", "tun0")
    assert "qlen 321" in shown
    with pytest.raises(HostError):
        # Another process of ours cannot take the same device.
        ends.make(ends.reports[0].append, ends.loop).open_device(
            DeviceSpec("tun0", netns=ends.namespaces[0].full_name), 1420
        )


def test_a_device_deleted_underneath_is_reported_once(ends: Ends) -> None:
    ends.join(Transport.UDP)
    ends.run(ends.namespaces[0], "ip", "link", "delete", "tun0")
    ends.until(lambda: any(isinstance(report, DeviceLost) for report in ends.reports[0]))
    assert sum(isinstance(report, DeviceLost) for report in ends.reports[0]) == 1
    assert ends.paths[0].open_device(
        DeviceSpec("tun4", netns=ends.namespaces[0].full_name), 1420
    ) == ("tun4")


def test_the_device_is_gone_after_closing(ends: Ends) -> None:
    ends.paths[0].close()
    assert ends.namespaces[0].tunnels() == ()


def test_a_namespace_that_is_not_there_is_a_host_error(ends: Ends) -> None:
    path = ends.make(ends.reports[0].append, ends.loop)
    with pytest.raises(HostError, match="no-such"):
        path.open_device(DeviceSpec(netns="no-such"), 1420)


def agree(ends: Ends) -> bool:
    """Whether each end received what the other sent."""
    counters = ends.paths[0].counters(PEER)
    return counters == mirrored(ends.paths[1], counters)


def mirrored(path: Datapath, like: object) -> object:
    """The other end's counters, turned round."""
    counters = path.counters(PEER)
    return type(like)(
        link_in=counters.link_out,
        link_out=counters.link_in,
        bytes_in=counters.bytes_out,
        bytes_out=counters.bytes_in,
        packets_in=counters.packets_out,
        packets_out=counters.packets_in,
    )
