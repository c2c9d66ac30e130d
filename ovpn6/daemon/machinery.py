"""What may outlive one life of a role: the device with its datapath, and the host's state."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable

from ovpn6.config.schema import TunnelConfig
from ovpn6.daemon.host_watch import HostWatch
from ovpn6.daemon.leftovers import remove_devices
from ovpn6.daemon.logs import Logger
from ovpn6.daemon.namespace_watch import NamespaceWatch
from ovpn6.daemon.path_hints import PathHints
from ovpn6.datapath.choose import Demands, KernelOptions, choose, is_kernel, open_datapath
from ovpn6.datapath.interface import Capabilities, Datapath
from ovpn6.datapath.offload.flow_label import SECRET_SIZE
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import DeviceLost, Input
from ovpn6.model.names import Level, LinkId, Transport
from ovpn6.model.specs import FlowLabel
from ovpn6.netconf.interface import ROUTE_PROTOCOL, HostState
from ovpn6.netconf.netlink import NetlinkHost

FIRST_ACCEPTED_LINK = 1 << 20
"""Ids of accepted TCP connections begin here; a role numbers its own links from 1."""


class Machinery:
    """Opened for a life, and closed after it unless ``persist-tun`` keeps the device.

    ``well_begun`` is called when a role has started, ``announced`` when the tunnel is up;
    ``owner`` is the user id that the process will change to.
    """

    def __init__(
        self,
        logger: Logger,
        well_begun: Callable[[], None],
        announced: Callable[[], None],
        owner: int | None,
    ) -> None:
        self.logger = logger
        self.well_begun = well_begun
        self.announced = announced
        self._owner = owner
        self.device = ""
        self.receiver: Callable[[Input], None] = _nobody
        self._datapath: Datapath | None = None
        self._host: HostState | None = None
        self._watch: NamespaceWatch | None = None
        self.hints: PathHints | None = None
        self._hints_tried = False
        self._mending: HostWatch | None = None
        self._link_ids = itertools.count(FIRST_ACCEPTED_LINK)

    @property
    def datapath(self) -> Datapath:
        """Only between :meth:`open` and :meth:`close_device`."""
        if self._datapath is None:
            raise UsageError("no datapath is open")
        return self._datapath

    @property
    def host(self) -> HostState:
        """Only after :meth:`open`."""
        if self._host is None:
            raise UsageError("no host state is open")
        return self._host

    @property
    def capabilities(self) -> Capabilities:
        """Of the open datapath."""
        return self.datapath.capabilities

    def open(self, config: TunnelConfig) -> None:
        """Have datapath, device and host state; what was kept stays. Raises ``HostError``."""
        if self._watch is not None and self._watch.reason:
            # It was told while nobody listened.
            self.close_device()
        if self._datapath is None:
            self._datapath = self._new_datapath(config)
        spec = config.host.device
        if self._host is None:
            self._host = NetlinkHost(
                notice=lambda text: self.logger.log(Level.NOTICE, text), owner=self._owner
            )
        if not self.device:
            for netns in dict.fromkeys(("", spec.netns)):
                remove_devices(self.logger, netns)
            self.device = self._datapath.open_device(spec, config.host.tun_mtu)
            self.logger.log(Level.NOTICE, f"{_kind(self.capabilities)} device {self.device} opened")
        self._host.open(self.device, spec.netns, "", spec.txqueuelen)
        if self._mending is None:
            self._mending = HostWatch(
                asyncio.get_running_loop(),
                self._host,
                lambda text: self.logger.log(Level.WARNING, text),
            )
        if config.mtu.mtu_disc != "no" and _speaks_udp(config):
            self._listen_for_hints()
        if spec.netns and self._watch is None:
            self._watch = NamespaceWatch(
                spec.netns,
                asyncio.get_running_loop(),
                lambda reason: self.receiver(DeviceLost(reason)),
            )

    def gateway_environment(self) -> dict[str, str]:
        """The host's default gateways by OpenVPN's names."""
        found = self.host.default_gateways()
        pairs = (("route_net_gateway", found.ipv4), ("net_gateway_ipv6", found.ipv6))
        return {name: str(way.address) for name, way in pairs if way and way.address}

    def deaf(self) -> None:
        """What the datapath tells from now on is for nobody."""
        self.receiver = _nobody

    def close_device(self) -> None:
        """Take the host's state and the device away."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._mending is not None:
            self._mending.close()
            self._mending = None
        if self._host is not None and self.device:
            self._try(self._host.forget_device)
        if self._datapath is not None:
            self._datapath.close()
        self._datapath, self.device = None, ""

    def close(self) -> None:
        """Everything, for good."""
        self.close_device()
        if self._host is not None:
            self._try(self._host.close)
        self._host = None
        if self.hints is not None:
            self.hints.close()
            self.hints = None

    def _new_datapath(self, config: TunnelConfig) -> Datapath:
        data = config.data
        demands = _demands(config)
        choice = choose(demands)
        self.logger.log(Level.NOTICE, str(choice))
        for notice in choice.notices:
            self.logger.log(Level.NOTICE, notice)
        return open_datapath(
            choice,
            lambda happened: self.receiver(happened),
            asyncio.get_running_loop(),
            os.urandom,
            UserspaceOptions(
                data.replay_window,
                data.replay_time,
                data.mute_replay_warnings,
                data.epoch_usage,
                copy_dscp=data.passtos,
                flow_secret=os.urandom(SECRET_SIZE) if demands.label_flows else b"",
                workers=_workers(config),
            ),
            KernelOptions(config.server is not None, ROUTE_PROTOCOL),
            lambda: LinkId(next(self._link_ids)),
        )

    def _listen_for_hints(self) -> None:
        """Once, while we may: the process may change its user later."""
        if self._hints_tried:
            return
        self._hints_tried = True
        try:
            self.hints = PathHints(
                asyncio.get_running_loop(),
                lambda hint: self.receiver(hint),
                lambda ports: self.host.guard(ports),
            )
            # Made ready before a packet waits for it.
            self.host.guard(frozenset())
        except HostError as error:
            self.logger.log(Level.NOTICE, f"{error}; path MTUs are found by probes alone")

    def _try(self, undo: Callable[[], None]) -> None:
        try:
            undo()
        except HostError as error:
            self.logger.log(Level.ERROR, str(error))


