"""Names tell live labs from the leftovers of dead ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from ovpn6.lab.identity import is_leftover, lab_name, start_time


def name_of_a_dead_lab() -> str:
    """The name of a lab whose process made it and ended."""
    script = "from ovpn6.lab.identity import lab_name; print(lab_name(0))"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_our_own_lab_is_no_leftover() -> None:
    assert not is_leftover(lab_name(0))
    assert not is_leftover(f"{lab_name(12)}-client")


def test_the_lab_of_a_dead_process_is_a_leftover() -> None:
    name = name_of_a_dead_lab()
    assert is_leftover(name)
    assert is_leftover(f"{name}-client-lan")


def test_a_later_process_with_the_same_pid_does_not_own_the_lab() -> None:
    other_start = re.sub(r"-(\w+)-0$", "-1-0", lab_name(0))
    assert other_start.startswith(f"o6-{os.getpid()}-")
    assert is_leftover(other_start)


@pytest.mark.parametrize(
    "name", ["", "o6", "o6-1", "o6-1-x", "client", "o6-x-y-0", "xo6-1-1-0", "o6-1-1-a"]
)
def test_names_that_no_lab_gave_are_left_alone(name: str) -> None:
    assert not is_leftover(name)


def test_two_labs_of_a_process_differ() -> None:
    assert lab_name(0) != lab_name(1)


def test_a_process_that_does_not_exist_has_no_start() -> None:
    pid = int(name_of_a_dead_lab().split("-")[1])
    assert start_time(pid) is None


def test_a_zombie_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert start_time(child.pid) is None
    finally:
        child.wait()
