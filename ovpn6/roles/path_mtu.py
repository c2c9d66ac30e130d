"""What fits through the path to one peer, found out and enforced. PURE.

One object for a peer's life: it turns what the path MTU machine (``mtu/path.py``) decides into
probes of the control channel, orders for the host and log lines. Probing may begin as soon as the
handshake is acknowledged; sizes hold from the moment the peer enters the data path, where they are
those of the base size unless more is known by then. Who can afford it waits ``ANSWERS_WAIT`` for
that: on most paths all is known a round trip later. Another path begins anew.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol, TypeVar

from ovpn6.config.schema import Mssfix, MtuConfig, Remote, TunnelConfig
from ovpn6.model.addresses import IPNetwork, Path
from ovpn6.model.errors import HostError
from ovpn6.model.flow import Action, FitPeer, Log, PacketTooBig, ReleaseFit, SendProbe
from ovpn6.model.names import Instant, Level, PeerId, SessionId, Transport
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import DataFormat, FamilyFit, Framing, PeerFit
from ovpn6.model.status import PathStatus
from ovpn6.mtu import path as machine
from ovpn6.mtu.overhead import IPV6_MINIMUM, Encapsulation, Sizes, largest_useful_path, sizes
from ovpn6.mtu.timing import Timing
from ovpn6.protocol.packets import HEADER_SIZE, Opcode
from ovpn6.roles.client_plan import Tunnel

ANSWERS_WAIT = 0.003
"""Seconds that a peer's first sizes wait for probes on their way, and a client's tunnel with them:
most answers are there by then, and the host is spared the sizes of the base."""

_LARGEST = 65_535
_BASE = {4: 1200, 6: IPV6_MINIMUM}
"""Over IPv4 the other side of a NAT64 carries 20 octets less than IPv6's least."""
_OUTER_HEADERS = {4: 28, 6: 48}
_FRAMING_OCTETS = {Framing.STUB: 1, Framing.STUB_SWAP: 1}
_EACH_PATH = 1 << 32
"""Probes of one path are numbered from a multiple of this on."""
_PROBE_OPCODES = (Opcode.CONTROL_V1, Opcode.ACK_V1)
_SERIOUS = frozenset({machine.Why.BLACK_HOLE, machine.Why.SILENCE})

StepT = TypeVar("StepT")


def probes_last(steps: list[StepT]) -> list[StepT]:
    """What a connection had ready before leaves before a probe, as their replay ids tell."""
    return sorted(steps, key=lambda step: isinstance(step, SendProbe))


class Prober(Protocol):
    """A ``Connection``, as far as it makes probes. ``octets`` are those of the UDP payload."""

    def probe(self, probe: int, octets: int, now: Instant) -> bytes | None:
        """One that every peer answers."""

    def numbered_probe(self, probe: int, octets: int, now: Instant) -> bytes | None:
        """One that needs agreement."""


@dataclass(frozen=True, slots=True)
class PathRules:
    """What is agreed on with a peer, and what the operator wants.

    ``device`` is the MTU that the tunnel device has by itself, ``limit`` the largest inner packet
    that the peer takes, if that is less. ``numbered_probes``: the peer answers those.
    """

    config: MtuConfig
    transport: Transport
    device: int
    limit: int
    data_format: DataFormat = DataFormat.CLASSIC
    framing: Framing = Framing.NONE
    numbered_probes: bool = False

    def encapsulation(self, path: Path) -> Encapsulation:
        """Of data packets on a path."""
        return Encapsulation(
            ip_version=path.remote.address.version,
            epoch=self.data_format is DataFormat.EPOCH,
            framing=_FRAMING_OCTETS.get(self.framing, 0),
        )

    def ceiling(self, path: Path) -> int:
        """The largest outer packet there is a use for. What TCP makes of it is TCP's affair."""
        inner = min(self.device, self.limit)
        link = self.config.largest if self.transport is Transport.UDP else 0
        return largest_useful_path(self.encapsulation(path), inner, link or _LARGEST)

    def base(self, path: Path) -> int:
        """The outer packet that every path is believed to carry."""
        version = path.remote.address.version
        least = IPV6_MINIMUM if version == 6 else 0
        return min(max(self.config.base or _BASE[version], least), self.ceiling(path))

    @classmethod
    def expected(cls, config: TunnelConfig, remote: Remote, data_format: DataFormat) -> PathRules:
        """Of a device's only peer before it was heard what is agreed on."""
        return cls(
            config=replace(config.mtu, mssfix=remote.mssfix, mtu_disc=remote.mtu_disc),
            transport=remote.transport,
            device=config.host.tun_mtu,
            limit=config.host.tun_mtu,
            data_format=data_format,
        )

    @classmethod
    def of_tunnel(cls, config: TunnelConfig, remote: Remote, tunnel: Tunnel) -> PathRules:
        """Of a device's only peer."""
        return cls(
            config=replace(config.mtu, mssfix=remote.mssfix, mtu_disc=remote.mtu_disc),
            transport=remote.transport,
            device=tunnel.mtu,
            limit=tunnel.mtu,
            data_format=tunnel.data_format,
            framing=tunnel.framing,
            numbered_probes=tunnel.numbered_probes,
        )

    @property
    def fragments(self) -> bool:
        """Whether outer packets may go in fragments."""
        return self.transport is Transport.UDP and self.config.mtu_disc != "yes"

    @property
    def probes(self) -> bool:
        """Whether the path's MTU is to be found out."""
        return self.transport is Transport.UDP and self.config.mtu_disc != "no"


