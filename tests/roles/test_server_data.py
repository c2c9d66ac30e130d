"""Keys that change, paths that move, and how clients go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as FilePath

import pytest

from ovpn6.config.schema import ControlConfig, DataConfig, ScriptsConfig
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import (
    AddPeer,
    ControlReceived,
    DropKey,
    FloatConflict,
    Input,
    InstallKey,
    KeyConfirmed,
    KeyWornOut,
    PeerExited,
    PeerExpired,
    PeerFloated,
    PeerInactive,
    RemovePeer,
    RunScript,
    SendControl,
    SendProbe,
    SwapKeys,
    UpdatePeer,
)
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.specs import DataFormat, Keepalive
from ovpn6.protocol.events import Exchanged, Transmit
from ovpn6.protocol.packets import Opcode
from ovpn6.roles.key_change import SERVER_DEFERRAL
from tests.roles.server_site import PEER_INFO_26, SERVER, Site, config_of

GONE = ScriptsConfig(client_connect=("/connect",), client_disconnect=("/gone",))
POOL = replace(SERVER, ifconfig_pool_persist=FilePath("/pool"), ifconfig_pool_persist_interval=100)


def elsewhere(number: int = 0xFFF) -> Path:
    return Path(LinkId(1), Endpoint(ip_address(f"2001:db8:ee::{number:x}"), 50000))


# --- keys -------------------------------------------------------------------------------------


def test_renegotiated_key_is_installed_beside_the_old_one_then_swapped() -> None:
    site = Site()
    client = site.connected()
    site.actions.clear()
    client.renegotiate()
    order = [type(action) for action in site.kinds(InstallKey, SwapKeys, DropKey)]
    assert order == [InstallKey, SwapKeys]
    [install] = site.kinds(InstallKey)
    assert isinstance(install, InstallKey)
    assert install.slot is KeySlot.SECONDARY
    own = client.connection.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True)
    assert own.send_key == install.key.receive_key
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


EPOCH_INFO = {**PEER_INFO_26, "IV_PROTO": str(990 | 1 << 10)}


@pytest.mark.parametrize(
    ("data_epoch", "info", "expected"),
    [
        (True, EPOCH_INFO, DataFormat.EPOCH),
        (True, PEER_INFO_26, DataFormat.CLASSIC),
        (False, EPOCH_INFO, DataFormat.CLASSIC),
    ],
)
def test_the_epoch_format_needs_our_data_path_and_the_clients_word(
    data_epoch: bool, info: dict[str, str], expected: DataFormat
) -> None:
    site = Site(data_epoch=data_epoch)
    client = site.connected(info=info)
    client.renegotiate()
    [flags] = [option for option in client.options if option.startswith("protocol-flags")]
    assert ("aead-epoch" in flags) == (expected is DataFormat.EPOCH)
    installs = [order for order in site.kinds(InstallKey) if isinstance(order, InstallKey)]
    assert [order.key.data_format for order in installs] == [expected, expected]
    own = client.connection.derive_keys(KeyId(1), "AES-256-GCM", use_ekm=True, data_format=expected)
    assert own.send_key == installs[-1].key.receive_key


@pytest.mark.parametrize(
    ("ecn", "info", "copies"),
    [
        (True, {**PEER_INFO_26, "IV_ECN": "1"}, True),
        (True, PEER_INFO_26, False),
        (False, {**PEER_INFO_26, "IV_ECN": "1"}, False),
    ],
)
def test_marks_go_outside_to_a_client_that_carries_them_inside(
    ecn: bool, info: dict[str, str], copies: bool
) -> None:
    site = Site(ecn=ecn)
    client = site.connected(info=info)
    assert ("ecn-marks" in client.options) == copies
    told = [order.spec for order in site.actions if isinstance(order, AddPeer | UpdatePeer)]
    assert told[-1].copy_ecn == copies


@pytest.mark.parametrize(
    ("info", "numbered"),
    [({**PEER_INFO_26, "IV_NUMBERED_PROBES": "1"}, True), (PEER_INFO_26, False)],
    ids=["ovpn6", "stock"],
)
def test_a_client_is_told_of_numbered_probes_when_it_knows_them_and_only_then_gets_any(
    info: dict[str, str], numbered: bool
) -> None:
    site = Site()
    client = site.connected(info=info)
    site.pass_time(60)
    assert ("numbered-probes" in client.options) == numbered
    opcodes = {order.datagram[0] >> 3 for order in site.actions if isinstance(order, SendProbe)}
    assert opcodes == {Opcode.ACK_V1 if numbered else Opcode.CONTROL_V1}
    [peer] = site.role.status().peers
    assert peer.sizes is not None
    assert (peer.sizes.path, peer.sizes.numbered) == (1492, numbered)


def test_old_key_is_dropped_when_its_transition_window_is_over() -> None:
    site = Site(config_of(control=ControlConfig(reneg_sec=0, tran_window=60)))
    client = site.connected()
    client.renegotiate()
    site.pass_time(61)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1}


def test_key_ids_wrap_around_and_each_replaces_the_one_before() -> None:
    site = Site()
    client = site.connected()
    for expected in (1, 2, 3, 4, 5, 6, 7, 1, 2):
        client.renegotiate()
        assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == expected
    assert len(site.datapath.keys[client.peer]) == 2


def test_server_renegotiates_by_itself() -> None:
    site = Site(config_of(control=ControlConfig(reneg_sec=100)))
    client = site.connected()
    site.pass_time(101)
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 1


def test_renegotiations_of_many_clients_are_spread() -> None:
    site = Site(config_of(control=ControlConfig(reneg_sec=1000)))
    clients = [site.connected(f"c{n}") for n in range(8)]
    site.pass_time(950)
    done = [c for c in clients if site.datapath.keys[c.peer][KeySlot.PRIMARY] == 1]
    assert 0 < len(done) < 8
    site.pass_time(51)
    assert all(site.datapath.keys[c.peer][KeySlot.PRIMARY] == 1 for c in clients)


def test_worn_out_key_is_renegotiated() -> None:
    site = Site()
    client = site.connected()
    site.give(KeyWornOut(client.peer, KeyId(0)))
    site.pass_time(SERVER_DEFERRAL)
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 1


def test_data_under_the_new_key_swaps_before_the_last_acknowledgement() -> None:
    site = Site()
    client = site.connected()
    site.actions.clear()
    # What the client sends once it has our half stays behind: that is not acknowledged.
    client.mute_after = Exchanged
    client.renegotiate()
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 0, KeySlot.SECONDARY: 1}
    site.give(KeyConfirmed(client.peer, KeyId(1)))
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
    site.give(KeyConfirmed(client.peer, KeyId(0)))
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


def test_an_acknowledged_key_waits_until_it_can_be_in_the_clients_kernel() -> None:
    site = Site()
    client = site.connected()
    client.begin_renegotiation()
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 0, KeySlot.SECONDARY: 1}
    site.pass_time(SERVER_DEFERRAL - 0.1)
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 0
    site.pass_time(0.1)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


def test_data_under_an_acknowledged_key_ends_the_wait() -> None:
    site = Site()
    client = site.connected()
    client.begin_renegotiation()
    site.give(KeyConfirmed(client.peer, KeyId(1)))
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
    site.pass_time(SERVER_DEFERRAL)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


def test_a_key_that_still_waits_takes_over_when_the_next_negotiation_begins() -> None:
    site = Site()
    client = site.connected()
    client.begin_renegotiation()
    site.give(KeyWornOut(client.peer, KeyId(0)))
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 2}
    site.pass_time(SERVER_DEFERRAL)
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 2, KeySlot.SECONDARY: 1}


@pytest.mark.parametrize("by_client", [True, False])
def test_what_the_client_still_seals_with_the_old_key_is_opened_when_the_next_begins(
    by_client: bool,
) -> None:
    site = Site()
    client = site.connected()
    client.renegotiate()
    site.actions.clear()
    # The client hears that the server begins, or the server that it does, and no more.
    client.limit = 1 if by_client else 0
    if by_client:
        client.begin_renegotiation()
    else:
        site.give(KeyWornOut(client.peer, KeyId(1)))
    assert site.kinds(SendControl), "the next negotiation has begun"
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
    assert site.kinds(InstallKey, SwapKeys, DropKey) == []


def test_a_client_that_begins_the_next_negotiation_has_the_last_key() -> None:
    site = Site()
    client = site.connected()
    client.mute_after = Exchanged
    client.renegotiate()
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 0, KeySlot.SECONDARY: 1}
    # Its acknowledgement of our half is lost again, but not what it wants next.
    sent = client.connection.renegotiate(site.now)
    [reset] = [
        event.datagram
        for event in sent
        if isinstance(event, Transmit) and event.datagram[0] >> 3 == Opcode.CONTROL_SOFT_RESET_V1
    ]
    site.give(ControlReceived(client.path, reset))
    assert site.datapath.keys[client.peer] == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}


# --- paths ------------------------------------------------------------------------------------


def test_control_packets_follow_a_float() -> None:
    site = Site()
    client = site.connected()
    site.give(PeerFloated(client.peer, elsewhere()))
    client.path = elsewhere()
    client.renegotiate()
    assert site.datapath.keys[client.peer][KeySlot.PRIMARY] == 1
    assert site.role.status().peers[0].path == elsewhere()


def test_float_to_the_path_of_another_client_is_refused() -> None:
    site = Site()
    alice, bob = site.connected("alice"), site.connected("bob")
    site.give(FloatConflict(alice.peer, bob.path, bob.peer))
    assert set(site.datapath.peers) == {alice.peer, bob.peer}
    assert site.kinds(UpdatePeer) == []
    assert site.role.status().counts["float to a path of another client"] == 1


def test_float_to_the_path_of_the_same_client_removes_its_older_self() -> None:
    site = Site(config_of(replace(SERVER, duplicate_cn=True), scripts=GONE))
    old, new = site.connected("alice"), site.connected("alice")
    site.give(FloatConflict(new.peer, old.path, old.peer))
    assert list(site.datapath.peers) == [new.peer]
    assert site.datapath.peers[new.peer].path == old.path
    assert site.ran("client-disconnect")[0].peer == old.peer
    order = [type(action) for action in site.kinds(RemovePeer, UpdatePeer)]
    assert order == [RemovePeer, UpdatePeer]


# --- how clients go ---------------------------------------------------------------------------


def test_client_that_exits_frees_everything_but_still_gets_its_acknowledgement() -> None:
    site = Site(config_of(scripts=GONE))
    client = site.connected()
    number = client.peer
    client.say("EXIT")
    assert not site.datapath.peers
    [call] = site.ran("client-disconnect")
    assert call.peer == number
    assert call.environment["common_name"] == "alice"
    assert call.environment["ifconfig_pool_remote_ip6"] == "2001:db8:1::1000"
    assert call.environment["time_duration"] == "0"
    before = len(site.actions)
    site.pass_time(20)
    assert client.connection.next_deadline() is None
    assert site.role.next_deadline() is None
    assert len(site.ran("client-disconnect")) == 1
    assert len(site.actions) == before


def test_disconnect_script_is_started_while_the_datapath_still_counts() -> None:
    site = Site(config_of(scripts=GONE))
    client = site.connected()
    site.actions.clear()
    client.say("EXIT")
    order = [type(action) for action in site.kinds(RunScript, RemovePeer)]
    assert order == [RunScript, RemovePeer]


@pytest.mark.parametrize("report", [PeerExpired, PeerInactive, PeerExited])
def test_what_the_datapath_reports_ends_a_client(report: Callable[[PeerId], Input]) -> None:
    site = Site(config_of(scripts=GONE))
    client = site.connected()
    site.give(report(client.peer))
    assert not site.datapath.peers
    assert len(site.ran("client-disconnect")) == 1
    assert site.connected().options


@pytest.mark.parametrize(
    "report",
    [
        PeerExpired(PeerId(9)),
        PeerFloated(PeerId(9), elsewhere()),
        FloatConflict(PeerId(9), elsewhere(), PeerId(8)),
        KeyWornOut(PeerId(9), KeyId(0)),
        KeyConfirmed(PeerId(9), KeyId(0)),
        PeerExited(PeerId(9)),
    ],
)
def test_late_reports_of_a_peer_that_is_gone_do_nothing(report: Input) -> None:
    site = Site()
    site.actions.clear()
    site.give(report)
    assert site.actions == []


def test_session_timeout_sends_the_client_away() -> None:
    site = Site(config_of(data=DataConfig(session_timeout=300)))
    client = site.connected()
    site.pass_time(299)
    assert site.datapath.peers
    site.pass_time(2)
    assert not site.datapath.peers
    assert client.messages[-1] == "RESTART"


def test_settings_of_liveness_reach_the_datapath() -> None:
    data = DataConfig(keepalive=Keepalive(5, 60), inactive=30, inactive_bytes=100)
    site = Site(config_of(data=data))
    spec = site.datapath.peers[site.connected().peer]
    assert (spec.keepalive, spec.inactive_after, spec.inactive_bytes) == (Keepalive(5, 60), 30, 100)


@pytest.mark.parametrize("refused", [AddPeer, InstallKey])
def test_peer_that_the_host_refuses_is_removed(refused: type[AddPeer]) -> None:
    site = Site(config_of(scripts=GONE))
    site.refused[refused] = HostError("add peer", "No space left on device", 28)
    if refused is AddPeer:
        site.refused[InstallKey] = site.refused[RemovePeer] = site.refused[refused]
    site.client().begin()
    assert not site.datapath.peers
    assert len(site.ran("client-disconnect")) == 1
    site.refused.clear()
    assert "ifconfig 192.0.2.2 255.255.255.0" in site.connected().options


# --- the pool file ----------------------------------------------------------------------------


def test_pool_file_is_written_at_once_and_then_at_intervals() -> None:
    site = Site(config_of(POOL))
    site.connected("alice")
    assert site.saved == ["alice,192.0.2.2,2001:db8:1::1000\n"]
    site.connected("bob")
    assert len(site.saved) == 1
    site.pass_time(101)
    assert site.saved[1:] == ["alice,192.0.2.2,2001:db8:1::1000\nbob,192.0.2.3,2001:db8:1::1001\n"]
    site.pass_time(1000)
    assert len(site.saved) == 2


def test_pool_file_of_the_last_life_is_honoured() -> None:
    site = Site(config_of(POOL), pool_text="alice,192.0.2.9,2001:db8:1::1007\nnonsense\n")
    assert "ifconfig 192.0.2.9 255.255.255.0" in site.connected("alice").options
    assert "line 2" in site.log()


def test_read_only_pool_file_is_never_written() -> None:
    site = Site(config_of(replace(POOL, ifconfig_pool_persist_interval=0)))
    site.connected("alice")
    site.pass_time(1000)
    assert site.saved == []


def test_client_that_is_sent_away_within_a_renegotiation_gets_no_more_keys() -> None:
    site = Site(config_of(data=DataConfig(session_timeout=10)))
    client = site.connected()
    site.pass_time(8.5)
    client.begin_renegotiation()
    site.actions.clear()
    site.pass_time(2 * SERVER_DEFERRAL)
    assert client.refusals or "RESTART" in client.messages
    assert not site.kinds(InstallKey, SwapKeys, DropKey)
