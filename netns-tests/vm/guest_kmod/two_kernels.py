"""OpenVPN 2.7 with its offload at both ends of a cable between two guests, each a server in turn.

    two_kernels.py END MODULE      END: 0 or 1; MODULE: a file, or a name of the kernel's own

See ``two_kernels.sh``. What the ends tell each other goes over the cable too, beside the tunnel.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from interop.ends import INNER, UP, client_text, make_authority, server_text

from ovpn6.datapath.tun import in_netns
from ovpn6.lab import Lab, Namespace, StockOpenVPN, Tunnel, ping, wait_for, wait_reachable
from ovpn6.lab.process import run
from ovpn6.pki.profile import RemoteLine

CARD = "eth0"
OUTER = ("2001:db8:5::1", "2001:db8:5::2")
"""By the number of the end."""
TALK, ECHO = 9000, 9001
LIMIT = 180.0
NEW_KEYS = "Control Channel: TLS"
OCTETS = 200_000


class Talk:
    """Lines from one end to the other."""

    def __init__(self, connected: socket.socket) -> None:
        self._file = connected.makefile("rw", encoding="utf-8")
        connected.close()

    def say(self, text: str) -> None:
        """Something of any number of lines."""
        self._file.write(f"{len(text)}\n{text}")
        self._file.flush()

    def hear(self) -> str:
        """What the other end says next."""
        return self._file.read(int(self._file.readline()))

    def close(self) -> None:
        """No more."""
        self._file.close()


def server(here: Namespace, kind: str, end: int) -> None:
    """Takes the other end as its client."""
    with TemporaryDirectory() as keys, ExitStack() as stack:
        authority = make_authority(Path(keys))
        text = server_text(authority, "reneg-sec 10 10", protocol="udp6")
        tunnel = started(here, text, "server", kind)
        talk = stack.enter_context(closing(Talk(accept(here, OUTER[end], TALK))))
        talk.say(client_text(authority, RemoteLine(OUTER[end], 1194, "udp6"), "reneg-sec 0"))
        for address in talk.hear().split():
            wait_reachable(here, address, LIMIT)
        for address in INNER:
            talk.say("ready")
            with accept(here, address, ECHO) as connected:
                send(connected, receive(connected))
        assert talk.hear() == "done"
        tunnel.stop()


def client(here: Namespace, kind: str, end: int) -> None:
    """Goes to the other end, and stays until there were new keys."""
    with closing(Talk(connect(here, OUTER[1 - end], TALK))) as talk:
        tunnel = started(here, talk.hear(), "client", kind)
        own = here.addresses(tunnel.device().name)
        talk.say(" ".join(str(address.ip) for address in own))
        for address in INNER:
            assert talk.hear() == "ready"
            data = os.urandom(OCTETS)
            with connect(here, address, ECHO) as connected:
                send(connected, data)
                assert receive(connected) == data
        before = tunnel.log().count(NEW_KEYS)
        wait_for(lambda: tunnel.log().count(NEW_KEYS) > before, LIMIT, "keys", [tunnel.process])
        for address in INNER:
            wait_reachable(here, address, LIMIT)
            assert ping(here, address).complete, address
        assert tunnel.log().count(UP) == 1
        talk.say("done")
        tunnel.stop()


def started(here: Namespace, config: str, name: str, kind: str) -> Tunnel:
    """An end that is up, its data channel in the kernel."""
    tunnel = StockOpenVPN(here, config, name=name)
    tunnel.wait_up(LIMIT)
    device = tunnel.device().name
    driver = here.run(["ethtool", "-i", device]).stdout.split()[1]
    assert driver == kind, tunnel.process.describe()
    return tunnel


def accept(here: Namespace, address: str, port: int) -> socket.socket:
    """The next who connects."""

    def listen() -> socket.socket:
        return socket.create_server((address, port), family=family_of(address))

    with in_netns(here.full_name, listen) as listener:
        listener.settimeout(LIMIT)
        connected, _ = listener.accept()
    connected.settimeout(LIMIT)
    return connected


def connect(here: Namespace, address: str, port: int) -> socket.socket:
    """To the other end, as soon as it listens."""

    def attempt() -> socket.socket | None:
        with suppress(OSError):
            return in_netns(here.full_name, lambda: socket.create_connection((address, port), 5))
        return None

    connected = wait_for(attempt, LIMIT, f"{address} to listen at {port}")
    connected.settimeout(LIMIT)
    return connected


def family_of(address: str) -> socket.AddressFamily:
    """Of a text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def send(connected: socket.socket, data: bytes) -> None:
    """All there is to send."""
    connected.sendall(data)
    connected.shutdown(socket.SHUT_WR)


def receive(connected: socket.socket) -> bytes:
    """Everything until the other end has no more."""
    return b"".join(iter(lambda: connected.recv(65536), b""))


def main(end: int, module: str) -> None:
    """Both turns."""
    run(["modprobe", "-a", "virtio_net", "udp_tunnel", "ip6_udp_tunnel"])
    run(["insmod", module, "compat=1"] if "/" in module else ["modprobe", module])
    kind = Path(module).stem
    with Lab() as lab:
        here = lab.namespace("end")
        run(["ip", "link", "set", CARD, "netns", here.full_name])
        here.set_up(CARD)
        here.add_address(CARD, f"{OUTER[end]}/64")
        for turn in (0, 1):
            role = server if turn == end else client
            role(here, kind, end)
            print(f"end {end} was the {role.__name__}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
