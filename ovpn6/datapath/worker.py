"""The hot loop: tunnel device -> peer -> seal -> link, and link -> peer -> open -> tunnel device.

One object, called by the event loop when a descriptor is readable. With vnet headers one read is up
to 64 KB of one flow, cut here, and one write as much, merged here. Everything is ``bytes``: slicing
and joining short byte strings measured faster here than views into preallocated buffers. What a
stranger can cause costs one counter. Never raises.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from ovpn6.datapath.errors import Counts, count, count_error
from ovpn6.datapath.interface import ReportSink
from ovpn6.datapath.links import Link, Source
from ovpn6.datapath.offload import ecn
from ovpn6.datapath.offload.coalesce import Merger
from ovpn6.datapath.offload.flow_label import FlowLabels
from ovpn6.datapath.offload.segment import Uncuttable, cut
from ovpn6.datapath.offload.vnet import VNET_SIZE, decode_vnet
from ovpn6.datapath.peers import Opener, Peer, PeerTable
from ovpn6.model.errors import PeerError
from ovpn6.model.flow import (
    ControlReceived,
    FloatConflict,
    KeyConfirmed,
    PeerExited,
    PeerFloated,
)
from ovpn6.protocol.data_channel import (
    OCC_EXIT,
    OCC_MAGIC,
    PING,
    AuthenticationFailed,
    Compressed,
    KeyExhausted,
    Replayed,
    frame,
    unframe,
)
from ovpn6.protocol.epoch_channel import UnknownEpoch
from ovpn6.protocol.packets import Opcode

TUNNEL_BUDGET = 64
"""Packets taken from the tunnel in one go; also the longest train."""
READ_SIZE = VNET_SIZE + 65_535
MOST_CONTROL = 9216
"""Octets of a control packet: a probe of a jumbo path is as long as its packets. Thousands of
strangers' packets may wait for the role."""
MOST_MOVES = 8
"""Changes of path that one peer may cause between two looks of the keepalive (a second): each is
told to the role, and a client that sends from two sockets in turn could tell it without end."""
DATA_V2 = int(Opcode.DATA_V2)
GONE = frozenset({errno.EBADFD, errno.ENODEV, errno.EBADF, errno.ENXIO})
"""What reading or writing says when the device was deleted underneath us."""

Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], int]
WriteParts = Callable[[int, Sequence[bytes]], int]

REASONS: dict[type[PeerError], str] = {
    AuthenticationFailed: "data authentication",
    Replayed: "data replay",
    Compressed: "data compressed",
    UnknownEpoch: "data unknown epoch",
}


