"""Packets that somebody on the path replays, mangles or forges: none is delivered, none hurts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from interop import wire
from interop.ends import (
    INNER,
    OUR_SERVER,
    PAIRINGS,
    SERVER_4,
    SERVER_6,
    Ends,
    Maker,
    Pairing,
    client_text,
    remote_of,
    server_text,
    start,
    up_again,
    without_line,
)
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw
from serving.attack import (
    CONTROL_OPCODES,
    DATA_OPCODE,
    dropped_since,
    drops,
    frames,
    mangled,
    opcode,
    payload,
    send_all,
    wire_end,
    with_payload,
    with_source,
)
from serving.ends import inner, join, make_clients, serve

from ovpn6.lab import Lab, Line, Namespace, Tunnel, ping, star, wait_for, wait_reachable
from ovpn6.pki.authority import Authority
from ovpn6.pki.profile import Wrap

pytestmark = pytest.mark.root

BLOCK = "table inet block { chain forward { type filter hook forward priority 0; drop; }; }"
UNBLOCK = "delete table inet block"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_clients(tmp_path_factory.mktemp("hostile"), ["client", "other"])


@dataclass(frozen=True, slots=True)
class Target:
    """An end under attack, and the device of the router by which its packets come."""

    tunnel: Tunnel
    maker: Maker
    device: str

    def delivered(self) -> int:
        """Octets that came out of the tunnel there."""
        return self.tunnel.device().received_bytes


def targets(ends: Ends, pairing: Pairing) -> tuple[Target, Target]:
    """Server and client."""
    return (
        Target(ends.server, pairing.server, "to-server"),
        Target(ends.client, pairing.client, "to-client"),
    )


def towards(target: Target, seen: list[Packet], ends: Ends) -> list[Packet]:
    """Those of the captured frames that go to the target."""
    address = (
        ends.net.server_address if target.device == "to-server" else ends.net.client_addresses[0]
    )
    return [frame for frame in seen if frame[IPv6].dst == str(address)]


@contextmanager
def undisturbed(ends: Ends) -> Iterator[None]:
    """The tunnel is the same before and after: no new handshake, the same addresses, it works."""
    row = ends.client_row()
    before = (row.real_address, ends.inner_addresses(), len(ends.server.log().split("VERIFY OK")))
    yield
    for address in INNER:
        assert ping(ends.net.client, address).complete
    for address in ends.inner_addresses():
        assert ping(ends.net.server, address).complete
    row = ends.client_row()
    after = (row.real_address, ends.inner_addresses(), len(ends.server.log().split("VERIFY OK")))
    assert after == before


# --- data ---


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_replayed_data_packets_are_not_delivered(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    ends = start(net, authority, pairing)
    with wire.watch(net, "server") as near_server, wire.watch(net, "client") as near_client:
        for address in INNER:
            assert ping(net.client, address, count=20).complete
        captured = {"to-server": frames(near_server), "to-client": frames(near_client)}
    with undisturbed(ends):
        for target in targets(ends, pairing):
            replayed = [
                bytes(frame)
                for frame in towards(target, captured[target.device], ends)
                if opcode(frame) == DATA_OPCODE
            ]
            assert len(replayed) >= 40
            _check_none_delivered(net.underlay, target, replayed * 3, "data replay")


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_mangled_data_packets_are_not_delivered(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    net = ipv6_line
    ends = start(net, authority, pairing)
    for target in targets(ends, pairing):
        fresh = _fresh_packet(ends, target)
        content = payload(fresh)
        forged = [with_payload(fresh, each) for each in mangled(content, every=3)]
        assert len(forged) > 60
        with undisturbed(ends):
            _check_none_delivered(net.underlay, target, forged, None)
        # The packet itself was good: what was counted above was counted because it was forged.
        before = target.delivered()
        with wire_end(net.underlay, target.device) as end:
            end.send(bytes(fresh))
        wait_for(lambda target=target, before=before: target.delivered() > before, 5, "delivery")


def _fresh_packet(ends: Ends, target: Target) -> Packet:
    """A genuine data packet with a ping in it that the target has not received."""
    net = ends.net
    to_server = target.device == "to-server"
    side = "client" if to_server else "server"
    source, destination = (
        (net.client, SERVER_6) if to_server else (net.server, ends.inner_addresses()[0])
    )
    with wire.watch(net, side) as capture:
        net.underlay.nft(BLOCK)
        assert ping(source, destination, count=1).received == 0
        found = wait_for(
            lambda: [
                frame
                for frame in towards(target, frames(capture), ends)
                if opcode(frame) == DATA_OPCODE and len(payload(frame)) > 100
            ],
            5,
            "a data packet on its way",
        )
        net.underlay.nft(UNBLOCK)
    # As it would have left the router.
    frame = found[-1].copy()
    reference = _frame_to(net.underlay, target, ends)
    frame.src, frame.dst = reference.src, reference.dst
    frame[IPv6].hlim -= 1
    return frame


def _frame_to(underlay: Namespace, target: Target, ends: Ends) -> Packet:
    """A frame as the router sends them to the target: its addresses on the last link."""
    with wire.watch(ends.net, target.device.removeprefix("to-")) as capture:
        assert ping(ends.net.client, SERVER_6, count=1).complete
        return wait_for(lambda: towards(target, frames(capture), ends), 5, "a frame")[0]


def _check_none_delivered(
    attacker: Namespace, target: Target, packets: list[bytes], reason: str | None
) -> None:
    delivered = target.delivered()
    before = drops(target.tunnel) if target.maker is Maker.OURS else {}
    with wire_end(attacker, target.device) as end:
        send_all(end, packets)
    if target.maker is Maker.OURS:

        def all_counted() -> dict[str, int] | None:
            grown = dropped_since(before, drops(target.tunnel))
            # Some of a mangled packet's copies are not data any more, some are control packets.
            return grown if sum(grown.values()) >= len(packets) * (1 if reason else 0.5) else None

        grown = wait_for(all_counted, 10, f"{len(packets)} drops", [target.tunnel.process])
        assert reason is None or grown.get(reason) == len(packets), grown
    assert target.delivered() == delivered


# --- the inner source ---


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_an_inner_source_that_is_not_the_client_s_is_not_delivered(
    lab: Lab, authority: Authority, maker: Maker
) -> None:
    net = star(lab, 2)
    server = serve(net, authority, Maker.OURS)
    client = join(net, authority, maker, namespace=net.clients[0])
    other = join(net, authority, maker, name="other", namespace=net.clients[1])
    for each in (client, other):
        each.wait_up()
        wait_reachable(each.namespace, SERVER_6)
    foreign6 = ("2001:db8:bad::1", str(inner(other)[6]), SERVER_6, "fe80::1", "::", "ff02::1")
    foreign4 = ("192.0.2.66", str(inner(other)[4]), SERVER_4, "0.0.0.0", "127.0.0.1", "224.0.0.1")
    inside = (ICMPv6EchoRequest(data=b"x" * 64), UDP(sport=9, dport=9) / Raw(b"x" * 64))
    spoofed = [IPv6(src=source, dst=SERVER_6) / part for source in foreign6 for part in inside]
    spoofed += [
        IP(src=source, dst=SERVER_4) / part
        for source in foreign4
        for part in (ICMP() / Raw(b"x" * 64), inside[1])
    ]
    device = client.device().name
    before, delivered = drops(server), server.device().received_bytes
    to_other = other.device().received_bytes
    with wire_end(client.namespace, device) as end:
        send_all(end, [bytes(packet) for packet in spoofed])
        # And with an address of its own this very way in does work.
        good = IPv6(src=str(inner(client)[6]), dst=SERVER_6) / inside[0]
        end.send(bytes(good))
    wait_for(
        lambda: server.device().received_bytes > delivered, 5, "the genuine one", [server.process]
    )
    grown = dropped_since(before, drops(server))
    assert grown.get("inner source address") == len(spoofed), grown
    assert server.device().received_bytes == delivered + len(bytes(good))
    assert other.device().received_bytes == to_other
    for each in (client, other):
        assert ping(each.namespace, SERVER_6).complete


@pytest.mark.parametrize("maker", Maker, ids=lambda maker: maker.value)
def test_inner_packets_that_are_no_packets_are_not_delivered(
    ipv6_line: Line, authority: Authority, maker: Maker
) -> None:
    net = ipv6_line
    server = serve(net, authority, Maker.OURS)
    client = join(net, authority, maker)
    client.wait_up()
    wait_reachable(net.client, SERVER_6)
    own6, own4 = (str(inner(client)[family]) for family in (6, 4))
    whole6 = bytes(IPv6(src=own6, dst=SERVER_6) / UDP(sport=9, dport=9) / Raw(b"x" * 64))
    whole4 = bytes(IP(src=own4, dst=SERVER_4) / UDP(sport=9, dport=9) / Raw(b"x" * 64))
    broken = [
        whole6[:39],
        whole4[:19],
        # They say that they are longer than they are.
        whole6[:60],
        whole4[:40],
    ]
    before, delivered = drops(server), server.device().received_bytes
    with wire_end(net.client, client.device().name) as end:
        send_all(end, broken)
        end.send(whole6)
    wait_for(lambda: server.device().received_bytes > delivered, 5, "the whole one")
    assert server.device().received_bytes == delivered + len(whole6)
    grown = dropped_since(before, drops(server))
    # What a client's own kernel or program held back did not come here at all.
    assert set(grown) <= {"inner length", "inner not IP"}, grown


# --- control ---


@pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
def test_replayed_and_mangled_control_packets_change_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = ipv6_line
    with wire.watch(net, "server") as near_server, wire.watch(net, "client") as near_client:
        ends = start(net, authority, pairing, wrap=wrap)
        assert ping(net.client, SERVER_6).complete
        captured = {"to-server": frames(near_server), "to-client": frames(near_client)}
    with undisturbed(ends):
        for target in targets(ends, pairing):
            control = [
                frame
                for frame in towards(target, captured[target.device], ends)
                if opcode(frame) in CONTROL_OPCODES
            ]
            assert len(control) >= 4
            packets = [bytes(frame) for frame in control] * 3
            for frame in control:
                packets += [with_payload(frame, each) for each in mangled(payload(frame), every=29)]
            with wire_end(net.underlay, target.device) as end:
                send_all(end, packets)
            for address in INNER:
                assert ping(net.client, address).complete
    for target in targets(ends, pairing):
        assert "BUG" not in target.tunnel.log()
        assert "Traceback" not in target.tunnel.log()


@pytest.mark.parametrize("wrap", Wrap, ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_client_s_reset_replayed_from_its_address_changes_nothing(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(net, authority, pairing, wrap=wrap)
        resets = _resets(capture)
    with undisturbed(ends), wire_end(net.underlay, "to-server") as end:
        send_all(end, [bytes(resets[0])] * 20)
        assert ping(net.client, SERVER_6, count=10).complete


@pytest.mark.parametrize("wrap", [Wrap.TLS_CRYPT, Wrap.TLS_AUTH], ids=lambda wrap: wrap.value)
@pytest.mark.parametrize("pairing", OUR_SERVER[:2], ids=str)
def test_a_reset_of_the_client_s_last_session_does_not_end_its_tunnel(
    ipv6_line: Line, authority: Authority, pairing: Pairing, wrap: Wrap
) -> None:
    """The server cannot tell it from a client that lost its memory, and answers; the answer makes
    OpenVPN's client begin a session anew. The tunnel has to survive that too. (With OpenVPN at both
    ends a client that comes again from its port is not answered for half a minute.)"""
    net = ipv6_line
    same_port = "lport 5555"
    with wire.watch(net) as capture:
        server = pairing.server.start(net.server, server_text(authority, wrap=wrap), "server")
        server.wait_up()
        text = client_text(authority, remote_of(net), same_port, wrap=wrap)
        client = pairing.client.start(net.client, without_line(text, "nobind"), "client")
        client.wait_up()
        first = _resets(capture)[0]
        with up_again(client):
            client.process.signal(signal.SIGUSR1)
        assert payload(_resets(capture)[-1])[1:9] != payload(first)[1:9]
    _check_survives(Ends(net, server, client), [bytes(first)])


@pytest.mark.parametrize("pairing", OUR_SERVER, ids=str)
def test_a_forged_reset_does_not_end_a_tunnel_without_wrap(
    ipv6_line: Line, authority: Authority, pairing: Pairing
) -> None:
    with wire.watch(ipv6_line) as capture:
        ends = start(ipv6_line, authority, pairing, wrap=Wrap.NONE)
        reset = _resets(capture)[0]
    forged = bytearray(payload(reset))
    forged[1:9] = b"somebody"
    _check_survives(ends, [with_payload(reset, bytes(forged))] * 5)


def _resets(capture: wire.Capture) -> list[Packet]:
    return [frame for frame in frames(capture) if opcode(frame) in (7, 10)]


def _check_survives(ends: Ends, packets: list[bytes]) -> None:
    for _ in range(3):
        with wire_end(ends.net.underlay, "to-server") as end:
            send_all(end, packets)
        for address in INNER:
            wait_reachable(ends.net.client, address, limit=3)
    # A client that was made to begin anew does so in this time, at the price of a packet or two.
    assert ping(ends.net.client, SERVER_6, count=25, interval=0.1).received > 20
    for address in ends.inner_addresses():
        wait_reachable(ends.net.server, address, limit=3)
    assert ping(ends.net.client, SERVER_6, count=10).complete


# --- float ---


@pytest.mark.parametrize("kind", ["garbage", "replayed"])
def test_nobody_moves_a_client_without_proof(
    ipv6_line: Line, authority: Authority, kind: str
) -> None:
    net = ipv6_line
    with wire.watch(net) as capture:
        ends = start(net, authority, PAIRINGS[0])
        assert ping(net.client, SERVER_6, count=5).complete
        server = targets(ends, PAIRINGS[0])[0]
        data = [f for f in towards(server, frames(capture), ends) if opcode(f) == DATA_OPCODE]
    if kind == "replayed":
        contents = [payload(frame) for frame in data]
    else:
        # The right peer id and key id, a packet number of the future, nothing genuine behind it.
        begin = payload(data[-1])[:4]
        contents = [begin + number.to_bytes(4, "big") + b"\xaa" * 100 for number in range(50, 90)]
    packets = [
        with_source(data[0], "2001:db8:c::66", 4000 + number, content)
        for number, content in enumerate(contents)
    ]
    before = drops(ends.server)
    with undisturbed(ends), wire.watch(net) as capture:
        with wire_end(net.underlay, "to-server") as end:
            send_all(end, packets)
        assert ping(net.server, ends.inner_addresses()[0], count=10).complete
        answers = [
            packet for packet in wire.packets(capture) if packet.destination[0] == "2001:db8:c::66"
        ]
    assert answers == []
    grown = dropped_since(before, drops(ends.server))
    reason = {"garbage": "data authentication", "replayed": "data replay"}[kind]
    assert grown.get(reason) == len(packets), grown
