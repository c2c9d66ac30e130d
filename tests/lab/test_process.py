"""Processes of a lab and waiting for them; no root, no namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovpn6.lab.errors import LabError, LabTimeout
from ovpn6.lab.identity import start_time
from ovpn6.lab.process import Process, run
from ovpn6.lab.waiting import wait_for

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""

ORPHAN_MAKER = """
import os, pathlib, signal, sys
from ovpn6.lab.process import Process
child = Process(["sh", "-c", "echo up; exec sleep 60"], pathlib.Path(sys.argv[1]))
child.wait_for_log("up", 5)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Start:
    """Starts processes and ends them after the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.started: list[Process] = []

    def __call__(self, *argv: str) -> Process:
        log = self._directory / f"{len(self.started)}.log"
        self.started.append(Process(argv, log))
        return self.started[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    start = Start(tmp_path)
    yield start
    for process in start.started:
        if process.running:
            process.kill()


def test_the_log_holds_both_streams(start: Start) -> None:
    process = start("sh", "-c", "echo out; echo err >&2")
    assert process.wait(5) == 0
    assert sorted(process.log().split()) == ["err", "out"]


def test_waiting_for_a_log_line_returns_the_match(start: Start) -> None:
    process = start("sh", "-c", "echo listening on 4711; sleep 60")
    assert process.wait_for_log(r"^listening on (\d+)$", 5)[1] == "4711"
    assert process.running


def test_a_log_line_before_the_given_position_does_not_count(start: Start) -> None:
    process = start("sh", "-c", "echo up; sleep 60")
    process.wait_for_log("up", 5)
    with pytest.raises(LabTimeout):
        process.wait_for_log("up", 0.1, after=len(process.log()))


def test_a_process_that_ends_without_the_line_is_reported_with_its_log(start: Start) -> None:
    process = start("sh", "-c", "echo cannot open device; exit 3")
    with pytest.raises(LabError, match="cannot open device") as caught:
        process.wait_for_log("up", 30)
    assert not isinstance(caught.value, LabTimeout)
    assert "ended with 3" in str(caught.value)


def test_a_line_printed_just_before_the_end_is_found(start: Start) -> None:
    process = start("echo", "up")
    process.wait(5)
    assert process.wait_for_log("up", 5)


def test_stopping_is_polite(start: Start) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done"
    process = start("sh", "-c", script)
    process.wait_for_log("up", 5)
    assert process.stop() == 7
    assert "bye" in process.log()


def test_a_stubborn_process_is_killed_after_the_limit(start: Start) -> None:
    process = start(sys.executable, "-c", STUBBORN)
    process.wait_for_log("deaf", 5)
    assert process.stop(limit=0.1) == -signal.SIGKILL


def test_stopping_what_has_ended_is_fine(start: Start) -> None:
    process = start("true")
    process.wait(5)
    assert process.stop() == 0
    assert process.kill() == 0


def test_waiting_for_the_end_has_a_limit(start: Start) -> None:
    with pytest.raises(LabError, match="does not end"):
        start("sleep", "60").wait(0.05)


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    child = int(parent.stdout)
    wait_for(lambda: start_time(child) is None, 5, "the end of the child")


def test_memory_is_what_the_kernel_counts(start: Start) -> None:
    script = "held = bytearray(30_000_000); print('up', flush=True); import time; time.sleep(60)"
    process = start(sys.executable, "-c", script)
    process.wait_for_log("up", 5)
    assert 29_000 < process.memory_kib() < 300_000
    process.kill()
    with pytest.raises(LabError, match="no memory"):
        process.memory_kib()


def test_a_failing_command_is_reported_with_its_output() -> None:
    with pytest.raises(LabError, match="no such luck"):
        run(["sh", "-c", "echo no such luck >&2; exit 1"])
    assert run(["sh", "-c", "exit 5"], check=False).returncode == 5


def test_a_command_has_a_limit() -> None:
    with pytest.raises(LabError, match="not done within"):
        run(["sleep", "60"], limit=0.05)


def test_a_command_reads_its_input_and_otherwise_nothing() -> None:
    assert run(["cat"], stdin="rules\n").stdout == "rules\n"
    assert run(["cat"]).stdout == ""


def test_waiting_returns_the_first_true_value() -> None:
    values = iter([0, "", None, "ready"])
    assert wait_for(lambda: next(values), 5, "a value") == "ready"


def test_a_condition_that_never_holds_is_named_with_its_limit() -> None:
    with pytest.raises(LabTimeout, match=r"the tunnel: not within 0\.05 s"):
        wait_for(lambda: False, 0.05, "the tunnel")


def test_a_slow_machine_is_given_more_time() -> None:
    program = "from ovpn6.lab.waiting import wait_for; wait_for(lambda: None, 0.01, 'the moon')"
    environment = {**os.environ, "OVPN6_LAB_PATIENCE": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the moon: not within 0.03 s" in done.stderr


def test_the_condition_is_looked_at_even_with_no_time_left() -> None:
    assert wait_for(lambda: os.getpid(), 0, "our pid") == os.getpid()
