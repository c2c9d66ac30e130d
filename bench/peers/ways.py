"""How a data path is asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ovpn6.datapath.choose import Demands, KernelOptions, choose, open_datapath
from ovpn6.datapath.interface import Datapath, ReportSink
from ovpn6.datapath.offload.switch import VARIABLE, Offload
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.names import LinkId


@dataclass(frozen=True, slots=True)
class Way:
    """How to ask for a data path: ``lines`` of a configuration, the same for
    :func:`ovpn6.datapath.choose.choose`, and environment variables. What is got may be less."""

    lines: tuple[str, ...] = ()
    demands: Demands = field(default_factory=Demands)
    environment: Mapping[str, str] = field(default_factory=dict)


_USER_SPACE = ("disable-dco",)
WAYS = {
    "default": Way(),
    "user space": Way(_USER_SPACE, Demands(disable_dco=True)),
    "without native": Way(_USER_SPACE, Demands(disable_dco=True), {VARIABLE: Offload.NATIVE.value}),
}
"""Fastest first."""


def open_alone(
    way: Way, report: ReportSink, new_link_id: Callable[[], LinkId], *, many_peers: bool
) -> Datapath:
    """The data path of a way without a daemon around it, with nothing open yet."""
    return open_datapath(
        choose(way.demands),
        report,
        asyncio.get_running_loop(),
        os.urandom,
        UserspaceOptions(),
        KernelOptions(many_peers=many_peers, route_protocol=54),
        new_link_id,
    )
