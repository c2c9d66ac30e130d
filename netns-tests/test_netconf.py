"""Host state on the running kernel: the contract, a real crash, and what only a kernel can show.

Each test makes namespaces of its own and enters one with its thread; the host state's threads
begin there too, as a daemon's would.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import json
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path

import pytest

from ovpn6.model.addresses import IPInterface, IPNetwork
from ovpn6.model.errors import ConfigError, HostError, UsageError
from ovpn6.model.names import PeerId
from ovpn6.model.specs import HostPlan, PeerFit, RouteVia
from ovpn6.netconf.forwarding import needed_settings, restore_settings, write_settings
from ovpn6.netconf.netlink import NetlinkHost
from ovpn6.netconf.netlink_namespace import NetlinkNamespace
from ovpn6.netconf.persistent_tun import make_persistent_tun, remove_persistent_tun
from ovpn6.netconf.plan import Hop, KernelRoute
from ovpn6.netconf.recovery import recover
from tests.netconf.contract import (
    FULL,
    PINS,
    REDIRECT,
    HostStateContract,
    index,
    kernel_route,
    on_link,
    plan,
    route,
)
from tests.netconf.fit_contract import FitContract, everything, outer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

ROOT = Path(__file__).parents[1]
CLONE_NEWNET = 0x40000000
NUMBERS = count()
KNOBS = ("forwarding", "force_forwarding", "accept_ra")

VICTIM = """
import pickle, sys
from pathlib import Path
from ovpn6.netconf.netlink import NetlinkHost
host = NetlinkHost(Path(sys.argv[1]))
host.open(sys.argv[2], "", "victim")
plan, *fits = pickle.loads(bytes.fromhex(sys.argv[3]))
host.apply(plan)
for fit in fits:
    host.fit(fit)
