"""Keeps switches in the kernel's code where tests would turn them on and off.

The kernel rewrites its own instructions when the first socket of a kind appears and when the last
one goes; likewise with filter hooks and wishes for time stamps. On two emulated processors such a
change is now and then seen half done by the other one, and the guest dies (int3 in
netif_rx_internal, udp4_gro_receive). Runs beside the tests until it is ended.
"""

from __future__ import annotations

import errno
import signal
import socket
import subprocess

UDP_ENCAP, ESP_IN_UDP = 100, 2
SO_TIMESTAMP = 29
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
CHAIN = "chain {0} {{ type filter hook {0} {1}priority 0; }}"


def hold_sockets() -> list[socket.socket]:
    """One of each family that takes encapsulated packets and wants time stamps."""
    held = []
    for family in (socket.AF_INET, socket.AF_INET6):
        one = socket.socket(family, socket.SOCK_DGRAM)
        try:
            one.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, ESP_IN_UDP)
        except OSError as error:
            # The gate's kernel has no such sockets, and no switches that they would turn.
            if error.errno != errno.ENOPROTOOPT:
                raise
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        held.append(one)
    return held


def hold_hooks() -> None:
    """A chain without rules at each hook that nftables has."""
    stages = "\n".join(CHAIN.format(hook, "") for hook in HOOKS)
    sides = "\n".join(CHAIN.format(hook, "device lo ") for hook in ("ingress", "egress"))
    text = f"table inet steady {{\n{stages}\n}}\ntable netdev steady {{\n{sides}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


if __name__ == "__main__":
    SOCKETS = hold_sockets()
    hold_hooks()
    signal.pause()
