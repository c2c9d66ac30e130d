"""Keeps the kernel's keepalive at work.

``PEER_NEW`` with keepalive times starts the module's work on them before the peer can be found. On
a device without other peers that work may find nobody, and ends: nothing is sent then, and silence
is never noticed. Times that are told once the peer is there start it again, for all peers. Source:
drivers/net/ovpn (``ovpn_peer_keepalive_set``, ``ovpn_peer_keepalive_work``).
"""

from __future__ import annotations

import asyncio
import logging

from ovpn6.datapath.kernel_open import Kernel
from ovpn6.datapath.kernel_peers import KernelPeers, kernel_keepalive
from ovpn6.datapath.ovpn_netlink.records import PeerOrder
from ovpn6.model.errors import HostError
from ovpn6.model.specs import Keepalive

PAUSE = 0.1
"""Seconds after a peer was added: however many come meanwhile, one request does for all."""

log = logging.getLogger("ovpn6.datapath")


class KernelKeepalive:
    """For the peers of one device while it is open."""

    def __init__(self, kernel: Kernel, peers: KernelPeers, loop: asyncio.AbstractEventLoop) -> None:
        self._kernel = kernel
        self._peers = peers
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def peer_added(self) -> None:
        """See that its times are kept."""
        if self._timer is None:
            self._timer = self._loop.call_later(PAUSE, self._start)

    def close(self) -> None:
        """No more requests."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        self._timer = None
        for peer in self._peers.all():
            times = kernel_keepalive(peer.spec.keepalive)
            if peer.alive and times != Keepalive():
                try:
                    self._kernel.peers.set_peer(PeerOrder(peer.spec.peer, keepalive=times))
                except HostError as error:
                    # The kernel may have removed it just now; then another one will do.
                    log.info("%s", error)
                else:
                    return
