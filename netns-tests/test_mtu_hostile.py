"""Lies about the path, odd packets inside, and the usual attack tools outside: nothing changes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import pytest
from fitting.crossing import Host
from fitting.rules import Packet, Passes
from fitting.tunnel import Fitted, Row, fitted
from interop.ends import make_authority
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw

from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Lab, Namespace, Underlay, wait_for
from ovpn6.lab.narrow import HOST_A, HOST_B
from ovpn6.pki.authority import Authority

pytestmark = pytest.mark.root

PORT = 1194
ROUTER = {6: "2001:db8:90::2", 4: "192.0.2.130"}
SIZES = (1300, 1000, 1279, 1280, 9000)
MEMORY_KIB = 4096
"""How much a daemon may grow under an attack: buffers, not what strangers sent."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("hostile-sizes"))


# --- lies about the path ---


@pytest.mark.parametrize("outer", [Underlay.IPV6, Underlay.IPV4], ids=["ipv6", "ipv4"])
@pytest.mark.parametrize("wrong_port", [True, False], ids=["wrong-port", "random-quote"])
def test_a_forged_packet_too_big_changes_nothing(
    lab: Lab, authority: Authority, outer: Underlay, wrong_port: bool
) -> None:
    with fitted(lab, authority, Row(1500, outer, black_hole=False)) as tunnel:
        tunnel.settle()
        before = _routes(tunnel), _sizes_in_logs(tunnel)
        for size in SIZES:
            for victim in (tunnel.net.b, tunnel.net.a):
                _send(tunnel.net.r, _lie(tunnel, victim, size, wrong_port=wrong_port))
            assert _full_packets_pass(tunnel)
        assert (_routes(tunnel), _sizes_in_logs(tunnel)) == before


def test_a_thousand_lies_change_nothing(lab: Lab, authority: Authority) -> None:
    with fitted(lab, authority, Row(1500, black_hole=False)) as tunnel:
        tunnel.settle()
        memory = tunnel.server.process.memory_kib()
        before = _routes(tunnel), _sizes_in_logs(tunnel)
        lie = _lie(tunnel, tunnel.net.b, 1400, wrong_port=False)
        _send(tunnel.net.r, *[lie] * 1000)
        assert _full_packets_pass(tunnel)
        assert (_routes(tunnel), _sizes_in_logs(tunnel)) == before
        assert tunnel.server.process.memory_kib() - memory < MEMORY_KIB


def _lie(tunnel: Fitted, victim: Namespace, size: int, *, wrong_port: bool) -> ScapyPacket:
    """ "Packet too big" from a router, about a packet of ``victim``'s to the other end."""
    version = tunnel.row.outer.value[0]
    server, client = tunnel.net.line.server_addresses[0], tunnel.net.line.client_addresses[0]
    ports = (PORT, _client_port(tunnel))
    ends = (server, client)
    if victim is tunnel.net.a:
        ports, ends = ports[::-1], ends[::-1]
    sport, dport = ports[0], 4 if wrong_port else ports[1]
    # An opcode of data with a peer id, then what nobody has sent.
    udp = UDP(sport=sport, dport=dport, len=1400) / Raw(b"\x48\0\0\0" + os.urandom(200))
    own, other = map(str, ends)
    if version == 6:
        quoted = IPv6(src=own, dst=other, plen=1400) / udp
        return IPv6(src=ROUTER[6], dst=own) / ICMPv6PacketTooBig(mtu=size) / quoted
    quoted = IP(src=own, dst=other, len=1420, flags="DF") / udp
    return IP(src=ROUTER[4], dst=own) / ICMP(type=3, code=4, nexthopmtu=size) / quoted


def _client_port(tunnel: Fitted) -> int:
    listed = tunnel.net.a.run(["ss", "-H", "-u", "-n", "-p"], check=False).stdout
    listed += tunnel.net.a.run(["ss", "-H", "-u", "-l", "-n"], check=False).stdout
    ports = {int(line.split()[3].rsplit(":", 1)[1]) for line in listed.splitlines()}
    (port,) = ports - {PORT}
    return port


