"""A tunnel over a narrow link, between hosts behind its ends, and what becomes of every size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from interop.ends import client_text, remote_of, server_text

from fitting.crossing import KINDS, Crossing, Fate, cross
from fitting.rules import BelowIp, Packet, Passes, Rules, Verdict
from fitting.tcp import talk
from ovpn6.lab import (
    Lab,
    Namespace,
    Narrow,
    Ovpn6,
    StockOpenVPN,
    Tunnel,
    Underlay,
    narrow,
    wait_for,
)
from ovpn6.lab.narrow import HOST_A, HOST_B
from ovpn6.model.addresses import IPInterface
from ovpn6.mtu.overhead import Encapsulation
from ovpn6.pki.authority import Authority

Program = Callable[..., Tunnel]

SETTLED = 20.0
"""Seconds until every size is the path's: a search with its unanswered probes."""
TRIES = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix. ``server`` is the end at b, ``client`` the one at a."""

    path: int
    outer: Underlay = Underlay.IPV6
    black_hole: bool = True
    epoch: bool = False
    server: Program = Ovpn6
    client: Program = Ovpn6
    user_space: bool = True
    python: bool = False

    @property
    def device(self) -> int:
        """``tun-mtu`` of both ends: what people have, or all that a jumbo path can carry."""
        return max(1500, self.path)

    @property
    def rules(self) -> Rules:
        encapsulation = Encapsulation(self.outer.value[0], epoch=self.epoch)
        return Rules(self.path, encapsulation, self.device)

    def __str__(self) -> str:
        names = {Ovpn6: "ours", StockOpenVPN: "stock"}
        server, client = (names.get(each, "stock27") for each in (self.server, self.client))
        words = (
            f"{server}-{client}",
            f"ipv{self.outer.value[0]}",
            str(self.path),
            "silent" if self.black_hole else "told",
            "epoch" if self.epoch else "classic",
            *(["python"] if self.python else []),
        )
        return "-".join(words)


@dataclass(slots=True)
class Fitted:
    """A running tunnel and what looks at it."""

    row: Row
    net: Narrow
    server: Tunnel
    client: Tunnel
    crossing: Crossing

    def ours_sends(self, *, back: bool) -> bool:
        """Whether the sender of packets from a to b, or ``back``, is ours."""
        return (self.row.server if back else self.row.client) is Ovpn6

    def settle(self, rules: Rules | None = None, limit: float = SETTLED) -> None:
        """Until the largest packet of the path passes, and one more octet is refused, wherever
        ours is the sender."""
        expected = rules or self.row.rules
        sizes = (expected.tunnel, expected.tunnel + 1)
        packets = [Packet(4, size) for size in sizes]

        def settled() -> bool:
            return all(
                fate.verdict == expected.verdict(fate.packet)
                for back in (False, True)
                if self.ours_sends(back=back)
                for fate in self.crossing.send(packets, ("udp",), back=back, limit=0.3)
            )

        ends = [self.server.process, self.client.process]
        wait_for(settled, limit, f"a tunnel MTU of {expected.tunnel} both ways", ends)


@contextmanager
def fitted(lab: Lab, authority: Authority, row: Row, *lines: str) -> Iterator[Fitted]:
    """The row's tunnel, up; ``lines`` are added to the configurations of ends that are ours."""
    net = narrow(lab, row.outer, path=row.path, edge=max(row.path, 1500), black_hole=row.black_hole)
    yield from over(net, authority, row, *lines)


def over(net: Narrow, authority: Authority, row: Row, *lines: str) -> Iterator[Fitted]:
    """The row's tunnel over a network that is there."""
    clients = net.line.lab.directory / "clients"
    clients.mkdir(exist_ok=True)
    iroutes = (f"iroute-ipv6 {HOST_A[0].network}", f"iroute {_four(HOST_A[1])}")
    (clients / "client").write_text("\n".join(iroutes) + "\n")
    common = [f"tun-mtu {row.device}", *(["disable-dco"] if row.user_space else [])]
    at_server = (
        f"client-config-dir {clients}",
        f"route-ipv6 {HOST_A[0].network}",
        f"route {_four(HOST_A[1])}",
        f'push "route-ipv6 {HOST_B[0].network}"',
        f'push "route {_four(HOST_B[1])}"',
    )
    server = _start(
        row,
        row.server,
        net.b,
        "server",
        lambda extra: server_text(
            authority, *common, *at_server, *extra, protocol=f"udp{row.outer.value[0]}"
        ),
        lines,
    )
    server.wait_up()
    client = _start(
        row,
        row.client,
        net.a,
        "client",
        lambda extra: client_text(authority, remote_of(net.line), *common, *extra),
        lines,
    )
    client.wait_up()
    crossing = cross(net)
    try:
        made = Fitted(row, net, server, client, crossing)
        yield made
    finally:
        crossing.close()


