"""What every data path must do. A backend's test module makes a :class:`Rig` and inherits.

The rig is a server (end 0) and a client (end 1), each with one datagram link, number 1. The server
knows peer 5, whose inner addresses are 2001:db8::5 and 192.0.2.5, with 2001:db8:5::/48 behind it;
the client's only peer is 9, and has everything.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Protocol

import pytest

from ovpn6.datapath.interface import Datapath, Report
from ovpn6.model.addresses import Endpoint, Path
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    ControlReceived,
    FloatConflict,
    KeyConfirmed,
    PeerExited,
    PeerFloated,
)
from ovpn6.model.names import KeyId, KeySlot, LinkId, PeerId
from ovpn6.model.specs import DataFormat, Framing, PeerSpec
from ovpn6.protocol.data_channel import PING, SendKey
from ovpn6.protocol.epoch_channel import EpochSendKey
from tests.datapath.packets import ip_packet, key_pair

CLIENT, SERVER = PeerId(5), PeerId(9)
CLIENT_NETWORKS = ("2001:db8::5/128", "192.0.2.5/32", "2001:db8:5::/48")
UP = ip_packet("2001:db8::5", "2001:db8::1")
DOWN = ip_packet("2001:db8::1", "2001:db8::5")

SHORT_LENGTH = b"\x45\0\0\x0a" + ip_packet("192.0.2.5", "192.0.2.1")[4:]
"""An IPv4 packet that says it is shorter than its header."""


class Rig(Protocol):
    """Two ends that can reach one another."""

    datapaths: tuple[Datapath, Datapath]
    reports: tuple[list[Report], list[Report]]

    def open_link(self, end: int, link: int) -> Endpoint:
        """Open one more datagram link; returns how the other end reaches it."""

    def local(self, end: int) -> Endpoint:
        """How the other end reaches link 1."""

    def enter(self, end: int, packet: bytes) -> None:
        """Put an inner packet into the tunnel."""

    def delivered(self, end: int) -> list[bytes]:
        """All inner packets that came out so far, in order."""

    def until(self, condition: Callable[[], bool]) -> None:
        """Let things happen until the condition holds; fails when it never does."""

    def close(self) -> None:
        """Close both data paths."""


class DatapathContract:
    """The tests. ``make_rig`` is the backend's."""

    def make_rig(self) -> Rig:
        raise NotImplementedError

    @pytest.fixture
    def bare(self) -> Rig:
        """Links and devices, no peer."""
        rig = self.make_rig()
        self.rig_to_close = rig
        return rig

    @pytest.fixture
    def rig(self, bare: Rig) -> Rig:
        """Both peers known, no key."""
        server, client = bare.datapaths
        networks = tuple(ip_network(text) for text in CLIENT_NETWORKS)
        server.add_peer(PeerSpec(CLIENT, SERVER, Path(LinkId(1), bare.local(1)), networks))
        everything = (ip_network("::/0"), ip_network("0.0.0.0/0"))
        client.add_peer(PeerSpec(SERVER, CLIENT, Path(LinkId(1), bare.local(0)), everything))
        return bare

    @pytest.fixture
    def tunnel(self, rig: Rig) -> Rig:
        """Both peers with key id 0."""
        install(rig, 0)
        return rig

    def teardown_method(self) -> None:
        if hasattr(self, "rig_to_close"):
            self.rig_to_close.close()

    # --- packets --------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("inside", "outside"),
        [("2001:db8::5", "2001:db8::1"), ("192.0.2.5", "192.0.2.1"), ("2001:db8:5::77", "::1234")],
    )
    def test_packets_cross_both_ways(self, tunnel: Rig, inside: str, outside: str) -> None:
        up, down = ip_packet(inside, outside), ip_packet(outside, inside)
        tunnel.enter(1, up)
        tunnel.enter(0, down)
        tunnel.until(lambda: tunnel.delivered(0) == [up] and tunnel.delivered(1) == [down])

    def test_a_burst_arrives_whole_and_in_order(self, tunnel: Rig) -> None:
        sizes = [1300] * 40 + [600, 1300, 1, 2, 1300] + [80] * 40
        burst = [
            ip_packet("2001:db8::5", "2001:db8::1", bytes([i]) * n) for i, n in enumerate(sizes)
        ]
        with on_one_processor():
            for packet in burst:
                tunnel.enter(1, packet)
        tunnel.until(lambda: len(tunnel.delivered(0)) == len(burst))
        assert tunnel.delivered(0) == burst

    @pytest.mark.parametrize("cipher", ["AES-128-GCM", "AES-192-GCM", "CHACHA20-POLY1305"])
    def test_every_cipher_carries_packets(self, rig: Rig, cipher: str) -> None:
        install(rig, 0, cipher)
        rig.enter(1, UP)
        rig.until(lambda: rig.delivered(0) == [UP])

    @pytest.mark.parametrize("framing", [Framing.STUB, Framing.STUB_SWAP, Framing.STUB_V2])
    def test_every_framing_carries_packets(self, tunnel: Rig, framing: Framing) -> None:
        reframe(tunnel, framing)
        tunnel.enter(1, UP)
        tunnel.until(lambda: tunnel.delivered(0) == [UP])
        assert tunnel.datapaths[0].counters(CLIENT).bytes_in == len(UP)
        assert tunnel.datapaths[1].counters(SERVER).bytes_out == len(UP)

    def test_without_a_key_nothing_is_sent(self, rig: Rig) -> None:
        rig.enter(1, UP)
        rig.until(lambda: dropped(rig, 1, "tunnel no key") == 1)
        assert rig.datapaths[1].counters(SERVER).link_out == 0

    def test_packets_to_nobody_are_dropped(self, tunnel: Rig) -> None:
        tunnel.enter(0, ip_packet("2001:db8::1", "2001:db8::6"))
        tunnel.enter(0, ip_packet("2001:db8::1", "ff02::1"))
        tunnel.enter(0, ip_packet("2001:db8::1", "fe80::5"))
        tunnel.enter(0, ip_packet("192.0.2.1", "224.0.0.1"))
        tunnel.enter(0, b"\x00not IP")
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: tunnel.delivered(1) == [DOWN])
        expected = {"tunnel no peer": 2, "tunnel multicast": 2, "tunnel not IP": 1}
        # Where there are several workers, others than the packet's may have some of it.
        tunnel.until(lambda: {why: dropped(tunnel, 0, why) for why in expected} == expected)

    @pytest.mark.parametrize(
        "source", ["2001:db8::6", "192.0.2.6", "fe80::5", "::", "169.254.1.1", "0.0.0.0", "ff02::1"]
    )
    def test_a_source_that_is_not_the_peers_is_not_delivered(
        self, tunnel: Rig, source: str
    ) -> None:
        destination = "2001:db8::1" if ":" in source else "192.0.2.1"
        for text in (source, "2001:db8::5"):
            spoofed = ip_packet(text, destination if text == source else "2001:db8::1")
            inject(tunnel, spoofed, number=1 + (text != source))
        tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
        assert tunnel.delivered(0) == [UP]
        assert dropped(tunnel, 0, "inner source address") == 1

    @pytest.mark.parametrize(
        "packet",
        [
            UP[:39],
            UP[:-1],
            b"\x45\0\0\x14" + bytes(15),
            SHORT_LENGTH,
            b"\x70" * 60,
        ],
    )
    def test_broken_inner_packets_are_not_delivered(self, tunnel: Rig, packet: bytes) -> None:
        inject(tunnel, packet)
        inject(tunnel, UP, number=2)
        tunnel.until(lambda: tunnel.delivered(0) == [UP])
        assert tunnel.datapaths[0].counters(CLIENT).packets_in == 1

    # --- datagrams ------------------------------------------------------------------------------

    def test_control_packets_are_reported_with_their_path(self, bare: Rig) -> None:
        datagram = bytes([7 << 3]) + b"hard reset"
        bare.datapaths[1].send_control(Path(LinkId(1), bare.local(0)), datagram)
        expected = ControlReceived(Path(LinkId(1), bare.local(1)), datagram)
        bare.until(lambda: bare.reports[0] == [expected])

    def test_a_probe_arrives_as_any_control_packet(self, bare: Rig) -> None:
        datagram = bytes([4 << 3]) + bytes(1300)
        bare.datapaths[1].send_probe(Path(LinkId(1), bare.local(0)), datagram)
        expected = ControlReceived(Path(LinkId(1), bare.local(1)), datagram)
        bare.until(lambda: bare.reports[0] == [expected])

    def test_a_probe_longer_than_the_interface_takes_is_refused_and_changes_nothing(
        self, bare: Rig
    ) -> None:
        address = bare.local(0).address
        if address.version == 4 and address.is_loopback:
            pytest.skip("no IPv4 datagram is longer than loopback's MTU")
        longest = bytes([4 << 3]) + bytes(65_499)
        path = Path(LinkId(1), bare.local(0))
        with pytest.raises(HostError) as refused:
            bare.datapaths[1].send_probe(path, longest)
        assert refused.value.errno == errno.EMSGSIZE
        assert bare.datapaths[1].drops().counts == {}
        # What is no probe goes in fragments, as before.
        bare.datapaths[1].send_control(path, longest)
        arrived = [ControlReceived(Path(LinkId(1), bare.local(1)), longest)]
        bare.until(
            lambda: bare.reports[0] == arrived or dropped(bare, 0, "control packet too long") == 1
        )

    def test_a_probe_on_a_closed_link_is_a_counted_drop(self, bare: Rig) -> None:
        bare.datapaths[1].send_probe(Path(LinkId(7), bare.local(0)), b"\x20probe")
        assert dropped(bare, 1, "send closed link") == 1

    def test_garbage_costs_only_counters(self, tunnel: Rig) -> None:
        to_server = Path(LinkId(1), tunnel.local(0))
        seal = SendKey(key_pair(1), CLIENT).seal
        garbage = {
            "empty datagram": b"",
            "unknown opcode": b"\xff" * 30,
            "data version 1": bytes([6 << 3]) + bytes(40),
            "data unknown peer": b"\x48\0\0\x06" + seal(UP)[4:],
            "data no key": b"\x4b\0\0\x05" + seal(UP)[4:],
            "data authentication": b"\x48\0\0\x05" + bytes(60),
            "data malformed": b"\x48\0\0\x05" + bytes(8),
        }
        for datagram in garbage.values():
            tunnel.datapaths[1].send_control(to_server, datagram)
        inject(tunnel, UP)
        tunnel.until(lambda: tunnel.delivered(0) == [UP])
        # Where there are several workers, another one than the packet's may have some of it.
        tunnel.until(lambda: all(dropped(tunnel, 0, reason) for reason in garbage))
        for reason in garbage:
            assert dropped(tunnel, 0, reason) == 1, reason
        assert tunnel.reports[0] == [KeyConfirmed(CLIENT, KeyId(0))]

    def test_a_replayed_datagram_is_delivered_once(self, tunnel: Rig) -> None:
        for number in (1, 2, 1, 2, 3):
            inject(tunnel, UP, number=number)
        tunnel.until(lambda: tunnel.delivered(0) == [UP] * 3)
        assert dropped(tunnel, 0, "data replay") == 2

    def test_a_ping_is_swallowed(self, tunnel: Rig) -> None:
        inject(tunnel, PING)
        inject(tunnel, UP, number=2)
        tunnel.until(lambda: tunnel.delivered(0) == [UP])
        counters = tunnel.datapaths[0].counters(CLIENT)
        assert (counters.packets_in, counters.bytes_in) == (1, len(UP))
        assert counters.link_in == 24 + 16 + 24 + len(UP)

    def test_an_exit_message_is_reported(self, tunnel: Rig) -> None:
        tunnel.datapaths[1].send_exit(SERVER)
        tunnel.until(lambda: PeerExited(CLIENT) in tunnel.reports[0])

    def test_an_exit_without_a_key_is_nothing(self, rig: Rig) -> None:
        rig.datapaths[1].send_exit(SERVER)
        assert rig.datapaths[1].counters(SERVER).link_out == 0

    # --- keys -----------------------------------------------------------------------------------

    def test_a_key_is_confirmed_by_its_first_packet_only(self, tunnel: Rig) -> None:
        for _ in range(3):
            tunnel.enter(1, UP)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 3)
        assert tunnel.reports[0] == [KeyConfirmed(CLIENT, KeyId(0))]

    def test_a_new_key_takes_over_while_the_old_one_still_opens(self, tunnel: Rig) -> None:
        server, client = tunnel.datapaths
        server.install_key(CLIENT, KeySlot.SECONDARY, key_pair(0, 1))
        client.install_key(SERVER, KeySlot.SECONDARY, key_pair(1, 1))
        tunnel.enter(1, UP)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
        client.swap_keys(SERVER)
        tunnel.enter(1, UP)
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 2 and len(tunnel.delivered(1)) == 1)
        assert tunnel.reports[0] == [KeyConfirmed(CLIENT, KeyId(0)), KeyConfirmed(CLIENT, KeyId(1))]
        assert client.keys(SERVER) == {KeySlot.PRIMARY: 1, KeySlot.SECONDARY: 0}
        server.swap_keys(CLIENT)
        server.drop_key(CLIENT, KeySlot.SECONDARY)
        client.drop_key(SERVER, KeySlot.SECONDARY)
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: len(tunnel.delivered(1)) == 2)
        assert server.keys(CLIENT) == {KeySlot.PRIMARY: 1}
        assert server.counters(CLIENT).packets_in == 2
        assert server.counters(CLIENT).bytes_in == 2 * len(UP)
        assert server.counters(CLIENT).bytes_out == 2 * len(DOWN)
        assert server.counters(CLIENT).packets_out == 2

    def test_a_dropped_key_opens_nothing(self, tunnel: Rig) -> None:
        tunnel.datapaths[0].drop_key(CLIENT, KeySlot.PRIMARY)
        tunnel.datapaths[0].drop_key(CLIENT, KeySlot.PRIMARY)
        tunnel.enter(1, UP)
        tunnel.until(lambda: dropped(tunnel, 0, "data no key") == 1)
        assert tunnel.delivered(0) == []

    # --- the epoch format -----------------------------------------------------------------------

    @pytest.fixture
    def epochs(self, rig: Rig) -> Rig:
        """Both peers with key id 0 in the epoch format."""
        if not all(datapath.capabilities.data_epoch for datapath in rig.datapaths):
            pytest.skip("this data path has no epoch keys")
        install(rig, 0, data_format=DataFormat.EPOCH)
        return rig

    @pytest.mark.parametrize("cipher", ["AES-128-GCM", "AES-192-GCM", "CHACHA20-POLY1305"])
    def test_the_epoch_format_carries_packets_under_every_cipher(
        self, epochs: Rig, cipher: str
    ) -> None:
        install(epochs, 0, cipher, DataFormat.EPOCH)
        epochs.enter(1, UP)
        epochs.until(lambda: epochs.delivered(0) == [UP])
        epochs.enter(0, DOWN)
        epochs.until(lambda: epochs.delivered(1) == [DOWN])
        assert epochs.reports[0] == [KeyConfirmed(CLIENT, KeyId(0))]

    def test_an_epoch_packet_has_28_octets_more_than_its_payload(self, epochs: Rig) -> None:
        for _ in range(3):
            epochs.enter(1, UP)
        epochs.until(lambda: len(epochs.delivered(0)) == 3)
        sent, got = epochs.datapaths[1].counters(SERVER), epochs.datapaths[0].counters(CLIENT)
        assert sent.link_out == got.link_in == 3 * (len(UP) + 28)
        assert (sent.packets_out, sent.bytes_out) == (3, 3 * len(UP))
        install(epochs, 1)
        epochs.enter(1, UP)
        epochs.until(lambda: len(epochs.delivered(0)) == 4)
        got = epochs.datapaths[0].counters(CLIENT)
        assert got.link_in == 3 * (len(UP) + 28) + len(UP) + 24

    def test_what_opens_in_a_later_epoch_takes_our_sending_there(self, epochs: Rig) -> None:
        inject_epoch(epochs, UP, 3)
        epochs.until(lambda: epochs.delivered(0) == [UP])
        epochs.enter(0, DOWN)
        epochs.until(lambda: epochs.delivered(1) == [DOWN])
        # The client's own data path was taken along: its first packet of epoch 1 would be a replay.
        inject_epoch(epochs, UP, 1)
        epochs.until(lambda: epochs.delivered(0) == [UP] * 2)
        epochs.enter(1, UP)
        epochs.enter(1, UP)
        epochs.until(lambda: epochs.delivered(0) == [UP] * 3)
        assert dropped(epochs, 0, "data replay") == 1

    def test_epochs_too_far_ahead_are_unknown(self, epochs: Rig) -> None:
        inject_epoch(epochs, UP, 6)
        epochs.until(lambda: dropped(epochs, 0, "data unknown epoch") == 1)
        inject_epoch(epochs, UP, 5)
        inject_epoch(epochs, UP, 9)
        epochs.until(lambda: epochs.delivered(0) == [UP] * 2)

    def test_a_forged_packet_of_a_future_epoch_changes_nothing(self, epochs: Rig) -> None:
        forged = b"\x48\0\0\x05\0\3\0\0\0\0\0\1" + bytes(60)
        to_server = Path(LinkId(1), epochs.local(0))
        epochs.datapaths[1].send_control(to_server, forged)
        epochs.until(lambda: dropped(epochs, 0, "data authentication") == 1)
        epochs.enter(1, UP)
        epochs.enter(0, DOWN)
        epochs.until(lambda: (epochs.delivered(0), epochs.delivered(1)) == ([UP], [DOWN]))

    def test_a_late_packet_of_an_earlier_epoch_does_not_move_the_peer(self, epochs: Rig) -> None:
        moved = epochs.open_link(1, 2)
        inject_epoch(epochs, UP, 2, link=2)
        epochs.until(lambda: len(epochs.delivered(0)) == 1)
        inject_epoch(epochs, UP, 1)
        epochs.until(lambda: len(epochs.delivered(0)) == 2)
        floats = [event for event in epochs.reports[0] if isinstance(event, PeerFloated)]
        assert floats == [PeerFloated(CLIENT, Path(LinkId(1), moved))]

    # --- paths ----------------------------------------------------------------------------------

    def test_a_peer_floats_after_an_authentic_packet(self, tunnel: Rig) -> None:
        moved = tunnel.open_link(1, 2)
        move_client(tunnel, 2)
        tunnel.enter(1, UP)
        path = Path(LinkId(1), moved)
        tunnel.until(lambda: PeerFloated(CLIENT, path) in tunnel.reports[0])
        assert tunnel.delivered(0) == [UP]
        tunnel.datapaths[1].close_link(LinkId(1))
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: tunnel.delivered(1) == [DOWN])

    def test_a_forged_packet_moves_nobody(self, tunnel: Rig) -> None:
        tunnel.open_link(1, 2)
        forged = b"\x48\0\0\x05\0\0\0\x01" + bytes(60)
        tunnel.datapaths[1].send_control(Path(LinkId(2), tunnel.local(0)), forged)
        tunnel.until(lambda: dropped(tunnel, 0, "data authentication") == 1)
        assert tunnel.reports[0] == []

    def test_a_late_packet_from_the_old_path_does_not_move_the_peer_back(self, tunnel: Rig) -> None:
        moved = tunnel.open_link(1, 2)
        inject(tunnel, UP, number=2, link=2)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
        inject(tunnel, UP, number=1, link=1)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 2)
        floats = [event for event in tunnel.reports[0] if isinstance(event, PeerFloated)]
        assert floats == [PeerFloated(CLIENT, Path(LinkId(1), moved))]

    def test_without_leave_to_float_other_paths_are_dropped(self, tunnel: Rig) -> None:
        server = tunnel.datapaths[0]
        server.update_peer(replace(server_spec(tunnel), float_allowed=False))
        tunnel.open_link(1, 2)
        inject(tunnel, UP, number=1, link=2)
        tunnel.until(lambda: dropped(tunnel, 0, "data from another address") == 1)
        assert tunnel.delivered(0) == []
        inject(tunnel, UP, number=2)
        tunnel.until(lambda: tunnel.delivered(0) == [UP])

    def test_a_peer_may_not_float_to_another_peers_path(self, tunnel: Rig) -> None:
        taken = Path(LinkId(1), tunnel.open_link(1, 2))
        tunnel.datapaths[0].add_peer(PeerSpec(PeerId(6), 6, taken, ()))
        inject(tunnel, UP, link=2)
        conflict = FloatConflict(CLIENT, taken, PeerId(6))
        tunnel.until(lambda: conflict in tunnel.reports[0])
        assert tunnel.delivered(0) == []

    def test_a_peer_outlives_its_link(self, tunnel: Rig) -> None:
        tunnel.datapaths[0].close_link(LinkId(1))
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: dropped(tunnel, 0, "send closed link") == 1)
        tunnel.datapaths[0].send_control(Path(LinkId(1), tunnel.local(1)), b"\x38late")
        assert dropped(tunnel, 0, "send closed link") == 2
        assert tunnel.datapaths[0].keys(CLIENT) == {KeySlot.PRIMARY: 0}

    # --- peers ----------------------------------------------------------------------------------

    def test_counters_tell_inner_and_outer_octets(self, tunnel: Rig) -> None:
        for _ in range(3):
            tunnel.enter(1, UP)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 3)
        sent, got = tunnel.datapaths[1].counters(SERVER), tunnel.datapaths[0].counters(CLIENT)
        assert (sent.packets_out, sent.bytes_out) == (3, 3 * len(UP))
        assert sent.link_out == 3 * (len(UP) + 24)
        assert (got.packets_in, got.bytes_in, got.link_in) == (3, sent.bytes_out, sent.link_out)

    def test_a_removed_peer_leaves_its_counters_and_nothing_else(self, tunnel: Rig) -> None:
        tunnel.enter(1, UP)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
        assert tunnel.datapaths[0].remove_peer(CLIENT).packets_in == 1
        tunnel.enter(1, UP)
        tunnel.enter(0, DOWN)
        tunnel.until(lambda: dropped(tunnel, 0, "data unknown peer") == 1)
        tunnel.until(lambda: dropped(tunnel, 0, "tunnel no peer") == 1)
        with pytest.raises(UsageError):
            tunnel.datapaths[0].counters(CLIENT)

    def test_an_update_moves_the_networks(self, tunnel: Rig) -> None:
        tunnel.enter(1, UP)
        tunnel.until(lambda: len(tunnel.delivered(0)) == 1)
        spec = replace(server_spec(tunnel), networks=(ip_network("2001:db8::6/128"),))
        tunnel.datapaths[0].update_peer(spec)
        tunnel.enter(1, UP)
        tunnel.until(lambda: dropped(tunnel, 0, "inner source address") == 1)
        other = ip_packet("2001:db8::6", "2001:db8::1")
        tunnel.enter(1, other)
        tunnel.until(lambda: tunnel.delivered(0) == [UP, other])

    def test_mistakes_of_ours_are_usage_errors(self, tunnel: Rig) -> None:
        server = tunnel.datapaths[0]
        for mistake in (
            lambda: server.add_peer(server_spec(tunnel)),
            lambda: server.install_key(PeerId(77), KeySlot.PRIMARY, key_pair(0)),
            lambda: server.swap_keys(PeerId(77)),
            lambda: server.remove_peer(PeerId(77)),
            lambda: server.update_peer(replace(server_spec(tunnel), peer=PeerId(77))),
        ):
            with pytest.raises(UsageError):
                mistake()


