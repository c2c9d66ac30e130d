"""Renegotiation: no packet is sealed before the server can open it, none is lost."""

from __future__ import annotations

import random

import pytest

from ovpn6.config.schema import ControlConfig
from ovpn6.model import flow
from ovpn6.model.flow import DropKey, InstallKey, SwapKeys
from ovpn6.model.names import KeyId, KeySlot, PeerId
from ovpn6.protocol import events
from ovpn6.roles.key_change import CLIENT_DEFERRAL
from tests.roles.client_world import HOME, Server, World, config

PEER = PeerId(5)
KEY_ACTIONS = (InstallKey, SwapKeys, DropKey)


def connected(reneg_sec: int = 0, tran_window: int = 30) -> World:
    control = ControlConfig(reneg_sec=reneg_sec, tran_window=tran_window)
    world = World(config(control=control), Server(HOME)).connect()
    world.forget()
    return world


def installed(world: World) -> list[tuple[KeySlot, int]]:
    return [(one.slot, one.key.key_id) for one in world.of(InstallKey)]


def test_the_server_renegotiates_and_the_new_key_seals_once_the_server_uses_it() -> None:
    world = connected()
    world.renegotiate()
    world.run(lambda: bool(world.of(InstallKey)))
    assert installed(world) == [(KeySlot.SECONDARY, 1)]
    world.tell(flow.KeyConfirmed(PEER, KeyId(1)))
    world.pass_time(40)
    assert world.kinds(*KEY_ACTIONS) == ["InstallKey", "SwapKeys", "DropKey"]
    assert world.of(DropKey) == [DropKey(PEER, KeySlot.SECONDARY)]


def test_without_word_from_the_server_the_new_key_seals_after_the_deferral() -> None:
    world = connected()
    world.pass_time(20)
    world.renegotiate()
    world.run(lambda: bool(world.of(SwapKeys)))
    acknowledged = [
        event
        for event in world.server.heard
        if isinstance(event, events.Acknowledged) and event.key_id == 1
    ]
    assert acknowledged, "the server had its packets acknowledged long before"
    waited = world.now - world.times[world.actions.index(world.of(InstallKey)[0])]
    assert CLIENT_DEFERRAL <= waited < CLIENT_DEFERRAL + 0.2


def test_both_ends_have_the_same_keys_after_each_of_many_renegotiations() -> None:
    world = connected(reneg_sec=10)
    world.run(lambda: len(world.of(InstallKey)) == 9)
    numbers = [one.key.key_id for one in world.of(InstallKey)]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 1, 2], "0 is only ever the first"
    last = world.of(InstallKey)[-1].key
    assert world.server.connection is not None
    theirs = world.server.connection.derive_keys(last.key_id, last.cipher, use_ekm=True)
    assert last.send_key == theirs.receive_key
    order = world.kinds(InstallKey, SwapKeys)
    assert order[:4] == ["InstallKey", "SwapKeys", "InstallKey", "SwapKeys"]


@pytest.mark.parametrize("seed", range(4))
def test_renegotiation_under_loss_keeps_the_order_install_then_swap(seed: int) -> None:
    world = connected(reneg_sec=20)
    chance = random.Random(seed)
    world.lose = lambda to, datagram: chance.random() < 0.2
    world.run(lambda: len(world.of(SwapKeys)) == 3)
    slots: dict[KeySlot, int | None] = {KeySlot.PRIMARY: 0, KeySlot.SECONDARY: None}
    for action in world.actions:
        if isinstance(action, InstallKey):
            slots[action.slot] = action.key.key_id
        elif isinstance(action, DropKey):
            slots[action.slot] = None
        elif isinstance(action, SwapKeys):
            before = slots[KeySlot.PRIMARY]
            slots = {KeySlot.PRIMARY: slots[KeySlot.SECONDARY], KeySlot.SECONDARY: before}
        assert slots[KeySlot.PRIMARY] is not None, "there is always a key to seal with"
    assert len(world.of(flow.OpenLink)) == 0, "the session lives on"


def test_a_worn_out_key_is_renewed() -> None:
    world = connected()
    world.pass_time(1)
    world.tell(flow.KeyWornOut(PEER, KeyId(0)))
    world.run(lambda: bool(world.of(InstallKey)))
    assert installed(world) == [(KeySlot.SECONDARY, 1)]


def test_a_renegotiation_during_the_wait_for_the_push_gives_the_first_key() -> None:
    server = Server(HOME, push=("AUTH_PENDING,timeout 300",))
    world = World(config(control=ControlConfig(reneg_sec=0)), server).start()
    world.run(lambda: bool(server.requests))
    world.renegotiate()
    world.run(lambda: len(server.hellos) == 2)
    world.pass_time(1)
    world.say("PUSH_REPLY,ifconfig-ipv6 fd00:6::2/64,peer-id 5,cipher AES-256-GCM")
    world.run(lambda: world.state == "CONNECTED")
    assert installed(world) == [(KeySlot.PRIMARY, 1)]


def test_news_of_another_peer_or_key_are_not_ours() -> None:
    world = connected()
    assert world.tell(flow.KeyConfirmed(PEER, KeyId(0))) == []
    assert world.tell(flow.KeyConfirmed(PeerId(6), KeyId(1))) == []
    assert world.tell(flow.KeyWornOut(PeerId(6), KeyId(0))) == []


def test_a_failed_renegotiation_leaves_the_working_key_alone() -> None:
    world = connected(tran_window=3600)
    world.server.refuse_tls = True
    world.renegotiate()
    world.run(lambda: world.logged("TLS Error: TLS handshake failed"))
    assert world.state == "CONNECTED"
    assert not world.of(InstallKey)


def test_bug_in_a_session_s_own_time_leads_to_another_session() -> None:
    world = connected(reneg_sec=10)
    world.tls_breaks = True
    world.run(lambda: world.logged("BUG: IndexError: out of range"))
    assert world.of(flow.RemovePeer) == [flow.RemovePeer(PEER)]
    assert world.state == "RECONNECTING"
    world.tls_breaks = False
    world.run(lambda: bool(world.of(flow.Announce)))
