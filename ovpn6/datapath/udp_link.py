"""A UDP socket: trains of equal datagrams in one system call each way where the kernel can.

Generic segmentation (``UDP_SEGMENT``) sends, ``UDP_GRO`` receives up to 64 datagrams in one call;
both are per-datagram on the wire, so no peer can tell. See docs/decisions/user-space-data-path.md.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Collection, Hashable, Sequence
from typing import cast

from ovpn6.datapath.errors import Counts, count_error, host_error
from ovpn6.datapath.links import Deliver, Source
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.sockaddr import (
    FLOW_LABEL,
    Ancillary,
    SockAddr,
    flow_label_ancillary,
    is_ipv4,
    local_address,
    source_ancillary,
    to_endpoint,
    to_sockaddr,
    traffic_class_ancillary,
    traffic_class_in,
)
from ovpn6.model.addresses import IPAddress, Path
from ovpn6.model.names import LinkId

UDP_SEGMENT = 103
UDP_GRO = 104
IP_RECVTOS = 13
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
HEED_ROUTE = 1
"""``IP_PMTUDISC_WANT``: the host fragments what is longer than the route's MTU."""
NEVER_CUT = 2
"""``IP_PMTUDISC_DO``: EMSGSIZE above the route's MTU. What an IPv4 socket says, because trains have
DF only then; a single datagram that is refused goes once more under :data:`HEED_ROUTE`."""
HEED_INTERFACE = 3
"""``IP_PMTUDISC_PROBE``: whole and with DF up to the interface's MTU, EMSGSIZE above it."""
MAX_TRAIN = 64
"""Segments in one send; kernels before 6.9 refuse more."""
MAX_TRAIN_OCTETS = 65_507
"""Payload of one send: an IPv4 packet, less its header and UDP's."""
RECEIVE_SIZE = 65_535
ANCILLARY_SIZE = 128
RECEIVE_BUDGET = 256
"""Datagrams taken in one go before other sockets get their turn."""

log = logging.getLogger("ovpn6.datapath")

_UINT16 = struct.Struct("=H")
_INT = struct.Struct("=i")


class UdpLink:
    """One UDP socket without ``multihome``: a source is the kernel's address tuple."""

    can_float = True

    def __init__(
        self,
        link: LinkId,
        sock: socket.socket,
        deliver: Deliver,
        counts: Counts,
        without: Collection[Offload] = (),
    ) -> None:
        """``without``: trains that are not to be used. None may be received when another taker in
        the kernel would see a train as one datagram."""
        self.link = link
        self.sock = sock
        self._family = int(sock.family)
        self._deliver = deliver
        self._counts = counts
        for level, option, usual in _discovery_options(self._family):
            sock.setsockopt(level, option, usual)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        self._label = True
        self._longest = 1 if Offload.SEGMENT in without or not self._has_trains() else MAX_TRAIN
        if Offload.GRO not in without:
            try:
                sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
            except OSError as error:
                # Kernels before 5.0.
                log.info("link %d: one datagram a receive call (%s)", link, error.strerror)

    def readable(self) -> None:
        """Take what waits, up to the budget."""
        recvmsg = self.sock.recvmsg
        deliver = self._deliver
        left = RECEIVE_BUDGET
        while left > 0:
            try:
                data, ancillary, _, address = recvmsg(RECEIVE_SIZE, ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                # An ICMP error about an earlier datagram; the call after it works again.
                count_error(self._counts, "receive", error)
                left -= 1
                continue
            datagrams = split_train(data, ancillary)
            left -= len(datagrams)
            source = self._received_from(address, ancillary)
            deliver(self, datagrams, source, traffic_class_in(ancillary))

    def send(
        self,
        datagrams: Sequence[bytes],
        source: Source,
        traffic_class: int = 0,
        flow_label: int = 0,
    ) -> None:
        """Send in order, runs of equal size as one train."""
        address, ancillary = self._destination(source)
        if traffic_class:
            ancillary = (*ancillary, traffic_class_ancillary(address, traffic_class))
        if flow_label and self._label and not is_ipv4(address):
            ancillary = (*ancillary, flow_label_ancillary(flow_label))
        total = len(datagrams)
        start = 0
        while start < total:
            size = len(datagrams[start])
            end = start + 1
            if end < total and size:
                end = train_end(datagrams, start, size, self._longest)
            try:
                if end - start > 1:
                    segment = (socket.SOL_UDP, UDP_SEGMENT, _UINT16.pack(size))
                    self._sendmsg(datagrams[start:end], (*ancillary, segment), address)
                else:
                    self._send_single(datagrams[start], ancillary, address)
            except OSError as error:
                if end - start > 1 and not isinstance(error, BlockingIOError):
                    self._train_refused(error)
                    self._send_singly(datagrams[start:end], ancillary, address)
                else:
                    count_error(self._counts, "send", error, end - start)
            start = end

    def send_probe(self, datagram: bytes, source: Source) -> None:
        """See :class:`~ovpn6.datapath.interface.Datapath`. For these microseconds another thread's
        datagrams do not heed the route's MTU either, which may cost it one that needs fragments."""
        address, ancillary = self._destination(source)
        options = _discovery_options(self._family)
        for level, option, _ in options:
            self.sock.setsockopt(level, option, HEED_INTERFACE)
        try:
            self.sock.sendmsg((datagram,), ancillary, 0, address)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise host_error("send a probe", error) from None
            count_error(self._counts, "send", error)
        finally:
            for level, option, usual in options:
                self.sock.setsockopt(level, option, usual)

    def source(self, path: Path) -> Source:
        """The address tuple of the path's remote end."""
        return to_sockaddr(path.remote, self._family)

    def path(self, source: Source) -> Path:
        """The inverse of :meth:`source`."""
        return Path(self.link, to_endpoint(cast(SockAddr, source)))

    def holder(self, source: Source) -> Hashable:
        """Link and address."""
        return self.link, source

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _received_from(self, address: SockAddr, ancillary: Sequence[Ancillary]) -> Source:
        return address

    def _destination(self, source: Source) -> tuple[SockAddr, tuple[Ancillary, ...]]:
        return cast(SockAddr, source), ()

    def _has_trains(self) -> bool:
        """An older kernel would not refuse a train: it would send it as one long datagram."""
        try:
            self.sock.getsockopt(socket.SOL_UDP, UDP_SEGMENT)
        except OSError as error:
            # Kernels before 4.18.
            log.info("link %d: one datagram a send call (%s)", self.link, error.strerror)
            return False
        return True

    def _train_refused(self, error: OSError) -> None:
        """Larger than a path's MTU is EMSGSIZE, before Linux 6.13 EINVAL, and only that peer's
        affair. EIO: the device cannot finish checksums, and no train goes this way."""
        if error.errno == errno.EIO and self._longest > 1:
            self._longest = 1
            log.info("link %d: one datagram a send call (%s)", self.link, error.strerror)

    def _send_singly(
        self,
        datagrams: Sequence[bytes],
        ancillary: tuple[Ancillary, ...],
        address: SockAddr,
    ) -> None:
        # A train is refused where a single datagram need not be: larger than the path MTU (the
        # kernel may fragment it), or out of a device that cannot finish checksums.
        for datagram in datagrams:
            try:
                self._send_single(datagram, ancillary, address)
            except OSError as error:
                count_error(self._counts, "send", error)

    def _send_single(
        self, datagram: bytes, ancillary: tuple[Ancillary, ...], address: SockAddr
    ) -> None:
        """In fragments where the route's MTU wants it."""
        try:
            if ancillary:
                self._sendmsg((datagram,), ancillary, address)
            else:
                self.sock.sendto(datagram, address)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self.sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, HEED_ROUTE)
            try:
                self._sendmsg((datagram,), ancillary, address)
            finally:
                self.sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, NEVER_CUT)

    def _sendmsg(
        self, datagrams: Sequence[bytes], ancillary: tuple[Ancillary, ...], address: SockAddr
    ) -> None:
        """One send, with the kernel's own flow label where it takes none of ours: somebody in the
        network namespace owns a label for himself alone then, and only owned ones may be sent."""
        try:
            self.sock.sendmsg(datagrams, ancillary, 0, address)
        except OSError as error:
            unlabelled = [one for one in ancillary if one[:2] != FLOW_LABEL]
            if error.errno != errno.EINVAL or len(unlabelled) == len(ancillary):
                raise
            self.sock.sendmsg(datagrams, unlabelled, 0, address)
            if self._label:
                log.info("link %d: no flow labels of ours (%s)", self.link, error.strerror)
            self._label = False


