"""Networks in namespaces for people who test tunnels.

    from ovpn6.lab import Lab, Ovpn6, StockOpenVPN, line, ping, transfer

    with Lab() as lab:
        net = line(lab)
        server = Ovpn6(net.server, server_config)
        client = StockOpenVPN(net.client, client_config)
        client.wait_up()
        assert transfer(net.client, net.server, "fd00::1")

Needs root; leaves nothing behind, also after a crash (the next lab tidies up).
"""

from ovpn6.lab.capture import Capture
from ovpn6.lab.errors import LabError, LabTimeout
from ovpn6.lab.namespace import Device, Namespace
from ovpn6.lab.narrow import Narrow, narrow
from ovpn6.lab.network import Interface, Lab
from ovpn6.lab.process import Process
from ovpn6.lab.runners import Ovpn6, StockOpenVPN, Tunnel
from ovpn6.lab.status import ClientRow, ServerStatus, parse_status
from ovpn6.lab.topologies import Line, Star, Underlay, lan, line, star
from ovpn6.lab.traffic import (
    Iperf,
    PingResult,
    Throughput,
    iperf3,
    ping,
    transfer,
    wait_reachable,
)
from ovpn6.lab.waiting import wait_for

__all__ = [
    "Capture",
    "ClientRow",
    "Device",
    "Interface",
    "Iperf",
    "Lab",
    "LabError",
    "LabTimeout",
    "Line",
    "Namespace",
    "Narrow",
    "Ovpn6",
    "PingResult",
    "Process",
    "ServerStatus",
    "Star",
    "StockOpenVPN",
    "Throughput",
    "Tunnel",
    "Underlay",
    "iperf3",
    "lan",
    "line",
    "narrow",
    "parse_status",
    "ping",
    "star",
    "transfer",
    "wait_for",
    "wait_reachable",
]
