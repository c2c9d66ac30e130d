"""Actions on the in-memory datapath and host."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_interface, ip_network
from itertools import count
from pathlib import Path as FilePath

import pytest

from ovpn6.daemon.executor import Executor, Shell
from ovpn6.daemon.inbox import Inbox
from ovpn6.daemon.logs import Logger, LogOptions
from ovpn6.daemon.operator_files import PoolFile, read_client_config
from ovpn6.daemon.scripts import ScriptRunner
from ovpn6.datapath.memory import MemoryDatapath, MemoryNetwork
from ovpn6.model import flow
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.names import Family, JobId, KeyId, KeySlot, Level, LinkId, PeerId, Transport
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import (
    DeviceSpec,
    HostPlan,
    KeyMaterial,
    LinkSpec,
    PeerSpec,
    ScriptCall,
)
from ovpn6.netconf.memory import MemoryHost
from tests.daemon.test_logs import Lines

HERE = IPv6Address("2001:db8::1")
REMOTE = Endpoint(IPv6Address("2001:db8::9"), 1194)
LINK = LinkId(1)
PEER = PeerId(7)
LISTEN = flow.OpenLink(LINK, LinkSpec(Transport.UDP, local_port=1194))
LIMIT = 20.0


@dataclass
class Rig:
    """An executor on fakes."""

    executor: Executor
    inbox: Inbox
    datapath: MemoryDatapath
    host: MemoryHost
    lines: list[str]
    announced: list[str]
    announce_fails: bool = False

    def do(self, *actions: flow.Action) -> flow.Finish | None:
        return self.executor.execute(actions)

    async def next(self) -> flow.Input:
        """The next input, within a limit."""
        deadline = time.monotonic() + LIMIT
        while (happened := self.inbox.take()) is None:
            assert time.monotonic() < deadline, "nothing happens"
            await asyncio.sleep(0.001)
        return happened


def make_rig(tmp: FilePath) -> Rig:
    inbox, target, announced = Inbox(), Lines(), list[str]()
    logger = Logger(target, LogOptions(verb=3, timestamps=False))
    links = count(1000)
    executors: list[Executor] = []
    rigs: list[Rig] = []
    datapath = MemoryDatapath(
        lambda happened: executors[0].report(happened),
        MemoryNetwork(),
        HERE,
        lambda: LinkId(next(links)),
    )
    host = MemoryHost()
    device = datapath.open_device(DeviceSpec("tun0"), 1420)
    host.world.own.add_device(device)
    scripts = ScriptRunner(inbox.put, logger.log, security=2, tmp_dir=tmp)
    ccd = tmp / "ccd"
    ccd.mkdir()

    def announce() -> None:
        if rigs[0].announce_fails:
            raise HostError("user/group", "Operation not permitted", errno.EPERM)
        announced.append("up")

    executors.append(
        Executor(
            Shell(
                datapath=datapath,
                host=host,
                scripts=scripts,
                logger=logger,
                inbox=inbox,
                announce=announce,
                client_config_dir=lambda order: read_client_config(ccd, order),
                pool_file=PoolFile(tmp / "pool"),
            )
        )
    )
    rigs.append(Rig(executors[0], inbox, datapath, host, target.lines, announced))
    return rigs[0]


def play(tmp: FilePath, body: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a test inside an event loop, and close what it left open."""

    async def whole() -> None:
        rig = make_rig(tmp)
        try:
            await body(rig)
        finally:
            await rig.executor.close()
            rig.datapath.close()

    asyncio.run(whole())


def peer_spec() -> PeerSpec:
    return PeerSpec(PEER, PEER, Path(LINK, REMOTE), (ip_network("2001:db8:1::2/128"),))


def key(key_id: int) -> KeyMaterial:
    return KeyMaterial(
        KeyId(key_id),
        "AES-256-GCM",
        SecretBytes(bytes(32)),
        SecretBytes(bytes(8)),
        SecretBytes(bytes(32)),
        SecretBytes(bytes(8)),
    )


