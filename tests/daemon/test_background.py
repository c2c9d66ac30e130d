"""Going to the background: what the first process says and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ovpn6.daemon.background import Background, daemonize, write_pid


def exit_code_of(daemon: Callable[[Background], None]) -> int:
    """The code of the process that a shell waits for."""
    pid = os.fork()
    if pid == 0:
        try:
            background = daemonize(keep_output=False)
            daemon(background)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_parent_leaves_with_success_once_it_is_released() -> None:
    assert exit_code_of(lambda background: background.release()) == 0


def test_the_parent_fails_when_the_daemon_died_before() -> None:
    assert exit_code_of(lambda background: None) == 1


def test_the_daemon_leads_no_terminal_and_keeps_its_own_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    facts = tmp_path / "facts"

    def daemon(background: Background) -> None:
        write_pid(path)
        facts.write_text(f"{os.getpid()} {os.getsid(0)} {os.readlink('/proc/self/fd/0')}")
        background.release()
        background.release()

    assert exit_code_of(daemon) == 0
    pid, session, stdin = facts.read_text().split()
    assert path.read_text() == f"{pid}\n"
    assert session not in (pid, str(os.getsid(0)))
    assert stdin == "/dev/null"
