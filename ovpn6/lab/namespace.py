"""One network namespace: its addresses, routes, settings, and programs in it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import NetNS
from pyroute2 import netns as pyroute2_netns
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_TENTATIVE

from ovpn6.lab import process
from ovpn6.lab.errors import LabError
from ovpn6.lab.leftovers import NETNS, remove_namespace
from ovpn6.lab.process import Process
from ovpn6.model.addresses import IPAddress, IPInterface

AddressText = str | IPInterface

_SETTINGS = {
    # A lab's addresses are unique by construction: usable at once.
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    # Every ICMP error counts in a test, also the second in the same second.
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv4.icmp_ratelimit": "0",
}

_FORWARDING = {"net.ipv6.conf.all.forwarding": "1", "net.ipv4.ip_forward": "1"}


@dataclass(frozen=True, slots=True)
class Device:
    """A network interface as the kernel shows it. ``kind``: ``veth``, ``tun``, ``ovpn`` ..."""

    name: str
    index: int
    kind: str
    mtu: int
    up: bool
    link_address: str
    received_bytes: int
    sent_bytes: int


class Namespace:
    """A network namespace of a lab. Made by :meth:`ovpn6.lab.network.Lab.namespace`."""

    def __init__(self, name: str, full_name: str, directory: Path) -> None:
        self.name = name
        """Its name in the lab: ``client``."""
        self.full_name = full_name
        """Its name on the host, for ``ip netns exec``."""
        self.path = NETNS / full_name
        self.processes: list[Process] = []
        """Everything started in it, ended or not, in order."""
        self._directory = directory
        self._work_directories = 0
        pyroute2_netns.create(full_name)
        try:
            self._netlink: Any = NetNS(full_name, flags=0)
            self.sysctl(_SETTINGS)
            self.set_up("lo")
        except BaseException:
            remove_namespace(full_name)
            raise

    def __repr__(self) -> str:
        return f"Namespace({self.full_name})"

    # --- programs ---

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        limit: float = 30.0,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Raises :class:`LabError` past ``limit`` seconds, and with ``check`` for an exit code but 0.
        """
        return process.run(argv, netns=self.path, check=check, limit=limit, stdin=stdin)

    def popen(
        self, argv: Sequence[str], name: str = "", environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program. It ends with the lab if not before."""
        name = name or Path(argv[0]).name
        log = self._directory / f"{self.name}-{len(self.processes)}-{name}.log"
        started = Process(argv, log, name=name, netns=self.path, environment=environment)
        self.processes.append(started)
        return started

    def work_directory(self, name: str) -> Path:
        """A new directory of the lab for files of ``name``."""
        self._work_directories += 1
        made = self._directory / f"{self.name}-{name}-{self._work_directories}"
        made.mkdir(mode=0o700)
        return made

    # --- network ---

    def sysctl(self, settings: Mapping[str, str]) -> None:
        """Set kernel parameters of the namespace."""
        self.run(["sysctl", "-qw", *(f"{name}={value}" for name, value in settings.items())])

    def forward(self) -> None:
        """Forward packets of both families: the namespace is a router from now on."""
        self.sysctl(_FORWARDING)

    def nft(self, rules: str) -> None:
        """Apply nftables rules, written as in a file for ``nft -f``."""
        self.run(["nft", "-f", "-"], stdin=rules)

    def devices(self) -> dict[str, Device]:
        """The interfaces there are, by name."""
        found = (_device(message) for message in self._netlink.get_links())
        return {device.name: device for device in found}

    def device(self, name: str) -> Device:
        """One interface; raises :class:`LabError` when there is none."""
        found = self.devices().get(name)
        if found is None:
            raise LabError(f"{self.full_name} has no interface {name}")
        return found

    def tunnels(self) -> tuple[Device, ...]:
        """The tunnel interfaces, of user-space and kernel data paths."""
        kinds = ("tun", "ovpn", "ovpn6", "ovpn-dco-v2")
        return tuple(device for device in self.devices().values() if device.kind in kinds)

    def addresses(self, device: str = "") -> tuple[IPInterface, ...]:
        """Addresses of ``device`` or of all, link-local ones left out, IPv6 first."""
        index = {"index": self.device(device).index} if device else {}
        found = (
            ip_interface(f"{message.get('local') or message.get('address')}/{message['prefixlen']}")
            for message in self._netlink.get_addr(**index)
        )
        usable = [address for address in found if not address.ip.is_link_local]
        return tuple(sorted(usable, key=lambda address: -address.version))

    def tentative(self, device: str) -> bool:
        """Whether the kernel has not finished with an address yet: it is no packet's source then,
        and another one is taken, which a tunnel's other end does not let through."""
        found = self._netlink.get_addr(index=self.device(device).index)
        return any(message["flags"] & IFA_F_TENTATIVE for message in found)

    def set_up(self, device: str, *, mtu: int | None = None) -> None:
        """Switch an interface on."""
        extra = {} if mtu is None else {"mtu": mtu}
        self._netlink.link("set", index=self.device(device).index, state="up", **extra)

    def set_down(self, device: str) -> None:
        """Switch an interface off."""
        self._netlink.link("set", index=self.device(device).index, state="down")

    def add_veth(self, name: str, other: Namespace, other_name: str) -> None:
        """A pair of joined interfaces, ``name`` here and ``other_name`` in ``other``, both down."""
        peer = {"ifname": other_name, "net_ns_fd": other.full_name}
        self._netlink.link("add", ifname=name, kind="veth", peer=peer)

    def add_bridge(self, name: str, ports: Sequence[str]) -> None:
        """A bridge over existing interfaces, up."""
        self._netlink.link("add", ifname=name, kind="bridge")
        index = self.device(name).index
        for port in ports:
            self._netlink.link("set", index=self.device(port).index, master=index)
        self.set_up(name)

    def add_address(self, device: str, address: AddressText) -> None:
        """Give an interface an address with its prefix length."""
        self._address("add", device, address)

    def remove_address(self, device: str, address: AddressText) -> None:
        """Take an address away."""
        self._address("del", device, address)

    def add_neighbour(self, device: str, address: str, link_address: str) -> None:
        """Know a neighbour's link address for good, so that nobody has to ask for it."""
        index = self.device(device).index
        self._netlink.neigh(
            "replace", ifindex=index, dst=address, lladdr=link_address, state="permanent"
        )

    def add_route(
        self, destination: str, via: str | IPAddress | None = None, device: str = ""
    ) -> None:
        """Route ``destination`` (``default6``, ``default4`` or a prefix) by a gateway or device."""
        words = {"default6": "::/0", "default4": "0.0.0.0/0"}
        network = ip_network(words.get(destination, destination))
        where: dict[str, Any] = {}
        if via is not None:
            where["gateway"] = str(ip_address(str(via)))
        if device:
            where["oif"] = self.device(device).index
        self._netlink.route("replace", dst=str(network), **where)

    def remove(self) -> None:
        """End everything in it and remove it. Doing it twice is fine."""
        for started in reversed(self.processes):
            if started.running:
                started.stop()
        self._netlink.close()
        remove_namespace(self.full_name)

    def _address(self, action: str, device: str, address: AddressText) -> None:
        wanted = ip_interface(str(address))
        self._netlink.addr(
            action,
            index=self.device(device).index,
            address=str(wanted.ip),
            prefixlen=wanted.network.prefixlen,
        )


def _device(message: Any) -> Device:
    info = message.get("linkinfo")
    statistics = message.get("stats64") or {}
    return Device(
        name=message.get("ifname"),
        index=message["index"],
        kind=(info.get("kind") if info else None) or "",
        mtu=message.get("mtu"),
        up=message.get("state") == "up",
        link_address=message.get("address") or "",
        received_bytes=int(statistics.get("rx_bytes", 0)),
        sent_bytes=int(statistics.get("tx_bytes", 0)),
    )
