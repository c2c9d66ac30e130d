"""The end of a client: signals, goodbyes, limits."""

from __future__ import annotations

import pytest

from ovpn6.config.schema import ClientConfig, HostConfig, Remote, ScriptsConfig
from ovpn6.model import flow
from ovpn6.model.flow import Finish, Outcome
from ovpn6.model.names import PeerId, Signal, Transport
from tests.roles.client_world import HOME, PUSH, Server, World, config

PEER = PeerId(5)
NOTIFY = ClientConfig(explicit_exit_notify=2)


def connected(push: str = PUSH, **parts: object) -> World:
    world = World(config(**parts), Server(HOME, push=(push,))).connect()  # type: ignore[arg-type]
    world.pass_time(1)
    world.forget()
    return world


def test_sigterm_without_notification_ends_at_once() -> None:
    world = connected()
    world.tell(flow.SignalReceived(Signal.TERM))
    assert world.state == "EXITING"
    assert world.of(Finish) == [Finish(Outcome.EXIT, "sigterm")]
    assert world.kinds(flow.RemovePeer, flow.CloseLink, Finish) == [
        "RemovePeer",
        "CloseLink",
        "Finish",
    ]


@pytest.mark.parametrize("signal", [Signal.TERM, Signal.INT])
def test_goodbye_in_the_control_channel_arrives_and_is_waited_for(signal: Signal) -> None:
    world = connected(client=NOTIFY)
    began = world.now
    world.tell(flow.SignalReceived(signal))
    assert not world.of(flow.CloseLink)
    world.run(lambda: bool(world.of(Finish)))
    assert world.server.messages[-1] == "EXIT"
    assert world.server.messages.count("EXIT") == 1
    assert not world.of(flow.SendExit)
    assert world.now - began == pytest.approx(2)


def test_a_lost_goodbye_is_said_again() -> None:
    world = connected(client=ClientConfig(explicit_exit_notify=3))
    lost: list[bytes] = []

    def lose_first(to: str, datagram: bytes) -> bool:
        first = to == "server" and not lost
        if first:
            lost.append(datagram)
        return first

    world.lose = lose_first
    world.tell(flow.SignalReceived(Signal.TERM))
    world.run(lambda: bool(world.of(Finish)))
    assert lost
    assert world.server.messages[-1] == "EXIT"


def test_goodbye_in_the_data_channel_is_said_once_a_second() -> None:
    world = connected(PUSH.replace("cc-exit ", ""), client=NOTIFY)
    world.tell(flow.SignalReceived(Signal.TERM))
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(flow.SendExit) == [flow.SendExit(PEER)] * 2
    assert "EXIT" not in world.server.messages


def test_a_server_can_ask_for_the_goodbye() -> None:
    world = connected(f"{PUSH},explicit-exit-notify 1")
    world.tell(flow.SignalReceived(Signal.TERM))
    world.run(lambda: bool(world.of(Finish)))
    assert world.server.messages[-1] == "EXIT"


def test_over_tcp_nobody_is_notified() -> None:
    remote = Remote("home.example", transport=Transport.TCP)
    server = Server(HOME, transport=Transport.TCP)
    world = World(config(remote, client=NOTIFY), server).connect()
    world.tell(flow.SignalReceived(Signal.TERM))
    assert world.of(Finish)


def test_a_second_signal_does_not_wait_for_the_goodbye() -> None:
    world = connected(client=ClientConfig(explicit_exit_notify=30))
    world.tell(flow.SignalReceived(Signal.TERM))
    assert not world.of(Finish)
    world.tell(flow.SignalReceived(Signal.TERM))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "sigterm")]


def test_restarts_are_ignored_once_the_end_has_begun() -> None:
    world = connected(client=NOTIFY, scripts=ScriptsConfig(down=("down",)))
    world.scripts["down"] = None
    world.tell(flow.SignalReceived(Signal.TERM))
    world.tell(flow.SignalReceived(Signal.HUP))
    world.tell(flow.PeerExpired(PEER))
    world.run(lambda: "down" in world.kinds(flow.RunScript))
    world.finish_script("down")
    assert world.of(Finish) == [Finish(Outcome.EXIT, "sigterm")]


@pytest.mark.parametrize("moment", ["RESOLVE", "CONNECTING", "WAIT", "AUTH", "GET_CONFIG"])
def test_sigterm_before_the_tunnel_is_up_ends_at_once(moment: str) -> None:
    world = World(config(client=NOTIFY), Server(HOME, push=()))
    world.stalled = {HOME} if moment == "CONNECTING" else set()
    world.start()
    world.run(lambda: world.state == moment)
    world.tell(flow.SignalReceived(Signal.TERM))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "sigterm")]
    world.pass_time(100)
    assert len(world.of(Finish)) == 1


def test_sigterm_during_a_pause_ends_at_once() -> None:
    world = World()
    world.unreachable = {HOME}
    world.start()
    world.run(lambda: world.logged("Restart pause"))
    world.tell(flow.SignalReceived(Signal.TERM))
    assert world.of(Finish)
    assert world.role.next_deadline() is None


def test_sighup_takes_the_tunnel_down_and_reads_the_configuration_again() -> None:
    scripts = ScriptsConfig(down=("down",))
    world = connected(scripts=scripts, client=NOTIFY, host=HostConfig(persist_tun=True))
    world.tell(flow.SignalReceived(Signal.HUP))
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.RELOAD, "sighup")]
    assert world.kinds(flow.RunScript) == ["down"]
    assert "EXIT" not in world.server.messages


def test_sigusr2_changes_nothing() -> None:
    world = connected()
    assert world.tell(flow.SignalReceived(Signal.USR2)) == []


def test_inactivity_ends_the_process_with_a_goodbye() -> None:
    world = connected(f"{PUSH},inactive 600 1000", client=NOTIFY)
    world.tell(flow.PeerInactive(PEER))
    assert world.logged("Inactivity timeout (--inactive), exiting")
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "inactive")]
    assert world.server.messages[-1] == "EXIT"


def test_the_datapath_is_told_when_to_call_the_peer_inactive() -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},inactive 600 1000",))).connect()
    spec = world.of(flow.AddPeer)[0].spec
    assert (spec.inactive_after, spec.inactive_bytes) == (600, 1000)


def test_session_timeout_ends_the_process() -> None:
    world = World(None, Server(HOME, push=(f"{PUSH},session-timeout 90",))).connect()
    began = world.now
    world.run(lambda: bool(world.of(Finish)))
    assert world.of(Finish) == [Finish(Outcome.EXIT, "session-timeout")]
    assert world.now - began == pytest.approx(90)


def test_an_exit_of_the_server_while_we_say_goodbye_ends_the_wait() -> None:
    world = connected(client=ClientConfig(explicit_exit_notify=30))
    world.tell(flow.SignalReceived(Signal.TERM))
    world.say("EXIT")
    world.run(lambda: bool(world.of(Finish)), limit=1)
