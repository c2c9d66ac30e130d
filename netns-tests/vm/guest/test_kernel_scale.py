"""Much traffic and many peers: no data packet enters Python, and a peer costs little more than the
netlink call for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path as FilePath
from statistics import median

import pytest
from interop.ends import OURS_OURS, SERVER_6, make_authority, start
from vm.guest.kernel_rig import LOOPBACK, KernelRig, device_of

from ovpn6.datapath.kernel_peers import order
from ovpn6.lab import Lab, Tunnel, Underlay, line, ping, transfer, wait_for
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.names import LinkId, PeerId
from ovpn6.model.specs import Keepalive, PeerSpec

pytestmark = [pytest.mark.root, pytest.mark.alone]

MANY = 1000
HUNDRED_MEGABYTES = 100_000_000
IDLE_SECONDS = 20.0
TICKS_PER_SECOND = 100
BUSIER = 3.0
"""Times an idle daemon's use in the same time: a busy processor is slower at everything, and what
the kernel does with packets is charged to whom it interrupts. Seen: 1.7."""
SLACK = 0.5
"""Seconds, over any length of time. A hundred thousand packets in Python would take a hundred."""
TRANSFER_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Used:
    """What a daemon used of the processor until now, in seconds: its own code and all of it."""

    at: float
    own: float
    whole: float

    @classmethod
    def by(cls, end: Tunnel) -> Used:
        fields = FilePath(f"/proc/{end.process.pid}/stat").read_text().rpartition(")")[2].split()
        own, system = (int(field) / TICKS_PER_SECOND for field in fields[11:13])
        return cls(time.monotonic(), own, own + system)

    def since(self, then: Used) -> Used:
        """All in between; ``at`` is how long it was."""
        return Used(self.at - then.at, self.own - then.own, self.whole - then.whole)


@pytest.mark.timeout(2 * TRANSFER_LIMIT)
def test_a_daemon_does_no_more_while_a_hundred_megabytes_pass(lab: Lab, tmp_path: FilePath) -> None:
    ends = start(line(lab, Underlay.IPV6), make_authority(tmp_path), OURS_OURS)
    both = (ends.server, ends.client)
    assert ping(ends.net.client, SERVER_6).complete
    assert [end.device().kind for end in both] == ["ovpn", "ovpn"]

    begun = [Used.by(end) for end in both]
    until = time.monotonic() + IDLE_SECONDS
    wait_for(lambda: time.monotonic() > until, IDLE_SECONDS + 10, "the end of an idle while")
    rested = [Used.by(end) for end in both]
    assert transfer(
        *(ends.net.client, ends.net.server, SERVER_6, HUNDRED_MEGABYTES // 2),
        limit=TRANSFER_LIMIT,
    )
    worked = [Used.by(end) for end in both]

    for end, first, middle, last in zip(both, begun, rested, worked, strict=True):
        idle, busy = middle.since(first), last.since(middle)
        print(f"{end.name}: idle {idle}, busy {busy}")
        share = busy.at / idle.at
        assert busy.whole <= BUSIER * idle.whole * share + SLACK
        device = device_of(end.namespace.full_name, end.device().name)
        (peer,) = device.peers()
        device.close()
        inner = peer.counters
        # Half of it each way, by the kernel's own count of inner octets.
        assert inner.bytes_in >= HUNDRED_MEGABYTES // 2
        assert inner.bytes_out >= HUNDRED_MEGABYTES // 2
        assert peer.counters.link_in > inner.bytes_in
        assert peer.counters.link_out > inner.bytes_out


def test_a_thousand_peers_come_and_go() -> None:
    rig = KernelRig()
    try:
        server = rig.datapaths[0]
        device = device_of(rig.namespaces[0].full_name, "tun0")
        specs = [numbered_peer(number) for number in range(2 * MANY)]
        orders = [order(spec, remote=True, many_peers=True) for spec in specs[MANY:]]
        added, bare = [], []
        # In turn, so that what disturbs one disturbs the other.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as outer:
            outer.bind((str(LOOPBACK), 0))
            for spec, wanted in zip(specs[:MANY], orders, strict=True):
                added.append(seconds_of(server.add_peer, spec))
                bare.append(seconds_of(device.new_peer, wanted, outer.fileno()))
        # The other half went with its socket.
        rig.until(lambda: len(device.peers()) == MANY)
        known = {state.peer: state.vpn_ipv6 for state in device.peers()}
        assert known == {spec.peer: spec.networks[0][0] for spec in specs[:MANY]}
        for spec in specs[:MANY]:
            server.remove_peer(spec.peer)
        assert device.peers() == []
        device.close()
        print(f"microseconds: {1e6 * median(added):.0f}, bare {1e6 * median(bare):.0f}")
        assert median(added) <= 2 * median(bare)
    finally:
        rig.close()


def numbered_peer(number: int) -> PeerSpec:
    """One of many clients of a server."""
    networks = (
        ip_network(int(IPv6Address("2001:db8::1000")) + number),
        ip_network(int(IPv4Address("10.0.0.1")) + number),
    )
    path = Path(LinkId(1), Endpoint(LOOPBACK, 10_000 + number))
    return PeerSpec(PeerId(number), number, path, networks, Keepalive(10, 60))


def seconds_of(call: Callable[..., object], *arguments: object) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started