print("ready", flush=True)
sys.stdin.read()
"""


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def enter(file: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(file, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class NetlinkBench:
    """See ``tests.netconf.contract.Bench``."""

    def __init__(self, state_dir: Path) -> None:
        stem = f"ovpn6-test-{os.getpid()}-{next(NUMBERS)}"
        self.netns, self.other_netns = f"{stem}-a", f"{stem}-b"
        self.state_dir = state_dir
        self.notices: list[str] = []
        self._hosts: list[NetlinkHost] = []
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        for name in (self.netns, self.other_netns):
            ip("netns", "add", name)
        self._enter(self.other_netns)
        self.add_device("tun7")
        self.other_space = NetlinkNamespace()
        self._enter(self.netns)
        self.space = NetlinkNamespace()
        self._build()

    def _enter(self, name: str) -> None:
        file = os.open(f"/run/netns/{name}", os.O_RDONLY)
        enter(file)
        os.close(file)

    def _build(self) -> None:
        self.add_device("tun0")
        ip("link", "set", "lo", "up")
        ip("link", "add", "u0", "type", "veth", "peer", "name", "u1")
        for name in ("u0", "u1"):
            ip("link", "set", name, "addrgenmode", "none", "up")
        ip("addr", "add", "2001:db8:1::2/64", "dev", "u0", "nodad")
        ip("addr", "add", "192.0.2.2/24", "dev", "u0")
        self.add_default_route("fe80::1")
        self.add_default_route("192.0.2.1")

    def close(self) -> None:
        try:
            for host in self._hosts:
                host.close()
            self.space.close()
            self.other_space.close()
        finally:
            enter(self._home)
            os.close(self._home)
            for name in (self.netns, self.other_netns):
                ip("netns", "del", name)

    def host(self) -> NetlinkHost:
        self._hosts.append(NetlinkHost(self.state_dir, self.notices.append))
        return self._hosts[-1]

    def snapshot(self) -> dict[str, object]:
        files = sorted(p.name for p in self.state_dir.iterdir()) if self.state_dir.exists() else []
        inside = [self._seen(name) for name in (self.netns, self.other_netns)]
        return {"namespaces": inside, "journals": files}

    def _seen(self, name: str) -> object:
        shown = [
            json.loads(ip("-n", name, "-j", *words.split()) or "[]")
            for words in (
                "addr",
                "-4 route show table all",
                "-6 route show table all",
                "-4 rule",
                "-6 rule",
            )
        ]
        space = self.space if name == self.netns else self.other_space
        settings = {
            name: space.read_setting(name)
            for family in ("ipv4", "ipv6")
            for interface in space.setting_names(f"net/{family}/conf")
            for name in (f"net/{family}/conf/{interface}/{knob}" for knob in KNOBS)
        }
        order = json.dumps
        tables = ip("netns", "exec", name, "nft", "list", "tables")
        return [sorted(part, key=order) for part in shown], settings, tables

    def foreign_route(self, route: KernelRoute) -> None:
        assert route.hop is not None
        device = self.space.link_name(route.hop.device)
        ip("route", "add", str(route.destination), "dev", device)

    def foreign_address(self, device: str, address: IPInterface) -> None:
        ip("addr", "add", str(address), "dev", device)

    def remove_default_routes(self) -> None:
        ip("-6", "route", "del", "default", "dev", "u0")
        ip("-4", "route", "del", "default", "dev", "u0")

    def add_default_route(self, gateway: str) -> None:
        six = ":" in gateway
        protocol = ["proto", "ra"] if six else ["metric", "100"]
        ip("-6" if six else "-4", "route", "add", "default", "via", gateway, "dev", "u0", *protocol)

    def add_device(self, name: str) -> None:
        make_persistent_tun(name)
        for state in ("up", "down"):  # the first time up gives a queue discipline for good
            ip("link", "set", name, state)

    def remove_device(self, name: str) -> None:
        remove_persistent_tun(name)

    def send_fragments(self, address: str, number: int) -> None:
        # Each carries 1232 octets or less of an IPv6 packet, 1256 of an IPv4 packet.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            mapped = address if ":" in address else f"::ffff:{address}"
            for entry, device in (("fe80::1", "u0"), ("192.0.2.1", "u0")):
                ip("neigh", "replace", entry, "lladdr", "02:00:00:00:00:09", "dev", device)
            sender.sendto(bytes(1200 * number), (mapped, 9))

    def guarded(self, device: str) -> frozenset[int]:
        table = f"ovpn6-{device}-guard"
        if table not in nft("list", "tables"):
            return frozenset()
        listed = nft("-n", "list", "set", "inet", table, "ports").partition("elements = {")[2]
        return frozenset(int(port) for port in re.findall(r"\d+", listed))

    def segments(self, device: str) -> dict[IPNetwork, int]:
        if f"ovpn6-{device}" not in nft("list", "tables"):
            return {}
        return segments_of(nft("list", "table", "inet", f"ovpn6-{device}"))

    def apply_and_die(self, wanted: HostPlan, *fits: PeerFit, device: str = "tun0") -> None:
        order = [str(self.state_dir), device, pickle.dumps((wanted, *fits)).hex()]
        child = subprocess.Popen(
            [sys.executable, "-c", VICTIM, *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGKILL)
            child.wait()

    def recover(self) -> None:
        assert recover(self.state_dir)


def nft(*arguments: str) -> str:
    done = subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def segments_of(listed: str) -> dict[IPNetwork, int]:
    """The maps of a table that nft lists, and the last rules of its chains."""
    found: dict[IPNetwork, int] = {}
    for length, elements in re.findall(r"map ipv[46]_(\d+) {[^}]*elements = {([^}]*)}", listed):
        for address, size in re.findall(r"(\S+) : (\d+)", elements):
            found[ip_network(address if "/" in address else f"{address}/{length}")] = int(size)
    for version, whole in ((6, "::/0"), (4, "0.0.0.0/0")):
        chain = listed.partition(f"chain from{version} {{")[2].partition("}")[0]
        for size in re.findall(r"^\s*tcp option maxseg size set (\d+)$", chain, re.M):
            found[ip_network(whole)] = int(size)
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[NetlinkBench]:
    bench = NetlinkBench(tmp_path / "state")
    yield bench
    bench.close()


class TestNetlinkHost(HostStateContract, FitContract):
    """The contract."""


def test_it_works_from_inside_a_running_event_loop(bench: NetlinkBench) -> None:
    before = bench.snapshot()

    async def daemon() -> None:
        def life() -> None:
            host = bench.host()
            host.open("tun0", "", "")
            host.apply(FULL)
            assert bench.space.link("tun0") is not None
            host.refresh_underlay()
            assert host.default_gateways().ipv6 is not None
            host.close()
            done.set_result(None)

        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(life)
        await asyncio.wait_for(done, 20)

    asyncio.run(daemon())
    assert bench.snapshot() == before


def test_a_killed_daemon_with_a_device_of_its_own_leaves_nothing(bench: NetlinkBench) -> None:
    before = bench.snapshot()
    bench.add_device("tun1")
    bench.apply_and_die(FULL, device="tun1")
    bench.remove_device("tun1")  # as the kernel does with one that is not persistent
    assert bench.snapshot() != before
    lines = recover(bench.state_dir)
    assert len(lines) == 1
    assert bench.snapshot() == before


def test_another_namespace_does_not_undo_ours(bench: NetlinkBench) -> None:
    bench.apply_and_die(FULL)
    left = bench.snapshot()["namespaces"]
    code = (
        "import sys; from pathlib import Path; from ovpn6.netconf.recovery import recover;"
        "print(recover(Path(sys.argv[1])))"
    )
    inside = ["ip", "netns", "exec", bench.other_netns]
    elsewhere = [*inside, sys.executable, "-c", code, str(bench.state_dir)]
    done = subprocess.run(elsewhere, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    # The journal is set aside by another name, for a start in here.
    assert bench.snapshot()["namespaces"] == left
    assert len(recover(bench.state_dir)) == 1


def test_routes_read_back_are_the_routes_that_were_written(bench: NetlinkBench) -> None:
    space, underlay = bench.space, index(bench.space, "u0")
    onlink4, onlink6 = ip_address("198.51.100.1"), ip_address("2001:db8:55::1")
    source4, source6 = ip_address("192.0.2.2"), ip_address("2001:db8:1::2")
    written = {
        kernel_route(space, "fd01::/48", 77, Hop(underlay, ip_address("fe80::1"), mtu=1300)),
        kernel_route(space, "fd02::/48", 1024, Hop(underlay, onlink6, onlink=True)),
        kernel_route(space, "fd03::/48", 1024, Hop(underlay, source=source6), table=70000),
        kernel_route(space, "fd04::/48", 1024, None),
        kernel_route(space, "::/0", 5, None),
        kernel_route(space, "10.1.0.0/16", 0, Hop(underlay)),
        kernel_route(space, "10.2.0.0/16", 9, Hop(underlay, onlink4, onlink=True, mtu=1400)),
        kernel_route(space, "10.3.0.0/16", 0, Hop(underlay, ip_address("fe80::1"))),
        kernel_route(space, "10.4.0.0/16", 0, Hop(underlay, source=source4), table=300),
        kernel_route(space, "10.5.0.0/16", 3, None),
        kernel_route(space, "0.0.0.0/0", 0, Hop(underlay, ip_address("192.0.2.1"))),
    }
    for one in written:
        space.add_route(one)
    assert space.own_routes() == written
    for one in written:
        with pytest.raises(HostError) as caught:
            space.add_route(one)
        assert caught.value.errno == errno.EEXIST
        space.remove_route(one)
        space.remove_route(one)
    assert space.own_routes() == set()


def test_only_the_very_route_is_removed(bench: NetlinkBench) -> None:
    space = bench.space
    ip("route", "add", "10.5.0.0/16", "via", "192.0.2.9", "proto", "static")
    ip("-6", "route", "add", "fd05::/48", "via", "fe80::9", "dev", "u0", "proto", "static")
    before = bench.snapshot()
    underlay = index(space, "u0")
    space.remove_route(
        kernel_route(space, "10.5.0.0/16", 0, Hop(underlay, ip_address("192.0.2.9")))
    )
    space.remove_route(kernel_route(space, "fd05::/48", 1024, Hop(underlay, ip_address("fe80::9"))))
    assert bench.snapshot() == before


def test_the_pin_takes_onlink_and_source_from_the_route_it_follows(bench: NetlinkBench) -> None:
    bench.remove_default_routes()
    ip("addr", "add", "192.0.2.77/32", "dev", "u0")
    default = "route add default via 198.51.100.1 dev u0 onlink src 192.0.2.77 mtu 1400"
    ip(*default.split())
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(plan(PINS[1], route("0.0.0.0/1"), route("128.0.0.0/1")))
    hop = Hop(
        index(bench.space, "u0"), ip_address("198.51.100.1"), True, ip_address("192.0.2.77"), 1400
    )
    pin = kernel_route(bench.space, str(PINS[1].destination), 0, hop)
    assert pin in bench.space.own_routes()
    host.refresh_underlay()
    assert pin in bench.space.own_routes()


def test_of_several_hops_one_is_pinned(bench: NetlinkBench) -> None:
    bench.remove_default_routes()
    for family, one, two in (("-6", "fe80::1", "fe80::2"), ("-4", "192.0.2.1", "192.0.2.3")):
        hops = f"nexthop via {one} dev u0 nexthop via {two} dev u0"
        ip(family, "route", "add", "default", *hops.split())
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(plan(*PINS, *REDIRECT))
    host.refresh_underlay()
    found = {r.destination: r.hop for r in bench.space.own_routes() if r.hop}
    for pin, gateways in (
        (PINS[0], {ip_address("fe80::1"), ip_address("fe80::2")}),
        (PINS[1], {ip_address("192.0.2.1"), ip_address("192.0.2.3")}),
    ):
        hop = found[pin.destination]
        assert hop.gateway in gateways


def test_policy_routing_is_followed(bench: NetlinkBench) -> None:
    ip("-6", "rule", "add", "to", "2001:db8:9::/48", "lookup", "500")
    ip("-6", "route", "add", "default", "via", "fe80::5", "dev", "u0", "table", "500")
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(plan(PINS[0], *REDIRECT))
    host.refresh_underlay()
    gateways = {r.hop.gateway for r in bench.space.own_routes() if r.hop}
    assert ip_address("fe80::5") in gateways
    assert ip_address("fe80::1") not in gateways


def test_an_unreachable_destination_is_answered_by_the_kernel(bench: NetlinkBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(plan(*REDIRECT, route("fd78::/48", RouteVia.UNREACHABLE)))
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe,
        pytest.raises(OSError, match="No route to host"),
    ):
        probe.sendto(b"x", ("fd78::1", 9))


def test_a_tunnel_address_is_usable_at_once_and_has_no_route_of_the_kernels(
    bench: NetlinkBench,
) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    host.apply(plan())
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("fd00:6::2", 0))
    kernels = json.loads(ip("-j", "-6", "route", "show", "dev", "tun0", "proto", "kernel"))
    assert [r["dst"] for r in kernels if not r["dst"].startswith("fe80")] == []
    assert on_link(bench.space) == bench.space.own_routes()


def test_the_kernels_words_come_with_the_error(bench: NetlinkBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    with pytest.raises(HostError, match="Nexthop has invalid gateway") as caught:
        host.apply(plan(route("10.9.0.0/16", gateway="10.200.0.1")))
    assert caught.value.errno == errno.ENETUNREACH
    assert "10.9.0.0/16" in caught.value.operation


# --- forwarding -----------------------------------------------------------------------------------


def advertise() -> None:
    """One router advertisement from u1: RFC 4861 section 4.2, lifetime 1800 s."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        interface = socket.if_nametoindex("u1")
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface)
        raw.bind(("fe80::aa", 0, 0, interface))
        raw.sendto(
            struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, interface)
        )