def _routes(tunnel: Fitted) -> list[str]:
    """How each end's kernel reaches the other; an exception shows as an MTU."""
    found = []
    for end, there in (
        (tunnel.net.a, tunnel.net.line.server_addresses[0]),
        (tunnel.net.b, tunnel.net.line.client_addresses[0]),
    ):
        found.append(end.run(["ip", "route", "get", str(there)]).stdout)
    assert all("mtu" not in route for route in found), found
    return found


def _sizes_in_logs(tunnel: Fitted) -> list[str]:
    logs = (tunnel.server.log(), tunnel.client.log())
    return [line for log in logs for line in log.splitlines() if "path MTU" in line]


def _full_packets_pass(tunnel: Fitted) -> bool:
    fits = tunnel.row.rules.tunnel
    return all(
        fate.verdict == Passes()
        for back in (False, True)
        for fate in tunnel.crossing.send([Packet(6, fits), Packet(4, fits)], back=back)
    )


# --- odd packets inside ---


def _atomic(head: IPv6) -> list[ScapyPacket]:
    return [head / IPv6ExtHdrFragment(id=7, m=0, offset=0, nh=17) / _udp(64)]


def _overlapping(head: IPv6) -> list[ScapyPacket]:
    first = IPv6ExtHdrFragment(id=8, m=1, offset=0, nh=17) / Raw(bytes(64))
    second = IPv6ExtHdrFragment(id=8, m=0, offset=4, nh=17) / Raw(bytes([1]) * 64)
    return [head / first, head / second]


def _with_options(head: IPv6) -> list[ScapyPacket]:
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    hops = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
    return [head / options / _udp(64), head / hops / options / _udp(64)]


def _tiny_first_fragment(head: IPv6) -> list[ScapyPacket]:
    # Its header chain goes on in the next one (RFC 7112).
    return [head / IPv6ExtHdrFragment(id=9, m=1, offset=0, nh=60) / Raw(b"\x11\x07" + bytes(6))]


def _unknown_protocol(head: IPv6) -> list[ScapyPacket]:
    return [head / Raw(bytes(40))]


def _udp(octets: int) -> ScapyPacket:
    return UDP(sport=4919, dport=4919) / Raw(bytes(octets))


