"""One life of a role: device, executor, status, signals; from ``Started`` to ``Finish``."""

from __future__ import annotations

import asyncio
import os
import time

from ovpn6.daemon.executor import Executor, Shell
from ovpn6.daemon.inbox import Inbox
from ovpn6.daemon.kept_files import KeptFiles
from ovpn6.daemon.loop import RoleLoop
from ovpn6.daemon.machinery import Machinery
from ovpn6.daemon.materials import Materials, role_context, script_base, version_line
from ovpn6.daemon.operator_files import read_client_config
from ovpn6.daemon.scripts import ScriptRunner
from ovpn6.daemon.signals import ENDING, Signals
from ovpn6.daemon.status_report import StatusReporter, Subject
from ovpn6.model.flow import Finish, Outcome, SignalReceived, Started
from ovpn6.model.names import Level, Signal
from ovpn6.model.records import prepare
from ovpn6.roles.interface import Role, RoleContext

IMPATIENCE = 3
"""So many SIGTERM or SIGINT end the process without waiting for the role."""


class Life:
    """Runs a role once."""

    def __init__(
        self,
        materials: Materials,
        machinery: Machinery,
        files: KeptFiles,
        signals: Signals,
    ) -> None:
        self._materials = materials
        self._config = materials.config
        self._machinery = machinery
        self._files = files
        self._signals = signals
        self._logger = machinery.logger
        self._inbox = Inbox()
        self._terminations = 0
        self._out_of_patience = asyncio.Event()
        self._loop: RoleLoop | None = None
        self._reporter: StatusReporter | None = None

    def serving(self) -> str:
        """Whom the input under way came from."""
        return self._loop.serving if self._loop is not None else ""

    async def run(self) -> Finish:
        """Raises ``HostError`` or ``ConfigError`` when the life cannot begin."""
        executor: Executor | None = None
        keep = False
        try:
            self._machinery.open(self._config)
            context = self._context()
            role = _role(context)
            executor = self._executor()
            self._machinery.receiver = executor.report
            self._reporter = self._status_reporter(role, executor, context)
            self._loop = RoleLoop(
                role, executor, self._inbox, asyncio.get_running_loop().time, self._complain
            )
            finish = await self._run_role(self._loop, self._reporter)
            keep = finish.keep_device and finish.outcome is not Outcome.EXIT
            return finish
        finally:
            self._signals.ignore()
            self._machinery.deaf()
            if executor is not None:
                await executor.close()
            if not keep:
                self._machinery.close_device()

    async def _run_role(self, loop: RoleLoop, reporter: StatusReporter) -> Finish:
        """The role's end, or that of the operator's patience."""
        prepare(
            "ovpn6.model",
            "ovpn6.mtu",
            "ovpn6.netconf",
            "ovpn6.netlink",
            "ovpn6.protocol",
            "ovpn6.roles",
        )
        self._inbox.put(Started(self._machinery.device))
        self._signals.listen(self._signalled)
        reporter.start()
        running = asyncio.create_task(loop.run())
        impatience = asyncio.create_task(self._out_of_patience.wait())
        asyncio.get_running_loop().call_soon(self._machinery.well_begun)
        try:
            await asyncio.wait((running, impatience), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            return Finish(Outcome.EXIT, "SIGTERM (again)")
        finally:
            running.cancel()
            impatience.cancel()
            reporter.stop()

    def _context(self) -> RoleContext:
        pool = self._files.pool
        unix_time = time.time()
        environment = script_base(self._config, unix_time=unix_time, daemon_pid=os.getpid())
        return role_context(
            self._materials,
            self._machinery.capabilities,
            wall_offset=unix_time - asyncio.get_running_loop().time(),
            environment=environment | self._machinery.gateway_environment(),
            pool_text=pool.read() if pool is not None else "",
        )

    def _executor(self) -> Executor:
        process, server = self._config.process, self._config.server
        directory = server.client_config_dir if server is not None else None
        shell = Shell(
            datapath=self._machinery.datapath,
            host=self._machinery.host,
            scripts=ScriptRunner(
                self._inbox.put,
                self._logger.log,
                security=process.script_security,
                tmp_dir=process.tmp_dir,
            ),
            logger=self._logger,
            inbox=self._inbox,
            announce=self._machinery.announced,
            client_config_dir=(
                (lambda order: read_client_config(directory, order)) if directory else None
            ),
            pool_file=self._files.pool,
            hints=self._machinery.hints,
        )
        return Executor(shell)

    def _status_reporter(
        self, role: Role, executor: Executor, context: RoleContext
    ) -> StatusReporter:
        datapath = self._machinery.datapath
        subject = Subject(
            role=role,
            counters=executor.counters,
            fragments=executor.fragments,
            drops=lambda: {**datapath.drops().counts, "control inbox full": self._inbox.dropped},
            wall_offset=context.wall_offset,
            title=version_line(),
        )
        return StatusReporter(subject, self._config.process, self._logger, self._files.status)

    def _signalled(self, meaning: Signal) -> None:
        if meaning is Signal.USR2:
            if self._reporter is not None:
                self._reporter.to_log()
            return
        if meaning in ENDING:
            self._terminations += 1
            if self._terminations >= IMPATIENCE:
                self._out_of_patience.set()
        self._inbox.put(SignalReceived(meaning))

    def _complain(self, text: str, about: str) -> None:
        self._logger.stranger("BUG", Level.ERROR, text, about)


def _role(context: RoleContext) -> Role:
    """Only the role that runs is imported: a third of the time to start."""
    if context.config.server is not None:
        from ovpn6.roles.server import ServerRole

        return ServerRole(context)
    if context.config.point_to_point is not None:
        from ovpn6.roles.point_to_point import PointToPointRole

        return PointToPointRole(context)
    from ovpn6.roles.client import ClientRole

    return ClientRole(context)
