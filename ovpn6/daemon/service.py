"""The daemon's life: build everything, run a role, and again after a restart or reload.

Order of events and exit codes are OpenVPN's (``openvpn.c``, ``init.c``): 0 after SIGTERM or SIGINT,
1 after a fatal error.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ovpn6.config.schema import ProcessConfig, TunnelConfig
from ovpn6.daemon import privileges
from ovpn6.daemon.background import Background, daemonize, write_pid
from ovpn6.daemon.credentials import client_credentials
from ovpn6.daemon.kept_files import KeptFiles
from ovpn6.daemon.leftovers import remove_devices
from ovpn6.daemon.life import Life
from ovpn6.daemon.logs import Logger, bridge_logging, log_options, open_target
from ovpn6.daemon.machinery import Machinery
from ovpn6.daemon.materials import Materials, library_line, load_materials, version_line
from ovpn6.daemon.sd_notify import notify
from ovpn6.daemon.signals import Signals
from ovpn6.model.errors import ConfigError, ConfigErrors, HostError
from ovpn6.model.flow import Finish, Outcome
from ovpn6.model.names import Level
from ovpn6.model.records import dataclass, replace
from ovpn6.netconf.interface import DEFAULT_STATE_DIR
from ovpn6.netconf.recovery import recover

ReadConfig = Callable[[], TunnelConfig]

EXIT_OK = 0
EXIT_FAILED = 1
AUTH_FAILURE = "auth-failure"
"""How the reason of a restart begins that needs other credentials."""
DESCRIPTORS = 65_536
"""How many descriptors we want to be allowed."""
RESTART_PAUSE = 1.0
"""Seconds before a life that follows one shorter than this."""


@dataclass(slots=True)
class Process:
    """What outlives a restart."""

    logger: Logger
    background: Background | None = None
    privileges_dropped: bool = False


def run_daemon(read: ReadConfig) -> int:
    """Run until the end; returns the exit code.

    ``read`` gives the configuration, at start and again after SIGHUP; its ``ConfigErrors`` are the
    caller's at the start.
    """
    config = read()
    target = open_target(config.process, background=False)
    process = Process(Logger(target, log_options(config.process)))
    bridge_logging(process.logger)
    try:
        return _Service(read, config, process).run()
    except ConfigErrors as errors:
        _die(process, "\n".join(f"Options error: {error}" for error in errors.errors))
    except (ConfigError, HostError) as error:
        _die(process, str(error))
    except Exception:  # A bug of ours: the host's state is undone by now; leave the trace behind.
        _die(process, traceback.format_exc())
    return EXIT_FAILED


class _Service:
    """One process."""

    def __init__(self, read: ReadConfig, config: TunnelConfig, process: Process) -> None:
        self._read = read
        self._config = config
        self._process = process
        self._start_directory = Path.cwd()
        self._serving: Callable[[], str] = lambda: ""

    def run(self) -> int:
        """Foreground first: whatever can be wrong with the configuration shows before a fork."""
        settings = self._config.process
        _change_directory(settings)
        self._greet()
        materials = self._load()
        self._enter_background(settings)
        self._log_recovery()
        if settings.writepid is not None:
            write_pid(settings.writepid)
        if settings.nice:
            _set_priority(settings.nice)
        _raise_descriptor_limit()
        return asyncio.run(self._lives(materials))

    async def _lives(self, materials: Materials) -> int:
        machinery = Machinery(
            self._process.logger, self._well_begun, self._announced, materials.identity.user
        )
        files = KeptFiles(self._process.logger)
        signals = Signals()
        signals.install(asyncio.get_running_loop())
        try:
            while True:
                began = time.monotonic()
                files.open(self._config)
                life = Life(materials, machinery, files, signals)
                self._serving = life.serving
                finish = await life.run()
                if finish.outcome is Outcome.EXIT:
                    return self._ended(finish)
                self._process.logger.announce(f"{_shown(finish)}, process restarting")
                if time.monotonic() - began < RESTART_PAUSE and await _ends_meanwhile(signals):
                    return EXIT_OK
                if finish.outcome is Outcome.RELOAD:
                    machinery.close_device()
                    materials = self._reload()
                elif finish.reason.startswith(AUTH_FAILURE):
                    materials = self._ask_again(materials)
        finally:
            machinery.close()
            files.close()

    def _ended(self, finish: Finish) -> int:
        notify("STOPPING=1")
        self._process.logger.announce(f"{_shown(finish)}, process exiting")
        background = self._process.background
        if finish.code and background is not None and background.waiting:
            print(_shown(finish), file=sys.stderr)
        return finish.code

    def _greet(self) -> None:
        logger = self._process.logger
        for warning in self._config.warnings:
            logger.log(Level.WARNING, warning)
        logger.announce(version_line())
        logger.announce(library_line())

    def _load(self) -> Materials:
        return load_materials(self._config, self._tls_log)

    def _reload(self) -> Materials:
        """SIGHUP: everything anew but where the log goes, as in OpenVPN. Raises as at the start."""
        os.chdir(self._start_directory)
        self._config = self._read()
        _change_directory(self._config.process)
        self._process.logger.configure(log_options(self._config.process))
        self._greet()
        return self._load()

    def _tls_log(self, level: Level, text: str) -> None:
        """Certificates: success is said each time, a stranger's failure within limits."""
        logger, about = self._process.logger, self._serving()
        if level in (Level.ERROR, Level.WARNING):
            logger.stranger(text.partition(":")[0], level, text, about)
        else:
            logger.log(level, text, about)

    def _ask_again(self, materials: Materials) -> Materials:
        """The server refused the password (``auth-retry interact``, or ``auth-nocache`` with a
        token that ran out). Raises ``ConfigError`` without a terminal or file to read."""
        if self._config.client is None:
            return materials
        self._process.logger.log(Level.WARNING, "Note: previous 'Auth' credentials failed")
        return replace(materials, credentials=client_credentials(self._config.client))

    def _log_recovery(self) -> None:
        """Undo what a killed predecessor left behind."""
        logger = self._process.logger
        for line in recover(DEFAULT_STATE_DIR, was_in=lambda netns: remove_devices(logger, netns)):
            logger.log(Level.NOTICE, line)

    def _enter_background(self, settings: ProcessConfig) -> None:
        if not settings.daemon or notify("READY=0"):
            return
        self._process.background = daemonize(keep_output=settings.log is not None)
        if settings.log is None:
            self._process.logger.redirect(open_target(settings, background=True))

    def _well_begun(self) -> None:
        """A client may look for its server for ever: the parent of a daemon goes now.

        What the first start made stays for good: the collector need not look at it again, which
        would stop everything for 20 ms now and then.
        """
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        if self._config.client is not None:
            self._release()

    def _release(self) -> None:
        if self._process.background is not None:
            self._process.background.release()

    def _announced(self) -> None:
        """The tunnel is up. Root is needed no more, as in OpenVPN ``do_uid_gid_chroot``."""
        if not self._process.privileges_dropped:
            self._process.privileges_dropped = True
            self._drop_privileges()
        self._process.logger.announce("Initialization Sequence Completed")
        self._release()
        notify(f"READY=1\nSTATUS=Initialization Sequence Completed\nMAINPID={os.getpid()}")

    def _drop_privileges(self) -> None:
        settings = self._config.process
        identity = privileges.look_up(settings)
        privileges.enter_root(settings)
        privileges.become(identity)
        if settings.chroot is not None:
            self._process.logger.announce(f"chroot to '{settings.chroot}' and cd to '/' succeeded")
        if identity.wanted:
            self._process.logger.announce(
                f"UID set to {identity.user}, GID set to {identity.group}, "
                "capabilities retained: CAP_NET_ADMIN"
            )


