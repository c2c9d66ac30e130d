"""The data path in user space: TUN device and sockets, pure Python, on the daemon's event loop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import field

from ovpn6.datapath.core import DatapathCore
from ovpn6.datapath.errors import error_name
from ovpn6.datapath.interface import Capabilities, ReportSink
from ovpn6.datapath.keepalive import INTERVAL
from ovpn6.datapath.links import Link
from ovpn6.datapath.offload.switch import VARIABLE, Offload, refused
from ovpn6.datapath.replay_warnings import ReplayWarnings
from ovpn6.datapath.tun import open_tun
from ovpn6.datapath.tun_offload import disable_offloads, enable_offloads, has_vnet
from ovpn6.datapath.userspace_links import UserspaceLinks
from ovpn6.model.addresses import Endpoint
from ovpn6.model.ciphers import CIPHERS
from ovpn6.model.errors import UsageError
from ovpn6.model.flow import DeviceLost
from ovpn6.model.names import Instant, LinkId
from ovpn6.model.records import dataclass
from ovpn6.model.specs import DeviceSpec, Framing, LinkSpec, PeerSpec
from ovpn6.protocol.data_channel import ReplayWindow, UsageLimits

CAPABILITIES = Capabilities(
    name="user space (Python)",
    ciphers=tuple(CIPHERS),
    framings=frozenset(Framing),
    data_epoch=True,
    ecn=True,
)
REPLAY_WARNING_INTERVAL = 10
"""Ticks between warnings about replays."""

OpenDevice = Callable[[DeviceSpec, bool], tuple[int, str]]
"""A descriptor and the device's name; with True packets should have vnet headers."""

log = logging.getLogger("ovpn6.datapath")


@dataclass(frozen=True, slots=True)
class UserspaceOptions:
    """``replay-window`` packets and seconds, and ``mute-replay-warnings``. ``epoch_usage``: when
    an epoch is left, in blocks plus packets; None as the cipher demands. ``without``: offloads
    not to be used. ``copy_dscp``: ``passtos``. ``flow_secret``: 16 bytes, under which outer packets
    get flow labels by inner flow; empty leaves labels to the kernel. ``workers``: among whom the
    native worker divides the peers, None as suits the processors; Python is always one."""

    replay_window: int = 64
    replay_time: int = 15
    mute_replay_warnings: bool = False
    epoch_usage: int | None = None
    without: frozenset[Offload] = field(default_factory=lambda: refused(os.environ))
    copy_dscp: bool = False
    flow_secret: bytes = field(default=b"", repr=False)
    workers: int | None = 1


class UserspaceDatapath(DatapathCore):
    """See :class:`~ovpn6.datapath.interface.Datapath`."""

    def __init__(
        self,
        report: ReportSink,
        loop: asyncio.AbstractEventLoop,
        entropy: Callable[[int], bytes],
        options: UserspaceOptions,
        new_link_id: Callable[[], LinkId],
        open_device: OpenDevice = open_tun,
    ) -> None:
        """``entropy`` is for backends that draw ids of their own; packet ids count from 1.

        ``open_device`` gives a descriptor that reads and writes one packet at a time.
        """
        super().__init__(
            CAPABILITIES,
            report,
            loop.time,
            lambda: ReplayWindow(options.replay_window, options.replay_time),
            self._device_lost,
            os.read,
            os.write,
            None if options.epoch_usage is None else UsageLimits(options.epoch_usage),
        )
        self._worker.copy_dscp = options.copy_dscp
        if options.flow_secret:
            self._worker.label_flows(options.flow_secret)
        self._loop = loop
        self._options = options
        self._open_device = open_device
        self._links = UserspaceLinks(
            report, loop, self._counts, new_link_id, self._worker, self._peers, options.without
        )
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._replays = ReplayWarnings(options.mute_replay_warnings)

    # --- device ---------------------------------------------------------------------------------

    def open_device(self, spec: DeviceSpec, mtu: int) -> str:
        if self._worker.tunnel >= 0:
            raise UsageError("the device is open")
        without = self._options.without
        tunnel, name = self._open_device(spec, Offload.TUN not in without)
        self._worker.tunnel = tunnel
        self._links.mtu = mtu
        if has_vnet(tunnel):
            granted = enable_offloads(tunnel, without)
            self._worker.use_vnet(os.writev, granted.uso)
            log.info("tunnel device %s: %s", name, granted)
        else:
            log.info("tunnel device %s: one packet at a time", name)
        if without:
            log.info("%s: not used: %s", VARIABLE, ", ".join(sorted(o.value for o in without)))
        self._loop.add_reader(self._worker.tunnel, self._worker.tunnel_readable)
        return name

    def close_device(self) -> None:
        if self._worker.tunnel >= 0:
            self._loop.remove_reader(self._worker.tunnel)
            disable_offloads(self._worker.tunnel)
            os.close(self._worker.tunnel)
            self._worker.tunnel = -1

    # --- links ----------------------------------------------------------------------------------

    async def open_link(self, link: LinkId, spec: LinkSpec) -> Endpoint:
        return await self._links.open(link, spec)

    def close_link(self, link: LinkId) -> None:
        self._links.close(link)

    # --- peers ----------------------------------------------------------------------------------

    def add_peer(self, spec: PeerSpec) -> None:
        super().add_peer(spec)
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL, self._tick)

    def close(self) -> None:
        """Keys are forgotten: the crypto library clears its contexts, Python's own byte strings
        are freed without being overwritten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._links.close_all()
        self.close_device()
        self._forget_peers()

    # --- helpers --------------------------------------------------------------------------------

    def _find_link(self, link: LinkId) -> Link | None:
        return self._links.find(link)

    def _device_lost(self, error: OSError) -> None:
        self.close_device()
        self._report(DeviceLost(f"{error_name(error)}: {error.strerror}"))

    def _tick(self) -> None:
        self._timer = self._loop.call_later(INTERVAL, self._tick)
        self._keepalive.tick(Instant(self._loop.time()))
        self._ticks += 1
        if self._ticks % REPLAY_WARNING_INTERVAL == 0:
            self._replays.look(self._counts.get("data replay", 0))
