"""A server with several workers: the kernel steers each peer's packets to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path as FilePath

import pytest
from datapath_ends import LIMIT
from interop.ends import INNER, Maker, server_text
from serving.ends import inner, join, listed, make_clients, serve, wait_without_clients

from ovpn6.datapath.fastpath import unavailable
from ovpn6.datapath.sockaddr import to_endpoint
from ovpn6.datapath.tun import in_netns
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.lab import Lab, Namespace, Tunnel, ping, star, transfer, wait_for
from ovpn6.model.addresses import Path
from ovpn6.model.names import KeySlot, LinkId, PeerId, Transport
from ovpn6.model.specs import DeviceSpec, LinkSpec, PeerSpec
from ovpn6.pki.authority import Authority
from ovpn6.protocol.data_channel import ReceiveKey, ReplayWindow, SendKey
from tests.datapath.inner_packets import UDP, Inner
from tests.datapath.native_worker import HERE
from tests.datapath.packets import key_pair

pytestmark = pytest.mark.root

WORKERS = 4
PEERS = tuple(PeerId(number) for number in range(8, 18))
ECHO_PORT = 80
CLIENTS = 4
ELSEWHERE = "another worker's"
ONE = "fast path: one worker instead of"


@pytest.fixture(autouse=True, scope="module")
def steering() -> None:
    """What several workers need."""
    if unavailable(()):
        pytest.skip(unavailable(()))
    from ovpn6.datapath.fastpath._fastpath import Worker

    worker = Worker(64, 15_000, lanes=2)
    try:
        worker.steer()
    except OSError as error:
        pytest.skip(f"this host takes no program to steer with: {error}")
    finally:
        worker.close()


# --- the data path and a real device ----------------------------------------------------------


class Far:
    """A peer at the far end of the outer network, in the reference's words."""

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.bind(("::1", 0))
        self.sock.setblocking(False)
        self.sender = SendKey(key_pair(1), peer)
        self.receiver = ReceiveKey(key_pair(1), ReplayWindow(0))
        self.payloads: list[bytes] = []
        networks = (f"2001:db8::{peer:x}/128", f"192.0.2.{peer}/32")
        self.networks = tuple(ip_network(network) for network in networks)

    def spec(self) -> PeerSpec:
        path = Path(LinkId(1), to_endpoint(self.sock.getsockname()))
        return PeerSpec(self.peer, self.peer, path, self.networks)

    def call(self, at: tuple[str, int], number: int) -> None:
        """A packet of each family to the echo behind the tunnel."""
        for version in (6, 4):
            packet = Inner(version, UDP, payload(version, number), host=self.peer).encode()
            self.sock.sendto(self.sender.seal(packet), at)

    def answers(self) -> list[bytes]:
        """The payloads of the echo's packets so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.receiver.open(self.sock.recv(1 << 16))
                self.payloads.append(packet[(40 if packet[0] >> 4 == 6 else 20) + 8 :])
        return self.payloads


def payload(version: int, number: int) -> bytes:
    return bytes([version]) + number.to_bytes(4, "big") * 100


class Echo:
    """Sends UDP datagrams back, behind the tunnel."""

    def __init__(self, namespace: Namespace) -> None:
        self.sock = in_netns(namespace.full_name, partial(socket.socket, *_DGRAM6))
        self.sock.settimeout(0.1)
        self.sock.bind(("::", ECHO_PORT))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                data, source = self.sock.recvfrom(1 << 16)
                self.sock.sendto(data, source)

    def close(self) -> None:
        self.over.set()
        self.thread.join()
        self.sock.close()


_DGRAM6 = (socket.AF_INET6, socket.SOCK_DGRAM)


class Server:
    """A data path with several workers, its device in a namespace, and peers of its own."""

    def __init__(self, lab: Lab, *, device: str = "tun", prepare: str = "") -> None:
        from ovpn6.datapath.fastpath.datapath import FastpathDatapath

        self.loop = asyncio.new_event_loop()
        self.namespace = lab.namespace("behind")
        if prepare:
            self.namespace.run(prepare.split())
        self.path = FastpathDatapath(
            lambda report: None, self.loop, UserspaceOptions(workers=WORKERS), lambda: LinkId(9)
        )
        spec = DeviceSpec(device, netns=self.namespace.full_name)
        self.device = self.path.open_device(spec, 1420)
        self.namespace.add_address(self.device, "2001:db8::2/64")
        self.namespace.add_address(self.device, "192.0.2.2/24")
        self.namespace.set_up(self.device, mtu=1420)
        wait_for(lambda: not self.namespace.tentative(self.device), LIMIT, "addresses in use")
        self.echo = Echo(self.namespace)
        spec6 = LinkSpec(Transport.UDP, local_address=HERE)
        at = self.loop.run_until_complete(self.path.open_link(LinkId(1), spec6))
        self.at = (str(at.address), at.port)
        self.fars = [Far(peer) for peer in PEERS]
        for far in self.fars:
            self.path.add_peer(far.spec())
            self.path.install_key(far.peer, KeySlot.PRIMARY, key_pair(0))

    def carry(self, numbers: range) -> None:
        """Calls of all peers, which are all answered."""
        for far in self.fars:
            far.payloads.clear()
        for number in numbers:
            for far in self.fars:
                far.call(self.at, number)
            wanted = 2 * (number - numbers.start + 1)
            self.until(lambda n=wanted: all(len(far.answers()) >= n for far in self.fars))
        expected = sorted(payload(version, number) for version in (6, 4) for number in numbers)
        for far in self.fars:
            assert sorted(far.payloads) == expected

    def until(self, condition: object) -> None:
        """Run the loop until the condition holds."""
        assert callable(condition)

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.002)

        try:
            self.loop.run_until_complete(asyncio.wait_for(wait(), LIMIT))
        except TimeoutError:
            pytest.fail(f"{self.path.drops().counts} {self.path.shares}")

    def wrongly_steered(self) -> dict[str, int]:
        counts = self.path.drops().counts
        return {reason: number for reason, number in counts.items() if ELSEWHERE in reason}

    def close(self) -> None:
        self.echo.close()
        self.path.close()
        for far in self.fars:
            far.sock.close()
        self.loop.close()


@pytest.fixture
def server(lab: Lab) -> Iterator[Server]:
    made = Server(lab)
    yield made
    made.close()


def test_each_peer_has_one_worker_both_ways(server: Server) -> None:
    server.carry(range(20))
    expected = [0] * WORKERS
    for peer in PEERS:
        expected[peer % WORKERS] += 40
    assert server.path.shares == [(number, number) for number in expected]
    assert server.wrongly_steered() == {}


def test_a_prefix_that_goes_to_another_peer_is_steered_there(server: Server) -> None:
    server.carry(range(2))
    first, second = server.fars[:2]
    assert first.peer % WORKERS != second.peer % WORKERS
    # The later claim wins, and the first has it again afterwards.
    first.networks, second.networks = (), (*second.networks, *first.networks)
    server.path.update_peer(second.spec())
    before = server.path.counters(second.peer).packets_out
    ask(server, f"2001:db8::{first.peer:x}")
    server.until(lambda: server.path.counters(second.peer).packets_out == before + 1)
    first.networks, second.networks = second.networks[2:], second.networks[:2]
    server.path.update_peer(second.spec())
    ask(server, f"2001:db8::{first.peer:x}")
    server.until(lambda: server.path.counters(first.peer).packets_out == 5)
    assert server.wrongly_steered() == {}


def test_packets_of_a_peer_that_is_gone_are_nobodys(server: Server) -> None:
    server.carry(range(2))
    gone = server.fars.pop()
    assert server.path.remove_peer(gone.peer).packets_in == 4
    ask(server, f"2001:db8::{gone.peer:x}")
    server.until(lambda: server.path.drops().counts.get("tunnel no peer") == 1)
    server.carry(range(2, 6))
    assert server.wrongly_steered() == {}
    gone.sock.close()


def ask(server: Server, address: str) -> None:
    """A datagram from behind the tunnel to an address in it."""
    sock = in_netns(server.namespace.full_name, partial(socket.socket, *_DGRAM6))
    sock.sendto(b"hello", (address, 9))
    sock.close()


@pytest.mark.parametrize("name", ["tun5", "tun"])
def test_a_device_of_one_queue_is_served_by_one_worker(
    lab: Lab, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """One that was made before us, by another program; and one of our own beside it."""
    server = Server(lab, device=name, prepare="ip tuntap add dev tun5 mode tun")
    try:
        server.carry(range(5))
        said = [one.message for one in caplog.records if one.levelno == logging.WARNING]
        if name == "tun5":
            assert len(said) == 1
            assert said[0].startswith(f"{ONE} 4: make device tun5: ")
            assert server.path.shares == [(100, 100), (0, 0), (0, 0), (0, 0)]
        else:
            assert said == []
        assert server.wrongly_steered() == {}
    finally:
        server.close()


def test_in_the_middle_of_traffic_all_peers_gather_when_a_device_comes_with_one_queue(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(lab)
    try:
        server.carry(range(5))
        server.path.close_device()
        server.namespace.run(["ip", "tuntap", "add", "dev", "tun5", "mode", "tun"])
        server.path.open_device(DeviceSpec("tun5", netns=server.namespace.full_name), 1420)
        server.namespace.add_address("tun5", "2001:db8::2/64")
        server.namespace.add_address("tun5", "192.0.2.2/24")
        server.namespace.set_up("tun5", mtu=1420)
        wait_for(lambda: not server.namespace.tentative("tun5"), LIMIT, "addresses in use")
        before = server.path.shares
        server.carry(range(5, 10))
        after = server.path.shares
        assert after[1:] == before[1:]
        assert after[0] == (before[0][0] + 100, before[0][1] + 100)
        assert [one.message for one in caplog.records if ONE in one.message]
    finally:
        server.close()


# --- the daemon -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    names = [f"client{number}" for number in range(1, CLIENTS + 1)]
    return make_clients(tmp_path_factory.mktemp("workers"), names)


def threads(process: int) -> set[str]:
    """The names of its threads."""
    tasks = FilePath(f"/proc/{process}/task").iterdir()
    return {(task / "comm").read_text().strip() for task in tasks}


def workers_of(server: Tunnel) -> set[str]:
    """The numbers that its workers' threads bear."""
    named = (name.split() for name in threads(server.process.pid))
    return {words[-1] for words in named if words[0] == "ovpn6" and len(words) == 3}


