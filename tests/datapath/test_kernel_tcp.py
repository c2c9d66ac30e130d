"""Connections of the kernel's data path that the kernel does not have yet, over loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address

import pytest

from ovpn6.datapath.interface import Report
from ovpn6.datapath.kernel import KernelDatapath
from ovpn6.datapath.kernel_open import Kernel
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import ControlReceived, LinkAccepted, LinkClosed
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec

LIMIT = 10.0
"""Seconds that anything here may take."""
LOOPBACK = IPv6Address("::1")
LISTENER, CONNECTION, ACCEPTED = LinkId(1), LinkId(2), LinkId(9)
CONTROL = bytes([7 << 3]) + bytes(13)


class Rig:
    """A listening and a connecting data path, without devices."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.reports: tuple[list[Report], list[Report]] = ([], [])
        self.server, self.client = (
            KernelDatapath(
                reports.append, self.loop, no_kernel, lambda: ACCEPTED, many_peers=many_peers
            )
            for reports, many_peers in zip(self.reports, (True, False), strict=True)
        )
        self.at = self.open(self.server, LISTENER, LinkSpec(Transport.TCP, local_address=LOOPBACK))
        connecting = LinkSpec(Transport.TCP, remote=self.at)
        self.remote = self.open(self.client, CONNECTION, connecting)
        self.until(lambda: bool(self.reports[0]))

    def open(self, path: KernelDatapath, link: LinkId, spec: LinkSpec) -> Endpoint:
        return self.loop.run_until_complete(path.open_link(link, spec))

    def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(asyncio.wait_for(wait(), LIMIT))

    def close(self) -> None:
        self.server.close()
        self.client.close()
        self.loop.close()


def no_kernel(spec: DeviceSpec) -> Kernel:
    raise UsageError("no device is opened here")


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_control_packets_cross_both_ways(rig: Rig) -> None:
    assert rig.reports[0] == [LinkAccepted(LISTENER, ACCEPTED, rig.remote)]
    to_server, to_client = Path(CONNECTION, rig.at), Path(ACCEPTED, rig.remote)
    rig.client.send_control(to_server, CONTROL)
    rig.server.send_control(to_client, CONTROL + bytes(3000))
    rig.until(lambda: len(rig.reports[0]) == 2 and bool(rig.reports[1]))
    assert rig.reports[0][-1] == ControlReceived(to_client, CONTROL)
    assert rig.reports[1] == [ControlReceived(to_server, CONTROL + bytes(3000))]


def test_a_connection_that_the_remote_end_closes_is_reported(rig: Rig) -> None:
    rig.client.close_link(CONNECTION)
    rig.until(lambda: len(rig.reports[0]) == 2)
    assert rig.reports[0][-1] == LinkClosed(ACCEPTED, "closed by the remote end")
    assert rig.reports[1] == []
    rig.server.send_control(Path(ACCEPTED, rig.remote), CONTROL)
    assert rig.server.drops().counts == {"send closed link": 1}


def test_an_accepted_connection_outlives_its_listener(rig: Rig) -> None:
    rig.server.close_link(LISTENER)
    rig.client.send_control(Path(CONNECTION, rig.at), CONTROL)
    rig.until(lambda: len(rig.reports[0]) == 2)
    assert rig.reports[0][-1] == ControlReceived(Path(ACCEPTED, rig.remote), CONTROL)


@pytest.mark.parametrize("link", [LISTENER, ACCEPTED])
def test_a_link_that_is_open_cannot_be_opened_again(rig: Rig, link: LinkId) -> None:
    with pytest.raises(UsageError, match="is open"):
        rig.open(rig.server, link, LinkSpec(Transport.TCP, local_address=LOOPBACK))
