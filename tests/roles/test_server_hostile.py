"""Clients that do what no honest one does. None may end the server or another client."""

from __future__ import annotations

from ipaddress import ip_address

from ovpn6.config.schema import ControlConfig, ScriptsConfig
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.flow import ControlReceived, Log, PeerExpired, PeerFloated, SendControl
from ovpn6.model.names import KeyId, KeySlot, LinkId, MessageId, SessionId
from ovpn6.protocol.packets import ControlPacket, Opcode
from tests.roles.server_site import Site, config_of

ELSEWHERE = Path(LinkId(1), Endpoint(ip_address("2001:db8:bad::1"), 6666))


def test_float_to_where_a_candidate_has_the_same_session_id_ends_nobody() -> None:
    site = Site()
    mallory, bob = site.connected("mallory"), site.connected("bob")
    candidate = site.client("candidate")
    candidate.limit = 2
    candidate.choose_session_id(mallory.connection.local_session_id)
    candidate.begin()
    site.give(PeerFloated(mallory.peer, candidate.path))
    site.pass_time(61)
    site.give(PeerExpired(mallory.peer))
    assert mallory.peer not in site.datapath.peers
    assert bob.peer in site.datapath.peers


def test_renegotiations_before_the_options_are_pushed_do_not_end_the_server() -> None:
    site = Site(config_of(scripts=ScriptsConfig(client_connect=("/connect",))))
    site.scripts["client-connect"] = None
    client = site.client("mallory")
    client.begin()
    for _ in range(2):
        client.renegotiate()
    client.alive = False
    site.answer("client-connect")
    assert site.finished is None
    assert site.datapath.peers


def test_client_that_renegotiates_before_its_push_keeps_the_first_wrapping() -> None:
    site = Site(config_of(scripts=ScriptsConfig(client_connect=("/connect",))))
    site.scripts["client-connect"] = None
    client = site.client("hasty")
    client.begin()
    client.renegotiate()
    site.answer("client-connect")
    flags = next(option for option in client.options if option.startswith("protocol-flags"))
    assert "dyn-tls-crypt" not in flags


def test_answers_to_no_challenge_are_not_logged_one_by_one() -> None:
    site = Site()
    client = site.connected("mallory")
    site.actions.clear()
    for _ in range(50):
        client.say("CR_RESPONSE,bm9ib2R5IGFza2Vk")
    assert len(site.kinds(Log)) == 1


def test_many_reasons_of_strangers_silence_the_log_for_a_minute_only() -> None:
    site = Site()
    client = site.client("stranger")
    for number in range(300):
        site.give(ControlReceived(client.path, garbage(number)))
    site.pass_time(61)
    site.actions.clear()
    site.give(ControlReceived(client.path, b"\x38"))
    assert "shorter than its header" in site.log()


def test_resets_beside_a_living_session_are_answered_once_in_a_while() -> None:
    site = Site()
    victim = site.connected("victim")
    victim.alive = False
    site.actions.clear()
    for number in range(20):
        site.give(ControlReceived(victim.path, reset(number)))
    assert len(site.kinds(SendControl)) == 1
    site.give(ControlReceived(ELSEWHERE, reset(99)))
    assert len(site.kinds(SendControl)) == 2
    site.pass_time(1)
    site.give(ControlReceived(victim.path, reset(100)))
    assert len(site.kinds(SendControl)) == 3


def test_bug_that_one_client_finds_in_its_own_time_ends_its_session_alone() -> None:
    site = Site(config_of(control=ControlConfig(reneg_sec=100, reneg_sec_min=100)))
    mallory, bob = site.connected("mallory"), site.connected("bob")
    site.tls_breaks = 1
    site.pass_time(101)
    assert mallory.peer not in site.datapath.peers
    assert "BUG: IndexError: out of range" in site.log()
    assert site.datapath.keys[bob.peer][KeySlot.PRIMARY] == 1, "renegotiated in the same tick"


def reset(number: int) -> bytes:
    """A forged first packet, of another session each."""
    packet = ControlPacket(
        Opcode.CONTROL_HARD_RESET_CLIENT_V2,
        KeyId(0),
        SessionId(b"forged" + number.to_bytes(2, "big")),
        message_id=MessageId(0),
    )
    return packet.header() + packet.body()


def garbage(number: int) -> bytes:
    """Something a stranger sends; mostly for another reason each."""
    packet = ControlPacket(
        Opcode.CONTROL_V1, KeyId(0), SessionId(b"8 octets"), message_id=MessageId(number)
    )
    return packet.header() + bytes((number % 256,)) + packet.body()