def _start(
    row: Row,
    program: Program,
    namespace: Namespace,
    name: str,
    text: Callable[[Sequence[str]], str],
    lines: Sequence[str],
) -> Tunnel:
    if program is not Ovpn6:
        # OpenVPN 2.6 takes the option for one it has no code for.
        return program(namespace, text(()), name=f"{name}-stock")
    formats = () if row.epoch else ("epoch-keys no",)
    return program(namespace, text((*formats, *lines)), name=name)


def wrong_sizes(tunnel: Fitted, rules: Rules | None = None) -> list[str]:
    """Every packet at an edge whose fate is not the expected one, in words."""
    expected = rules or tunnel.row.rules
    packets = [
        *(Packet(6, size) for size in expected.edges()),
        *(Packet(4, size) for size in expected.edges()),
        *(Packet(4, size, df=False) for size in expected.edges()),
    ]
    return [
        f"{'b to a' if back else 'a to b'} {fate.kind} {fate.packet}: "
        f"{fate.verdict} by {fate.told_by} instead of {expected.verdict(fate.packet)}"
        for back in (False, True)
        for fate in _send(tunnel, packets, expected, back=back)
        if not _as_expected(fate, expected.verdict(fate.packet))
    ]


def _send(tunnel: Fitted, packets: Sequence[Packet], expected: Rules, *, back: bool) -> list[Fate]:
    """Only what must arrive or be refused. A stock sender may lose what is larger than T (R8)."""
    if not tunnel.ours_sends(back=back):
        packets = [each for each in packets if expected.verdict(each) == Passes()]
    return tunnel.crossing.send(packets, KINDS, back=back)


def _as_expected(fate: Fate, expected: Verdict) -> bool:
    # Inside, a packet that went in outer pieces is as whole as any.
    if isinstance(expected, BelowIp):
        expected = Passes()
    return fate.verdict == expected


def wrong_outer_pieces(tunnel: Fitted) -> list[str]:
    """Packets that are to travel in outer fragments, one at a time: where their number is wrong."""
    rules = tunnel.row.rules
    found = []
    for size in rules.edges():
        expected = rules.verdict(Packet(6, size))
        if not isinstance(expected, (Passes, BelowIp)):
            continue
        pieces = expected.outer if isinstance(expected, BelowIp) else 0
        for back in (False, True):
            if not tunnel.ours_sends(back=back):
                continue
            before = tunnel.net.outer_fragments()
            tunnel.crossing.send([Packet(6, size)], ("udp",), back=back)
            seen = tunnel.net.outer_fragments() - before
            if seen != pieces:
                found.append(f"{size} octets, back={back}: {seen} outer fragments, not {pieces}")
    return found


def wrong_streams(tunnel: Fitted, rules: Sequence[Rules], *, exact: bool) -> list[str]:
    """TCP both ways at once in each family: what stalls, and SYNs that announce too much.

    Each SYN must fit one of ``rules``; with ``exact`` it announces just what fits.
    """
    found = []
    for version in (6, 4):
        seen = talk(tunnel.crossing.a, tunnel.crossing.b, version)
        if not seen.complete:
            found.append(f"TCP over IPv{version} stalls: {seen}")
        allowed = {each.mss(version) for each in rules}
        for mss in seen.mss:
            if mss is None or (mss not in allowed if exact else mss > max(allowed)):
                found.append(f"IPv{version}: a SYN announces {mss} instead of {sorted(allowed)}")
    return found


def _four(network: IPInterface) -> str:
    return f"{network.network.network_address} {network.network.netmask}"