def default_routers() -> list[str]:
    shown = json.loads(ip("-j", "-6", "route", "show", "default", "proto", "ra"))
    return [r["gateway"] for r in shown]


@pytest.fixture
def advertised(bench: NetlinkBench) -> NetlinkBench:
    """u0 has a default route that the kernel learned from an advertisement."""
    bench.remove_default_routes()
    for name, address in (("u0", "fe80::bb/64"), ("u1", "fe80::aa/64")):
        ip("addr", "add", address, "dev", name, "nodad")
    until = time.monotonic() + 20
    while default_routers() != ["fe80::aa"]:
        assert time.monotonic() < until, "no advertisement came through"
        advertise()
    return bench


def test_the_advertised_default_route_survives_forwarding(advertised: NetlinkBench) -> None:
    host = advertised.host()
    host.open("tun0", "", "")
    host.apply(plan(PINS[0], *REDIRECT, forwarding=True))
    assert default_routers() == ["fe80::aa"]
    host.close()
    assert default_routers() == ["fe80::aa"]


def test_the_advertised_default_route_survives_on_older_kernels(advertised: NetlinkBench) -> None:
    space = advertised.space
    space.write_setting("net/ipv6/conf/u1/forwarding", "1")
    ip("-6", "route", "flush", "proto", "ra")
    advertise()
    names = [
        f"net/ipv6/conf/{i}/{k}" for i in ("all", "default", "u0", "u1", "tun0") for k in KNOBS
    ]
    before = {name: space.read_setting(name) for name in names}
    settings = needed_settings(space, 6, {}, interface_knob="")
    write_settings(space, settings)
    assert space.read_setting("net/ipv6/conf/all/forwarding") == "1"
    until = time.monotonic() + 20
    while default_routers() != ["fe80::aa"]:
        assert time.monotonic() < until, "the default route is gone"
        advertise()
    restore_settings(space, settings, ())
    assert {name: space.read_setting(name) for name in names} == before
    assert default_routers() == ["fe80::aa"]


