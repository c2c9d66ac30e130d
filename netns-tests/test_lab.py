"""The lab itself: what it builds, and that nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from ovpn6.lab import (
    Capture,
    Lab,
    LabError,
    Line,
    Underlay,
    iperf3,
    lan,
    line,
    ping,
    star,
    transfer,
    wait_for,
    wait_reachable,
)
from ovpn6.lab.leftovers import NETNS, STATE, inhabitants, remove_leftovers
from ovpn6.model.errors import UsageError

CRASH = """
import os, signal, subprocess
from ovpn6.lab import Lab
lab = Lab().__enter__()
namespace = lab.namespace("victim")
namespace.popen(["sleep", "60"])
# A daemon: not the lab's child, in a session of its own.
namespace.run(["sh", "-c", "setsid sleep 61 >/dev/null 2>&1 &"])
print(namespace.full_name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def names_of(lab: Lab) -> list[Path]:
    found = [
        path for directory in (NETNS, STATE) if directory.exists() for path in directory.iterdir()
    ]
    return [path for path in found if path.name.startswith(f"{lab.name}-") or path.name == lab.name]


def test_two_hosts_on_a_link_reach_each_other_over_both_families(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.link(a, b, ["2001:db8::1/64", "192.0.2.1/24"], ["2001:db8::2/64", "192.0.2.2/24"])
    assert ping(a, "2001:db8::2").complete
    assert ping(b, "192.0.2.1").complete
    assert ping(a, "2001:db8::2").milliseconds is not None


def test_an_address_that_nobody_has_does_not_answer(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    lab.link(a, b, ["2001:db8::1/64"], ["2001:db8::2/64"])
    lost = ping(a, "2001:db8::3", count=1)
    assert (lost.sent, lost.received, lost.milliseconds) == (1, 0, None)
    assert not ping(a, "192.0.2.1", count=1).complete
    with pytest.raises(LabError, match="2001:db8::3 reachable from a"):
        wait_reachable(a, "2001:db8::3", limit=0.1)


def test_addresses_come_ipv6_first_whatever_order_they_were_given(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    end, _ = lab.link(a, b, ["192.0.2.1/24", "2001:db8::1/64"])
    assert [str(address) for address in a.addresses(end.name)] == ["2001:db8::1/64", "192.0.2.1/24"]


def test_the_mtu_of_a_link_is_what_was_asked(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("b")
    ends = lab.link(a, b, ["2001:db8::1/64"], ["2001:db8::2/64"], mtu=1300)
    assert [end.namespace.device(end.name).mtu for end in ends] == [1300, 1300]
    # 40 bytes of IPv6 and 8 of ICMPv6 stand before the payload.
    assert ping(a, "2001:db8::2", count=1, size=1300 - 48).complete


def test_two_links_between_the_same_hosts_have_different_names(lab: Lab) -> None:
    a, b = lab.namespace("a"), lab.namespace("a-name-longer-than-15")
    names = {lab.link(a, b)[0].name for _ in range(3)}
    assert len(names) == 3
    assert max(map(len, names)) <= 15


def test_a_bridge_joins_its_ports(lab: Lab) -> None:
    switch, a, b = lab.namespace("switch"), lab.namespace("a"), lab.namespace("b")
    ports = [
        lab.link(switch, host, b_addresses=[address])[0]
        for host, address in ((a, "2001:db8::1/64"), (b, "2001:db8::2/64"))
    ]
    lab.bridge(switch, "br0", ports)
    wait_reachable(a, "2001:db8::2")


def test_a_second_namespace_of_the_same_name_is_refused(lab: Lab) -> None:
    lab.namespace("a")
    with pytest.raises(UsageError):
        lab.namespace("a")


def test_rules_of_nftables_apply(ipv6_line: Line) -> None:
    ipv6_line.underlay.nft(
        "table inet t { chain c { type filter hook forward priority 0; policy drop; }; }"
    )
    assert not ping(ipv6_line.client, ipv6_line.server_address, count=1).complete


@pytest.mark.parametrize("families", list(Underlay))
def test_a_line_has_the_families_that_were_asked_and_no_other(lab: Lab, families: Underlay) -> None:
    net = line(lab, families)
    assert tuple(address.version for address in net.server_addresses) == families.value
    for address in net.server_addresses:
        assert ping(net.client, address).complete
    for address in net.client_addresses:
        assert ping(net.server, address).complete
    versions = {a.version for a in net.underlay.addresses() if not a.ip.is_loopback}
    assert versions == set(families.value)


def test_a_line_names_the_protocol_for_its_family(lab: Lab) -> None:
    net = line(lab, Underlay.IPV4)
    assert (net.protocol(), net.protocol("tcp")) == ("udp4", "tcp4-client")


def test_all_clients_of_a_star_reach_the_server_from_different_addresses(lab: Lab) -> None:
    net = star(lab, 5, Underlay.DUAL)
    outer = [client.addresses("to-underlay")[0].ip for client in net.clients]
    assert len(set(outer)) == 5
    for client in net.clients:
        for address in net.server_addresses:
            assert ping(client, address, count=1).complete


def test_a_host_on_a_lan_is_reached_through_its_gateway(ipv6_line: Line) -> None:
    host = lan(ipv6_line.lab, ipv6_line.client, "2001:db8:a::/64")
    ipv6_line.underlay.add_route("2001:db8:a::/64", ipv6_line.client_addresses[0])
    assert ping(ipv6_line.server, "2001:db8:a::2").complete
    assert host.addresses("to-client")[0].ip == IPv6Address("2001:db8:a::2")


def test_a_transfer_is_intact_both_ways(dual_line: Line) -> None:
    for address in dual_line.server_addresses:
        assert transfer(dual_line.client, dual_line.server, address)


def test_a_transfer_that_breaks_says_so(ipv6_line: Line) -> None:
    ipv6_line.underlay.nft(
        "table inet t { chain c { type filter hook forward priority 0;"
        " tcp dport != 0 reject with tcp reset; }; }"
    )
    with pytest.raises(LabError, match="broke"):
        transfer(ipv6_line.client, ipv6_line.server, ipv6_line.server_address, limit=10)


def test_throughput_is_measured_by_the_receiver(ipv6_line: Line) -> None:
    result = iperf3(ipv6_line.client, ipv6_line.server, ipv6_line.server_address, seconds=1)
    assert result.megabits > 1
    assert 0.5 < result.seconds < 5


def test_a_capture_holds_the_packets(ipv6_line: Line) -> None:
    with Capture(ipv6_line.underlay, "to-server", "icmp6") as capture:
        ping(ipv6_line.client, ipv6_line.server_address, count=3)
    requests = capture.tshark("-Y", "icmpv6.type == 128").splitlines()
    assert len(requests) == 3


def test_no_packet_on_a_link_is_larger_than_its_mtu(ipv6_line: Line) -> None:
    with Capture(ipv6_line.underlay, "to-server", "tcp") as capture:
        transfer(ipv6_line.client, ipv6_line.server, ipv6_line.server_address)
    lengths = [int(size) for size in capture.tshark("-T", "fields", "-e", "ipv6.plen").split()]
    assert max(lengths) + 40 == 1500


def test_nothing_is_left_after_a_lab(lab: Lab) -> None:
    with Lab() as other:
        net = line(other)
        sleeper = net.client.popen(["sleep", "60"])
        net.client.run(["sh", "-c", "setsid sleep 61 >/dev/null 2>&1 &"])
        assert len(inhabitants(net.client.full_name)) == 2
        assert names_of(other)
    assert not sleeper.running
    assert names_of(other) == []


def test_nothing_is_left_after_an_error_in_a_lab() -> None:
    names: list[Lab] = []

    def fail() -> None:
        with Lab() as lab:
            names.append(lab)
            line(lab)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names_of(names[0]) == []


def test_the_next_lab_removes_what_a_killed_one_left() -> None:
    dead = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, check=False
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    name = dead.stdout.strip()
    left = NETNS / name
    remove_leftovers()
    assert not left.exists()
    assert inhabitants(name) == ()
    assert not (STATE / name.removesuffix("-victim")).exists()


def test_a_living_lab_is_not_a_leftover(lab: Lab) -> None:
    namespace = lab.namespace("a")
    sleeper = namespace.popen(["sleep", "60"])
    remove_leftovers()
    assert sleeper.running
    assert namespace.path.exists()
    assert lab.directory.exists()


def test_the_hosts_own_network_is_untouched(lab: Lab) -> None:
    def links() -> str:
        return subprocess.run(
            ["ip", "-o", "link"], capture_output=True, text=True, check=True
        ).stdout

    before = links()
    net = line(lab, Underlay.DUAL)
    assert links() == before
    assert IPv4Address("198.51.100.2") in net.server_addresses
    wait_for(lambda: net.client.device("to-underlay").up, 5, "the link")