@pytest.mark.parametrize("lines", [(), ("user nobody", "group nogroup")], ids=["root", "nobody"])
def test_clients_of_both_makers_with_new_keys_on_the_way(
    lab: Lab, authority: Authority, lines: tuple[str, ...]
) -> None:
    """Also where prefixes are steered after the process has given its rights away."""
    net = star(lab, CLIENTS)
    server = serve(net, authority, Maker.OURS, "disable-dco", "workers 3", "reneg-sec 3", *lines)
    makers = [Maker.STOCK, Maker.OURS, Maker.STOCK, Maker.STOCK]
    clients = [
        join(net, authority, maker, name=f"client{number}", namespace=namespace)
        for number, (maker, namespace) in enumerate(zip(makers, net.clients, strict=True), 1)
    ]
    for client in clients:
        client.wait_up(limit=60)
    assert workers_of(server) == {"0", "1", "2"}
    ids = {listed(server, f"client{n}").columns["Peer ID"] for n in range(1, CLIENTS + 1)}
    assert len({int(each) % 3 for each in ids}) == 3
    for client in clients:
        for address in (str(each) for each in inner(client).values()):
            assert ping(net.server, address, count=3).complete
    for client in clients:
        for address in INNER:
            assert transfer(client.namespace, net.server, address)
    for number, client in enumerate(clients, start=1):
        server.process.wait_for_log(rf"CN=client{number}\n", 30, after=len(server.log()))
        assert ping(client.namespace, INNER[0], count=3).complete
    for client in clients:
        client.stop()
    wait_without_clients(server)
    assert ONE not in server.log()
    server.stop()