def test_packets_are_forwarded_between_tunnel_and_underlay(bench: NetlinkBench) -> None:
    """An echo request from the tunnel's far end to the underlay leaves by u0."""
    host = bench.host()
    host.open("tun0", "", "")
    tun = open_tun("tun0")
    try:
        host.apply(plan(forwarding=True))
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD)) as wire:
            wire.bind(("u1", 0x86DD))
            wire.settimeout(10)
            ip("neigh", "add", "2001:db8:1::9", "lladdr", "02:00:00:00:00:09", "dev", "u0")
            os.write(tun, ipv6_packet("fd00:6::9", "2001:db8:1::9"))
            packet = b""
            while packet[8:24] != socket.inet_pton(socket.AF_INET6, "fd00:6::9"):
                packet = wire.recv(2048)
            assert packet[7] == 63  # one hop taken off
    finally:
        os.close(tun)


def open_tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
    return device


def ipv6_packet(source: str, destination: str) -> bytes:
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, a) for a in (source, destination))
    return struct.pack("!IHBB", 6 << 28, 8, 59, 64) + addresses + bytes(8)


# --- privileges -----------------------------------------------------------------------------------

NOBODY = """
import os, sys, ctypes, pickle
from pathlib import Path
from ovpn6.config.schema import ProcessConfig
from ovpn6.daemon import privileges
from ovpn6.netconf.netlink import NetlinkHost
host = NetlinkHost(Path(sys.argv[1]), owner=65534)
first, second, *fits = pickle.loads(bytes.fromhex(sys.argv[2]))
host.open("tun0", "", "")
host.apply(first)
privileges.enter_root(ProcessConfig(chroot=Path(sys.argv[3])))
privileges.become(privileges.Identity(65534, 65534))
host.apply(second)
host.guard(frozenset({1194}))
for fit in fits:
    host.fit(fit)
    host.outer_fragments(fit.peer)
host.mend()
host.close()
print("closed")
"""