def _kind(capabilities: Capabilities) -> str:
    """In OpenVPN's words."""
    return "DCO" if is_kernel(capabilities) else "TUN/TAP"


def _speaks_udp(config: TunnelConfig) -> bool:
    listens = config.server.listens if config.server else ()
    remotes = config.client.remotes if config.client else ()
    own = config.point_to_point.passive if config.point_to_point else None
    return any(
        one.transport is Transport.UDP for one in (*listens, *remotes, own) if one is not None
    )


def _demands(config: TunnelConfig) -> Demands:
    data = config.data
    return Demands(
        disable_dco=data.disable_dco,
        kernel_module=data.kernel_module,
        over_tcp=_may_be_tcp(config),
        compression_stub=data.comp_stub,
        bind_device=config.sockets.bind_device,
        passtos=data.passtos,
        label_flows=config.sockets.flow_label is FlowLabel.FLOW,
        ciphers=data.ciphers,
        device=config.host.device.name,
        replay_window=(data.replay_window, data.replay_time),
        epoch_usage=data.epoch_usage,
        workers=data.workers,
    )


def _workers(config: TunnelConfig) -> int | None:
    """Peers are divided among workers, so one peer needs one."""
    if config.data.workers is None and config.server is None:
        return 1
    return config.data.workers


def _may_be_tcp(config: TunnelConfig) -> bool:
    """Whether any of its sockets is TCP."""
    listens = config.server.listens if config.server is not None else ()
    remotes = config.client.remotes if config.client is not None else ()
    both = config.point_to_point
    passive = (both.passive,) if both is not None and both.passive is not None else ()
    return any(place.transport is Transport.TCP for place in (*listens, *remotes, *passive))


def _nobody(happened: Input) -> None:
    """Nobody listens."""
