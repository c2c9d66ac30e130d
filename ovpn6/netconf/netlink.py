"""Host state of the running kernel."""

from __future__ import annotations

import logging
from pathlib import Path

from ovpn6.netconf.interface import DEFAULT_STATE_DIR, Notice
from ovpn6.netconf.journal import FileJournal
from ovpn6.netconf.keeper import HostKeeper
from ovpn6.netconf.netlink_namespace import NetlinkNamespace


class NetlinkHost(HostKeeper):
    """A :class:`ovpn6.netconf.interface.HostState` by netlink and ``/proc/sys``.

    ``state_dir`` holds the journals; ``notice`` gets what the operator should know and that is no
    error; ``owner`` is the user id that the process will change to (``--user``), which gets a
    directory of its own in ``state_dir``. To be opened after any ``fork`` (``--daemon``): it has a
    thread.
    """

    def __init__(
        self,
        state_dir: Path = DEFAULT_STATE_DIR,
        notice: Notice | None = None,
        owner: int | None = None,
    ) -> None:
        super().__init__(
            open_namespace=NetlinkNamespace,
            open_journal=lambda instance, inode: FileJournal(state_dir, instance, inode, owner),
            notice=notice or logging.getLogger(__name__).warning,
        )