def test_host_state_still_changes_after_chroot_and_a_change_of_user(bench: NetlinkBench) -> None:
    before = bench.snapshot()
    for directory in bench.state_dir.parents[:3]:
        directory.chmod(directory.stat().st_mode | 0o011)
    jail = bench.state_dir.parent / "jail"
    jail.mkdir()
    plans = FULL, plan(*PINS, route("fd33::/48"), forwarding=False)
    fits = everything(1280, 1208), outer("2001:db8:9::9", 1280, peer=PeerId(2))
    order = pickle.dumps((*plans, *fits)).hex()
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(bench.state_dir), order, str(jail)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("closed\n", "")
    inside = bench.state_dir / "user-65534"
    assert list(inside.iterdir()) == []
    inside.rmdir()
    bench.state_dir.rmdir()
    assert bench.snapshot() == before


UNPRIVILEGED = """
import os, subprocess, sys, pickle
from pathlib import Path
from ovpn6.netconf.netlink import NetlinkHost
for words in ("link set lo up", "link add tun0 type veth peer t1", "link add u0 type veth peer u1",
              "link set u0 up", "link set u1 up", "addr add 192.0.2.2/24 dev u0",
              "route add default via 192.0.2.1"):
    subprocess.run(["ip", *words.split()], check=True)
plan, *fits = pickle.loads(bytes.fromhex(sys.argv[2]))
host = NetlinkHost(Path(sys.argv[1]), notice=lambda text: print("notice:", text))
host.open("tun0", "", "")
host.apply(plan)
host.guard(frozenset({1194}))
for fit in fits:
    host.fit(fit)
subprocess.run(["nft", "list", "tables"], check=True)
host.close()
"""


