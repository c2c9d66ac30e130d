"""The native worker over loopback sockets; a socket pair stands for the TUN device."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ovpn6.datapath.interface import Report
from ovpn6.datapath.offload.switch import Offload
from ovpn6.model.errors import UsageError
from ovpn6.model.names import LinkId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec
from tests.datapath.contract import DatapathContract, Rig
from tests.datapath.loopback import LIMIT, LOOPBACK4, LOOPBACK6, LoopbackRig, natively

pytest.importorskip("ovpn6.datapath.fastpath._fastpath")


class TestOverIPv6(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(natively(), LOOPBACK6)


class TestOverIPv4(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(natively(), LOOPBACK4)


class TestInOneThread(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(natively(single=True), LOOPBACK6)


class TestWithSeveralWorkers(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(natively(workers=4), LOOPBACK6)


class TestWithoutAnyOffload(DatapathContract):
    def make_rig(self) -> Rig:
        return LoopbackRig(natively(*Offload), LOOPBACK6)


def no_device(spec: DeviceSpec, vnet: bool) -> tuple[int, str]:
    raise UsageError("no device is opened here")


def test_reports_that_wait_when_the_data_path_is_closed_are_told_to_nobody() -> None:
    loop = asyncio.new_event_loop()
    wrong: list[object] = []
    loop.set_exception_handler(lambda _, context: wrong.append(context["message"]))
    told: list[Report] = []

    def close(report: Report) -> None:
        told.append(report)
        path.close()

    path = natively()(close, loop, lambda: LinkId(9), no_device)
    spec = LinkSpec(Transport.UDP, local_address=LOOPBACK6)
    control = bytes([7 << 3]) + bytes(13)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        ports = [
            loop.run_until_complete(path.open_link(LinkId(link), spec)).port for link in (1, 2, 3)
        ]
        for port in ports * 20:
            sender.sendto(control, (str(LOOPBACK6), port))

    async def be_told() -> None:
        while not told:
            await asyncio.sleep(0.001)
        # Whatever else was to be called has its turn.
        await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(be_told(), LIMIT))
    loop.close()
    assert len(told) == 1
    assert wrong == []