class MultihomeUdpLink(UdpLink):
    """A UDP socket that answers from the address it was reached at.

    A source is the address tuple and our own address, None before anything arrived.
    """

    def source(self, path: Path) -> Source:
        """Address tuple and local address."""
        return to_sockaddr(path.remote, self._family), path.local

    def path(self, source: Source) -> Path:
        """The inverse of :meth:`source`."""
        address, local = cast(tuple[SockAddr, IPAddress | None], source)
        return Path(self.link, to_endpoint(address), local)

    def holder(self, source: Source) -> Hashable:
        """Link and remote address: ours does not tell peers apart."""
        return self.link, cast(tuple[SockAddr, IPAddress | None], source)[0]

    def _received_from(self, address: SockAddr, ancillary: Sequence[Ancillary]) -> Source:
        return address, local_address(ancillary)

    def _destination(self, source: Source) -> tuple[SockAddr, tuple[Ancillary, ...]]:
        address, local = cast(tuple[SockAddr, IPAddress | None], source)
        if local is None:
            return address, ()
        scope = address[3] if len(address) == 4 else 0
        return address, (source_ancillary(local, self._family, scope),)


def _discovery_options(family: int) -> tuple[tuple[int, int, int], ...]:
    """Level, name and usual value; IPv4's governs an IPv6 socket's datagrams to v4-mapped
    addresses. All is said because ``net.ipv4.ip_no_pmtu_disc`` may have another default."""
    four = (socket.IPPROTO_IP, IP_MTU_DISCOVER, NEVER_CUT)
    if family == socket.AF_INET6:
        return (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, HEED_ROUTE), four
    return (four,)


def train_end(datagrams: Sequence[bytes], start: int, size: int, longest: int = MAX_TRAIN) -> int:
    """Where the train that begins at ``start`` ends: equal sizes, the last may be shorter."""
    limit = min(len(datagrams), start + min(longest, max(1, MAX_TRAIN_OCTETS // size)))
    end = start + 1
    while end < limit:
        length = len(datagrams[end])
        if length != size:
            return end + 1 if 0 < length < size else end
        end += 1
    return end


def split_train(data: bytes, ancillary: Sequence[Ancillary]) -> Sequence[bytes]:
    """The datagrams that ``UDP_GRO`` merged into ``data``."""
    for level, kind, value in ancillary:
        if level == socket.SOL_UDP and kind == UDP_GRO:
            size = _INT.unpack_from(value)[0]
            if 0 < size < len(data):
                return [data[at : at + size] for at in range(0, len(data), size)]
    return (data,)