def test_without_the_right_to_load_programs_there_is_one_worker_and_a_line_says_so(
    lab: Lab, authority: Authority
) -> None:
    net = star(lab, 2)
    without = ["setpriv", "--bounding-set", "-bpf,-sys_admin", "--"]
    command = [*without, sys.executable, "-P", "-m", "ovpn6"]
    text = server_text(authority, "disable-dco", "workers 3")
    server = Tunnel(net.server, command, text, "server-ours")
    server.wait_up()
    assert f"{ONE} 3: the kernel takes no program to steer to them (EPERM)" in server.log()
    assert server.log().count(ONE) == 1
    assert workers_of(server) == set()
    clients = [
        join(net, authority, Maker.STOCK, name=f"client{number}", namespace=namespace)
        for number, namespace in enumerate(net.clients, start=1)
    ]
    for client in clients:
        client.wait_up()
        for address in INNER:
            assert ping(client.namespace, address, count=2).complete
    for client in clients:
        client.stop()
    server.stop()


def test_by_default_there_is_a_worker_for_two_processors_and_one_for_a_client(
    lab: Lab, authority: Authority
) -> None:
    net = star(lab, 1)
    server = serve(net, authority, Maker.OURS, "disable-dco")
    client = join(
        net, authority, Maker.OURS, "disable-dco", name="client1", namespace=net.clients[0]
    )
    client.wait_up()
    wanted = max(1, min(16, len(os.sched_getaffinity(0)) // 2))
    expected = {str(number) for number in range(wanted)} if wanted > 1 else set()
    assert workers_of(server) == expected
    assert workers_of(client) == set()
    assert ping(net.clients[0], INNER[0], count=2).complete
