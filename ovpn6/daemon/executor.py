"""Carries out a role's actions: one table from action to what does it.

Actions run in the order given. What the host refuses comes back as ``ActionFailed``; slow work
answers by an input of its own. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from ovpn6.daemon.inbox import Inbox
from ovpn6.daemon.logs import Logger
from ovpn6.daemon.operator_files import PoolFile
from ovpn6.daemon.path_hints import PathHints
from ovpn6.daemon.resolver import resolve_later
from ovpn6.daemon.scripts import ScriptRunner
from ovpn6.datapath.interface import Datapath
from ovpn6.model.addresses import Endpoint
from ovpn6.model.errors import HostError, UsageError
from ovpn6.model.flow import (
    Action,
    ActionFailed,
    AddPeer,
    Announce,
    ApplyHost,
    CancelJob,
    ClientConfigRead,
    CloseLink,
    DropKey,
    Finish,
    FitPeer,
    Input,
    InstallKey,
    LinkAccepted,
    LinkClosed,
    LinkOpened,
    Log,
    OpenLink,
    ReadClientConfig,
    ReleaseFit,
    RemovePeer,
    Resolve,
    RunScript,
    SavePool,
    SendControl,
    SendExit,
    SendProbe,
    SwapKeys,
    UpdatePeer,
)
from ovpn6.model.names import JobId, Level, LinkId, PeerId, Transport
from ovpn6.model.records import dataclass, replace
from ovpn6.model.specs import PeerCounters
from ovpn6.netconf.interface import HostState

REMEMBERED_PEERS = 256
"""Removed peers whose last counters are kept for the scripts that tell of their end."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What the executor drives."""

    datapath: Datapath
    host: HostState
    scripts: ScriptRunner
    logger: Logger
    inbox: Inbox
    announce: Callable[[], None]
    client_config_dir: Callable[[ReadClientConfig], ClientConfigRead] | None = None
    pool_file: PoolFile | None = None
    hints: PathHints | None = None