@pytest.mark.parametrize(
    "make", [_atomic, _overlapping, _with_options, _tiny_first_fragment, _unknown_protocol]
)
@pytest.mark.parametrize("python", [False, True], ids=["native", "python"])
def test_odd_packets_inside_pass_as_they_are(
    lab: Lab,
    authority: Authority,
    make: Callable[[IPv6], list[ScapyPacket]],
    python: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if python:
        monkeypatch.setenv("OVPN6_WITHOUT", "native")
    with fitted(lab, authority, Row(1400)) as tunnel:
        for back in (False, True):
            there, here = HOST_B[0].ip, HOST_A[0].ip
            source, target = tunnel.crossing.a, tunnel.crossing.b
            if back:
                there, here, source, target = here, there, target, source
            nh = {"nh": 253} if make is _unknown_protocol else {}
            sent = [bytes(packet) for packet in make(IPv6(src=str(here), dst=str(there), **nh))]
            _send_from(source, sent)
            assert _arrive(target, sent), back
        _is_well(tunnel)


def _send_from(host: Host, packets: Sequence[bytes]) -> None:
    for packet in packets:
        host.tap.sendto(packet, (host.device, 0x86DD, 0, 0, host.gateway))


def _arrive(host: Host, packets: Sequence[bytes]) -> bool:
    """Whether they come, with no octet changed but the hop limit."""
    wanted = {packet[:7] + packet[8:] for packet in packets}

    def all_there() -> bool:
        wanted.difference_update(octets[:7] + octets[8:] for octets in host.seen())
        return not wanted

    wait_for(all_there, 5, f"{len(packets)} odd packets")
    return True


# --- outer fragments and the attackers' own tools ---


@pytest.mark.parametrize(
    "attack",
    [
        # SI6 networks' IPv6 toolkit.
        ("frag6", "-d", "{b}", "--flood-frags", "200", "-l", "-z", "1", "-v"),
        ("frag6", "-d", "{b}", "--frag-reass-policy"),
        ("frag6", "-d", "{b}", "--frag-id-policy"),
        ("tcp6", "-d", "{b}", "-a", "1194", "-X", "S", "-F", "50"),
        ("udp6", "-d", "{b}", "-a", "1194", "-o", "1234", "-F", "200", "-P", "300"),
        ("icmp6", "-d", "{b}", "--icmp6-packet-too-big", "-M", "1280", "-p", "UDP", "-a", "1194"),
        ("jumbo6", "-d", "{b}", "-q", "100000"),
        # The Hacker's Choice.
        ("atk6-fragmentation6", "{dev}", "{b}"),
        ("atk6-implementation6", "{dev}", "{b}"),
        ("atk6-denial6", "{dev}", "{b}", "1"),
        ("atk6-toobig6", "{dev}", "{a}", "{b}", "1280"),
        ("atk6-fuzz_ip6", "-1", "-2", "-3", "{dev}", "{b}"),
    ],
    ids=lambda attack: "-".join(attack[:1] + tuple(w for w in attack if w.startswith("--"))),
)
def test_the_tunnel_outlives_the_tools_of_attackers(
    lab: Lab, authority: Authority, attack: tuple[str, ...]
) -> None:
    with fitted(lab, authority, Row(1500)) as tunnel:
        tunnel.settle()
        pid, memory = tunnel.server.process.pid, tunnel.server.process.memory_kib()
        names = {"a": "2001:db8:c::2", "b": "2001:db8:5::2", "dev": "to-q"}
        words = [word.format(**names) for word in attack]
        if attack[0][:4] != "atk6":
            words += ["-i", "to-q"]
        attacker = tunnel.net.r.popen(["timeout", "6", *words], attack[0])
        attacker.wait(10)
        assert "nvalid option" not in attacker.log(), attacker.log()
        _is_well(tunnel)
        assert tunnel.server.process.pid == pid
        assert tunnel.server.process.memory_kib() - memory < MEMORY_KIB
        assert "path MTU" not in tunnel.server.log().split("path MTU 1500", 1)[1]


def test_outer_fragments_that_overlap_reach_nobody(lab: Lab, authority: Authority) -> None:
    with fitted(lab, authority, Row(1500)) as tunnel:
        head = IPv6(src="2001:db8:c::2", dst="2001:db8:5::2")
        udp = bytes(UDP(sport=_client_port(tunnel), dport=PORT, len=72) / Raw(b"\x48" + bytes(63)))
        for start in (1, 2, 3):
            first = head / IPv6ExtHdrFragment(id=start, m=1, offset=0, nh=17) / Raw(udp[:32])
            last = head / IPv6ExtHdrFragment(id=start, m=0, offset=start, nh=17) / Raw(udp[:48])
            _send(tunnel.net.r, first, last)
        _is_well(tunnel)


def _is_well(tunnel: Fitted) -> None:
    assert tunnel.server.process.running
    assert tunnel.client.process.running
    assert _full_packets_pass(tunnel)
    assert tunnel.client.log().count("Initialization Sequence Completed") == 1


def _send(namespace: Namespace, *packets: ScapyPacket) -> None:
    """From a namespace, by its own routes."""

    def out() -> None:
        families = {6: socket.AF_INET6, 4: socket.AF_INET}
        for packet in packets:
            version = packet.version
            where = (packet.dst, 0, 0, 0) if version == 6 else (packet.dst, 0)
            with socket.socket(families[version], socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                raw.sendto(bytes(packet), where)

    assert packets
    assert all(ip_address(packet.dst) for packet in packets)
    in_netns(namespace.full_name, out)