class Worker:
    """Moves packets. ``tunnel`` is the device's descriptor, -1 when there is none. ``copy_dscp``:
    outer packets get the DSCP of inner ones (``passtos``)."""

    def __init__(
        self,
        peers: PeerTable,
        report: ReportSink,
        counts: Counts,
        tunnel_lost: Callable[[OSError], None],
        read: Read,
        write: Write,
    ) -> None:
        """``tunnel_lost``: the device is gone; it must set ``tunnel`` to -1."""
        self.tunnel = -1
        self._peers = peers
        self._report = report
        self._counts = counts
        self._tunnel_lost = tunnel_lost
        self._read = read
        self._write = write
        self.copy_dscp = False
        self._flow_label: Callable[[bytes], int] | None = None
        self._merger: Merger | None = None
        self._deliver: Callable[[bytes], None] = self._write_packet

    def use_vnet(self, write: WriteParts, uso: bool) -> None:
        """From now on packets have vnet headers, and super-packets go both ways."""

        def write_parts(parts: Sequence[bytes], _: int) -> None:
            try:
                write(self.tunnel, parts)
            except OSError as error:
                self._tunnel_error("tunnel write", error)

        self._merger = Merger(write_parts, uso)
        self._deliver = self._merger.feed

    def label_flows(self, secret: bytes) -> None:
        """From now on outer packets have flow labels by inner flow."""
        self._flow_label = FlowLabels(secret).label

    # --- out ------------------------------------------------------------------------------------

    def tunnel_readable(self) -> None:
        """Seal and send what waits in the tunnel, up to the budget, in runs of one peer."""
        tunnel = self.tunnel
        read = self._read
        owners = self._peers.routes.memo
        run: list[bytes] = []
        runner: Peer | None = None
        run_class = run_label = 0
        flow_label = self._flow_label
        left = TUNNEL_BUDGET
        while left > 0:
            try:
                packet = read(tunnel, READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                self._tunnel_error("tunnel read", error)
                break
            packets: Sequence[bytes] = (packet,)
            if self._merger is not None:
                packets = self._cut(packet)
                packet = packets[0] if packets else b""
            left -= len(packets) or 1
            version = packet[0] >> 4 if packet else 0
            if version == 6:
                destination = packet[24:40]
            elif version == 4:
                destination = packet[16:20]
            else:
                count(self._counts, "tunnel not IP")
                continue
            peer = owners.get(destination) or self._route(destination)
            if peer is None:
                continue
            outer = label = 0
            if self.copy_dscp or peer.spec.copy_ecn:
                # One super-packet is of one class.
                copied = ecn.copied_bits(peer.spec.copy_ecn, self.copy_dscp)
                outer = ecn.traffic_class(packet) & copied
            if flow_label is not None:
                label = flow_label(packet)
            if peer is not runner or outer != run_class or label != run_label:
                if runner is not None and run:
                    self.transmit(runner, run, run_class, run_label)
                runner, run_class, run_label = peer, outer, label
                run = []
            self._seal(peer, packets, run)
        if runner is not None and run:
            self.transmit(runner, run, run_class, run_label)

    def transmit(
        self,
        peer: Peer,
        datagrams: Sequence[bytes],
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        """Send sealed datagrams to where the peer is."""
        link = peer.link
        if link is None:
            count(self._counts, "send closed link", len(datagrams))
        else:
            link.send(datagrams, peer.source, traffic_class, flow_label)

    # --- in -------------------------------------------------------------------------------------

    def received(
        self, link: Link, datagrams: Sequence[bytes], source: Source, traffic_class: int
    ) -> None:
        """Open and write what arrived from one source in one traffic class."""
        by_wire_id = self._peers.by_wire_id
        owners = self._peers.routes.memo
        deliver = self._deliver
        known = b""
        peer = key = None
        for datagram in datagrams:
            if peer is None or key is None or datagram[:4] != known:
                # Mostly a train is of one peer and key.
                known = datagram[:4]
                first = known[0] if known else 0
                if first >> 3 != DATA_V2:
                    peer = None
                    self._not_data(link, datagram, source)
                    continue
                peer = by_wire_id.get(known[1:])
                if peer is None:
                    count(self._counts, "data unknown peer")
                    continue
                key = peer.receive[first & 7]
                if key is None:
                    count(self._counts, "data no key")
                    continue
            try:
                packet = key.open(datagram)
            except PeerError as error:
                self._refused(peer, error)
                continue
            if key.packets == 1:
                self._report(KeyConfirmed(peer.peer, key.key_id))
            if (peer.source != source or peer.link is not link) and not self._moved(
                peer, key, datagram, link, source
            ):
                self._special(peer, packet)
                continue
            if peer.framing is not None:
                try:
                    packet = self._unframe(peer, packet)
                except PeerError as error:
                    self._refused(peer, error)
                    continue
            version = packet[0] >> 4 if packet else 0
            length = len(packet)
            if version == 6 and length >= 40:
                address = packet[8:24]
                expected = 40 + (packet[4] << 8 | packet[5])
            elif version == 4 and length >= 20:
                address = packet[12:16]
                expected = packet[2] << 8 | packet[3]
            else:
                self._not_ip(peer, packet)
                continue
            if expected > length or expected < 20:
                self._drop_opened(peer, packet, "inner length")
                continue
            if owners.get(address) is not peer and self._peers.routes.find(address) is not peer:
                self._drop_opened(peer, packet, "inner source address")
                continue
            if traffic_class & 1:
                # CE, or ECT(1) as a lesser mark: the others change no inner packet.
                marked = ecn.deliver(packet, traffic_class)
                if marked is None:
                    self._drop_opened(peer, packet, "inner without ECN met congestion")
                    continue
                packet = marked
            deliver(packet)

    def flush(self) -> None:
        """No more is to be received for now: write what waits for more of its kind."""
        if self._merger is not None:
            self._merger.flush()

    # --- exceptions -----------------------------------------------------------------------------

    def _seal(self, peer: Peer, packets: Sequence[bytes], run: list[bytes]) -> None:
        """Add the datagrams of ``packets`` to ``run``, as far as there is a key."""
        key = peer.send_key
        if key is None:
            count(self._counts, "tunnel no key", len(packets))
            return
        seal = key.seal
        try:
            if peer.framing is None:
                for packet in packets:
                    run.append(seal(packet))
            else:
                for packet in packets:
                    payload = frame(peer.framing, packet)
                    run.append(seal(payload))
                    peer.sent.framing += len(payload) - len(packet)
        except KeyExhausted:
            count(self._counts, "tunnel key exhausted")

    def _write_packet(self, packet: bytes) -> None:
        try:
            self._write(self.tunnel, packet)
        except OSError as error:
            self._tunnel_error("tunnel write", error)

    def _cut(self, data: bytes) -> Sequence[bytes]:
        """The packets of one read with a vnet header; none when it makes no sense."""
        if len(data) <= VNET_SIZE:
            return ()
        packet = data[VNET_SIZE:]
        if not data[0] and not data[1]:
            return (packet,)
        try:
            return cut(decode_vnet(data), packet)
        except Uncuttable:
            return ()

    def _route(self, destination: bytes) -> Peer | None:
        if len(destination) not in (4, 16):
            count(self._counts, "tunnel not IP")
            return None
        peer = self._peers.routes.find(destination)
        if peer is None:
            multicast = destination[0] == 0xFF or (len(destination) == 4 and destination[0] >= 224)
            count(self._counts, "tunnel multicast" if multicast else "tunnel no peer")
        return peer

    def _not_data(self, link: Link, datagram: bytes, source: Source) -> None:
        if not datagram:
            count(self._counts, "empty datagram")
            return
        opcode = datagram[0] >> 3
        if opcode == Opcode.DATA_V1:
            count(self._counts, "data version 1")
        elif len(datagram) > MOST_CONTROL:
            count(self._counts, "control packet too long")
        elif opcode in _CONTROL_OPCODES:
            self._report(ControlReceived(link.path(source), datagram))
        else:
            count(self._counts, "unknown opcode")

    def _refused(self, peer: Peer, error: PeerError) -> None:
        if isinstance(error, Replayed):
            peer.replayed += 1
        count(self._counts, REASONS.get(type(error), "data malformed"))

    def _moved(self, peer: Peer, key: Opener, datagram: bytes, link: Link, source: Source) -> bool:
        """An authentic datagram came another way. True when it may be used."""
        known = peer.link
        if known is not None and known.holder(peer.source) == link.holder(source):
            peer.source = source  # only our own address differs (multihome)
            return True
        if not peer.spec.float_allowed or not link.can_float:
            count(self._counts, "data from another address")
            return False
        owner = self._peers.holder(link, source)
        peer.moves += 1
        if peer.moves > MOST_MOVES:
            count(self._counts, "data moves too often")
            return owner is None
        if owner is not None:
            self._report(FloatConflict(peer.peer, link.path(source), owner.peer))
            count(self._counts, "data float conflict")
            return False
        # Only the newest packet moves the peer: one that was late on the old way does not.
        if key.is_newest(datagram):
            self._peers.place(peer, link, source)
            self._report(PeerFloated(peer.peer, link.path(source)))
        return True

    def _unframe(self, peer: Peer, payload: bytes) -> bytes:
        assert peer.framing is not None
        try:
            packet = unframe(peer.framing, payload)
        except PeerError:
            self._special(peer, payload)
            raise
        peer.received.framing += len(payload) - len(packet)
        return packet

    def _not_ip(self, peer: Peer, packet: bytes) -> None:
        if packet == PING:
            self._special(peer, packet)
        elif packet[:16] == OCC_MAGIC:
            self._special(peer, packet)
            if packet[:17] == OCC_EXIT:
                self._report(PeerExited(peer.peer))
            else:
                # Requests for the options string or an MTU test go unanswered, like DCO peers do.
                count(self._counts, "data occ message")
        else:
            self._drop_opened(peer, packet, "inner not IP")

    def _drop_opened(self, peer: Peer, packet: bytes, reason: str) -> None:
        count(self._counts, reason)
        self._special(peer, packet)

    def _special(self, peer: Peer, packet: bytes) -> None:
        peer.received.special_packets += 1
        peer.received.special_octets += len(packet)

    def _tunnel_error(self, what: str, error: OSError) -> None:
        count_error(self._counts, what, error)
        if error.errno in GONE and self.tunnel >= 0:
            self._tunnel_lost(error)


_CONTROL_OPCODES = frozenset(Opcode) - {Opcode.DATA_V1, Opcode.DATA_V2}
