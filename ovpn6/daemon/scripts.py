"""The user's scripts as child processes, without ever blocking the event loop.

Sources: OpenVPN ``run_command.c``, ``ssl_verify.c`` (deferred authentication), ``multi.c``
(deferred client-connect), ``doc/man-sections/script-options.rst``. A script sees only the
environment it was given and a standard ``PATH``; each runs in a process group of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ovpn6.model.errors import HostError
from ovpn6.model.flow import RunScript, ScriptFinished, ScriptPending
from ovpn6.model.names import JobId, Level
from ovpn6.model.records import dataclass
from ovpn6.model.specs import ScriptCall, ScriptResult

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_RUNNING = 16
"""Scripts at once; later ones wait their turn."""
DEFERRED_SECONDS = 60.0
"""How long a deferred answer may take."""
FIRST_POLL, LONGEST_POLL = 0.05, 1.0
"""Seconds between looks at a deferral file; each wait is half again as long as the last."""
KILL_AFTER = 2.0
"""Seconds between SIGTERM and SIGKILL for a cancelled script."""
MAX_CONFIG_SIZE = 65_536
MAX_REASON_SIZE = 1024

SCRIPTS_ALLOWED = 2
"""``script-security`` from which user scripts run."""
PASSWORDS_ALLOWED = 3
"""``script-security`` from which passwords may stand in the environment."""

_SCRIPT_TYPES = {"auth-user-pass-verify": "user-pass-verify"}
_EXIT_DEFERRED = 2
_EXIT_NOT_EXECUTED = 127

Answer = ScriptFinished | ScriptPending


class ScriptRunner:
    """Runs ``RunScript`` orders and reports their answers, from the running event loop."""

    def __init__(
        self,
        report: Callable[[Answer], None],
        log: Callable[[Level, str], None],
        *,
        security: int,
        tmp_dir: Path | None = None,
        deferred_seconds: float = DEFERRED_SECONDS,
    ) -> None:
        self._report = report
        self._log = log
        self._security = security
        self._tmp_dir = tmp_dir
        self._deferred_seconds = deferred_seconds
        self._turns = asyncio.Semaphore(MAX_RUNNING)
        self._jobs: dict[JobId, asyncio.Task[None]] = {}

    def start(self, order: RunScript) -> None:
        """Begin; ``ScriptFinished`` follows, also when nothing could be run."""
        task = asyncio.get_running_loop().create_task(self._run(order))
        self._jobs[order.job] = task
        task.add_done_callback(lambda done: self._ended(order.job, done))

    def cancel(self, job: JobId) -> None:
        """Nobody waits for it any more: end its processes, report nothing."""
        task = self._jobs.get(job)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End everything that still runs."""
        tasks = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, job: JobId, task: asyncio.Task[None]) -> None:
        if self._jobs.get(job) is task:
            del self._jobs[job]
        if not task.cancelled() and task.exception() is not None:
            self._log(Level.ERROR, f"script job failed: {task.exception()!r}")
            self._report(ScriptFinished(job, ScriptResult(ok=False, exit_code=-1)))

    async def _run(self, order: RunScript) -> None:
        async with self._turns:
            result = await self._result(order)
        self._report(ScriptFinished(order.job, result))

    async def _result(self, order: RunScript) -> ScriptResult:
        call = order.call
        refusal = self._refusal(call)
        if refusal:
            self._log(Level.WARNING, refusal)
            return ScriptResult(ok=False, exit_code=-1)
        try:
            with _files(call, self._tmp_dir) as files:
                code = await self._execute(call, files)
                return await self._judge(order, files, code)
        except OSError as error:
            self._log(Level.ERROR, f"--{call.kind} script: {error}")
            return ScriptResult(ok=False, exit_code=-1)

    def _refusal(self, call: ScriptCall) -> str:
        if self._security < SCRIPTS_ALLOWED:
            return (
                f"WARNING: External program may not be called unless '--script-security 2' or "
                f"higher is enabled ({call.kind}). See --help text or man page for detailed info."
            )
        if call.secret_environment and self._security < PASSWORDS_ALLOWED:
            return (
                f"WARNING: the {call.kind} script wants a password in its environment, which "
                "needs '--script-security 3'; use via-file"
            )
        return ""

    async def _execute(self, call: ScriptCall, files: _Files) -> int:
        environment = script_environment(call, files.environment)
        try:
            process = subprocess.Popen(
                [*call.command, *call.arguments, *files.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            self._log(
                Level.WARNING,
                f"WARNING: Failed running command (--{call.kind}): could not execute external "
                f"program: {call.command[0]}: {error.strerror}",
            )
            return _EXIT_NOT_EXECUTED
        code = await _wait(process)
        if code not in (0, _EXIT_DEFERRED) or (code and not call.deferrable):
            self._log(
                Level.WARNING,
                f"WARNING: Failed running command (--{call.kind}): "
                f"external program {_how_it_ended(code)}",
            )
        return code

    async def _judge(self, order: RunScript, files: _Files, code: int) -> ScriptResult:
        """The answer behind an exit code: now, or once the deferral files tell."""
        call, ok = order.call, code == 0
        if call.returns_config:
            if ok and call.deferrable and files.verdict() == "2":
                ok = await _decided(files, self._deferred_seconds) == "1"
            elif ok and call.deferrable and files.verdict() not in ("", "1"):
                ok = False
            text = files.config_text() if ok else ""
            if len(text) >= MAX_CONFIG_SIZE:
                self._log(Level.ERROR, f"--{call.kind} script wrote too much configuration")
                return ScriptResult(ok=False, exit_code=code)
            return ScriptResult(ok, code, config_text=text)
        if call.deferrable and code == _EXIT_DEFERRED:
            pending = self._pending(order.job, files)
            if pending is not None:
                self._report(pending)
            limit = self._deferred_seconds if pending is None else float(pending.timeout)
            ok = await _decided(files, limit) == "1"
        return ScriptResult(ok, code, reason="" if ok else files.reason())

    def _pending(self, job: JobId, files: _Files) -> ScriptPending | None:
        """``auth_pending_file``: timeout, method and text, a line each."""
        lines = files.pending_lines()
        if not lines:
            return None
        if len(lines) < 3 or not lines[0].isdigit() or int(lines[0]) == 0:
            self._log(Level.WARNING, "auth pending control file is not three lines, timeout first")
            return None
        return ScriptPending(job, int(lines[0]), lines[2], lines[1])


def script_environment(call: ScriptCall, files: Mapping[str, str]) -> dict[str, str]:
    """All a script gets to see. Secrets are revealed here and nowhere else."""
    environment = {"PATH": PATH, **call.environment, **files}
    environment["script_type"] = _SCRIPT_TYPES.get(call.kind, call.kind)
    for name, secret in call.secret_environment.items():
        environment[name] = os.fsdecode(secret.reveal())
    return {name: value.replace("\0", "") for name, value in environment.items()}


@dataclass(slots=True)
class _Files:
    """The temporary files of one run, by what they are for; absent ones are None."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    config: Path | None = None
    control: Path | None = None
    pending: Path | None = None
    failed_reason: Path | None = None

    def verdict(self) -> str:
        """First character of the deferral file: 0 no, 1 yes, 2 later, "" nothing yet."""
        return _read(self.control, 1)

    def config_text(self) -> str:
        return _read(self.config, MAX_CONFIG_SIZE)

    def reason(self) -> str:
        return _read(self.failed_reason, MAX_REASON_SIZE).strip()

    def pending_lines(self) -> list[str]:
        return _read(self.pending, MAX_REASON_SIZE).splitlines()


@contextlib.contextmanager
def _files(call: ScriptCall, directory: Path | None) -> Iterator[_Files]:
    """Make what the call needs, readable by us alone, and remove it afterwards."""
    made: list[Path] = []

    def make(prefix: str, content: bytes = b"") -> Path:
        descriptor, name = tempfile.mkstemp(".tmp", f"openvpn_{prefix}_", directory)
        made.append(Path(name))
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return made[-1]

    try:
        files = _Files((), {})
        if call.secret_input is not None:
            written = str(make("up", call.secret_input.reveal()))
            if call.input_variable:
                files.environment[call.input_variable] = written
            else:
                files.arguments = (*files.arguments, written)
        if call.returns_config:
            files.config = make("cc")
            files.arguments = (*files.arguments, str(files.config))
            files.environment["client_connect_config_file"] = str(files.config)
        if call.deferrable and call.returns_config:
            files.control = make("ccr")
            files.environment["client_connect_deferred_file"] = str(files.control)
        elif call.deferrable:
            files.control, files.pending, files.failed_reason = (
                make("acf"),
                make("apf"),
                make("afr"),
            )
            files.environment["auth_control_file"] = str(files.control)
            files.environment["auth_pending_file"] = str(files.pending)
            files.environment["auth_failed_reason_file"] = str(files.failed_reason)
        yield files
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()


def _read(path: Path | None, limit: int) -> str:
    """The file's beginning; "" when it is gone. Scripts may replace it, even by something else."""
    if path is None:
        return ""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, limit).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


async def _decided(files: _Files, limit: float) -> str:
    """Wait until the deferral file says 0 or 1; "" when the time is over, "?" for nonsense."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + limit, FIRST_POLL
    while True:
        verdict = files.verdict()
        if verdict not in ("", "2"):
            return verdict if verdict in "01" else "?"
        if loop.time() >= deadline:
            return ""
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL)


async def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. When cancelled, the whole process group is ended first."""
    try:
        await _exited(process.pid)
    except asyncio.CancelledError:
        _signal_group(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(_exited(process.pid), KILL_AFTER)
        except TimeoutError:
            _signal_group(process, signal.SIGKILL)
            await _exited(process.pid)
        raise
    finally:
        process.poll()
    return process.wait()


async def _exited(pid: int) -> None:
    """Return when our child has ended; it stays a zombie until it is waited for."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise HostError("pidfd_open", error.strerror or "", error.errno or 0) from None
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return "did not exit normally"
    return f"exited with error status: {code}"
