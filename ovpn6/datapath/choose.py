"""Which data path a daemon gets, and why. One line of it goes to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ovpn6.datapath.interface import Capabilities, Datapath, ReportSink
from ovpn6.datapath.userspace import CAPABILITIES, UserspaceDatapath, UserspaceOptions
from ovpn6.model.names import LinkId

MODULES = Path("/sys/module")
"""Where the kernel lists what is loaded or built in."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen: its capabilities are known before anything is opened."""

    capabilities: Capabilities
    reason: str

    def __str__(self) -> str:
        return f"data path: {self.capabilities.name}: {self.reason}"


def choose(*, disable_dco: bool, modules: Path = MODULES) -> Choice:
    """The data path for a configuration on this host. User space is the only one there is."""
    if disable_dco:
        reason = "disable-dco is set"
    elif not (modules / "ovpn").exists():
        reason = "kernel has no ovpn module"
    else:
        reason = "this version does not drive the kernel's ovpn module"
    return Choice(CAPABILITIES, reason)


def open_datapath(
    choice: Choice,
    report: ReportSink,
    loop: asyncio.AbstractEventLoop,
    entropy: Callable[[int], bytes],
    options: UserspaceOptions,
    new_link_id: Callable[[], LinkId],
) -> Datapath:
    """The chosen data path, with nothing open yet."""
    return UserspaceDatapath(report, loop, entropy, options, new_link_id)
