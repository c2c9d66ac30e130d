"""Scripts as real processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ovpn6.daemon import scripts
from ovpn6.daemon.scripts import Answer, ScriptRunner
from ovpn6.model.flow import RunScript, ScriptFinished, ScriptPending
from ovpn6.model.names import JobId, Level
from ovpn6.model.secrets import SecretBytes
from ovpn6.model.specs import ScriptCall, ScriptResult

JOB = JobId(5)
LIMIT = 20.0


class Rig:
    """A runner, what it answered and what it logged; to be used inside one event loop."""

    def __init__(self, tmp_dir: Path, security: int = 2, deferred_seconds: float = LIMIT) -> None:
        self.answers: list[Answer] = []
        self.lines: list[str] = []
        self.runner = ScriptRunner(
            self.answers.append,
            self._log,
            security=security,
            tmp_dir=tmp_dir,
            deferred_seconds=deferred_seconds,
        )

    def _log(self, level: Level, text: str) -> None:
        self.lines.append(text)

    async def until(self, condition: Callable[[], object]) -> None:
        limit = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < limit, "it does not happen"
            await asyncio.sleep(0.005)


def shell(text: str, **changes: object) -> ScriptCall:
    return ScriptCall("up", ("/bin/sh", "-c", text, "sh"), **changes)  # type: ignore[arg-type]


def run(
    tmp_dir: Path, call: ScriptCall, security: int = 2, deferred_seconds: float = LIMIT
) -> tuple[ScriptResult, Rig]:
    """Run to the end."""

    async def body() -> Rig:
        rig = Rig(tmp_dir, security, deferred_seconds)
        rig.runner.start(RunScript(JOB, call))
        await rig.until(lambda: rig.answers and isinstance(rig.answers[-1], ScriptFinished))
        return rig

    rig = asyncio.run(body())
    last = rig.answers[-1]
    assert isinstance(last, ScriptFinished)
    assert last.job == JOB
    return last.result, rig


def test_exit_codes_come_back(tmp_path: Path) -> None:
    assert run(tmp_path, shell("exit 0"))[0] == ScriptResult(ok=True)
    result, rig = run(tmp_path, shell("exit 3"))
    assert result == ScriptResult(ok=False, exit_code=3)
    assert "exited with error status: 3" in rig.lines[0]


def test_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    result, rig = run(tmp_path, ScriptCall("up", ("/nonexistent/up",)))
    assert not result.ok
    assert "could not execute external program" in rig.lines[0]


def test_a_script_sees_only_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED", "yes")
    out = tmp_path / "out"
    call = shell(
        f'env > {out}; echo "$@" >> {out}', arguments=("a b", "c"), environment={"dev": "tun0"}
    )
    assert run(tmp_path, call)[0].ok
    lines = out.read_text().splitlines()
    assert "dev=tun0" in lines
    assert "script_type=up" in lines
    assert lines[-1] == "a b c"
    assert not any(line.startswith(("LEAKED", "HOME")) for line in lines)


def test_scripts_need_script_security(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    result, rig = run(tmp_path, shell(f"touch {marker}"), security=1)
    assert not result.ok
    assert not marker.exists()
    assert "--script-security 2" in rig.lines[0]


def test_a_password_in_the_environment_needs_level_three(tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = shell(f'echo "$password" > {out}', secret_environment={"password": SecretBytes(b"pw")})
    assert not run(tmp_path, call, security=2)[0].ok
    assert not out.exists()
    assert run(tmp_path, call, security=3)[0].ok
    assert out.read_text() == "pw\n"


def test_a_password_file_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    out = tmp_path / "out"
    call = shell(
        f'stat -c %a "$1" > {out}; cat "$1" >> {out}', secret_input=SecretBytes(b"user\npw\n")
    )
    assert run(files, call)[0].ok
    assert out.read_text() == "600\nuser\npw\n"
    assert list(files.iterdir()) == []


def test_a_config_comes_back_with_success_only(tmp_path: Path) -> None:
    good = run(tmp_path, shell('echo "push \\"route x\\"" > "$1"', returns_config=True))[0]
    assert good.config_text == 'push "route x"\n'
    bad = run(tmp_path, shell('echo x > "$1"; exit 1', returns_config=True))[0]
    assert (bad.ok, bad.config_text) == (False, "")


def test_too_long_a_config_is_a_failure(tmp_path: Path) -> None:
    call = shell('head -c 70000 /dev/zero > "$1"', returns_config=True)
    assert not run(tmp_path, call)[0].ok


def auth(text: str) -> ScriptCall:
    return ScriptCall("auth-user-pass-verify", ("/bin/sh", "-c", text, "sh"), deferrable=True)


def test_a_refusal_carries_its_reason(tmp_path: Path) -> None:
    result = run(tmp_path, auth('echo "account locked" > $auth_failed_reason_file; exit 1'))[0]
    assert result == ScriptResult(ok=False, exit_code=1, reason="account locked")


def test_openvpns_script_type_for_passwords(tmp_path: Path) -> None:
    assert run(tmp_path, auth('test "$script_type" = user-pass-verify'))[0].ok


@pytest.mark.parametrize(("verdict", "accepted"), [("1", True), ("0", False), ("x", False)])
def test_a_deferred_answer_is_waited_for(tmp_path: Path, verdict: str, accepted: bool) -> None:
    call = auth(f"(sleep 0.15; printf {verdict} > $auth_control_file) & exit 2")
    assert run(tmp_path, call)[0].ok is accepted


def test_a_deferred_answer_that_never_comes_is_a_no(tmp_path: Path) -> None:
    assert not run(tmp_path, auth("exit 2"), deferred_seconds=0.1)[0].ok


def test_a_pending_answer_is_told_before_the_verdict(tmp_path: Path) -> None:
    words = "60\\nwebauth\\nWEB_AUTH::https://example.org\\n"
    call = auth(f'printf "{words}" > $auth_pending_file; printf 1 > $auth_control_file; exit 2')
    result, rig = run(tmp_path, call)
    assert result.ok
    assert rig.answers[0] == ScriptPending(JOB, 60, "WEB_AUTH::https://example.org", "webauth")


def test_client_connect_is_deferred_by_its_file(tmp_path: Path) -> None:
    script = (
        'printf 2 > "$client_connect_deferred_file"; '
        '(sleep 0.15; echo "push later" > "$1"; printf 1 > "$client_connect_deferred_file") & '
        "exit 0"
    )
    call = ScriptCall(
        "client-connect",
        ("/bin/sh", "-c", script, "sh"),
        returns_config=True,
        deferrable=True,
    )
    result = run(tmp_path, call)[0]
    assert result.ok
    assert result.config_text == "push later\n"


def test_a_cancelled_script_ends_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def body() -> Rig:
        rig = Rig(tmp_path)
        text = f"sleep 600 & echo $! > {pids}.new; mv {pids}.new {pids}; wait"
        rig.runner.start(RunScript(JOB, shell(text)))
        await rig.until(pids.exists)
        rig.runner.cancel(JOB)
        child = int(pids.read_text())
        await rig.until(lambda: not alive(child))
        await rig.runner.close()
        return rig

    assert asyncio.run(body()).answers == []


def test_a_script_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "KILL_AFTER", 0.05)
    pid = tmp_path / "pid"

    async def body() -> int:
        rig = Rig(tmp_path)
        text = f"trap '' TERM; echo $$ > {pid}.new; mv {pid}.new {pid}; while :; do sleep 1; done"
        rig.runner.start(RunScript(JOB, shell(text)))
        await rig.until(pid.exists)
        await rig.runner.close()
        return int(pid.read_text())

    assert not alive(asyncio.run(body()))


def test_the_loop_goes_on_while_scripts_run(tmp_path: Path) -> None:
    """Each script waits for a file that only the loop makes."""
    flag = tmp_path / "flag"

    async def body() -> list[Answer]:
        rig = Rig(tmp_path)
        for number in range(scripts.MAX_RUNNING):
            wait = f"while ! test -e {flag}; do sleep 0.01; done"
            rig.runner.start(RunScript(JobId(number), shell(wait)))
        await asyncio.sleep(0)
        flag.touch()
        await rig.until(lambda: len(rig.answers) == scripts.MAX_RUNNING)
        return rig.answers

    answers = asyncio.run(body())
    assert all(isinstance(answer, ScriptFinished) and answer.result.ok for answer in answers)


def test_no_more_than_the_limit_run_at_once(tmp_path: Path) -> None:
    async def body() -> int:
        rig = Rig(tmp_path)
        flag, started = tmp_path / "flag", tmp_path / "started"
        started.mkdir()
        count = scripts.MAX_RUNNING + 4
        for number in range(count):
            wait = f"touch {started}/{number}; while ! test -e {flag}; do sleep 0.01; done"
            rig.runner.start(RunScript(JobId(number), shell(wait)))
        await rig.until(lambda: len(list(started.iterdir())) >= scripts.MAX_RUNNING)
        most = len(list(started.iterdir()))
        flag.touch()
        await rig.until(lambda: len(rig.answers) == count)
        return most

    assert asyncio.run(body()) == scripts.MAX_RUNNING


def alive(pid: int) -> bool:
    """Running, not just waiting to be collected."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