def test_an_opened_link_is_reported(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(LISTEN)
        opened = await rig.next()
        assert isinstance(opened, flow.LinkOpened)
        assert (opened.link, opened.local.port) == (LINK, 1194)

    play(tmp_path, body)


def test_a_link_closed_before_it_opened_never_opens(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(LISTEN, flow.CloseLink(LINK))
        for _ in range(5):
            await asyncio.sleep(0)
        assert rig.inbox.take() is None
        rig.do(LISTEN)
        assert isinstance(await rig.next(), flow.LinkOpened)

    play(tmp_path, body)


def test_peers_and_keys_reach_the_datapath_in_order(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(LISTEN)
        await rig.next()
        rig.do(
            flow.AddPeer(peer_spec()),
            flow.InstallKey(PEER, KeySlot.PRIMARY, key(0)),
            flow.InstallKey(PEER, KeySlot.SECONDARY, key(1)),
            flow.SwapKeys(PEER),
            flow.DropKey(PEER, KeySlot.SECONDARY),
        )
        assert rig.datapath.keys(PEER) == {KeySlot.PRIMARY: KeyId(1)}
        assert set(rig.executor.counters()) == {PEER}
        rig.do(flow.RemovePeer(PEER))
        assert rig.executor.counters() == {}

    play(tmp_path, body)


def test_what_the_host_refuses_comes_back_and_the_rest_goes_on(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        plan = flow.ApplyHost(HostPlan(1000, (ip_interface("2001:db8:1::1/64"),)))
        rig.host.open("tun0", "", "")
        rig.do(plan, flow.Log(Level.INFO, "after"))
        failed = await rig.next()
        assert isinstance(failed, flow.ActionFailed)
        assert failed.action == plan
        assert rig.lines[-1] == "after"

    play(tmp_path, body)


def test_nothing_is_done_after_finish(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        end = flow.Finish(flow.Outcome.EXIT, "SIGTERM")
        assert rig.do(flow.Announce(), end, flow.Log(Level.INFO, "never")) == end
        assert rig.announced == ["up"]
        assert rig.lines == []

    play(tmp_path, body)


def test_a_look_up_is_answered_ipv6_first(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(flow.Resolve(JobId(3), "::1", 1194, Family.ANY))
        answer = await rig.next()
        assert answer == flow.HostResolved(JobId(3), (Endpoint(IPv6Address("::1"), 1194),))
        rig.do(flow.Resolve(JobId(4), "127.0.0.1", 1194, Family.IPV6))
        failed = await rig.next()
        assert isinstance(failed, flow.HostResolved)
        assert failed.endpoints == ()
        assert failed.error

    play(tmp_path, body)


def test_a_cancelled_look_up_is_not_answered(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(flow.Resolve(JobId(3), "::1", 1194, Family.ANY), flow.CancelJob(JobId(3)))
        rig.do(flow.Resolve(JobId(4), "::1", 1194, Family.ANY))
        answer = await rig.next()
        assert isinstance(answer, flow.HostResolved)
        assert answer.job == JobId(4)

    play(tmp_path, body)


def test_a_script_learns_the_traffic_of_a_peer_that_has_just_gone(tmp_path: FilePath) -> None:
    out = tmp_path / "out"
    call = ScriptCall(
        "client-disconnect",
        ("/bin/sh", "-c", f'echo "$bytes_received $bytes_sent" > {out}'),
        peer=PEER,
    )

    async def body(rig: Rig) -> None:
        rig.do(LISTEN)
        await rig.next()
        rig.do(flow.AddPeer(peer_spec()), flow.RemovePeer(PEER))
        rig.do(flow.RunScript(JobId(1), call))
        finished = await rig.next()
        assert isinstance(finished, flow.ScriptFinished)
        assert finished.result.ok

    play(tmp_path, body)
    assert out.read_text() == "0 0\n"


def test_client_configs_and_the_pool_file(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        (tmp_path / "ccd" / "alice").write_text("disable\n")
        rig.do(flow.ReadClientConfig(JobId(1), "alice"), flow.SavePool("alice,,2001:db8:1::2\n"))
        answer = await rig.next()
        assert isinstance(answer, flow.ClientConfigRead)
        assert answer.text == "disable\n"
        assert (tmp_path / "pool").read_text() == "alice,,2001:db8:1::2\n"

    play(tmp_path, body)


def test_closing_leaves_no_peer_and_no_link(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.do(LISTEN)
        await rig.next()
        rig.do(flow.AddPeer(peer_spec()))
        await rig.executor.close()
        rig.do(LISTEN, flow.AddPeer(peer_spec()))
        assert isinstance(await rig.next(), flow.LinkOpened)

    play(tmp_path, body)


def test_root_that_cannot_be_given_up_ends_the_process(tmp_path: FilePath) -> None:
    async def body(rig: Rig) -> None:
        rig.announce_fails = True
        with pytest.raises(HostError, match="user/group"):
            rig.do(flow.Announce())

    play(tmp_path, body)