class Executor:
    """One role's hands, from its start to its end."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._opening: dict[LinkId, asyncio.Task[None]] = {}
        self._links: set[LinkId] = set()
        self._peers: set[PeerId] = set()
        self._last_counters: OrderedDict[PeerId, PeerCounters] = OrderedDict()
        self._lookups: set[JobId] = set()
        self._table: dict[type[Action], Callable[[Any], None]] = {
            OpenLink: self._open_link,
            CloseLink: self._close_link,
            SendControl: lambda order: shell.datapath.send_control(order.path, order.datagram),
            SendProbe: lambda order: shell.datapath.send_probe(order.path, order.datagram),
            FitPeer: self._fit_peer,
            ReleaseFit: self._release_fit,
            AddPeer: self._add_peer,
            UpdatePeer: lambda order: shell.datapath.update_peer(order.spec),
            RemovePeer: self._remove_peer,
            InstallKey: lambda order: shell.datapath.install_key(order.peer, order.slot, order.key),
            SwapKeys: lambda order: shell.datapath.swap_keys(order.peer),
            DropKey: lambda order: shell.datapath.drop_key(order.peer, order.slot),
            SendExit: lambda order: shell.datapath.send_exit(order.peer),
            ApplyHost: lambda order: shell.host.apply(order.plan),
            Resolve: self._resolve,
            RunScript: self._run_script,
            CancelJob: self._cancel_job,
            ReadClientConfig: self._read_client_config,
            SavePool: self._save_pool,
            Log: lambda order: shell.logger.log(order.level, order.text, order.about),
            Announce: lambda order: shell.announce(),
        }

    def execute(self, actions: Iterable[Action]) -> Finish | None:
        """Carry the actions out; what follows a ``Finish`` is not done.

        Raises ``HostError`` when privileges could not be dropped.
        """
        for action in actions:
            if isinstance(action, Finish):
                return action
            try:
                self._table[type(action)](action)
            except HostError as error:
                if isinstance(action, Announce):
                    raise  # root could not be given up: the process must not go on with it
                self._shell.logger.log(Level.DEBUG, f"{type(action).__name__} failed: {error}")
                self._shell.inbox.put(ActionFailed(action, error))
        return None

    def report(self, happened: Input) -> None:
        """Take what the datapath, a script or a look-up has to tell."""
        if isinstance(happened, LinkAccepted):
            self._links.add(happened.link)
        elif isinstance(happened, LinkClosed):
            self._links.discard(happened.link)
            if self._shell.hints is not None:
                self._shell.hints.closed(happened.link)
        self._shell.inbox.put(happened)

    def counters(self) -> dict[PeerId, PeerCounters]:
        """Of every peer that the datapath knows."""
        return {peer: self._shell.datapath.counters(peer) for peer in self._peers}

    def fragments(self) -> dict[PeerId, int | None]:
        """Outer ones sent to every peer that the datapath knows; None where nobody counts."""
        return {peer: self._fragments_of(peer) for peer in self._peers}

    async def close(self) -> None:
        """Leave the datapath without peers and links; the device stays."""
        await self._shell.scripts.close()
        self._lookups.clear()
        for task in list(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for link in list(self._links):
            self._forget_link(link)
        self._links.clear()
        for peer in list(self._peers):
            self._shell.datapath.remove_peer(peer)
        self._peers.clear()

    # --- handlers -------------------------------------------------------------------------------

    def _open_link(self, order: OpenLink) -> None:
        if order.spec.remote is not None:
            self._refresh_underlay()
        task = asyncio.get_running_loop().create_task(self._opened(order))
        self._opening[order.link] = task

    async def _opened(self, order: OpenLink) -> None:
        link = order.link
        try:
            local = await self._shell.datapath.open_link(link, order.spec)
        except HostError as error:
            self._shell.inbox.put(ActionFailed(order, error))
            return
        except UsageError as error:
            self._shell.logger.log(Level.ERROR, f"BUG: {error}")
            self._shell.inbox.put(ActionFailed(order, HostError("open link", str(error))))
            return
        finally:
            if self._opening.get(link) is asyncio.current_task():
                del self._opening[link]
        self._links.add(link)
        self._shell.inbox.put(LinkOpened(link, local))
        if self._shell.hints is not None and order.spec.transport is Transport.UDP:
            # After the first packet, which it need not hold up.
            asyncio.get_running_loop().call_soon(self._hint_about, order, local)

    def _hint_about(self, order: OpenLink, local: Endpoint) -> None:
        if order.link in self._links and self._shell.hints is not None:
            multihome = order.spec.options.multihome
            self._shell.hints.opened(order.link, local, multihome=multihome)

    def _close_link(self, order: CloseLink) -> None:
        task = self._opening.pop(order.link, None)
        if task is not None:
            task.cancel()
        if order.link in self._links:
            self._links.discard(order.link)
            self._forget_link(order.link)

    def _forget_link(self, link: LinkId) -> None:
        self._shell.datapath.close_link(link)
        if self._shell.hints is not None:
            self._shell.hints.closed(link)

    def _refresh_underlay(self) -> None:
        """Before each attempt: the outer network may have changed. Not reason enough to stop."""
        try:
            self._shell.host.refresh_underlay()
        except HostError as error:
            self._shell.logger.log(Level.WARNING, f"looking for the way to the server: {error}")

    def _fragments_of(self, peer: PeerId) -> int | None:
        try:
            return self._shell.host.outer_fragments(peer)
        except HostError:
            return None

    def _fit_peer(self, order: FitPeer) -> None:
        fit = order.fit
        self._shell.host.fit(fit, self._shell.datapath.fit_routes(fit.peer, fit))

    def _release_fit(self, order: ReleaseFit) -> None:
        self._shell.datapath.fit_routes(order.peer, None)
        self._shell.host.release(order.peer)

    def _add_peer(self, order: AddPeer) -> None:
        self._shell.datapath.add_peer(order.spec)
        self._peers.add(order.spec.peer)

    def _remove_peer(self, order: RemovePeer) -> None:
        self._peers.discard(order.peer)
        self._last_counters[order.peer] = self._shell.datapath.remove_peer(order.peer)
        self._last_counters.move_to_end(order.peer)
        if len(self._last_counters) > REMEMBERED_PEERS:
            self._last_counters.popitem(last=False)

    def _resolve(self, order: Resolve) -> None:
        self._lookups.add(order.job)

        def answered(answer: Input) -> None:
            if order.job in self._lookups:
                self._lookups.discard(order.job)
                self._shell.inbox.put(answer)

        resolve_later(order, asyncio.get_running_loop(), answered)

    def _run_script(self, order: RunScript) -> None:
        call = order.call
        if call.peer is not None:
            counters = self._counters_of(call.peer)
            traffic = {
                "bytes_received": str(counters.link_in),
                "bytes_sent": str(counters.link_out),
            }
            call = replace(call, environment={**call.environment, **traffic})
        self._shell.scripts.start(RunScript(order.job, call))

    def _counters_of(self, peer: PeerId) -> PeerCounters:
        if peer in self._peers:
            return self._shell.datapath.counters(peer)
        return self._last_counters.get(peer, PeerCounters())

    def _cancel_job(self, order: CancelJob) -> None:
        self._lookups.discard(order.job)
        self._shell.scripts.cancel(order.job)

    def _read_client_config(self, order: ReadClientConfig) -> None:
        if self._shell.client_config_dir is None:
            raise UsageError("ReadClientConfig without client-config-dir")
        self._shell.inbox.put(self._shell.client_config_dir(order))

    def _save_pool(self, order: SavePool) -> None:
        if self._shell.pool_file is None:
            raise UsageError("SavePool without ifconfig-pool-persist")
        self._shell.pool_file.save(order.text)