def _shown(finish: Finish) -> str:
    """``SIGTERM received``, or the reason as the role puts it."""
    reason = finish.reason
    return f"{reason.upper()} received" if reason.lower().startswith("sig") else reason


async def _ends_meanwhile(signals: Signals) -> bool:
    """Pause before the next life; True when the operator does not want one."""
    try:
        await asyncio.wait_for(signals.ending.wait(), RESTART_PAUSE)
    except TimeoutError:
        return False
    return True


def _die(process: Process, text: str) -> None:
    """A fatal error, on the terminal too while a waiting parent still has it."""
    for line in text.splitlines():
        process.logger.log(Level.FATAL, line)
        if process.background is not None and process.background.waiting:
            print(line, file=sys.stderr)
    process.logger.log(Level.FATAL, "Exiting due to fatal error")


def _change_directory(settings: ProcessConfig) -> None:
    """To ``cd``; a daemon without it stands nowhere."""
    directory = settings.cd or (Path("/") if settings.daemon else None)
    if directory is None:
        return
    try:
        os.chdir(directory)
    except OSError as error:
        raise ConfigError(f"cd: {directory}: {error.strerror}") from None


def _raise_descriptor_limit() -> None:
    """Strangers' TCP connections must not use up what scripts and clients need; the usual soft
    limit of 1024 is for programs that call select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _set_priority(nice: int) -> None:
    try:
        os.nice(nice)
    except OSError as error:
        raise HostError(f"nice {nice}", error.strerror or "", error.errno or 0) from None