# --- helpers of the tests -----------------------------------------------------------------------


def install(
    rig: Rig,
    key_id: int,
    cipher: str = "AES-256-GCM",
    data_format: DataFormat = DataFormat.CLASSIC,
) -> None:
    """The same key at both ends."""
    for end, peer in ((0, CLIENT), (1, SERVER)):
        key = key_pair(end, key_id, cipher, data_format)
        rig.datapaths[end].install_key(peer, KeySlot.PRIMARY, key)


def inject_epoch(rig: Rig, payload: bytes, epoch: int, link: int = 1) -> None:
    """The first datagram of an epoch of the client's, past its own data path."""
    key = EpochSendKey(key_pair(1, data_format=DataFormat.EPOCH), CLIENT)
    key.reach(epoch)
    rig.datapaths[1].send_control(Path(LinkId(link), rig.local(0)), key.seal(payload))


def inject(rig: Rig, payload: bytes, number: int = 1, link: int = 1) -> None:
    """A datagram of the client's with any payload and packet id, past its own data path."""
    key = SendKey(key_pair(1), CLIENT)
    while key.packet_id < number - 1:
        key.seal(b"skipped")
    path = Path(LinkId(link), rig.local(0))
    rig.datapaths[1].send_control(path, key.seal(payload))


def dropped(rig: Rig, end: int, reason: str) -> int:
    return rig.datapaths[end].drops().counts.get(reason, 0)


def server_spec(rig: Rig) -> PeerSpec:
    """What the server knows of the client."""
    networks = tuple(ip_network(text) for text in CLIENT_NETWORKS)
    return PeerSpec(CLIENT, SERVER, Path(LinkId(1), rig.local(1)), networks)


def client_spec(rig: Rig, link: int = 1) -> PeerSpec:
    """What the client knows of the server."""
    everything = (ip_network("::/0"), ip_network("0.0.0.0/0"))
    return PeerSpec(SERVER, CLIENT, Path(LinkId(link), rig.local(0)), everything)


def move_client(rig: Rig, link: int) -> None:
    """From now on the client sends from another of its links."""
    rig.datapaths[1].update_peer(client_spec(rig, link))


def reframe(rig: Rig, framing: Framing) -> None:
    rig.datapaths[0].update_peer(replace(server_spec(rig), framing=framing))
    rig.datapaths[1].update_peer(replace(client_spec(rig), framing=framing))


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Each processor of the kernel keeps its packets in order; a thread that moves in their midst
    is overtaken by what it left on a slow one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
