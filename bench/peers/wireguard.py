"""wireguard-go: another tunnel in user space, configured through its own socket (UAPI)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from vm.root import command_prefix

from bench.net import CLIENT_OUTER, SERVER_OUTER, Hosts
from bench.peers.program import Joined
from bench.peers.sid import BINARY, package_version, wireguard_root
from ovpn6.lab.errors import LabError
from ovpn6.lab.namespace import Namespace
from ovpn6.lab.process import Process
from ovpn6.lab.traffic import wait_reachable
from ovpn6.lab.waiting import wait_for
from ovpn6.pki.profile import TUN_MTU

_PORT = 51820
_SOCKETS = "var/run/wireguard"
"""Below the root."""
_CLIENT_INNER = {6: "fd42:7767::2/64", 4: "10.87.0.2/24"}
_SERVER_INNER = {6: "fd42:7767::1/64", 4: "10.87.0.1/24"}
_EVERYTHING = ("::/0", "0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class WireGuardGo:
    """A candidate."""

    name: str = "wireguard-go"

    def version(self) -> str:
        return package_version(wireguard_root())

    @contextmanager
    def joined(self, hosts: Hosts, outer: int) -> Iterator[Joined]:
        keys = (X25519PrivateKey.generate(), X25519PrivateKey.generate())
        ends = ((hosts.client, "c", _CLIENT_INNER), (hosts.server, "s", _SERVER_INNER))
        remotes = (SERVER_OUTER[outer], CLIENT_OUTER[outer])
        daemons = []
        with ExitStack() as stack:
            for number, (namespace, side, inner) in enumerate(ends):
                device = _device(side)
                daemons.append(stack.enter_context(_running(namespace, device)))
                peer = _peer(_public(keys[1 - number]), _EVERYTHING, remotes[number])
                _configure(device, keys[number], [peer])
                namespace.set_up(device, mtu=TUN_MTU)
                for address in inner.values():
                    namespace.add_address(device, address)
            targets = {version: text.partition("/")[0] for version, text in _SERVER_INNER.items()}
            for target in targets.values():
                wait_reachable(hosts.client, target)
            yield Joined(hosts.client, hosts.server, targets, tuple(daemons))

    def memory_mb(self, hosts: Hosts, peers: int) -> float:
        """Resident memory of one end that ``peers`` are configured at, none of them there."""
        device = _device("m")
        with _running(hosts.server, device) as daemon:
            hosts.server.set_up(device, mtu=TUN_MTU)
            listed = [_numbered_peer(number) for number in range(peers)]
            _configure(device, X25519PrivateKey.generate(), listed)
            return daemon.memory_kib() / 1024


def _device(side: str) -> str:
    """A name that no other run on this machine has: the sockets of all are in one directory."""
    return f"o6b{os.getpid()}{side}"


@contextmanager
def _running(namespace: Namespace, device: str) -> Iterator[Process]:
    root = wireguard_root()
    command = [*command_prefix(root), BINARY, "-f", device]
    daemon = namespace.popen(command, "wireguard-go", {"LOG_LEVEL": "error"})
    try:
        path = root / _SOCKETS / f"{device}.sock"
        wait_for(path.exists, 10.0, "wireguard-go's socket", [daemon])
        yield daemon
    finally:
        daemon.stop()


def _configure(device: str, key: X25519PrivateKey, peers: Sequence[str]) -> None:
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    order = f"set=1\nprivate_key={private.hex()}\nlisten_port={_PORT}\n{''.join(peers)}\n"
    directory = os.open(wireguard_root() / _SOCKETS, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as control:
            # The path of a socket has at most 107 octets (unix(7)), that of a checkout has more.
            control.connect(f"/proc/self/fd/{directory}/{device}.sock")
            control.sendall(order.encode())
            with control.makefile("r") as answers:
                answer = answers.readline().strip()
    finally:
        os.close(directory)
    if answer != "errno=0":
        raise LabError(f"wireguard-go refused its configuration: {answer}")


def _numbered_peer(number: int) -> str:
    allowed = f"{ip_address('fd42:7767:1::') + number}/128"
    return _peer(_public(X25519PrivateKey.generate()), (allowed,))


def _peer(public: bytes, allowed: Sequence[str], remote: str = "") -> str:
    host = f"[{remote}]" if ":" in remote else remote
    lines = [f"public_key={public.hex()}"]
    lines += [f"endpoint={host}:{_PORT}"] if remote else []
    lines += [f"allowed_ip={network}" for network in allowed]
    return "\n".join(lines) + "\n"


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