def test_a_users_own_namespace_is_as_good_as_roots(tmp_path: Path) -> None:
    """An unprivileged user is root in a user namespace of his own, and in its networks."""
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o011)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    fits = everything(1280, 1208), outer("203.0.113.9", 1280, peer=PeerId(2))
    order = pickle.dumps((plan(), *fits)).hex()
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    inside = ["unshare", "--user", "--map-root-user", "--net"]
    done = subprocess.run(
        [*user, *inside, sys.executable, "-c", UNPRIVILEGED, str(state), order],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces for users here: {done.stderr.strip()}")
    assert sorted(done.stdout.splitlines()) == [
        "table inet ovpn6-tun0",
        "table inet ovpn6-tun0-guard",
        "table netdev ovpn6-tun0-fragments",
    ], done.stderr


def test_a_fork_does_not_carry_host_state_over(bench: NetlinkBench) -> None:
    host = bench.host()
    host.open("tun0", "", "")
    child = os.fork()
    if child == 0:
        try:
            host.apply(plan())
        except UsageError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# --- persistent devices ---------------------------------------------------------------------------


def test_a_persistent_device_is_made_and_removed(bench: NetlinkBench) -> None:
    assert make_persistent_tun("tun", owner="nobody", group="0") == "tun1"
    (shown,) = json.loads(ip("-j", "-d", "link", "show", "tun1"))
    data = shown["linkinfo"]["info_data"]
    assert (data["type"], data["persist"]) == ("tun", True)
    assert bench.space.link("tun1") is not None
    assert make_persistent_tun("tun1") == "tun1"
    remove_persistent_tun("tun1")
    assert bench.space.link("tun1") is None


def test_removing_what_is_not_there_or_no_tun_device_is_an_error(bench: NetlinkBench) -> None:
    for name, code in (("tun9", errno.ENODEV), ("u0", errno.EINVAL)):
        with pytest.raises(HostError) as caught:
            remove_persistent_tun(name)
        assert caught.value.errno == code
    assert bench.space.link("tun9") is None


def test_an_unknown_owner_is_the_operators_error(bench: NetlinkBench) -> None:
    with pytest.raises(ConfigError, match="no-such-user"):
        make_persistent_tun("tun", owner="no-such-user")
    with pytest.raises(HostError):
        make_persistent_tun("a-name-that-is-too-long")
