"""The command: what is looked at, in which order. Exit codes: 0 healthy, 1 problems, 2 usage."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path

from rich.console import Console

from ovpn6.config.load import load_config
from ovpn6.config.schema import TunnelConfig
from ovpn6.doctor import host, report
from ovpn6.doctor.daemon_status import known_peers
from ovpn6.doctor.facts import Facts, Known, Place, SegmentSize, Sweep
from ovpn6.doctor.judge import judge
from ovpn6.doctor.sweep import sweep
from ovpn6.model.addresses import IPAddress
from ovpn6.model.errors import ConfigErrors, HostError, Ovpn6Error

HEALTHY, PROBLEMS, USAGE = 0, 1, 2

_MOST_TARGETS = 8
"""Of each kind: a server's clients need not all be swept to see what is wrong."""


def main(words: Sequence[str]) -> int:
    """``ovpn6 doctor WORDS``; returns the exit code."""
    try:
        wanted = _parser().parse_args(words)
    except SystemExit as end:
        return HEALTHY if end.code == 0 else USAGE
    try:
        facts = examine(wanted.config, wanted.peer)
    except ConfigErrors as errors:
        for error in errors.errors:
            print(f"Options error: {error}", file=sys.stderr)
        return USAGE
    except Ovpn6Error as error:
        print(f"ovpn6 doctor: {error}", file=sys.stderr)
        return USAGE
    findings = judge(facts)
    if wanted.json:
        print(report.to_json(facts, findings))
    else:
        report.show(facts, findings, Console())
    return HEALTHY if report.healthy(findings) else PROBLEMS


def examine(config_path: str | None, peer: IPAddress | None) -> Facts:
    """Measure everything. Raises ``HostError`` for want of rights or of a route to ``peer``, and
    ``ConfigErrors``."""
    config = load_config(["--config", config_path]) if config_path else None
    known = _known(config)
    outer = [peer] if peer else [*_remotes(config), *(each.outer for each in known)]
    interfaces = host.interfaces()
    inner = [
        (target, each.name)
        for each in interfaces
        if each.tunnel
        for target in _other_ends(each.name)
    ]
    inner += [
        (target, host.device_toward(target)[0])
        for each in known
        if peer in (None, each.outer)
        for target in each.inner
    ]
    outer = list(dict.fromkeys(outer))
    sweeps = [_sweep(Place.OUTER, target) for target in outer[:_MOST_TARGETS]]
    sweeps += [_sweep(Place.INNER, target) for target, _ in inner[:_MOST_TARGETS]]
    filters, unread = host.filters()
    return Facts(
        sweeps=tuple(sweeps),
        interfaces=interfaces,
        sysctls=host.sysctls(),
        server=config is not None and config.server is not None,
        filters=filters,
        unread=unread,
        segments=tuple(_segments(inner[:_MOST_TARGETS])),
        known=known,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ovpn6 doctor",
        description="Finds what stops packets: sizes, filters, settings. Changes nothing.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("config", nargs="?", help="look at this configuration's remotes")
    which.add_argument("--peer", type=ip_address, help="look at the path to this outer address")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def _sweep(place: Place, target: IPAddress) -> Sweep:
    return sweep(place, target, *host.device_toward(target))


def _segments(inner: Iterable[tuple[IPAddress, str]]) -> Iterator[SegmentSize]:
    for target, device in inner:
        yield host.segment_size(target, device)


def _remotes(config: TunnelConfig | None) -> Iterator[IPAddress]:
    """Every remote's addresses, IPv6 first; a name that has none is what ``getaddrinfo`` says."""
    if config is None or config.client is None:
        return
    for remote in config.client.remotes:
        try:
            found = socket.getaddrinfo(remote.host, remote.port, type=socket.SOCK_DGRAM)
        except socket.gaierror as error:
            raise HostError(f"look up {remote.host}", error.strerror or str(error)) from None
        addresses = {ip_address(entry[4][0]) for entry in found}
        yield from sorted(addresses, key=lambda address: (-address.version, int(address)))


def _known(config: TunnelConfig | None) -> tuple[Known, ...]:
    """What the daemon of this configuration says, if it runs and writes its status as JSON."""
    path = config.process.status if config is not None else None
    if path is None:
        return ()
    try:
        return known_peers(Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()


def _other_ends(device: str) -> tuple[IPAddress, ...]:
    """The peer's addresses in a tunnel: where routes lead, the kernel's word, or a server's habit
    to have the first address of the network."""
    found = {address.version: address for address in reversed(host.gateways_by(device))}
    for own, length, other in host.networks_of(device):
        if own.version in found:
            continue
        first = ip_interface(f"{own}/{length}").network[1 if length < own.max_prefixlen else 0]
        if other is not None or first != own:
            found[own.version] = other or first
    return tuple(found[version] for version in sorted(found, reverse=True))
