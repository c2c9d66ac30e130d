"""The native worker's lanes: as many as are asked for, or one where the kernel steers to no more.

See docs/decisions/several-workers.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ovpn6.datapath.errors import error_name, host_error
from ovpn6.datapath.fastpath import provider_of
from ovpn6.datapath.fastpath._fastpath import Worker
from ovpn6.datapath.fastpath.steering import FEW_PROCESSORS, processors, suitable_workers
from ovpn6.datapath.offload.switch import Offload
from ovpn6.datapath.userspace import UserspaceOptions
from ovpn6.model.names import PeerId

log = logging.getLogger("ovpn6.datapath")


class Lanes:
    """``worker``, and how many lanes it uses: ``count``. ``program`` steers to several."""

    def __init__(
        self, options: UserspaceOptions, single: bool | None, gathered: Callable[[], None]
    ) -> None:
        """Starts the worker's threads: a ``single`` one, one for each direction, or what suits the
        processors there are; so many times as there are lanes. Raises ``HostError``.

        ``gathered`` is called when everything is to go through the first lane from now on.
        """
        self._options = options
        self._single = processors() <= FEW_PROCESSORS if single is None else single
        self._gathered = gathered
        self.count = suitable_workers() if options.workers is None else options.workers
        self.program = -1
        self.worker = self._start()

    def gather(self, reason: str) -> None:
        """One worker has all peers from now on: the kernel does not steer to more."""
        self._say_one(reason)
        self.count = 1
        self.worker.gather()
        self._gathered()

    def grant(self, prefix: bytes, length: int, peer: PeerId) -> None:
        """What goes to a prefix (packed address, length) is the peer's."""
        try:
            self.worker.set_route(prefix, length, peer)
        except OSError as error:
            self.gather(f"a prefix cannot be steered ({error_name(error)})")
            self.worker.set_route(prefix, length, peer)

    def clear(self, prefix: bytes, length: int) -> None:
        """What goes to a prefix is nobody's."""
        try:
            self.worker.remove_route(prefix, length)
        except OSError as error:
            self.gather(f"a prefix cannot be steered ({error_name(error)})")
            self.worker.remove_route(prefix, length)

    def _start(self) -> Worker:
        """Several lanes need a kernel that steers to them."""
        worker = self._new_worker(self.count)
        if self.count == 1:
            return worker
        try:
            self.program = worker.steer()
        except OSError as error:
            worker.close()
            self._say_one(f"the kernel takes no program to steer to them ({error_name(error)})")
            self.count = 1
            return self._new_worker(1)
        log.info("fast path: %d workers, to which packets are steered by peer", self.count)
        return worker

    def _new_worker(self, lanes: int) -> Worker:
        options = self._options
        try:
            return Worker(
                options.replay_window,
                options.replay_time * 1000,
                provider=provider_of(options.without),
                segment=Offload.SEGMENT not in options.without,
                copy_dscp=options.copy_dscp,
                flow_secret=options.flow_secret,
                single=self._single,
                lanes=lanes,
            )
        except OSError as error:
            raise host_error("start the native worker", error) from None

    def _say_one(self, reason: str) -> None:
        log.warning("fast path: one worker instead of %d: %s", self.count, reason)
