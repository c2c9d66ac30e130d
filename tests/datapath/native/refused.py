"""Two super-packets through a native worker, on a kernel that refuses trains (refuse.c).

Run by test_fastpath_refusals.py. Ends with an error when a packet is lost; prints how many trains
the kernel refused, and what the worker gave up with the errno.
"""

from __future__ import annotations

import ctypes
import sys

from ovpn6.datapath.offload.segment import cut
from ovpn6.datapath.offload.vnet import GSO_TCPV6, NEEDS_CSUM, Vnet
from tests.datapath.inner_packets import Inner
from tests.datapath.native_worker import alone

NOTICE = 11


def main() -> int:
    inner = Inner(payload=bytes(range(250)) * 80)
    vnet = Vnet(NEEDS_CSUM, GSO_TCPV6, 0, 1000, inner.csum_start, 16)
    expected = cut(vnet, inner.super_packet())
    with alone() as worker:
        for _ in range(2):
            worker.inside.send(vnet.encode() + inner.super_packet())
            if worker.opened(len(expected)) != expected:
                return 1
        notices = [(report[3], report[4]) for report in worker.reports(NOTICE)]
        if worker.worker.errors() or worker.worker.drops():
            return 1
    print(ctypes.c_int.in_dll(ctypes.CDLL(None), "refused_trains").value, notices)
    return 0


if __name__ == "__main__":
    sys.exit(main())
