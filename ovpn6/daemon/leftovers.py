"""Devices in the kernel that outlived the process that made them."""

from __future__ import annotations

from ovpn6.daemon.logs import Logger
from ovpn6.datapath.kernel_device import remove_leftovers
from ovpn6.model.errors import HostError
from ovpn6.model.names import Level


def remove_devices(logger: Logger, netns: str) -> None:
    """Remove those of dead processes in a network namespace ("" is our own), and say so.

    A start looks in its own namespace, in the one of its device, and in those that journals of dead
    processes name.
    """
    where = f" in network namespace {netns}" if netns else ""
    try:
        for name in remove_leftovers(netns):
            logger.log(Level.NOTICE, f"removed {name}{where}, whose process died")
    except HostError as error:
        logger.log(Level.WARNING, f"looking for devices left behind{where}: {error}")