class PeerPath:
    """See the module. Methods return what is to be done, in order; log lines are about the peer.

    ``deadline`` is when :meth:`tick` is wanted next.
    """

    def __init__(self, rules: PathRules, path: Path, prober: Prober) -> None:
        self._rules = rules
        self._path = path
        self._prober = prober
        self._machine = self._new_machine()
        self._first_probe = 0
        self._can_be_probed = False
        self._since = Instant(0.0)
        self._peer: PeerId | None = None
        self._networks: tuple[IPNetwork, ...] = ()
        self._fit: PeerFit | None = None
        self._fit_until: Instant | None = None

    @property
    def deadline(self) -> Instant | None:
        """When something is due."""
        moments = (self._fit_until, self._machine.deadline if self._machine is not None else None)
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def may_grow(self) -> bool:
        """Whether a probe is on its way whose answer makes the sizes larger."""
        return self._machine is not None and self._machine.may_grow

    # --- what happens --------------------------------------------------------------------------

    def acknowledged(self, now: Instant) -> list[Action]:
        """The peer has everything of a handshake: it can be probed."""
        first, self._can_be_probed = not self._can_be_probed, True
        return self._begin(now) if first else []

    def agree(self, rules: PathRules, now: Instant) -> list[Action]:
        """It is known now what the peer speaks. What was found out counts, unless there is a use
        for larger packets than were tried."""
        self._rules = rules
        found = self._machine
        if found is None or not rules.probes or rules.ceiling(self._path) > found.ceiling:
            return self.moved(self._path, now)
        return self._refit()

    def enter(
        self, peer: PeerId, networks: tuple[IPNetwork, ...], now: Instant, wait: float = 0.0
    ) -> list[Action]:
        """The peer is about to enter the data path under this id. Sizes of the base may come up to
        ``wait`` seconds later when they are about to grow."""
        self._peer, self._networks, self._since = peer, networks, now
        found = self._machine.report() if self._machine is not None else None
        if found is not None and found.why is not machine.Why.BASE:
            return [*self._refit(), *self._told_of(found.size, found.why)]
        to_be_probed = self._machine is not None and not self._can_be_probed
        if wait and (self.may_grow or to_be_probed):
            self._fit_until = Instant(now + wait)
            return []
        return self._refit()

    def lead(self, networks: tuple[IPNetwork, ...]) -> list[Action]:
        """Other networks lead to the peer now."""
        self._networks = networks
        return self._refit()

    def leave(self) -> list[Action]:
        """The peer has left the data path, and comes back as another object."""
        peer, had_fit = self._peer, self._fit is not None
        self._peer = self._machine = self._fit = self._fit_until = None
        return [ReleaseFit(peer)] if peer is not None and had_fit else []

    def moved(self, path: Path, now: Instant) -> list[Action]:
        """The peer is reached by another path: nothing is known of that one."""
        self._path = path
        self._since = now
        self._machine = self._new_machine()
        self._first_probe += _EACH_PATH
        return [*self._refit(), *(self._begin(now) if self._can_be_probed else [])]

    def answered(self, probe: int, now: Instant) -> list[Action]:
        """The peer has a probe."""
        return self._told(lambda path: path.answered(probe - self._first_probe, now), now)

    def refused(self, order: SendProbe, error: HostError, now: Instant) -> list[Action]:
        """The host did not send a probe. Other reasons than its size pass, or count as its loss."""
        if error.errno != errno.EMSGSIZE:
            return []
        return self._told(lambda path: path.too_long(order.probe - self._first_probe, now), now)

    def too_big(self, hint: PacketTooBig, own: SessionId, now: Instant) -> list[Action]:
        """A router's word. It counts when it quotes a probe of ours: ``own``, our session id in it,
        is known to those on the path alone. Any other only lets us look at once."""
        if _quotes_probe(hint.quoted, own):
            return self._told(lambda path: path.too_big(hint.size, now), now)
        return self._told(lambda path: path.hint(hint.size, now), now)

    def tick(self, now: Instant) -> list[Action]:
        """Whatever time has brought."""
        waited = self._fit_until is not None and now >= self._fit_until
        first = self._refit() if waited else []
        return first + self._told(lambda path: path.due(now), now)

    def status(self) -> PathStatus:
        """What is known."""
        fits = self._sizes().tunnel
        if self._machine is None:
            return PathStatus(None, fits, "configuration", self._since)
        report = self._machine.report()
        since = max(report.since, self._since)
        return PathStatus(
            report.size,
            fits,
            report.why.value,
            since,
            report.sent,
            report.lost,
            self._rules.numbered_probes,
        )

    # --- the machine ---------------------------------------------------------------------------

    def _new_machine(self) -> machine.PathMtu | None:
        rules, config = self._rules, self._rules.config
        ceiling, base = rules.ceiling(self._path), rules.base(self._path)
        if not rules.probes or ceiling == base:
            return None
        timing = Timing(probe=config.probe, confirmation=config.confirm, raise_=config.raise_)
        return machine.PathMtu(ceiling, timing, base)

    def _begin(self, now: Instant) -> list[Action]:
        return self._told(lambda path: path.begin(now), now)

    def _told(
        self, tell: Callable[[machine.PathMtu], list[machine.Action]], now: Instant
    ) -> list[Action]:
        return [] if self._machine is None else self._carry_out(tell(self._machine), now)

    def _carry_out(self, orders: list[machine.Action], now: Instant) -> list[Action]:
        actions: list[Action] = []
        for order in orders:
            match order:
                case machine.SendProbe():
                    actions += self._probe(order, now)
                case machine.SizeChanged():
                    actions += [*self._refit(), *self._told_of(order.size, order.why)]
                case machine.Unanswered():
                    text = f"no probe of the path is answered: {self._described()}"
                    actions.append(Log(Level.WARNING, text))
        return actions

    def _probe(self, order: machine.SendProbe, now: Instant) -> list[Action]:
        number = self._first_probe + order.probe
        payload = order.size - _OUTER_HEADERS[self._path.remote.address.version]
        numbered = self._rules.numbered_probes
        make = self._prober.numbered_probe if numbered else self._prober.probe
        datagram = make(number, payload, now)
        if datagram is not None:
            return [SendProbe(self._path, datagram, number)]
        if self._machine is not None:
            self._machine.unsent(order.probe, now)
        return []

    # --- the host ------------------------------------------------------------------------------

    def _sizes(self) -> Sizes:
        rules = self._rules
        path = rules.ceiling(self._path) if self._machine is None else self._machine.size
        return sizes(path, rules.encapsulation(self._path), min(rules.device, rules.limit))

    def _refit(self) -> list[Action]:
        """Tell the host, if that is any news."""
        if self._peer is None:
            return []
        self._fit_until = None
        rules, fits = self._rules, self._sizes()
        mss_ipv6, mss_ipv4 = _mss(fits, rules.encapsulation(self._path), rules.config.mssfix)
        outer_mtu = fits.outer_route if rules.fragments else None
        fit = PeerFit(
            peer=self._peer,
            networks=self._networks,
            ipv6=FamilyFit(_below(fits.route_ipv6, rules.device), mss_ipv6),
            ipv4=FamilyFit(_below(fits.tunnel, rules.device), mss_ipv4),
            outer=self._path.remote.address,
            outer_mtu=outer_mtu,
        )
        if fit == self._fit:
            return []
        self._fit = fit
        return [FitPeer(fit)]

    def _told_of(self, size: int, why: machine.Why) -> list[Action]:
        """A line, once it is known what follows for the peer."""
        if self._peer is None:
            return []
        level = Level.NOTICE if why in _SERIOUS else Level.INFO
        return [Log(level, f"path MTU {size} ({why.value}): {self._described()}")]

    def _described(self) -> str:
        fits, rules = self._sizes(), self._rules
        mss_ipv6, mss_ipv4 = _mss(fits, rules.encapsulation(self._path), rules.config.mssfix)
        text = f"IPv6 {fits.route_ipv6}, IPv4 {fits.tunnel}, MSS {mss_ipv6}/{mss_ipv4}"
        if fits.outer_route is None:
            return text
        fate = "go in outer fragments" if rules.fragments else "are lost"
        return f"{text}; inner packets above {fits.tunnel} {fate}"


def _below(mtu: int, device: int) -> int | None:
    return mtu if mtu < device else None


def _mss(fits: Sizes, encapsulation: Encapsulation, mssfix: Mssfix | None) -> tuple[int, int]:
    """For IPv6 and IPv4, 0 where segments are left alone."""
    if mssfix is None:
        return fits.mss_ipv6, fits.mss_ipv4
    if not mssfix.octets:
        return 0, 0
    around = {
        "": encapsulation.overhead - _OUTER_HEADERS[encapsulation.ip_version],
        "mtu": encapsulation.overhead,
        "fixed": 0,
    }
    excess = max(fits.tunnel - (mssfix.octets - around[mssfix.how]), 0)
    return fits.mss_ipv6 - excess, fits.mss_ipv4 - excess


def _quotes_probe(quoted: bytes, own: SessionId) -> bool:
    if len(quoted) < HEADER_SIZE or not own:
        return False
    return quoted[0] >> 3 in _PROBE_OPCODES and quoted[1:HEADER_SIZE] == own
