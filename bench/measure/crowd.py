"""Data paths alone, with many peers: throughput and memory (``bench/ends/crowd.py``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from bench.figures import (
    MEMORY_FURTHER_PEER,
    MEMORY_PEERS,
    PEER_COUNTS,
    Crowd,
    Results,
)
from bench.forms import Form
from bench.net import Hosts
from bench.peers.ours import Ovpn6Path
from bench.peers.ways import WAYS
from bench.peers.wireguard import WireGuardGo
from ovpn6.lab.errors import LabError
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.process import Process

_START_LIMIT = 60.0
_GRACE = 30.0


def throughput(results: Results, path: Ovpn6Path, hosts: Hosts, form: Form, crowd: Crowd) -> None:
    """TCP streams through all active peers at once; their sum."""
    active = ("--active", str(crowd.active))
    words = (*active, "--peers", str(crowd.peers))
    streams = (*active, "--streams", str(crowd.streams))
    seconds = ("--seconds", str(form.side_seconds))
    with (
        _crowd(hosts.server, path, "server", *words) as server,
        _crowd(hosts.client, path, "client", *words) as client,
    ):
        for end in (server, client):
            path.check(end.wait_for_log("^ready (.+)$", _START_LIMIT)[1])
        with _streams(hosts.server, "receive", *streams, *seconds) as receiver:
            receiver.wait_for_log("^listening$", _START_LIMIT)
            with _streams(hosts.client, "send", *streams):
                match = receiver.wait_for_log(r"^received (\d+)$", form.side_seconds + _GRACE)
    results.add(crowd.figure, path.name, int(match[1]) / 1e6)


def memory(results: Results, path: Ovpn6Path, hosts: Hosts) -> None:
    """Resident memory of a process that has the data path, and no daemon."""
    with _crowd(hosts.server, path, "memory") as end:
        if end.wait(_START_LIMIT):
            raise LabError(f"memory of {path.name} was not weighed\n{end.describe()}")
        weights = {int(count): kib for count, kib in json.loads(end.log()).items()}
    _note_memory(results, path.name, {count: kib / 1024 for count, kib in weights.items()})


def wireguard_memory(results: Results, program: WireGuardGo, hosts: Hosts) -> None:
    """The same numbers of peers in wireguard-go, which is all of one piece."""
    weights = {count: program.memory_mb(hosts, count) for count in PEER_COUNTS}
    _note_memory(results, program.name, weights)


def _note_memory(results: Results, name: str, megabytes: dict[int, float]) -> None:
    for count, value in megabytes.items():
        results.add(MEMORY_PEERS[count], name, value)
    least, most = PEER_COUNTS[0], PEER_COUNTS[-1]
    grown = (megabytes[most] - megabytes[least]) * 1024
    results.add(MEMORY_FURTHER_PEER, name, grown / (most - least))


def _crowd(namespace: Namespace, path: Ovpn6Path, *words: str) -> AbstractContextManager[Process]:
    return _end(namespace, "crowd", (*words, "--way", path.way), WAYS[path.way].environment)


def _streams(namespace: Namespace, *words: str) -> AbstractContextManager[Process]:
    return _end(namespace, "streams", words, {})


@contextmanager
def _end(
    namespace: Namespace, module: str, words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Process]:
    command = [sys.executable, "-m", f"bench.ends.{module}", *words]
    process = namespace.popen(command, module, environment)
    try:
        yield process
    finally:
        process.stop()
