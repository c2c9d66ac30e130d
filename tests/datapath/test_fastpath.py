"""The native worker over loopback sockets; a socket pair stands for the TUN device."""

from __future__ import annotations

import pytest

from ovpn6.datapath.offload.switch import Offload
from tests.datapath.contract import DatapathContract, Rig
from tests.datapath.loopback import LOOPBACK4, LOOPBACK6, LoopbackRig, natively

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
