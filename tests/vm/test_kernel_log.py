"""Which lines of a kernel's log fail a run."""

from __future__ import annotations

import pytest
from vm.kernel_log import complaints

QUIET = """\
[    0.000000] Linux version 7.3.4+deb13-cloud-amd64 (gcc-14) #1 SMP PREEMPT_DYNAMIC
[    0.012345] Warning: this line is about hardware that is not there
[    0.200000] debug: bugs and oopses are words
[    1.000000] x86/mm: Checked W+X mappings: passed, no W+X pages found.
[    2.000000] ovpn: OpenVPN data channel offload (ovpn) -- (C) 2020-2025 OpenVPN, Inc.
[    3.000000] tun: Universal TUN/TAP device driver, 1.6
"""

COMPLAINTS = (
    "WARNING: CPU: 1 PID: 99 at net/core/dev.c:1 f+0x1/0x2",
    "WARNING: possible circular locking dependency detected",
    "WARNING: suspicious RCU usage",
    "BUG: KASAN: slab-use-after-free in ovpn_peer_get+0x1/0x2",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "BUG: sleeping function called from invalid context at mm/slab.h:1",
    "kernel BUG at net/core/skbuff.c:1!",
    "Oops: Oops: 0002 [#1] SMP NOPTI",
    "general protection fault, probably for non-canonical address",
    "refcount_t: underflow; use-after-free.",
    "unregister_netdevice: waiting for ovpn0 to become free. Usage count = 2",
    "INFO: task python3:99 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "UBSAN: array-index-out-of-bounds in drivers/net/ovpn/io.c:1:1",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
)


def test_a_quiet_log_has_no_complaint() -> None:
    assert complaints(QUIET) == ()


@pytest.mark.parametrize("text", COMPLAINTS)
def test_a_complaint_is_found_wherever_it_stands(text: str) -> None:
    line = f"[    4.000000] {text}"
    assert complaints(f"{QUIET}{line}\n{QUIET}") == (line,)


def test_races_of_our_module_are_complaints_and_the_kernels_own_are_none() -> None:
    ours = "BUG: KCSAN: data-race in ovpn6_receive [ovpn6] / udp_queue_rcv_one_skb"
    own = "BUG: KCSAN: data-race in tick_sched_do_timer / tick_sched_do_timer"
    assert complaints(f"{own}\n{ours}\n{own}\n") == (ours,)


def test_a_list_that_nftables_walks_its_own_way_is_no_complaint_and_another_one_is() -> None:
    def said(place: str) -> str:
        return (
            "[  613.754370] WARNING: suspicious RCU usage\n"
            "[  613.754856] 6.12.117-gate #4 Tainted: G           O\n"
            "[  613.755038] -----------------------------\n"
            f"[  613.755067] {place} RCU-list traversed in non-reader section!!\n"
        )

    assert complaints(said("net/netfilter/nf_tables_api.c:4470")) == ()
    ours = said("/build/kmod/src/peer.c:10")
    assert complaints(ours) == (ours.splitlines()[0],)
